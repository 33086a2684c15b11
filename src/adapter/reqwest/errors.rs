//! The errors of requests that are sent through a service.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use reqwest_middleware::Error;

use crate::classify::{Doubt, Fate};
use crate::error::BoxError;

/// Returns this crate's error behind an error of reqwest-middleware, if there
/// is one, behind a [`TimedOut`] too: it has the request's fate.
pub fn error(error: &Error) -> Option<&crate::Error> {
    let Error::Middleware(error) = error else { return None };
    let timed_out = || error.downcast_ref::<TimedOut>()?.error.as_deref();
    error.downcast_ref().or_else(timed_out)
}

/// Takes out the error that [`error`] finds, to have the request back for example
/// ([`take_request`](crate::Error::take_request): its body is a [`Body`](crate::Body)).
///
/// # Errors
///
/// Gives back what has none of this crate.
pub fn into_error(error: Error) -> Result<crate::Error, Error> {
    let other = match error {
        Error::Middleware(error) => error.downcast::<crate::Error>(),
        Error::Reqwest(_) => return Err(error),
    };
    let other = match other.map_err(|error| error.downcast::<TimedOut>()) {
        Ok(ours) => return Ok(ours),
        Err(Ok(TimedOut { error: Some(ours), .. })) => return Ok(*ours),
        Err(Ok(timed_out)) => timed_out.into(),
        Err(Err(other)) => other,
    };
    Err(Error::Middleware(other))
}

/// Keeps the error's own type within reach of a downcast.
pub(super) fn into_middleware(error: BoxError) -> Error {
    match error.downcast::<crate::Error>() {
        Ok(ours) => Error::middleware(*ours),
        Err(other) => Error::middleware(Other(other)),
    }
}

/// The URL's scheme is neither `http` nor `https`. Nothing was sent, by reqwest
/// neither.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotHttp {
    pub(super) scheme: String,
}

impl NotHttp {
    /// Returns the URL's scheme.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }
}

impl fmt::Display for NotHttp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "nothing was sent: {} is not supported here, only http and https are",
            self.scheme
        )
    }
}

impl StdError for NotHttp {}

/// The request's own timeout passed. The source is what the service said of the
/// request then, if that is an [`Error`](crate::Error).
#[derive(Debug)]
pub struct TimedOut {
    timeout: Duration,
    fate: Fate,
    error: Option<Box<crate::Error>>,
}

impl TimedOut {
    /// The service failed when the timeout passed.
    pub(super) fn waiting(timeout: Duration, error: BoxError) -> Self {
        match error.downcast::<crate::Error>() {
            Ok(error) => Self { timeout, fate: error.fate(), error: Some(error) },
            Err(_) => Self::silent(timeout),
        }
    }

    /// The service said nothing.
    pub(super) fn silent(timeout: Duration) -> Self {
        Self { timeout, fate: Fate::Unknown(Doubt::TimedOut), error: None }
    }

    /// The response's head was there.
    pub(super) fn reading(timeout: Duration) -> Self {
        Self { timeout, fate: Fate::ResponseLost, error: None }
    }

    /// Returns the timeout that the request had.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns what became of the request at the server, as far as that is
    /// proven.
    pub fn fate(&self) -> Fate {
        self.fate
    }
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.fate {
            Fate::Unknown(_) => "outcome unknown",
            Fate::ResponseLost => "response lost",
            Fate::Completed => "answered, but the answer was not delivered",
            Fate::NotApplied(_) => "not applied",
        })?;
        write!(f, ": the request's timeout of {:?} passed", self.timeout)
    }
}

impl StdError for TimedOut {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error.as_ref().map(|error| &**error as _)
    }
}

/// An error of a service that is not this crate's, which is its source.
#[derive(Debug)]
struct Other(BoxError);

impl fmt::Display for Other {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the service that requests are sent through failed")
    }
}

impl StdError for Other {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.0)
    }
}

//! The errors of requests that are sent through a service.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use reqwest_middleware::Error;
use tower_resend::BoxError;
use tower_resend_core::{Doubt, Fate};

/// Finds tower-resend's error, which has the request's fate, in an error of
/// reqwest-middleware, also behind a [`TimedOut`].
pub fn error(error: &Error) -> Option<&tower_resend::Error> {
    let Error::Middleware(error) = error else { return None };
    error.downcast_ref().or_else(|| error.downcast_ref().and_then(TimedOut::ours))
}

/// Takes out the error that [`error`] finds, for example to get the request back by
/// [`take_request`](tower_resend::Error::take_request). The request's body is a
/// [`Body`](tower_resend::Body).
///
/// # Errors
///
/// Returns the error unchanged if [`error`] finds none in it.
pub fn into_error(failed: Error) -> Result<tower_resend::Error, Error> {
    match failed {
        Error::Middleware(failed) if failed.is::<tower_resend::Error>() => {
            failed.downcast().map_err(Error::Middleware)
        }
        Error::Middleware(failed) if failed.downcast_ref().and_then(TimedOut::ours).is_some() => {
            let timed_out = failed.downcast().map_err(Error::Middleware)?;
            TimedOut::into_ours(timed_out).map_err(Error::middleware)
        }
        other => Err(other),
    }
}

/// Keeps the error's own type, so that it can be downcast.
pub(crate) fn into_middleware(error: BoxError) -> Error {
    match error.downcast::<tower_resend::Error>() {
        Ok(ours) => Error::middleware(*ours),
        Err(other) => Error::middleware(ServiceError(other)),
    }
}

/// The URL's scheme is neither `http` nor `https`. Nothing was sent, not by reqwest either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotHttp {
    pub(crate) scheme: String,
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

/// The request's own timeout passed. The source is the service's error, if it failed at
/// that moment.
#[derive(Debug)]
pub struct TimedOut {
    timeout: Duration,
    fate: Fate,
    error: Option<BoxError>,
}

impl TimedOut {
    /// The service failed when the timeout passed.
    pub(crate) fn waiting(timeout: Duration, error: BoxError) -> Self {
        let silent = Self::silent(timeout);
        let fate = error.downcast_ref().map_or(silent.fate, tower_resend::Error::fate);
        Self { fate, error: Some(error), ..silent }
    }

    /// The service had not failed.
    pub(crate) fn silent(timeout: Duration) -> Self {
        Self { timeout, fate: Fate::Unknown(Doubt::TimedOut), error: None }
    }

    /// The response's head had arrived.
    pub(crate) fn reading(timeout: Duration) -> Self {
        Self { timeout, fate: Fate::ResponseLost, error: None }
    }

    fn ours(&self) -> Option<&tower_resend::Error> {
        self.error.as_deref()?.downcast_ref()
    }

    fn into_ours(mut self) -> Result<tower_resend::Error, Self> {
        match self.error.take().map(|error| error.downcast()) {
            Some(Ok(ours)) => Ok(*ours),
            Some(Err(other)) => Err(Self { error: Some(other), ..self }),
            None => Err(self),
        }
    }

    /// Returns the timeout that the request had.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns the outcome of the request at the server, as far as the service's
    /// [`Error`](tower_resend::Error) proves it.
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
        self.error.as_deref().map(|error| error as _)
    }
}

/// Wraps the error of a service that is not tower-resend's.
#[derive(Debug)]
struct ServiceError(BoxError);

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the service that requests are sent through failed")
    }
}

impl StdError for ServiceError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.0)
    }
}

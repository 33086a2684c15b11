//! The error of one request, with its evidence.

use std::error::Error as StdError;
use std::fmt;

use ::hyper_util::client::legacy;

use crate::attempt::Attempt;
use crate::body::FramingError;
use crate::error::BoxError;
use tower_resend_core::{Contract, Evidence, HandOff};

/// The error of a request that the legacy client could not get answered, with
/// the attempt that failed. The source is the client's own error, or why the client
/// was not given the request.
#[derive(Debug)]
pub struct Failure(Box<Inner>);

#[derive(Debug)]
struct Inner {
    attempt: Attempt,
    source: Source,
}

#[derive(Debug)]
enum Source {
    None,
    Client(legacy::Error),
    Refused(BoxError),
}

impl Failure {
    pub(super) fn new(attempt: Attempt, source: Option<legacy::Error>) -> Self {
        let source = source.map_or(Source::None, Source::Client);
        Self(Box::new(Inner { attempt, source }))
    }

    /// The request's head and body contradict each other.
    pub(super) fn not_sendable(error: FramingError) -> Self {
        let evidence = Evidence::new(HandOff::NotSendable(error.reason()));
        let attempt = Attempt::new(evidence, &Contract::none()).of_ours();
        let source = Source::Refused(error.into_source());
        Self(Box::new(Inner { attempt, source }))
    }

    /// Returns the attempt that failed, with its evidence and fate.
    pub fn attempt(&self) -> &Attempt {
        &self.0.attempt
    }

    /// Returns the legacy client's own error; nothing where it was not given the
    /// request, answered a request that it had cut, or would never have ended (see the
    /// [module](super)'s limits).
    pub fn into_error(self) -> Option<legacy::Error> {
        match self.0.source {
            Source::Client(error) => Some(error),
            Source::None | Source::Refused(_) => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.attempt, f)
    }
}

impl StdError for Failure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0.source {
            Source::None => None,
            Source::Client(error) => Some(error),
            Source::Refused(why) => Some(&**why),
        }
    }
}

//! The error of one request, with its evidence.

use std::error::Error as StdError;
use std::fmt;

use ::hyper_util::client::legacy;

use crate::attempt::Attempt;

/// The error of a request that the legacy client could not get answered, with
/// the attempt that failed. The source is the client's own error.
#[derive(Debug)]
pub struct Failure(Box<Inner>);

#[derive(Debug)]
struct Inner {
    attempt: Attempt,
    source: Option<legacy::Error>,
}

impl Failure {
    pub(super) fn new(attempt: Attempt, source: Option<legacy::Error>) -> Self {
        Self(Box::new(Inner { attempt, source }))
    }

    /// Returns the attempt that failed, with its evidence and fate.
    pub fn attempt(&self) -> &Attempt {
        &self.0.attempt
    }

    /// Returns the legacy client's own error; nothing where it would never have
    /// ended (see the [module](super)'s limits).
    pub fn into_error(self) -> Option<legacy::Error> {
        self.0.source
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.attempt, f)
    }
}

impl StdError for Failure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|source| source as _)
    }
}

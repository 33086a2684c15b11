//! The error of one attempt, with its evidence.

use std::error::Error as StdError;
use std::fmt;

use crate::attempt::Attempt;
use crate::body::FramingError;
use crate::connect::ConnectError;
use crate::error::BoxError;
use tower_resend_core::{Contract, Evidence, HandOff};

/// The error of a request that the pool could not get answered, with the
/// attempt that failed.
#[derive(Debug)]
pub struct Failure(Box<Inner>);

#[derive(Debug)]
struct Inner {
    attempt: Attempt,
    source: Option<BoxError>,
}

impl Failure {
    pub(super) fn new(attempt: Attempt, source: Option<BoxError>) -> Self {
        Self(Box::new(Inner { attempt, source }))
    }

    pub(super) fn not_connected(error: ConnectError) -> Self {
        let attempt = Attempt::new(error.evidence(), &Contract::none()).of_ours();
        Self::new(attempt, Some(error.into()))
    }

    /// The request's head and body contradict each other.
    pub(super) fn not_sendable(error: FramingError) -> Self {
        let evidence = Evidence::new(HandOff::NotSendable(error.reason()));
        let attempt = Attempt::new(evidence, &Contract::none()).of_ours();
        Self::new(attempt, Some(error.into_source()))
    }

    /// Returns the attempt that failed, with its evidence and fate.
    pub fn attempt(&self) -> &Attempt {
        &self.0.attempt
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.attempt, f)
    }
}

impl StdError for Failure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

//! Whether a failure is within the limits of a promise (rules C4 and C5).

use std::fmt;
use std::time::Duration;

use crate::Limits;

use super::accept::Promise;
use super::field::Max;

/// How long after the last byte of a request a close still counts: 5 s (C5).
///
/// A later close may come from a host that was rebooted, or from a middlebox that
/// forgot the connection.
pub const WINDOW: Duration = Duration::from_secs(5);

/// What was observed of a failed exchange, to check the limits of its promise.
///
/// A new value has no observations. A missing one is never within limits.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tower_resend_core::contract::{Max, Observed, OutOfLimits};
///
/// let observed = Observed::new()
///     .with_request_bytes(318)
///     .with_since_last_byte(Duration::from_millis(3))
///     .with_retransmissions(2, 2)
///     .with_probes(0)
///     .with_response_bytes(0);
/// assert_eq!(observed.within(Max::default()), Ok(()));
///
/// let retransmitted = observed.with_retransmissions(2, 3);
/// assert_eq!(retransmitted.within(Max::default()), Err(OutOfLimits::Retransmitted));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[must_use]
pub struct Observed {
    request_bytes: Option<u64>,
    since_last_byte: Option<Duration>,
    retransmissions: Option<(u32, u32)>,
    probes: Option<u8>,
    response_bytes: Option<u64>,
}

impl Observed {
    /// Returns a value without observations.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the length of the *whole* request above TLS: head, body and
    /// chunked framing, written or not (C4). A chunked request whose end was
    /// not written has no known length.
    pub fn with_request_bytes(mut self, bytes: u64) -> Self {
        self.request_bytes = Some(bytes);
        self
    }

    /// Sets the time from the last byte of the request that was written to
    /// the close (C5).
    pub fn with_since_last_byte(mut self, time: Duration) -> Self {
        self.since_last_byte = Some(time);
        self
    }

    /// Sets the connection's count of retransmitted segments before the
    /// request's first byte and after the close (C5).
    pub fn with_retransmissions(mut self, before: u32, after: u32) -> Self {
        self.retransmissions = Some((before, after));
        self
    }

    /// Sets the count of probes without an answer, after the close (C5).
    pub fn with_probes(mut self, probes: u8) -> Self {
        self.probes = Some(probes);
        self
    }

    /// Sets how many bytes were read since the request's first was written
    /// (C5).
    pub fn with_response_bytes(mut self, bytes: u64) -> Self {
        self.response_bytes = Some(bytes);
        self
    }

    /// Checks the limits of a promise, in the terms of
    /// [`classify`](crate::classify()).
    ///
    /// A promise without `max` has no limit that a request could keep:
    /// [`Limits::Unchecked`].
    pub fn limits(&self, promise: &Promise) -> Limits {
        match promise.max().map(|max| self.within(max)) {
            Some(Ok(())) => Limits::Kept,
            Some(Err(OutOfLimits::NotKnown)) | None => Limits::Unchecked,
            Some(Err(
                OutOfLimits::TooLarge
                | OutOfLimits::Late
                | OutOfLimits::Retransmitted
                | OutOfLimits::Probed
                | OutOfLimits::Answered,
            )) => Limits::Exceeded,
        }
    }

    /// Checks the observations against the rules C4 and C5.
    ///
    /// # Errors
    ///
    /// The first limit that was not kept, or [`OutOfLimits::NotKnown`] if an
    /// observation is missing and all others are within limits.
    pub fn within(&self, max: Max) -> Result<(), OutOfLimits> {
        let checks = [
            (self.request_bytes.map(|all| all <= u64::from(max.bytes())), OutOfLimits::TooLarge),
            (self.since_last_byte.map(|time| time <= WINDOW), OutOfLimits::Late),
            (
                self.retransmissions.map(|(before, after)| before == after),
                OutOfLimits::Retransmitted,
            ),
            (self.probes.map(|probes| probes == 0), OutOfLimits::Probed),
            (self.response_bytes.map(|bytes| bytes == 0), OutOfLimits::Answered),
        ];
        for (is_kept, why) in checks {
            if is_kept == Some(false) {
                return Err(why);
            }
        }
        match checks.iter().all(|(is_kept, _)| is_kept.is_some()) {
            true => Ok(()),
            false => Err(OutOfLimits::NotKnown),
        }
    }
}

/// Which limit of a promise was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OutOfLimits {
    /// The request is longer than `max` (C4).
    TooLarge,
    /// The close came after [`WINDOW`] (C5).
    Late,
    /// Something was retransmitted during the exchange (C5).
    Retransmitted,
    /// A probe had no answer (C5).
    Probed,
    /// A byte of a response came (C5).
    Answered,
    /// An observation is missing.
    NotKnown,
}

impl fmt::Display for OutOfLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the request is longer than the contract's `max`",
            Self::Late => "the close came too late for the contract",
            Self::Retransmitted => "something was retransmitted",
            Self::Probed => "a probe had no answer",
            Self::Answered => "a response had begun",
            Self::NotKnown => "not all limits of the contract could be checked",
        })
    }
}

impl std::error::Error for OutOfLimits {}

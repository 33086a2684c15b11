//! A deadline of one call.

use std::time::Duration;

/// The deadline over all attempts of one call, put into a request's extensions
/// by the caller.
///
/// It replaces the [`Policy`](crate::Policy)'s for this call, be it longer or
/// shorter; as that one, it begins when the resending layer is called and ends
/// with the response's head. No resend begins after it, and the attempt that is
/// under way then ends as one that timed out. The policy's timeout of a single
/// attempt and its patience with failed connects stay, and so do the limits of
/// the pool.
///
/// Every duration is safe: one of zero ends the call as soon as it has to wait
/// for anything, and one too long to be told, such as `Duration::MAX`, is as
/// none. It is no part of what is sent, and a resending layer that stands down
/// leaves it to the outer one.
///
/// ```
/// use std::time::Duration;
/// use tower_resend::resend::Deadline;
///
/// # fn main() -> Result<(), http::Error> {
/// let request = http::Request::post("/report")
///     .extension(Deadline::new(Duration::from_secs(120)))
///     .body(())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(alias = "timeout")]
pub struct Deadline(Option<Duration>);

impl Deadline {
    /// Returns a deadline so long after the call began; with `None` the call
    /// has none.
    pub fn new(after: impl Into<Option<Duration>>) -> Self {
        Self(after.into())
    }

    /// Returns how long after the call began it is, if there is one.
    pub fn after(self) -> Option<Duration> {
        self.0
    }
}

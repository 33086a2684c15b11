//! The deadline of one call.

use std::time::Duration;

/// The deadline over all attempts of one call. Put it into the request's extensions.
///
/// It replaces the [`Policy`](crate::Policy)'s deadline for this call, whether it is longer
/// or shorter. Like that one, it begins when the resending layer is called and ends with
/// the response's head. No resend begins after it, and an attempt that is under way then
/// ends as one that timed out. The policy's timeout of a single attempt, its patience with
/// failed connects and the limits of the pool still apply.
///
/// Every duration is safe. Zero ends the call as soon as it has to wait for anything, and
/// one that no timer reaches, such as `Duration::MAX`, means no deadline. Nothing of it is
/// sent. A resending layer that stands down leaves it to the outer one.
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
    /// Returns a deadline that ends `after` the call began. `None` means no deadline.
    pub fn new(after: impl Into<Option<Duration>>) -> Self {
        Self(after.into())
    }

    /// Returns how long after the beginning of the call the deadline is, if there is one.
    pub fn after(self) -> Option<Duration> {
        self.0
    }
}

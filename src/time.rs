//! The only file that reads a clock or makes a timer. The clock is tokio's, so that tests
//! can pause it.

#![allow(clippy::disallowed_methods, reason = "the one place where they are allowed")]

use std::time::Duration;

pub(crate) use tokio::time::{Instant, Sleep, timeout_at};

/// Returns the current time.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Returns the time `duration` after `start`, or `None` if no timer reaches that far.
///
/// Timers round up, and would overflow near the last `Instant` that there is.
pub(crate) fn after(start: Instant, duration: Duration) -> Option<Instant> {
    let at = start.checked_add(duration)?;
    at.checked_add(ROUNDING).map(|_| at)
}

/// Returns the time `duration` from now. A duration over [`LONGEST`] counts as `LONGEST`,
/// so that no setting overflows.
pub(crate) fn from_now(duration: Duration) -> Instant {
    now() + duration.min(LONGEST)
}

/// Returns the latest time at which a timer set to `at` fires on an idle runtime: timers
/// round up to the next millisecond.
pub(crate) fn woken_by(at: Instant) -> Option<Instant> {
    at.checked_add(TICK)
}

/// Waits for `duration`.
pub(crate) fn sleep(duration: Duration) -> Sleep {
    tokio::time::sleep(duration)
}

/// Waits until `deadline`.
pub(crate) fn sleep_until(deadline: Instant) -> Sleep {
    tokio::time::sleep_until(deadline)
}

/// An upper bound longer than any real timeout (30 years).
pub(crate) const LONGEST: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// The resolution of tokio's timers.
const TICK: Duration = Duration::from_millis(1);

/// More than a timer rounds up.
const ROUNDING: Duration = Duration::from_secs(1);

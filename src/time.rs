//! The only file that reads a clock or sleeps. Tokio's clock, so that tests
//! can pause it.

#![allow(clippy::disallowed_methods, reason = "the one place where they are allowed")]

use std::time::Duration;

pub(crate) use tokio::time::{Instant, Sleep, timeout_at};

/// Returns the current time.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Returns the time so long after `start`, or none where no timer reaches it.
///
/// Timers round up, and would overflow at the last of the times there are.
pub(crate) fn after(start: Instant, duration: Duration) -> Option<Instant> {
    let at = start.checked_add(duration)?;
    at.checked_add(ROUNDING).map(|_| at)
}

/// Returns the time so long from now, or the last that is sensible: no setting
/// is too long to be waited for.
pub(crate) fn from_now(duration: Duration) -> Instant {
    now() + duration.min(LONGEST)
}

/// Returns a time before which what waits until `at` is woken, if nothing holds
/// it up: timers round up to the next millisecond.
pub(crate) fn woken_by(at: Instant) -> Option<Instant> {
    at.checked_add(TICK)
}

/// Longer than any caller waits: thirty years.
pub(crate) const LONGEST: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// How exact a timer is.
const TICK: Duration = Duration::from_millis(1);

/// By more than a timer rounds up.
const ROUNDING: Duration = Duration::from_secs(1);

/// Waits for `duration`.
pub(crate) fn sleep(duration: Duration) -> Sleep {
    tokio::time::sleep(duration)
}

/// Waits until `deadline`.
pub(crate) fn sleep_until(deadline: Instant) -> Sleep {
    tokio::time::sleep_until(deadline)
}

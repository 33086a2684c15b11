//! When a call's attempts have to begin and to end.

use std::time::Duration;

use http::Extensions;

use super::backoff::{Backoff, Cause};
use super::deadline::Deadline;
use super::policy::Policy;
use crate::time::{Instant, after, woken_by};
use tower_resend_core::Time;

/// The limits in time of one call, and how long it waits between attempts.
#[derive(Debug, Default)]
pub(super) struct TimeLimits {
    deadline: Option<Instant>,
    attempt_timeout: Option<Duration>,
    connect_patience: Duration,
    /// When failed connects are no longer repeated, once one has failed.
    patience: Option<Instant>,
    backoff: Backoff,
}

/// When a resend would begin.
pub(super) struct Start {
    /// Not before this time; at once if there is none.
    pub(super) at: Option<Instant>,
    /// Whether the limits allow it.
    pub(super) time: Time,
}

impl TimeLimits {
    /// Returns the limits of a call that begins now. A [`Deadline`] among the request's
    /// extensions takes precedence over the policy's.
    #[inline]
    pub(super) fn new(policy: &Policy, extensions: &Extensions, now: Instant) -> Self {
        let deadline = match extensions.get::<Deadline>() {
            Some(own) => own.after(),
            None => policy.deadline,
        };
        Self {
            deadline: deadline.and_then(|limit| after(now, limit)),
            attempt_timeout: policy.attempt_timeout,
            connect_patience: policy.connect_patience,
            patience: None,
            backoff: Backoff::default(),
        }
    }

    /// Returns no limits, for a call that another layer decides about.
    pub(super) fn none() -> Self {
        Self::default()
    }

    /// Returns when the last attempt has to end.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Returns `true` if no attempt may begin any more.
    pub(super) fn are_over(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|end| end <= now)
    }

    /// Returns when an attempt that began at `began` has to end.
    pub(super) fn end_of_attempt(&self, began: Instant) -> Option<Instant> {
        let end = self.attempt_timeout.and_then(|limit| after(began, limit));
        [end, self.deadline].into_iter().flatten().min()
    }

    /// Returns when a resend would begin after an attempt that began at `began` and failed
    /// for this cause. `fraction` is random in 0..1.
    pub(super) fn next(
        &mut self,
        cause: Cause,
        began: Instant,
        now: Instant,
        fraction: f64,
    ) -> Start {
        match cause {
            Cause::Connect => {
                let end = began.checked_add(self.connect_patience);
                self.patience = self.patience.or(end);
            }
            Cause::Proven | Cause::Repeat => self.patience = None,
        }
        let Some(at) = now.checked_add(self.backoff.next(cause, fraction)) else {
            return Start { at: None, time: Time::Over };
        };
        let at = Some(at).filter(|&at| at > now);
        let is_late = |end: Option<Instant>| {
            end.is_some_and(|end| match at {
                Some(at) => woken_by(at).is_none_or(|latest| latest > end),
                None => now >= end,
            })
        };
        let time = match (is_late(self.deadline), is_late(self.patience)) {
            (true, _) => Time::Over,
            (false, true) => Time::OutOfPatience,
            (false, false) => Time::Left,
        };
        Start { at, time }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time;

    const MILLISECOND: Duration = Duration::from_millis(1);

    /// Returns what time the limits leave for a resend after a failed connect. The first wait
    /// is 25 ms for a fraction of 1.
    fn time_left(limits: &mut TimeLimits, now: Instant) -> Time {
        let start = limits.next(Cause::Connect, now, now, 1.0);
        assert_eq!(start.at, Some(now + 25 * MILLISECOND));
        start.time
    }

    #[test]
    fn resend_that_its_timer_may_begin_at_the_deadline_is_late() {
        let now = time::now();
        let nanosecond = Duration::from_nanos(1);
        for (end, in_time) in [
            (24 * MILLISECOND, false),
            (25 * MILLISECOND, false),
            (25 * MILLISECOND + nanosecond, false),
            (26 * MILLISECOND - nanosecond, false),
            (26 * MILLISECOND, true),
        ] {
            let policy = Policy::new().deadline(end);
            let mut by_deadline = TimeLimits::new(&policy, &Extensions::new(), now);
            let of = |late| if in_time { Time::Left } else { late };
            assert_eq!(time_left(&mut by_deadline, now), of(Time::Over), "deadline {end:?}");
            let policy = Policy::new().connect_patience(end);
            let mut by_patience = TimeLimits::new(&policy, &Extensions::new(), now);
            assert_eq!(
                time_left(&mut by_patience, now),
                of(Time::OutOfPatience),
                "patience {end:?}"
            );
            let both = policy.deadline(end);
            let mut by_both = TimeLimits::new(&both, &Extensions::new(), now);
            assert_eq!(time_left(&mut by_both, now), of(Time::Over), "both {end:?}");
        }
    }

    #[test]
    fn resend_that_does_not_wait_is_in_time_until_the_deadline() {
        let now = time::now();
        let nanosecond = Duration::from_nanos(1);
        let policy = Policy::new().deadline(MILLISECOND);
        for (at, in_time) in
            [(now, true), (now + MILLISECOND - nanosecond, true), (now + MILLISECOND, false)]
        {
            let mut limits = TimeLimits::new(&policy, &Extensions::new(), now);
            let start = limits.next(Cause::Proven, now, at, 1.0);
            assert_eq!(start.at, None);
            assert_eq!(start.time == Time::Left, in_time);
            assert_eq!(limits.are_over(at), !in_time);
        }
    }
}

//! When a call's attempts have to begin and to end.

use std::time::Duration;

use http::Extensions;

use super::backoff::{Backoff, Cause};
use crate::classify::{Deadline, Policy, Time};
use crate::time::{Instant, after};

/// The limits in time of one call.
#[derive(Debug, Default)]
pub(super) struct Limits {
    deadline: Option<Instant>,
    attempt_timeout: Option<Duration>,
    connect_patience: Duration,
    /// How long failed connects are repeated, once one has failed.
    patience: Option<Instant>,
    backoff: Backoff,
}

/// When a resend would begin.
pub(super) struct Start {
    /// Not before this time; at once if there is none.
    pub(super) at: Option<Instant>,
    /// Whether that is within the limits.
    pub(super) time: Time,
}

impl Limits {
    /// Returns the limits of a call that begins now; what the caller put into
    /// the request's extensions goes before the policy.
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

    /// Returns the limits of a call in which another layer decides: none.
    pub(super) fn none() -> Self {
        Self::default()
    }

    /// Returns when all attempts have to end.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Returns when an attempt has to end that began then.
    pub(super) fn end_of_attempt(&self, began: Instant) -> Option<Instant> {
        let end = self.attempt_timeout.and_then(|limit| after(began, limit));
        [end, self.deadline].into_iter().flatten().min()
    }

    /// Returns when a resend would begin after an attempt that began then and
    /// failed for this cause; `fraction` is random in 0..1.
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
        let in_time = [self.deadline, self.patience].into_iter().flatten().all(|end| at < end);
        Start {
            at: Some(at).filter(|&at| at > now),
            time: if in_time { Time::Left } else { Time::Over },
        }
    }
}

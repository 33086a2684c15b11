//! How long to wait before a resend: a pure function of counts and a random
//! fraction.

use std::time::Duration;

use crate::attempt::Attempt;
use tower_resend_core::{Fate, HandOff};

/// What a wait is for, by the outcome of the attempt before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Every hand-off failed to connect.
    Connect,
    /// The attempt is proven not to have been applied.
    Proven,
    /// The attempt may have been applied: a resend may repeat work.
    Repeat,
}

impl Cause {
    /// Returns the cause for a wait after an attempt with these hand-offs.
    pub(super) fn of(hand_offs: &[Attempt]) -> Self {
        if hand_offs.iter().all(is_unconnected) {
            Self::Connect
        } else if hand_offs.iter().all(|attempt| attempt.fate().is_not_applied()) {
            Self::Proven
        } else {
            Self::Repeat
        }
    }
}

fn is_unconnected(attempt: &Attempt) -> bool {
    matches!(attempt.evidence().hand_off, HandOff::NotConnected(_))
        && matches!(attempt.fate(), Fate::NotApplied(_))
}

/// How often one call has waited, by cause.
///
/// Waits have full jitter: U(0, min(cap, base * 2^n)). Of the usual schemes it makes
/// contending clients do the least work.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    connect: u32,
    proven: u32,
    repeats: u32,
}

impl Backoff {
    /// Returns the next wait for `cause`. `fraction` is random in 0..1.
    ///
    /// The first resend after a proof does not wait: it repeats no work, and the server's
    /// replacement usually accepts connections already.
    pub(super) fn next(&mut self, cause: Cause, fraction: f64) -> Duration {
        match cause {
            Cause::Connect => CHEAP.delay(count(&mut self.connect), fraction),
            Cause::Proven => match count(&mut self.proven) {
                0 => Duration::ZERO,
                resends => CHEAP.delay(resends - 1, fraction),
            },
            Cause::Repeat => COSTLY.delay(count(&mut self.repeats), fraction),
        }
    }
}

/// Returns the count so far, and adds one.
fn count(counter: &mut u32) -> u32 {
    let before = *counter;
    *counter = before.saturating_add(1);
    before
}

/// A base that doubles up to a cap.
struct Steps {
    base: Duration,
    cap: Duration,
}

impl Steps {
    fn delay(&self, step: u32, fraction: f64) -> Duration {
        let factor = 2_u32.checked_pow(step).unwrap_or(u32::MAX);
        let bound = self.base.saturating_mul(factor).min(self.cap);
        bound.mul_f64(fraction.clamp(0.0, 1.0))
    }
}

/// After a failure that left the server no work.
const CHEAP: Steps = Steps { base: Duration::from_millis(25), cap: Duration::from_secs(1) };

/// After a failure whose resend may repeat work.
const COSTLY: Steps = Steps { base: Duration::from_millis(50), cap: Duration::from_secs(2) };

#[cfg(test)]
mod tests {
    use super::*;

    /// The first twelve waits of one cause, in milliseconds.
    fn waits(cause: Cause, fraction: f64) -> Vec<u128> {
        let mut backoff = Backoff::default();
        (0..12).map(|_| backoff.next(cause, fraction).as_millis()).collect()
    }

    #[test]
    fn longest_waits_double_up_to_the_cap() {
        assert_eq!(
            waits(Cause::Connect, 1.0),
            [25, 50, 100, 200, 400, 800, 1000, 1000, 1000, 1000, 1000, 1000]
        );
        assert_eq!(
            waits(Cause::Proven, 1.0),
            [0, 25, 50, 100, 200, 400, 800, 1000, 1000, 1000, 1000, 1000]
        );
        assert_eq!(
            waits(Cause::Repeat, 1.0),
            [50, 100, 200, 400, 800, 1600, 2000, 2000, 2000, 2000, 2000, 2000]
        );
    }

    #[test]
    fn jitter_is_full() {
        for cause in [Cause::Connect, Cause::Proven, Cause::Repeat] {
            assert!(waits(cause, 0.0).iter().all(|&wait| wait == 0));
        }
        assert_eq!(waits(Cause::Repeat, 0.5)[..3], [25, 50, 100]);
    }

    #[test]
    fn counts_do_not_overflow() {
        let mut backoff = Backoff { connect: u32::MAX, ..Backoff::default() };
        assert_eq!(backoff.next(Cause::Connect, 1.0), CHEAP.cap);
        assert_eq!(backoff.next(Cause::Connect, 1.0), CHEAP.cap);
        assert_eq!(backoff.next(Cause::Proven, 1.0), Duration::ZERO);
    }
}

//! Which of several bodies with the same bytes may be polled.

use std::task::Waker;

/// Numbers the bodies that have the same bytes, one for each attempt.
///
/// Of the bodies that were polled the newest is live; every older one is revoked for
/// good. A newer body that was not polled yet, a spare, revokes nothing.
///
/// It is used under a lock, so no waker is cloned, woken or dropped here: those run code
/// of the caller's runtime.
#[derive(Debug, Default)]
pub(super) struct Generations {
    live: u64,
    newest: u64,
    /// The live body's waker, while it waits.
    waiting: Option<Waker>,
}

impl Generations {
    /// The first body's number.
    pub(super) const FIRST: u64 = 0;

    /// Returns the number of one more body, newer than all others.
    pub(super) fn append(&mut self) -> u64 {
        self.newest += 1;
        self.newest
    }

    /// Returns `true` if a newer body than `generation` is live.
    pub(super) fn is_revoked(&self, generation: u64) -> bool {
        generation < self.live
    }

    /// Revokes all generations before this one.
    ///
    /// Returns the waker of the one that was live, if it was waiting. Wake it after
    /// releasing the lock, so that its body reports the revocation.
    #[must_use]
    pub(super) fn advance_to(&mut self, generation: u64) -> Option<Waker> {
        if generation <= self.live {
            return None;
        }
        self.live = generation;
        self.waiting.take()
    }

    /// Registers the live body's waker. Returns the replaced one; drop it after releasing
    /// the lock.
    #[must_use]
    pub(super) fn wait(&mut self, waker: Waker) -> Option<Waker> {
        self.waiting.replace(waker)
    }

    /// Returns the live body's waker, if it is waiting.
    #[must_use]
    pub(super) fn take_waiting(&mut self) -> Option<Waker> {
        self.waiting.take()
    }
}

#[cfg(test)]
mod tests {
    use super::Generations;

    #[test]
    fn a_spare_revokes_nothing_until_it_is_live() {
        let mut generations = Generations::default();
        let spare = generations.append();
        assert!(!generations.is_revoked(Generations::FIRST));
        assert!(generations.advance_to(spare).is_none());
        assert!(generations.is_revoked(Generations::FIRST));
        assert!(!generations.is_revoked(spare));
    }

    #[test]
    fn a_revoked_generation_stays_revoked() {
        let mut generations = Generations::default();
        let (second, third) = (generations.append(), generations.append());
        let _ = generations.advance_to(third);
        let _ = generations.advance_to(second);
        assert!(generations.is_revoked(second));
        assert!(!generations.is_revoked(third));
    }
}

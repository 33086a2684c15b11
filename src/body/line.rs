//! The line of succession among bodies with the same bytes.

use std::task::Waker;

/// Decides which of several bodies with the same bytes may be polled.
///
/// Each body has a place. Of those that were polled the newest holds the
/// line; all before it are revoked for good. A newer body that was not polled
/// yet (a spare) takes nothing away.
#[derive(Debug, Default)]
pub(super) struct Generations {
    holder: u64,
    newest: u64,
    /// The holder's waker, while it waits.
    waiting: Option<Waker>,
}

impl Generations {
    /// The place of the body that comes first.
    pub(super) const FIRST: u64 = 0;

    /// Returns the place of one more body, behind all others.
    pub(super) fn append(&mut self) -> u64 {
        self.newest += 1;
        self.newest
    }

    pub(super) fn is_revoked(&self, place: u64) -> bool {
        place < self.holder
    }

    /// Revokes all places before `place`.
    ///
    /// Returns the waker of one that was waiting, to be woken once no lock is
    /// held, so that it sees its revocation.
    #[must_use]
    pub(super) fn advance_to(&mut self, place: u64) -> Option<Waker> {
        if place <= self.holder {
            return None;
        }
        self.holder = place;
        self.waiting.take()
    }

    /// Notes that the holder waits.
    pub(super) fn wait(&mut self, waker: &Waker) {
        match &mut self.waiting {
            Some(known) => known.clone_from(waker),
            None => self.waiting = Some(waker.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Generations;

    #[test]
    fn a_spare_takes_nothing_away_until_it_advances() {
        let mut line = Generations::default();
        let spare = line.append();
        assert!(!line.is_revoked(Generations::FIRST));
        assert!(line.advance_to(spare).is_none());
        assert!(line.is_revoked(Generations::FIRST));
        assert!(!line.is_revoked(spare));
    }

    #[test]
    fn the_line_never_goes_back() {
        let mut line = Generations::default();
        let (second, third) = (line.append(), line.append());
        let _ = line.advance_to(third);
        let _ = line.advance_to(second);
        assert!(line.is_revoked(second));
        assert!(!line.is_revoked(third));
    }
}

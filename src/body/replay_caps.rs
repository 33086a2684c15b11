//! How much of the bodies that pass may be kept for a resend.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::NotReplayable;

/// Limits what is recorded of streams while they are sent.
///
/// Clones share one account of the total: give the same value to all the
/// layers that should keep within it together.
#[derive(Clone, Debug)]
pub struct ReplayCaps {
    per_body: usize,
    total: Arc<Total>,
}

impl ReplayCaps {
    /// Returns caps on the bytes kept of one body and of all bodies at a time.
    pub fn new(per_body: usize, in_all: usize) -> Self {
        let total = Total { cap: in_all, held: AtomicUsize::new(0) };
        Self { per_body, total: Arc::new(total) }
    }

    /// Returns the most bytes kept of one body.
    pub fn per_body(&self) -> usize {
        self.per_body
    }

    /// Returns the most bytes kept of all bodies at a time.
    pub fn in_all(&self) -> usize {
        self.total.cap
    }

    /// Returns the bytes kept at this moment.
    pub fn held(&self) -> usize {
        self.total.held.load(Ordering::Relaxed)
    }
}

/// 64 KiB of a body, 16 MiB in all.
impl Default for ReplayCaps {
    fn default() -> Self {
        Self::new(64 << 10, 16 << 20)
    }
}

/// What one recording holds, given back when it is dropped.
#[derive(Debug)]
pub(super) struct BufferReservation {
    caps: ReplayCaps,
    octets: usize,
}

impl BufferReservation {
    pub(super) fn new(caps: ReplayCaps) -> Self {
        Self { caps, octets: 0 }
    }

    /// Refuses a body that is known to be at least this long.
    pub(super) fn foresee(&self, octets: u64) -> Result<(), NotReplayable> {
        let cap = self.caps.per_body;
        if octets > cap as u64 {
            return Err(NotReplayable::CapExceeded { cap });
        }
        Ok(())
    }

    /// Charges some more bytes; what is refused is not charged.
    pub(super) fn add(&mut self, octets: usize) -> Result<(), NotReplayable> {
        let sum = self.octets.saturating_add(octets);
        self.foresee(sum as u64)?;
        self.caps.total.take(octets)?;
        self.octets = sum;
        Ok(())
    }
}

impl Drop for BufferReservation {
    fn drop(&mut self) {
        let held = &self.caps.total.held;
        held.fetch_sub(self.octets, Ordering::Relaxed);
    }
}

/// The account all recordings share. It orders nothing but itself.
#[derive(Debug)]
struct Total {
    cap: usize,
    held: AtomicUsize,
}

impl Total {
    fn take(&self, octets: usize) -> Result<(), NotReplayable> {
        let add = |held: usize| held.checked_add(octets).filter(|sum| *sum <= self.cap);
        self.held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .map(drop)
            .map_err(|_| NotReplayable::TotalExceeded { cap: self.cap })
    }
}

#[cfg(test)]
mod tests {
    use super::{BufferReservation, NotReplayable, ReplayCaps};

    #[test]
    fn a_refused_charge_costs_nothing_and_a_dropped_one_is_given_back() {
        let caps = ReplayCaps::new(10, 15);
        let (mut one, mut two) =
            (BufferReservation::new(caps.clone()), BufferReservation::new(caps.clone()));
        assert_eq!(one.add(10), Ok(()));
        assert_eq!(one.add(1), Err(NotReplayable::CapExceeded { cap: 10 }));
        assert_eq!(two.add(6), Err(NotReplayable::TotalExceeded { cap: 15 }));
        assert_eq!(two.add(5), Ok(()));
        assert_eq!(caps.held(), 15);
        drop(one);
        assert_eq!(caps.held(), 5);
        drop(two);
        assert_eq!(caps.held(), 0);
    }

    #[test]
    fn octets_that_overflow_are_refused() {
        let mut charge = BufferReservation::new(ReplayCaps::new(usize::MAX, usize::MAX));
        assert_eq!(charge.add(usize::MAX), Ok(()));
        assert!(charge.add(1).is_err());
    }
}

//! How much memory recorded bodies may take.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::NotReplayable;

/// Limits the bytes that are recorded of streams while they are sent.
///
/// Clones share one total: give clones of one value to all layers that should stay within
/// it together.
#[derive(Clone, Debug)]
pub struct ReplayCaps {
    per_body: usize,
    total: Arc<Total>,
}

impl ReplayCaps {
    /// Returns caps in bytes: of one body, and of all bodies at a time.
    pub fn new(per_body: usize, in_all: usize) -> Self {
        let total = Total { cap: in_all, held: AtomicUsize::new(0) };
        Self { per_body, total: Arc::new(total) }
    }

    /// Returns the most bytes recorded of one body.
    pub fn per_body(&self) -> usize {
        self.per_body
    }

    /// Returns the most bytes recorded of all bodies at a time.
    pub fn in_all(&self) -> usize {
        self.total.cap
    }

    /// Returns the bytes that are recorded at this moment.
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

/// The bytes that one recording holds. They are released when it is dropped.
#[derive(Debug)]
pub(super) struct BufferReservation {
    caps: ReplayCaps,
    bytes: usize,
}

impl BufferReservation {
    pub(super) fn new(caps: ReplayCaps) -> Self {
        Self { caps, bytes: 0 }
    }

    /// Checks that a body of at least this many bytes would fit.
    ///
    /// # Errors
    ///
    /// If it is longer than one recording may be.
    pub(super) fn check(&self, bytes: u64) -> Result<(), NotReplayable> {
        let cap = self.caps.per_body;
        if bytes > cap as u64 {
            return Err(NotReplayable::CapExceeded { cap });
        }
        Ok(())
    }

    /// Reserves more bytes: all of them, or none on an error.
    ///
    /// # Errors
    ///
    /// If one of the caps would be exceeded.
    pub(super) fn add(&mut self, bytes: usize) -> Result<(), NotReplayable> {
        let sum = self.bytes.saturating_add(bytes);
        self.check(sum as u64)?;
        self.caps.total.take(bytes)?;
        self.bytes = sum;
        Ok(())
    }
}

impl Drop for BufferReservation {
    fn drop(&mut self) {
        let held = &self.caps.total.held;
        held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What all recordings hold. Only the number is shared, so its order is relaxed.
#[derive(Debug)]
struct Total {
    cap: usize,
    held: AtomicUsize,
}

impl Total {
    fn take(&self, bytes: usize) -> Result<(), NotReplayable> {
        let add = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= self.cap);
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
    fn a_failed_reservation_costs_nothing_and_a_dropped_one_returns() {
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
    fn a_reservation_that_overflows_fails() {
        let mut reservation = BufferReservation::new(ReplayCaps::new(usize::MAX, usize::MAX));
        assert_eq!(reservation.add(usize::MAX), Ok(()));
        assert!(reservation.add(1).is_err());
    }
}

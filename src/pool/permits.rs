//! The limits on how many connections there may be.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::connect::DialError;
use tower_resend_core::ConnectFailure;

/// The two limits that a connection counts against: its origin's and the pool's.
///
/// Both queues are fair: permits go to those that wait in the order in which they
/// came.
#[derive(Clone, Debug)]
pub(super) struct ConnectionLimits {
    of_origin: Arc<Semaphore>,
    of_pool: Arc<Semaphore>,
}

/// A connection's share of both limits, returned when dropped.
#[derive(Debug)]
pub(super) struct Permits {
    _of_origin: OwnedSemaphorePermit,
    _of_pool: OwnedSemaphorePermit,
}

impl ConnectionLimits {
    /// Returns the limits of an origin in the pool that `of_pool` belongs to.
    pub(super) fn new(max_per_origin: usize, of_pool: Arc<Semaphore>) -> Self {
        Self { of_origin: Arc::new(Semaphore::new(max_per_origin)), of_pool }
    }

    /// Returns `true` if a new connection has to wait for another one to close.
    pub(super) fn are_reached(&self) -> bool {
        self.of_origin.available_permits() == 0 || self.of_pool.available_permits() == 0
    }

    /// Waits for a permit of each limit.
    ///
    /// The origin's comes first: who waits for it holds none of the pool's, which
    /// other origins could use.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it loses its place in both queues and nothing else.
    pub(super) async fn acquire(self) -> Result<Permits, DialError> {
        let closed = |_| DialError::of(ConnectFailure::PoolWait);
        Ok(Permits {
            _of_origin: self.of_origin.acquire_owned().await.map_err(closed)?,
            _of_pool: self.of_pool.acquire_owned().await.map_err(closed)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio_test::{assert_pending, assert_ready, task};

    use super::*;

    #[tokio::test]
    async fn each_limit_is_waited_for_and_refilled_by_a_drop() {
        for (max_per_origin, max_total) in [(1, 2), (2, 1)] {
            let of_pool = Arc::new(Semaphore::new(max_total));
            let limits = ConnectionLimits::new(max_per_origin, of_pool);
            assert!(!limits.are_reached());
            let first = limits.clone().acquire().await.unwrap();
            assert!(limits.are_reached());
            let mut second = task::spawn(limits.clone().acquire());
            assert_pending!(second.poll());
            drop(first);
            assert!(second.is_woken());
            drop(assert_ready!(second.poll()).unwrap());
            assert!(!limits.are_reached());
        }
    }

    #[tokio::test]
    async fn waiting_for_the_origin_holds_nothing_of_the_pool() {
        let of_pool = Arc::new(Semaphore::new(2));
        let busy = ConnectionLimits::new(1, Arc::clone(&of_pool));
        let _only = busy.clone().acquire().await.unwrap();
        let mut waits = task::spawn(busy.acquire());
        assert_pending!(waits.poll());
        let mut other = task::spawn(ConnectionLimits::new(1, of_pool).acquire());
        assert!(assert_ready!(other.poll()).is_ok());
    }
}

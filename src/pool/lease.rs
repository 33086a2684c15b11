//! A connection on loan, and its places among the pool's limits.

use std::sync::{Arc, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body::ReturnToPool;
use super::host::OriginPool;
use super::idle::Pooled;
use crate::body::RequestBody;
use crate::conn::Http1Connection;
use crate::connect::ConnectError;
use crate::time::Instant;
use tower_resend_core::ConnectFailure;

/// A connection with its places among the pool's limits.
#[derive(Debug)]
pub(super) struct Checkout<B> {
    pub(super) connection: Http1Connection<B>,
    /// Where it goes back to; weak, since that host owns it while it is idle.
    pub(super) host: Weak<OriginPool<B>>,
    pub(super) _places: Permits,
}

/// A connection on loan.
pub(super) type Lease<B> = Box<Checkout<B>>;

/// A connection's places in the limits, of its host and of the pool.
#[derive(Debug)]
pub(super) struct Permits {
    _of_host: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Permits {
    /// Waits for a place in each limit.
    pub(super) async fn take(
        of_host: Arc<Semaphore>,
        of_all: Arc<Semaphore>,
    ) -> Result<Self, ConnectError> {
        let closed = |_| ConnectError::of(ConnectFailure::PoolWait);
        Ok(Self {
            _of_host: of_host.acquire_owned().await.map_err(closed)?,
            _of_all: of_all.acquire_owned().await.map_err(closed)?,
        })
    }
}

impl<B: RequestBody> ReturnToPool for Checkout<B> {
    fn give_back(self: Box<Self>) {
        if let Some(host) = self.host.upgrade() {
            host.put(self);
        }
    }

    fn cut(&self) {
        self.connection.tracker().on_response_cut();
        if self.connection.tracker().has_broken_promise()
            && let Some(host) = self.host.upgrade()
        {
            host.distrust();
        }
        self.connection.tracker().abort();
    }
}

impl<B> Pooled for Lease<B> {
    fn born(&self) -> Instant {
        self.connection.born()
    }

    fn is_used(&self) -> bool {
        self.connection.is_used()
    }

    fn is_dead(&self) -> bool {
        self.connection.is_dead()
    }
}

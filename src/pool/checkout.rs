//! A connection that is checked out of its pool.

use std::sync::{Arc, Weak};
use std::time::Duration;

use http::HeaderValue;

use super::body::ReturnToPool;
use super::idle::Pooled;
use super::permits::Permits;
use crate::body::SendableBody;
use crate::conn::{ConnTracker, ContractTrust, Http1Connection};
use crate::connect::DialError;
use crate::time::{self, Instant};

/// A connection, with its permits and the way back to its pool.
///
/// Dropping it closes the connection, then returns the permits.
#[derive(Debug)]
pub(super) struct Checkout<B> {
    pub(super) connection: Http1Connection<B>,
    /// Weak, because that pool owns the connection while it is idle.
    home: Weak<dyn Home<B>>,
    _permits: Permits,
}

/// Where a connection goes back to.
pub(super) trait Home<B>: Send + Sync {
    /// Takes a connection back whose exchange is over.
    fn put(self: Arc<Self>, checkout: Box<Checkout<B>>);
    /// Notes that the connection's server broke a promise (C9).
    fn block(&self);
}

impl<B> Checkout<B> {
    pub(super) fn new(
        connection: Http1Connection<B>,
        permits: Permits,
        home: Weak<dyn Home<B>>,
    ) -> Self {
        Self { connection, home, _permits: permits }
    }
}

impl<B: SendableBody> Checkout<B> {
    /// Primes a connection that was never used, so that a promise may be in force
    /// from its first request on (C6).
    ///
    /// # Errors
    ///
    /// If its server does not answer within `limit`. The connection is then reset.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the connection is reset.
    pub(super) async fn prime(
        mut self: Box<Self>,
        host: &HeaderValue,
        trust: ContractTrust,
        limit: Duration,
    ) -> Result<Box<Self>, DialError> {
        let mut reset = ResetOnDrop(Some(Arc::clone(self.connection.tracker())));
        let primed = self.connection.prime(host, trust);
        if let Ok(true) = time::timeout_at(time::from_now(limit), primed).await {
            reset.0 = None;
            return Ok(self);
        }
        Err(DialError::unusable(self.connection.tracker()))
    }
}

/// Resets a connection, unless it is disarmed.
struct ResetOnDrop(Option<Arc<ConnTracker>>);

impl Drop for ResetOnDrop {
    fn drop(&mut self) {
        if let Some(tracker) = &self.0 {
            tracker.abort();
        }
    }
}

impl<B: SendableBody> ReturnToPool for Checkout<B> {
    fn give_back(self: Box<Self>) {
        if let Some(home) = self.home.upgrade() {
            home.put(self);
        }
    }

    fn cut(&self) {
        let tracker = self.connection.tracker();
        tracker.on_response_cut();
        if tracker.has_broken_promise()
            && let Some(home) = self.home.upgrade()
        {
            home.block();
        }
        tracker.abort();
    }
}

impl<B> Pooled for Box<Checkout<B>> {
    fn born(&self) -> Instant {
        self.connection.born()
    }

    fn is_used(&self) -> bool {
        self.connection.is_used()
    }

    fn is_closed(&self) -> bool {
        match self.connection.is_used() {
            true => self.connection.is_closed(),
            // One that was never used may have to be primed, and a primer that fails fails
            // the call: what was found on the socket counts too. It takes a lock.
            false => self.connection.is_dead(),
        }
    }
}

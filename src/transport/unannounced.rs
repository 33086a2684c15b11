//! Connections that somebody else's pool drives: nobody announces a request
//! there before hyper has it.
//!
//! Two things differ from our own connections. The look is made at every read
//! that would wait while no request is known to be on the connection, since
//! the next request may come at any moment. And a request is armed when hyper
//! takes it from its channel, which is after the read that precedes it: what
//! is read between that and the request's first octet answers nothing, and
//! hyper would take it for the answer.
//!
//! Where an exchange begins is known only if nothing but requests is written
//! above the Meter. A TLS or tunnel layer and HTTP/2 all write before their
//! first request is taken; so does a hyper that takes requests in another
//! order than the one this is built on. What was written before the first
//! request therefore tells: such a connection has no boundaries, for good.

use super::record::{Record, State};
use crate::classify::{Finding, Phase};

/// What is kept of a connection where nobody announces requests.
#[derive(Debug, Default)]
pub(super) struct Unannounced {
    /// How many exchanges were armed.
    exchanges: u64,
    has_no_boundaries: bool,
    /// Our own FIN was sent.
    pub(super) is_shut: bool,
    /// What was read last.
    last: Option<Finding>,
}

/// One exchange on such a connection, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exchange(u64);

impl Record {
    /// Says that nobody announces requests on this connection.
    pub(super) fn expect_no_announcements(&self) {
        self.lock().unannounced = Some(Box::default());
    }

    /// Arms a request that hyper has taken and of which it has written
    /// nothing. None if the place where it begins cannot be known.
    ///
    /// Hyper takes a request only once the one before is answered whole, so
    /// that this ends any exchange before it.
    pub(crate) fn arm_taken(&self) -> Option<Exchange> {
        let mut state = self.lock();
        let is_over = matches!(state.ledger.phase(), Phase::TakenOver | Phase::Released);
        let has_traffic = state.has_traffic();
        let unannounced = state.unannounced.as_mut()?;
        unannounced.has_no_boundaries |= unannounced.exchanges == 0 && has_traffic;
        if is_over || unannounced.has_no_boundaries {
            unannounced.has_no_boundaries = true;
            return None;
        }
        unannounced.exchanges += 1;
        unannounced.last = None;
        let exchange = Exchange(unannounced.exchanges);
        state.arm_only();
        Some(exchange)
    }

    /// Takes the connection over if this exchange is the one on it.
    pub(crate) fn take_over_if(&self, exchange: Exchange) -> bool {
        let mut state = self.lock();
        let is_current = state.is_current(exchange);
        if is_current {
            state.ledger.take_over();
        }
        is_current
    }

    /// Notes that this exchange was answered; what is left of the answer needs
    /// no guard. `is_upgrade` says that the connection no longer speaks HTTP.
    pub(crate) fn answered(&self, exchange: Exchange, is_upgrade: bool) {
        let closing = {
            let mut state = self.lock();
            if !state.is_current(exchange) {
                return;
            }
            match is_upgrade {
                true => state.ledger.release(),
                false => state.ledger.resolve(),
            }
            // A Meter that is gone already left its stream here, and nothing
            // is to be found out any more.
            state.close_parked()
        };
        drop(closing);
    }

    /// Returns what was read last from a connection where nobody announces
    /// requests.
    pub(crate) fn last_read(&self) -> Option<Finding> {
        self.lock().unannounced.as_ref().and_then(|unannounced| unannounced.last)
    }
}

impl State {
    /// Returns whether a read that would wait has to look.
    pub(super) fn looks(&self) -> bool {
        match (self.ledger.phase(), &self.unannounced) {
            (Phase::Armed, _) => true,
            (Phase::Idle, Some(unannounced)) => !unannounced.is_shut,
            (Phase::Idle | Phase::Sent | Phase::TakenOver | Phase::Released, _) => false,
        }
    }

    /// Notes what was read. Returns whether it came between a request's
    /// hand-over and its first octet, so that it answers nothing.
    pub(super) fn on_unannounced(&mut self, read: Finding) -> bool {
        let is_armed = self.ledger.phase() == Phase::Armed;
        match &mut self.unannounced {
            Some(unannounced) => {
                unannounced.last = Some(read);
                is_armed && read == Finding::Stray
            }
            None => false,
        }
    }

    fn is_current(&self, exchange: Exchange) -> bool {
        self.unannounced.as_ref().is_some_and(|unannounced| unannounced.exchanges == exchange.0)
    }
}

//! Connections that another pool drives: it announces no request before hyper
//! has it.
//!
//! Two things differ from our own connections. The stale check is made at every read
//! that would wait while no request is known to be on the connection, since
//! the next request may come at any moment. And a request is armed when hyper
//! takes it from its channel, which is after the read that precedes it: what
//! is read between that and the request's first byte answers nothing, and
//! hyper would take it for the answer.
//!
//! Where an exchange begins is known only if nothing but requests is written
//! above the TrackedIo, or above the TlsIo where TLS is ours. Another TLS, a tunnel
//! and HTTP/2 all write before their first request is taken; so would a hyper
//! that asks a request's body only after it wrote the head. A byte that is
//! written while no request is known to be on the connection therefore tells:
//! such a connection has no boundaries, for good. What is left of an upload that
//! was answered early is such a byte too, or is still in TLS, which costs the
//! evidence of later requests there, and no more.

use super::served::Served;
use super::tracker::{ConnTracker, State};
use tower_resend_core::{ExchangePhase, StaleReason};

/// What is kept of a connection whose requests are not announced.
#[derive(Debug, Default)]
pub(super) struct External {
    /// How many exchanges were armed.
    exchanges: u64,
    has_no_boundaries: bool,
    /// Our own FIN was sent.
    pub(super) is_shut: bool,
    /// What was read last.
    last: Option<StaleReason>,
}

/// One exchange on such a connection, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExchangeId(u64);

impl ExchangeId {
    /// Returns what the connection served before it.
    pub(crate) fn served(self) -> Served {
        match self.0 {
            1 => Served::Nothing,
            _ => Served::Before,
        }
    }
}

impl ConnTracker {
    /// Notes that requests on this connection are not announced.
    pub(super) fn expect_no_announcements(&self) {
        self.lock().unannounced = Some(Box::default());
    }

    /// Returns `true` if the kernel sent bytes that were not written here. To be
    /// asked before any are.
    pub(super) fn was_used(&self) -> bool {
        self.lock().snapshot().is_ok_and(|snapshot| snapshot.bytes_sent > 0)
    }

    /// Arms a request that hyper has taken and of which it has written
    /// nothing. None if the place where it begins cannot be known.
    ///
    /// Hyper takes a request only once the one before is answered whole, so
    /// that this ends any exchange before it.
    pub(crate) fn arm_taken(&self) -> Option<ExchangeId> {
        let mut state = self.lock();
        let is_over =
            matches!(state.ledger.phase(), ExchangePhase::TakenOver | ExchangePhase::Released);
        let last = state.unannounced.as_ref().and_then(|unannounced| unannounced.last);
        let was_spoken_to = state.was_spoken_to(last);
        let is_flushed = state.is_flushed();
        let unannounced = state.unannounced.as_mut()?;
        unannounced.has_no_boundaries |= unannounced.exchanges == 0 && was_spoken_to;
        if is_over || !is_flushed || unannounced.has_no_boundaries {
            unannounced.has_no_boundaries = true;
            return None;
        }
        unannounced.exchanges += 1;
        unannounced.last = None;
        let exchange = ExchangeId(unannounced.exchanges);
        state.arm_only();
        Some(exchange)
    }

    /// Takes the connection over if this exchange is the one on it.
    pub(crate) fn take_over_if(&self, exchange: ExchangeId) -> bool {
        let mut state = self.lock();
        let is_current = state.is_current(exchange);
        if is_current {
            state.ledger.take_over();
        }
        is_current
    }

    /// Notes that this exchange was answered; what is left of the answer needs
    /// no guard. `is_upgrade` says that the connection no longer speaks HTTP.
    pub(crate) fn answered(&self, exchange: ExchangeId, is_upgrade: bool) {
        let closing = {
            let mut state = self.lock();
            if !state.is_current(exchange) {
                return;
            }
            match is_upgrade {
                true => state.ledger.release(),
                false => state.ledger.resolve(),
            }
            // A TrackedIo that is gone already left its stream here, and nothing
            // is to be found out any more.
            state.close_parked()
        };
        drop(closing);
    }

    /// Returns what was read last from a connection whose requests are not
    /// announced.
    pub(crate) fn last_read(&self) -> Option<StaleReason> {
        self.lock().unannounced.as_ref().and_then(|unannounced| unannounced.last)
    }
}

impl State {
    /// Returns `true` if a read that would wait has to look.
    pub(super) fn looks(&self) -> bool {
        match (self.ledger.phase(), &self.unannounced) {
            (ExchangePhase::Armed, _) => true,
            (ExchangePhase::Idle, Some(unannounced)) => !unannounced.is_shut,
            (
                ExchangePhase::Idle
                | ExchangePhase::Sent
                | ExchangePhase::TakenOver
                | ExchangePhase::Released,
                _,
            ) => false,
        }
    }

    /// Notes what was read.
    pub(super) fn on_unannounced(&mut self, read: StaleReason) {
        if let Some(unannounced) = &mut self.unannounced {
            // Who cuts a TLS session off ends it too, and is named by how.
            let is_cut = matches!(unannounced.last, Some(StaleReason::Fin | StaleReason::Reset));
            if !(is_cut && read == StaleReason::EndOfTls) {
                unannounced.last = Some(read);
            }
        }
    }

    /// Notes that bytes are written, before the ledger does.
    pub(super) fn on_unannounced_write(&mut self) {
        let is_idle = self.ledger.phase() == ExchangePhase::Idle;
        if let Some(unannounced) = self.unannounced.as_mut().filter(|_| is_idle) {
            unannounced.has_no_boundaries = true;
        }
    }

    fn is_current(&self, exchange: ExchangeId) -> bool {
        self.unannounced.as_ref().is_some_and(|unannounced| unannounced.exchanges == exchange.0)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::{Read, Write};
    use std::net;
    use std::pin::Pin;
    use std::sync::Arc;

    use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::conn::io::TrackedIo;
    use tower_resend_core::HandOff;

    async fn connection() -> (TrackedIo, Arc<ConnTracker>, net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (peer, _) = listener.accept().await.unwrap();
        let peer = peer.into_std().unwrap();
        peer.set_nonblocking(false).unwrap();
        let (meter, record) = TrackedIo::unannounced(stream);
        (meter, record, peer)
    }

    async fn poll_read(meter: &mut TrackedIo) -> std::io::Result<usize> {
        let mut octets = [0; 64];
        let mut buf = ReadBuf::new(&mut octets);
        poll_fn(|cx| Pin::new(&mut *meter).poll_read(cx, &mut buf)).await?;
        Ok(buf.filled().len())
    }

    /// An exchange that is answered.
    async fn exchange(meter: &mut TrackedIo, record: &ConnTracker, peer: &mut net::TcpStream) {
        let exchange = record.arm_taken().unwrap();
        meter.write_all(b"GET").await.unwrap();
        peer.read_exact(&mut [0; 3]).unwrap();
        peer.write_all(b"200").unwrap();
        assert_eq!(poll_read(meter).await.unwrap(), 3);
        record.answered(exchange, false);
    }

    #[tokio::test]
    async fn octets_that_no_request_announced_end_all_boundaries() {
        for before in [0, 1, 3] {
            let (mut meter, record, mut peer) = connection().await;
            for _ in 0..before {
                exchange(&mut meter, &record, &mut peer).await;
            }
            meter.write_all(b"POST").await.unwrap();
            assert_eq!(record.arm_taken(), None);
            assert_eq!(record.arm_taken(), None, "for good");
        }
    }

    /// Taken without that check, a request whose head was written before its
    /// body was asked would count as never written.
    #[tokio::test]
    async fn control_without_that_check_a_written_head_is_overlooked() {
        let (mut meter, record, _peer) = connection().await;
        meter.write_all(b"POST").await.unwrap();
        record.lock().arm_only();
        assert_eq!(record.lock().hand_off(), HandOff::NothingWritten);
    }

    #[tokio::test]
    async fn what_was_read_before_the_first_request_ends_all_boundaries() {
        let (mut meter, record, mut peer) = connection().await;
        peer.write_all(b"220 ready").unwrap();
        poll_read(&mut meter).await.unwrap();
        assert_eq!(record.arm_taken(), None);
    }

    #[tokio::test]
    async fn what_is_read_before_the_first_octet_of_a_taken_request_is_withheld() {
        for before in [0, 1] {
            let (mut meter, record, mut peer) = connection().await;
            for _ in 0..before {
                exchange(&mut meter, &record, &mut peer).await;
            }
            record.arm_taken().unwrap();
            peer.write_all(b"HTTP/1.1 200").unwrap();
            poll_read(&mut meter).await.unwrap_err();
            assert_eq!(record.lock().hand_off(), HandOff::NothingWritten);
        }
    }

    #[tokio::test]
    async fn an_exchange_that_is_over_takes_nothing_over() {
        let (_meter, record, _peer) = connection().await;
        let first = record.arm_taken().unwrap();
        let second = record.arm_taken().unwrap();
        assert!(!record.take_over_if(first));
        record.answered(first, false);
        assert!(record.take_over_if(second));
        assert_eq!(record.arm_taken(), None);
    }

    #[tokio::test]
    async fn nothing_is_kept_open_for_an_exchange_that_was_answered() {
        let (meter, record, mut peer) = connection().await;
        let exchange = record.arm_taken().unwrap();
        drop(meter);
        assert!(record.lock().snapshot().is_ok(), "its evidence can be taken");
        record.answered(exchange, false);
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    }
}

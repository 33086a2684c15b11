//! What one connection's Meter and its exchange share.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use tokio::net::TcpStream;

use super::probe::{Fd, Received};
use crate::classify::{
    Counts, Errno, Finding, HandOff, Ledger, Phase, Recogniser, Reply, Snapshot, Unavailable,
    kernel,
};

/// The record of one connection: its ledger, its socket, its early bytes.
///
/// The Meter inside hyper reports to it, and the exchange outside asks it. It
/// outlives hyper's half: a Meter that is dropped in the middle of an exchange
/// parks its stream here, so that the evidence can still be taken.
///
/// The descriptor is used only under the lock and only while `fd` is there:
/// whoever closes the socket first takes `fd` away.
#[derive(Debug)]
pub(crate) struct Record {
    peer: Option<SocketAddr>,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    fd: Option<Fd>,
    pub(super) ledger: Ledger,
    early: Recogniser,
    parked: Option<TcpStream>,
    meter_is_gone: bool,
    waiting: Option<Waker>,
}

impl Record {
    /// Starts the record of a stream that was just connected (step A).
    pub(super) fn of(stream: &TcpStream) -> Self {
        let fd = Fd::of(stream);
        let calibration = fd
            .prepare()
            .and_then(|()| fd.snapshot())
            .and_then(|snapshot| kernel::calibrate(&snapshot));
        Self {
            peer: stream.peer_addr().ok(),
            state: Mutex::new(State {
                fd: Some(fd),
                ledger: Ledger::new(calibration),
                early: Recogniser::new(),
                parked: None,
                meter_is_gone: false,
                waiting: None,
            }),
        }
    }

    /// Returns the address of the connection's peer.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Announces a request: what is written from here on is its own.
    ///
    /// # Errors
    ///
    /// What was found, if the connection is known to be dead.
    pub(crate) fn arm(&self) -> Result<(), Finding> {
        let mut state = self.lock();
        if let Some(found) = state.ledger.found() {
            return Err(found);
        }
        if state.meter_is_gone || state.fd.is_none() {
            return Err(Finding::Ended);
        }
        state.ledger.arm();
        Ok(())
    }

    /// Notes that the exchange's answer was read to its end.
    pub(crate) fn resolve(&self) {
        self.lock().ledger.resolve();
    }

    /// Notes that the connection no longer speaks HTTP.
    pub(crate) fn release(&self) {
        self.lock().ledger.release();
    }

    /// Returns what was found while no request was on the connection.
    pub(crate) fn found(&self) -> Option<Finding> {
        self.lock().ledger.found()
    }

    /// Returns whether the kernel accepted any octet of the current request.
    pub(crate) fn is_written(&self) -> bool {
        self.lock().ledger.is_written()
    }

    /// Returns whether the Meter was dropped; if not, `waker` is woken then.
    pub(crate) fn poll_gone(&self, waker: &Waker) -> bool {
        let mut state = self.lock();
        if !state.meter_is_gone {
            match &mut state.waiting {
                Some(waiting) => waiting.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
        }
        state.meter_is_gone
    }

    /// Resets the connection at once, so that nothing of its request travels
    /// any further. The evidence must have been taken before.
    pub(crate) fn abort(&self) {
        let stream = {
            let mut state = self.lock();
            state.ledger.take_over();
            if let Some(fd) = state.fd.take() {
                fd.abort();
            }
            state.parked.take()
        };
        if let Some(stream) = stream {
            // Where the abort is not offered, a linger of zero does the same.
            let _ = stream.set_zero_linger();
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Reads the counters, unless the socket is gone.
    pub(super) fn snapshot(&self) -> Result<Snapshot, Unavailable> {
        self.fd.ok_or(Unavailable::Aborted).and_then(Fd::snapshot)
    }

    /// The look before a request is written (step B).
    pub(super) fn look(&mut self) -> kernel::Look {
        let snapshot = self.snapshot();
        self.ledger.on_look(snapshot)
    }

    /// Reads what tokio has not heard of yet.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Received {
        self.fd.map_or(Received::Nothing, |fd| fd.receive(buffer))
    }

    /// Returns whether octets wait to be read.
    pub(super) fn has_data(&self) -> bool {
        self.fd.is_some_and(Fd::has_data)
    }

    /// Notes octets that were read. Returns whether they must be withheld,
    /// since they cannot answer the request.
    pub(super) fn on_read(&mut self, octets: &[u8]) -> bool {
        let was_stray = self.ledger.reply() == Reply::Stray;
        let is_stray = if self.ledger.on_read(octets.len()) {
            let snapshot = self.snapshot();
            self.ledger.on_reply(snapshot) == Reply::Stray
        } else {
            was_stray && self.ledger.phase() != Phase::Idle
        };
        if is_stray {
            self.early.on_bytes(octets);
        }
        is_stray
    }

    /// Notes an error of the stream.
    pub(super) fn on_error(&mut self, error: &io::Error) {
        self.ledger.on_error(error.raw_os_error().map(Errno));
    }

    /// Returns the first errno seen on the socket, taking the pending one if
    /// none was.
    pub(super) fn first_errno(&mut self) -> Option<Errno> {
        if self.ledger.errno().is_none() {
            let pending = self.fd.and_then(Fd::take_error);
            if pending.is_some() {
                self.ledger.on_error(pending);
            }
        }
        self.ledger.errno()
    }

    /// Returns what the stray octets were.
    pub(super) fn early(&self) -> crate::classify::Early {
        self.early.early()
    }

    /// Takes the parked stream, to wait on it.
    pub(super) fn take_parked(&mut self) -> Option<TcpStream> {
        self.parked.take()
    }

    /// Parks the stream again.
    pub(super) fn park(&mut self, stream: TcpStream) {
        if self.fd.is_some() {
            self.parked = Some(stream);
        }
    }

    /// Takes the stream of a Meter that is dropped: parked while an exchange
    /// is unresolved, closed otherwise. Returns the stream to close and the
    /// waker of whoever waits for this.
    pub(super) fn on_meter_drop(
        &mut self,
        stream: Option<TcpStream>,
    ) -> (Option<TcpStream>, Option<Waker>) {
        self.meter_is_gone = true;
        let closing = match self.ledger.phase() {
            Phase::Armed | Phase::Sent | Phase::TakenOver if self.fd.is_some() => {
                self.parked = stream;
                None
            }
            Phase::Armed | Phase::Sent | Phase::TakenOver | Phase::Idle | Phase::Released => {
                self.fd = None;
                stream
            }
        };
        (closing, self.waiting.take())
    }

    /// Returns how far the current request got.
    pub(super) fn hand_off(&self) -> HandOff {
        if self.ledger.is_written() { HandOff::Written } else { HandOff::NothingWritten }
    }

    /// Returns the byte counts of the current exchange, by a new snapshot.
    pub(super) fn counts(&self) -> Counts {
        let exchange = self.ledger.exchange();
        let acked = match (self.ledger.check(), self.snapshot()) {
            (Ok(()), Ok(snapshot)) => Some(exchange.acked_octets(&snapshot)),
            _ => None,
        };
        Counts::new(exchange.length(), acked, self.ledger.exchange_read())
    }
}

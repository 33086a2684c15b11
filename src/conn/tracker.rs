//! What one connection's IO and its exchange share: the lock around its machine
//! and its socket.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use atomic_waker::AtomicWaker;
use http::Response;
use tokio::net::TcpStream;

use super::waiters::Waiters;
use crate::body::OnEnd;
use crate::chain::BoxError;
use crate::sys::{Fd, RawRead};
use crate::time::{self, Instant};
#[cfg(feature = "tls")]
use crate::tls::TlsError;
use tower_resend_core::contract::{ContractStatus, Hop};
use tower_resend_core::exchange::{LastRead, calibrate};
use tower_resend_core::{
    Alert, Armed, Contract, EndedBy, Errno, Evidence, ExchangeId, ExchangeMachine, FinalHead,
    Layer, Leftover, Outbound, Probe, ResponseOutcome, Reuse, Snapshot, StaleReason, Unavailable,
};

/// The tracker of one connection: its machine and its socket under one lock.
///
/// The IO inside hyper reports to it, and the exchange outside asks it. It
/// outlives hyper's half: an IO that is dropped in the middle of an exchange
/// parks its stream here, so that the evidence can still be taken.
#[derive(Debug)]
pub(crate) struct ConnTracker {
    peer: Option<SocketAddr>,
    /// The IO was dropped. Set under the lock.
    is_io_gone: AtomicBool,
    /// The exchange of our own pool that waits for that. It is alone, so that it
    /// need not take the lock.
    own_waiter: AtomicWaker,
    tracked: Mutex<Tracked>,
}

/// What is behind the lock.
#[derive(Debug)]
pub(super) struct Tracked {
    machine: ExchangeMachine,
    socket: TrackedSocket,
    parked: Option<TcpStream>,
    /// Who else waits for the IO's drop: calls of another pool.
    waiters: Waiters,
    /// The first error that ended the session of TLS.
    #[cfg(feature = "tls")]
    tls_error: Option<TlsError>,
}

/// The socket, as far as the machine and the drain may use it.
///
/// The descriptor is used only under the lock and only while it is here:
/// what closes the socket first takes it away.
#[derive(Debug)]
pub(super) struct TrackedSocket {
    fd: Option<Fd>,
    born: Instant,
}

impl Probe for TrackedSocket {
    #[inline]
    fn snapshot(&mut self) -> Result<Snapshot, Unavailable> {
        self.fd.ok_or(Unavailable::Aborted).and_then(Fd::snapshot)
    }

    fn take_errno(&mut self) -> Option<Errno> {
        self.fd.and_then(Fd::take_error)
    }

    fn elapsed(&mut self) -> Duration {
        time::now().saturating_duration_since(self.born)
    }
}

impl TrackedSocket {
    /// Returns `true` if bytes wait to be read.
    pub(super) fn has_data(&self) -> bool {
        self.fd.is_some_and(Fd::has_data)
    }

    /// Reads what tokio has not heard of yet.
    fn receive(&mut self, buffer: &mut [u8]) -> RawRead {
        self.fd.map_or(RawRead::Nothing, |fd| fd.receive(buffer))
    }
}

impl ConnTracker {
    /// Starts to track a stream that was just connected (step A).
    pub(super) fn of(stream: &TcpStream) -> Self {
        let fd = Fd::of(stream);
        let calibration =
            fd.prepare().and_then(|()| fd.snapshot()).and_then(|snapshot| calibrate(&snapshot));
        let (local, peer) = (stream.local_addr().ok(), stream.peer_addr().ok());
        let hop = local.zip(peer).map(|(local, peer)| Hop::seen_by_client(local, peer));
        Self {
            peer,
            is_io_gone: AtomicBool::new(false),
            own_waiter: AtomicWaker::new(),
            tracked: Mutex::new(Tracked {
                machine: ExchangeMachine::new(calibration, hop),
                socket: TrackedSocket { fd: Some(fd), born: time::now() },
                parked: None,
                waiters: Waiters::default(),
                #[cfg(feature = "tls")]
                tls_error: None,
            }),
        }
    }

    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, Tracked> {
        self.tracked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the address of the connection's peer.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Returns both ends of the connection, as our socket sees them (C2).
    pub(super) fn hop(&self) -> Option<Hop> {
        self.lock().machine.hop()
    }

    /// The bytes on the socket are of this layer from here on.
    pub(crate) fn expect(&self, layer: Layer) {
        self.lock().machine.expect(layer);
    }

    // ===== an exchange of our own pool =====

    /// Announces a request: what is written from here on is its own.
    ///
    /// # Errors
    ///
    /// What was found, if the connection is known to be dead.
    #[inline]
    pub(super) fn arm(&self, request: Outbound) -> Result<Armed, StaleReason> {
        let mut tracked = self.lock();
        if let Some(found) = tracked.machine.found() {
            return Err(found);
        }
        if self.is_io_gone() || tracked.socket.fd.is_none() {
            return Err(StaleReason::Ended);
        }
        tracked.machine.arm(request)
    }

    /// Notes the head of a final response; `is_whole` says whether it has no
    /// body left to be read. After a refusal the connection is taken over, and
    /// looked at for whether the server went on (C9).
    pub(super) fn on_response<B>(&self, response: &Response<B>, is_whole: bool) -> ResponseOutcome {
        let mut tracked = self.lock();
        match tracked.machine.on_response(response) {
            FinalHead::Answer => ResponseOutcome::Answer,
            FinalHead::Refusal => {
                tracked.machine.take_over();
                let read_before = tracked.machine.exchange_read();
                tracked.drain();
                tracked.machine.after_refusal(read_before, is_whole)
            }
        }
    }

    /// Notes that the response's body failed, its head being there.
    pub(crate) fn on_response_cut(&self) {
        let mut tracked = self.lock();
        let (machine, socket) = tracked.parts();
        machine.on_response_cut(socket);
    }

    /// Notes that the exchange's answer was read to its end.
    #[inline]
    pub(crate) fn finish(&self) -> Reuse {
        self.lock().machine.finish()
    }

    /// Returns the connection's fitness for another request, as far as is known.
    #[inline]
    pub(super) fn reuse(&self) -> Reuse {
        self.lock().machine.reuse()
    }

    /// Notes that the connection no longer speaks HTTP.
    pub(crate) fn release(&self) {
        self.lock().machine.release();
    }

    /// Returns `true` if the kernel accepted any byte of the current request.
    pub(crate) fn is_written(&self) -> bool {
        self.lock().machine.is_written()
    }

    /// Returns `true` if the IO was dropped; if not, `waker` is woken when it
    /// is, in place of the one before. For the one exchange of our own pool.
    #[inline]
    pub(super) fn poll_gone_alone(&self, waker: &Waker) -> bool {
        self.own_waiter.register(waker);
        self.is_io_gone()
    }

    #[inline]
    fn is_io_gone(&self) -> bool {
        self.is_io_gone.load(Ordering::Acquire)
    }

    // ===== an exchange of another pool =====

    /// Says that requests on this connection are not announced.
    pub(super) fn expect_external_driver(&self) {
        self.lock().machine.expect_external_driver();
    }

    /// Returns `true` if the kernel sent bytes that were not written here. To be
    /// asked before any are.
    pub(super) fn was_used(&self) -> bool {
        self.lock().socket.snapshot().is_ok_and(|snapshot| snapshot.bytes_sent > 0)
    }

    /// Arms a request that hyper has taken and not begun to write. `None` if the
    /// place where it begins cannot be known.
    pub(crate) fn arm_taken(&self) -> Option<ExchangeId> {
        self.lock().machine.arm_taken()
    }

    /// Takes the connection over if this exchange is the one on it; returns
    /// whether it was.
    pub(crate) fn take_over_if(&self, exchange: ExchangeId) -> bool {
        self.lock().machine.take_over_if(exchange)
    }

    /// Notes that this exchange was answered; what is left of the answer needs
    /// no guard. `is_upgrade` says that the connection no longer speaks HTTP.
    pub(crate) fn answered(&self, exchange: ExchangeId, is_upgrade: bool) {
        let mut tracked = self.lock();
        let closing = match tracked.machine.on_answered(exchange, is_upgrade) {
            // Nothing is to be found out any more from a stream that was parked.
            Leftover::Close => tracked.close_parked(),
            Leftover::Park => None,
        };
        drop(tracked);
        drop(closing);
    }

    /// Returns what was read last from a connection whose requests are not
    /// announced.
    pub(crate) fn last_read(&self) -> Option<StaleReason> {
        self.lock().machine.last_read()
    }

    /// Returns `true` if the IO was dropped; if not, `waker` is woken when it
    /// is, in place of the one that `who` named before.
    pub(crate) fn poll_gone(&self, who: usize, waker: &Waker) -> bool {
        let mut tracked = self.lock();
        let is_gone = self.is_io_gone();
        let before = if is_gone { None } else { tracked.waiters.wait(who, waker) };
        // Dropping a waker can run anything, another request's end too.
        drop(tracked);
        drop(before);
        is_gone
    }

    /// Notes that `who` no longer waits for that.
    pub(crate) fn leave(&self, who: usize) {
        let left = self.lock().waiters.leave(who);
        drop(left);
    }

    // ===== the end =====

    /// Takes the stream of an IO that is dropped: parked while an exchange is
    /// unresolved, closed otherwise. Wakes all who wait for this.
    pub(super) fn on_io_dropped(&self, stream: Option<TcpStream>) {
        let (closing, waiters) = {
            let mut tracked = self.lock();
            self.is_io_gone.store(true, Ordering::Release);
            let closing = match tracked.machine.on_io_dropped() {
                Leftover::Park if tracked.socket.fd.is_some() => {
                    tracked.parked = stream;
                    None
                }
                Leftover::Park | Leftover::Close => {
                    tracked.socket.fd = None;
                    stream
                }
            };
            (closing, std::mem::take(&mut tracked.waiters))
        };
        drop(closing);
        self.own_waiter.wake();
        waiters.wake();
    }

    /// Resets the connection at once, so that nothing of its request travels
    /// any further. The evidence must have been taken before.
    pub(crate) fn abort(&self) {
        let stream = self.lock().abort();
        if let Some(stream) = stream {
            // Where the abort is not offered, a linger of zero does the same.
            let _ = stream.set_zero_linger();
        }
    }

    /// Resets a connection that handed its request back. Returns what was found
    /// on it.
    pub(super) fn abort_handed_back(&self) -> StaleReason {
        let (found, stream) = {
            let mut tracked = self.lock();
            (tracked.machine.found(), tracked.abort())
        };
        if let Some(stream) = stream {
            let _ = stream.set_zero_linger();
        }
        found.unwrap_or(StaleReason::Ended)
    }

    /// Takes the evidence of an exchange that this side gave up.
    pub(super) fn give_up(&self, ended_by: EndedBy) -> Evidence {
        let mut tracked = self.lock();
        let (machine, socket) = tracked.parts();
        machine.give_up(ended_by, socket)
    }

    /// Returns the alert by which the peer refused TLS with us: another
    /// connection would end the same way.
    pub(crate) fn alert(&self) -> Option<Alert> {
        self.lock().machine.alert()
    }

    /// Notes that the session of TLS ended or failed, and by which error.
    #[cfg(feature = "tls")]
    pub(super) fn on_tls_end(&self, error: Option<TlsError>) {
        let mut tracked = self.lock();
        // The first error is the one that counts, whether it is an alert or not.
        let is_first = tracked.tls_error.is_none();
        let alert = error.as_ref().filter(|_| is_first).and_then(TlsError::alert);
        tracked.machine.on_tls_end(alert);
        if is_first {
            tracked.tls_error = error;
        }
    }

    /// Returns the error that ended the session of TLS, if one did.
    #[cfg(feature = "tls")]
    pub(crate) fn session_error(&self) -> Option<BoxError> {
        self.lock().tls_error.clone().map(BoxError::from)
    }

    #[cfg(not(feature = "tls"))]
    pub(crate) fn session_error(&self) -> Option<BoxError> {
        None
    }

    /// Returns the contract that a failed request went out under, if its
    /// server had one, or why there was none.
    pub(super) fn contract_status(&self) -> ContractStatus {
        self.lock().machine.contract_status()
    }

    /// Returns what the promise in force means for a request's fate.
    pub(super) fn promised(&self) -> Contract {
        self.lock().machine.promised()
    }

    /// Returns `true` if the server was seen breaking a promise (C9).
    pub(crate) fn has_broken_promise(&self) -> bool {
        self.lock().machine.has_broken_promise()
    }
}

/// Matters for a request under a promise.
impl OnEnd for ConnTracker {
    fn on_body_end(&self) {
        self.lock().machine.on_body_end();
    }
}

impl Tracked {
    /// Returns the machine and what it may ask.
    #[inline]
    pub(super) fn parts(&mut self) -> (&mut ExchangeMachine, &mut TrackedSocket) {
        (&mut self.machine, &mut self.socket)
    }

    /// Reads until there is nothing more, at most 1 MiB: a peer that sends more
    /// than that has not ended, and the fate stays unknown.
    pub(super) fn drain(&mut self) -> LastRead {
        let (machine, socket) = self.parts();
        let mut buffer = [0; 4096];
        for _ in 0..256 {
            match socket.receive(&mut buffer) {
                // Whatever it is, hyper does not get it any more.
                RawRead::Bytes(read) => {
                    let _ = machine.on_read(&buffer[..read], socket);
                }
                RawRead::End => return LastRead::End,
                RawRead::Failed(errno) => {
                    machine.on_drain_error(errno);
                    return LastRead::Failed;
                }
                RawRead::Nothing => return LastRead::WouldBlock,
            }
        }
        LastRead::WouldBlock
    }

    /// Takes the connection over and resets it. Returns the stream to close.
    fn abort(&mut self) -> Option<TcpStream> {
        self.machine.take_over();
        if let Some(fd) = self.socket.fd.take() {
            fd.abort();
        }
        self.parked.take()
    }

    /// Takes the stream of an IO that is gone, to close it.
    fn close_parked(&mut self) -> Option<TcpStream> {
        if self.parked.is_some() {
            self.socket.fd = None;
        }
        self.parked.take()
    }

    /// Parks the stream again. Returns it, to be closed, if the connection was
    /// aborted meanwhile.
    fn park(&mut self, stream: TcpStream) -> Option<TcpStream> {
        if self.socket.fd.is_none() {
            return Some(stream);
        }
        self.parked.replace(stream)
    }
}

/// The parked stream, borrowed to wait on it; parked again when dropped.
pub(super) struct Parked<'a> {
    tracker: &'a ConnTracker,
    stream: Option<TcpStream>,
}

impl<'a> Parked<'a> {
    pub(super) fn take(tracker: &'a ConnTracker) -> Self {
        let stream = tracker.lock().parked.take();
        Self { tracker, stream }
    }

    pub(super) fn stream(&self) -> Option<&TcpStream> {
        self.stream.as_ref()
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take() {
            let closing = self.tracker.lock().park(stream);
            drop(closing);
        }
    }
}

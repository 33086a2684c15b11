//! What one connection's TrackedIo and its exchange share.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

use http::HeaderValue;
use tokio::net::TcpStream;

use super::external::External;
use super::limit_monitor::LimitMonitor;
use super::offer::ContractTrust;
use super::stream_kind::StreamKind;
use super::waiters::Waiters;
use crate::body::OnEnd;
use crate::sys::{Fd, RawRead};
use tower_resend_core::contract::{ClosingHead, Hop, OutOfLimits, closing_head};
use tower_resend_core::{
    Counts, EarlyResponseParser, Errno, HandOff, Ledger, Limits, Phase, Reply, Snapshot,
    StaleReason, Unavailable, fin_rule,
};

/// The record of one connection: its ledger, its socket, its early bytes.
///
/// The TrackedIo inside hyper reports to it, and the exchange outside asks it. It
/// outlives hyper's half: a TrackedIo that is dropped in the middle of an exchange
/// parks its stream here, so that the evidence can still be taken.
///
/// The descriptor is used only under the lock and only while `fd` is there:
/// whoever closes the socket first takes `fd` away.
#[derive(Debug)]
pub(crate) struct ConnTracker {
    peer: Option<SocketAddr>,
    /// The field by which a contract is asked for, made with the first request.
    offer: OnceLock<Option<HeaderValue>>,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    fd: Option<Fd>,
    pub(super) ledger: Ledger,
    early: EarlyResponseParser,
    pub(super) above: StreamKind,
    /// Both ends, as our socket sees them (C2).
    hop: Option<Hop>,
    /// What is believed of the connection's promises.
    belief: ContractTrust,
    /// There while a request is on its way under a promise. Boxed, since most
    /// requests go out under none.
    pub(super) watch: Option<Box<LimitMonitor>>,
    has_broken_promise: bool,
    /// The bytes of the exchange's response are kept until its head's end.
    keeps: bool,
    /// The response's first byte was read by the drain.
    is_drained: bool,
    parked: Option<TcpStream>,
    meter_is_gone: bool,
    waiters: Waiters,
    /// There where somebody else's pool drives the connection.
    pub(super) unannounced: Option<Box<External>>,
}

impl ConnTracker {
    /// Starts the record of a stream that was just connected (step A).
    pub(super) fn of(stream: &TcpStream) -> Self {
        let fd = Fd::of(stream);
        let calibration = fd
            .prepare()
            .and_then(|()| fd.snapshot())
            .and_then(|snapshot| fin_rule::calibrate(&snapshot));
        let (local, peer) = (stream.local_addr().ok(), stream.peer_addr().ok());
        let hop = local.zip(peer).map(|(local, peer)| Hop::seen_by_client(local, peer));
        Self {
            peer,
            offer: OnceLock::new(),
            state: Mutex::new(State {
                fd: Some(fd),
                ledger: Ledger::new(calibration),
                early: EarlyResponseParser::new(),
                above: StreamKind::Http,
                hop,
                belief: ContractTrust::None,
                watch: None,
                has_broken_promise: false,
                keeps: false,
                is_drained: false,
                parked: None,
                meter_is_gone: false,
                waiters: Waiters::default(),
                unannounced: None,
            }),
        }
    }

    /// Returns the address of the connection's peer.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Returns both ends of the connection, as our socket sees them (C2).
    pub(crate) fn hop(&self) -> Option<Hop> {
        self.lock().hop
    }

    /// Returns the field to ask for a contract by, where one would be believed.
    #[inline]
    pub(super) fn offer(&self, belief: ContractTrust) -> Option<HeaderValue> {
        if !belief.asks() {
            return None;
        }
        // What is believed of a connection changes to nothing only.
        self.offer.get_or_init(|| belief.offer(self.hop())).clone()
    }

    /// Returns which limit of the promise in force the failure did not keep.
    pub(crate) fn exceeded(&self) -> Option<OutOfLimits> {
        self.lock().watch.as_ref().and_then(|watch| watch.exceeded())
    }

    /// Takes the connection over after a closing response, and looks whether
    /// the server went on after it (C9). `is_whole` says whether the response
    /// was read to its end.
    pub(super) fn take_over_refused(&self, is_whole: bool) {
        let mut state = self.lock();
        state.ledger.take_over();
        let read = state.ledger.exchange_read();
        super::settle::drain(&mut state);
        // Under TLS an alert routinely follows a refusal, and cannot be told from
        // anything else that followed. A server that went on is then noticed only
        // by what came with the refusal (`is_refused`).
        let is_readable = matches!(state.above, StreamKind::Http);
        let went_on = is_whole && is_readable && state.ledger.exchange_read() > read;
        // If the exchange's bytes were kept, they tell whether more came with
        // the response.
        let _ = state.is_refused();
        if went_on {
            state.on_broken_promise();
        }
    }

    /// Returns `true` if the server was seen breaking a promise (C9).
    pub(crate) fn has_broken_promise(&self) -> bool {
        self.lock().has_broken_promise
    }

    /// Notes that the response's body failed, its head being there: by a reset
    /// the server may have broken its promise (C9).
    pub(crate) fn on_response_cut(&self) {
        let mut state = self.lock();
        if state.is_reset_forbidden() {
            state.on_broken_promise();
        }
    }

    /// Announces a request: what is written from here on is its own. It is
    /// watched if it goes out under a promise.
    ///
    /// # Errors
    ///
    /// What was found, if the connection is known to be dead.
    #[inline]
    pub(super) fn arm(
        &self,
        belief: ContractTrust,
        watch: Option<Box<LimitMonitor>>,
    ) -> Result<(), StaleReason> {
        let mut state = self.lock();
        if let Some(found) = state.ledger.found() {
            return Err(found);
        }
        if state.meter_is_gone || state.fd.is_none() || !state.is_flushed() {
            return Err(StaleReason::Ended);
        }
        // A first request has no promise and may be refused all the same.
        let is_first = state.belief == ContractTrust::None;
        let believes = !matches!(belief, ContractTrust::None | ContractTrust::Revoked);
        state.keeps = watch.is_some() || (believes && is_first);
        state.arm_only();
        (state.belief, state.watch) = (belief, watch);
        Ok(())
    }

    /// Notes that the exchange's answer was read to its end.
    #[inline]
    pub(crate) fn resolve(&self) {
        self.lock().ledger.resolve();
    }

    /// Notes that the connection no longer speaks HTTP.
    pub(crate) fn release(&self) {
        self.lock().ledger.release();
    }

    /// Returns what was found while no request was on the connection.
    #[inline]
    pub(crate) fn found(&self) -> Option<StaleReason> {
        self.lock().ledger.found()
    }

    /// Returns `true` if the kernel accepted any byte of the current request.
    pub(crate) fn is_written(&self) -> bool {
        self.lock().ledger.is_written()
    }

    /// Returns `true` if the TrackedIo was dropped; if not, `waker` is woken then, in
    /// place of the one that `who` named before.
    #[inline]
    pub(crate) fn poll_gone(&self, who: usize, waker: &Waker) -> bool {
        let mut state = self.lock();
        let is_gone = state.meter_is_gone;
        let before = if is_gone { None } else { state.waiters.wait(who, waker) };
        // Dropping a waker can run anything, another request's end too.
        drop(state);
        drop(before);
        is_gone
    }

    /// Notes that `who` waits for that no more.
    pub(crate) fn leave(&self, who: usize) {
        let left = self.lock().waiters.leave(who);
        drop(left);
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

    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Matters for a request under a promise.
impl OnEnd for ConnTracker {
    fn on_body_end(&self) {
        if let Some(watch) = &mut self.lock().watch {
            watch.on_body_end();
        }
    }
}

impl State {
    /// Starts an exchange.
    pub(super) fn arm_only(&mut self) {
        self.ledger.arm();
        self.early.clear();
        self.clear_above();
    }

    /// Takes the stream of a TrackedIo that is gone, to close it.
    pub(super) fn close_parked(&mut self) -> Option<TcpStream> {
        if self.parked.is_some() {
            self.fd = None;
        }
        self.parked.take()
    }

    /// Notes the end of the stream.
    ///
    /// # Errors
    ///
    /// The error that ended it. A write takes a socket's error away, and the next
    /// read says end of stream: only the counters tell that from a FIN.
    pub(super) fn on_end(&mut self) -> io::Result<()> {
        if let Some(Errno(number)) = self.ledger.errno().filter(|_| !self.has_fin()) {
            let error = io::Error::from_raw_os_error(number);
            self.on_error(&error);
            return Err(error);
        }
        self.ledger.on_end();
        self.on_unannounced(StaleReason::Fin);
        Ok(())
    }

    /// Returns `true` if the peer's FIN was received, and all before it was read.
    fn has_fin(&self) -> bool {
        let end = self.ledger.exchange().read + 1;
        self.snapshot().is_ok_and(|snapshot| snapshot.bytes_received == end)
    }

    /// Reads the counters, unless the socket is gone.
    #[inline]
    pub(super) fn snapshot(&self) -> Result<Snapshot, Unavailable> {
        self.fd.ok_or(Unavailable::Aborted).and_then(Fd::snapshot)
    }

    /// The stale check before a request is written (step B).
    #[inline]
    pub(super) fn stale_check(&mut self) -> fin_rule::StaleCheck {
        if self.is_within_record() {
            return fin_rule::StaleCheck::Stale;
        }
        let snapshot = self.snapshot();
        if let (Some(watch), Ok(snapshot), false) =
            (&mut self.watch, &snapshot, self.ledger.is_written())
        {
            watch.on_stale_check(snapshot);
        }
        self.ledger.on_stale_check(snapshot)
    }

    /// Reads what tokio has not heard of yet.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> RawRead {
        self.fd.map_or(RawRead::Nothing, |fd| fd.receive(buffer))
    }

    /// Returns `true` if bytes wait to be read.
    pub(super) fn has_data(&self) -> bool {
        self.fd.is_some_and(Fd::has_data)
    }

    /// Notes bytes of HTTP that were read. Returns whether they must be
    /// withheld, since they cannot answer the request. `is_first_drained` says
    /// that they are the exchange's first, and read by the drain.
    #[inline]
    pub(super) fn on_http(&mut self, octets: &[u8], is_first_drained: bool) -> bool {
        // Whoever is above may have taken the request already, and would take
        // them for its answer.
        let is_too_early = !octets.is_empty() && self.ledger.phase() == Phase::Armed;
        self.on_unannounced(StaleReason::Stray);
        let was_stray = self.ledger.reply() == Reply::Stray;
        let is_stray = match self.ledger.on_http(octets.len()) {
            true => self.judge_reply(),
            false => was_stray && self.ledger.phase() != Phase::Idle,
        };
        // Whole responses or nothing: what begins in the middle of one would
        // be misread.
        if is_stray || self.keeps || is_first_drained || self.is_drained {
            self.is_drained |= is_first_drained;
            self.early.on_bytes(octets);
        }
        is_stray || is_too_early
    }

    /// Notes bytes that the kernel accepted of those that were offered.
    #[inline]
    pub(super) fn on_written(&mut self, offered: usize, accepted: usize) {
        match self.above {
            StreamKind::Tls(_) if !self.has_text() => {
                return self.ledger.on_written_before(accepted);
            }
            StreamKind::Tls(_) | StreamKind::Greeting => {}
            StreamKind::Http => self.on_unannounced_write(),
        }
        self.ledger.on_written(accepted);
        if let (StreamKind::Http, Some(watch)) = (&self.above, &mut self.watch) {
            watch.on_write(offered);
        }
    }

    /// Notes that all that was offered so far was accepted.
    pub(super) fn on_flush(&mut self) {
        let written = self.ledger.exchange().length();
        if let (StreamKind::Http, Some(watch)) = (&self.above, &mut self.watch) {
            watch.on_flush(written);
        }
    }

    /// Notes that the connection's end was looked for, and returns whether the
    /// limits of the promise in force were kept until now.
    pub(super) fn limits(&mut self) -> Limits {
        let (read, snapshot) = (self.ledger.exchange_read(), self.snapshot());
        match (&mut self.watch, snapshot) {
            (Some(watch), Ok(snapshot)) => {
                watch.on_close();
                watch.judge(read, &snapshot)
            }
            (Some(_), Err(_)) | (None, _) => Limits::Unchecked,
        }
    }

    /// Returns `true` if the bytes that were kept of this exchange are a
    /// closing response that refuses its request (C8).
    ///
    /// One that is followed by more than its body breaks the promise (C9), and
    /// nothing that it says counts.
    pub(super) fn is_refused(&mut self) -> bool {
        let (Some(tie), Some(head)) = (self.belief.tie(self.hop), self.early.head()) else {
            return false;
        };
        let Some(ClosingHead { body_length }) = closing_head(head, &tie) else {
            return false;
        };
        self.has_broken_promise |=
            body_length.is_some_and(|length| self.early.octets_after_head() > length);
        !self.has_broken_promise
    }

    /// Notes that the server went on after it had refused (C9).
    pub(super) fn on_broken_promise(&mut self) {
        self.has_broken_promise = true;
    }

    /// Notes how an exchange ended whose response has no whole head. Once a
    /// final one was begun, no reset under `rst` keeps that promise (C9): the
    /// request was dispatched, or S2 was broken. A 1xx says neither.
    pub(super) fn on_cut(&mut self) {
        if self.early.is_final_begun() && self.is_reset_forbidden() {
            self.on_broken_promise();
        }
    }

    /// Returns `true` if the connection was reset against the promise in force,
    /// provided that a final response was under way.
    fn is_reset_forbidden(&mut self) -> bool {
        let is_forbidden = self.watch.as_ref().is_some_and(|watch| watch.forbids_reset());
        is_forbidden && self.first_errno() == Some(Errno::ECONNRESET)
    }

    /// Notes an error of the stream.
    pub(super) fn on_error(&mut self, error: &io::Error) {
        self.ledger.on_error(error.raw_os_error().map(Errno));
        self.on_unannounced(StaleReason::Reset);
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

    /// Returns what the stray bytes were.
    pub(super) fn early(&self) -> tower_resend_core::Early {
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

    /// Takes the stream of a TrackedIo that is dropped: parked while an exchange
    /// is unresolved, closed otherwise. Returns the stream to close and who
    /// waits for this.
    pub(super) fn on_meter_drop(
        &mut self,
        stream: Option<TcpStream>,
    ) -> (Option<TcpStream>, Waiters) {
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
        (closing, std::mem::take(&mut self.waiters))
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

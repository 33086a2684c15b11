//! What one client connection and its exchanges have shown so far: a pure state
//! machine. Events in, and for each what may happen next.

use std::time::Duration;

use super::contract_state::ContractState;
use super::early::EarlyResponseParser;
use super::external::Driver;
use super::fin_rule::{Fin, StaleCheck};
use super::ledger::{ExchangePhase, Ledger, Reply};
use super::outcome::{
    HeldBack, Layer, Leftover, OwnEnd, Passage, ReadEnd, TextCheck, WaitCheck, WriteCheck,
    WriteError,
};
use super::snapshot::Snapshot;
use super::stream_kind::{RecordTiming, StreamKind};
use crate::contract::Hop;
use crate::fate::{Alert, Errno, Limits, StaleReason, Unavailable};

/// One client connection and its exchanges. The picture of its phases is above
/// `ExchangePhase`, every transition in `TRANSITIONS.txt`.
///
/// It holds no socket and reads no clock. Events come in the order in which the
/// owner of the socket saw them, all under one lock, which is also held across
/// the system call that an event reports (ADR 0002). What the socket knows is
/// asked of a [`Probe`], and only where an answer is needed: a reading of the
/// counters costs a system call.
///
/// | who reports | events |
/// |---|---|
/// | the IO below TLS | [`on_read`](Self::on_read), [`on_end`](Self::on_end), [`on_error`](Self::on_error), [`before_wait`](Self::before_wait), [`before_write`](Self::before_write), [`on_written`](Self::on_written), [`before_shutdown`](Self::before_shutdown), ... |
/// | the IO above TLS | [`before_text`](Self::before_text), [`on_text`](Self::on_text), [`on_text_written`](Self::on_text_written), [`on_tls_end`](Self::on_tls_end), ... |
/// | our pool | [`arm`](Self::arm), [`on_response`](Self::on_response), [`finish`](Self::finish), [`release`](Self::release) |
/// | another pool | [`arm_taken`](Self::arm_taken), [`on_answered`](Self::on_answered), [`take_over_if`](Self::take_over_if) |
/// | who takes the evidence | [`begin_settling`](Self::begin_settling), [`on_drained`](Self::on_drained), [`settle`](Self::settle), [`conclude`](Self::conclude), [`give_up`](Self::give_up) |
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ExchangeMachine {
    pub(super) ledger: Ledger,
    /// The head of a response whose bytes are kept.
    pub(super) early: EarlyResponseParser,
    pub(super) keeps: Keeps,
    pub(super) stream: StreamKind,
    pub(super) contract: ContractState,
    pub(super) driver: Driver,
    pub(super) settling: Settling,
}

/// What the machine may ask of the socket, answered as of the moment of asking.
pub trait Probe {
    /// Reads the kernel's counters. [`Unavailable::Aborted`] once the socket is
    /// gone.
    ///
    /// # Errors
    ///
    /// Why they cannot be read.
    fn snapshot(&mut self) -> Result<Snapshot, Unavailable>;

    /// Takes the socket's pending error (`SO_ERROR`), which clears it. `None`
    /// once the socket is gone.
    fn take_errno(&mut self) -> Option<Errno>;

    /// Returns the time since the connect.
    fn elapsed(&mut self) -> Duration;
}

/// Which bytes of the exchange's response are kept until its head's end: whole
/// responses or none, since what begins in the middle of one would be misread.
/// Stray bytes are always kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Keeps {
    Nothing,
    All,
}

/// What is remembered while a failed exchange settles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Settling {
    pub(super) fin: Option<Fin>,
    /// The contract's limits when the end was first looked for.
    pub(super) limits: Limits,
}

impl ExchangeMachine {
    /// Returns the machine of a connection that was just made: the result of
    /// its calibration (step A of the rule), and both its ends as our socket
    /// sees them (C2).
    pub fn new(calibration: Result<(), Unavailable>, hop: Option<Hop>) -> Self {
        Self {
            ledger: Ledger::new(calibration),
            early: EarlyResponseParser::new(),
            keeps: Keeps::Nothing,
            stream: StreamKind::Http,
            contract: ContractState::new(hop),
            driver: Driver::Announced,
            settling: Settling { fin: None, limits: Limits::Unchecked },
        }
    }

    /// Requests on this connection are not announced: another pool drives it.
    pub fn expect_external_driver(&mut self) {
        self.driver = Driver::external();
    }

    /// The bytes on the socket are of this layer from here on.
    pub fn expect(&mut self, layer: Layer) {
        self.stream = match layer {
            Layer::Http => StreamKind::Http,
            Layer::ProxyHandshake => StreamKind::ProxyHandshake,
            Layer::Tls => StreamKind::tls(),
        };
    }

    // ===== the IO below TLS =====

    /// Returns `true` if hyper may neither read nor write any more.
    #[inline]
    pub fn is_taken_over(&self) -> bool {
        self.ledger.phase() == ExchangePhase::TakenOver
    }

    /// These bytes were read from the socket.
    #[inline]
    pub fn on_read(&mut self, bytes: &[u8], probe: &mut impl Probe) -> Passage {
        let is_first_drained = self.is_taken_over() && self.ledger.exchange_read() == 0;
        self.ledger.on_received(bytes.len());
        match self.stream {
            StreamKind::Http => {
                if is_first_drained {
                    self.keeps = Keeps::All;
                }
                self.on_http(bytes, probe)
            }
            StreamKind::ProxyHandshake => Passage::Deliver,
            StreamKind::Tls(_) => {
                self.on_records(bytes, probe);
                Passage::Deliver
            }
        }
    }

    #[inline]
    fn on_http(&mut self, bytes: &[u8], probe: &mut impl Probe) -> Passage {
        // hyper may hold the request already, and would take them for its answer.
        let is_too_early = !bytes.is_empty() && self.ledger.phase() == ExchangePhase::Armed;
        self.driver.on_read(StaleReason::Stray);
        let was_stray = self.ledger.reply() == Reply::Stray;
        let is_stray = match self.ledger.on_http(bytes.len()) {
            true => self.judge_reply(probe),
            false => was_stray && self.ledger.phase() != ExchangePhase::Idle,
        };
        if is_stray || self.keeps == Keeps::All {
            self.early.on_bytes(bytes);
        }
        if is_stray || is_too_early { Passage::Withhold } else { Passage::Deliver }
    }

    fn on_records(&mut self, bytes: &[u8], probe: &mut impl Probe) {
        // Only an awaited answer is worth a reading of the counters.
        let is_awaited =
            self.ledger.phase() == ExchangePhase::Sent && self.ledger.reply() == Reply::Nothing;
        let now = match is_awaited && self.ledger.is_too_early(probe.snapshot()) {
            true => RecordTiming::TooEarly,
            false if is_awaited => RecordTiming::InTime,
            false => RecordTiming::BeforeRequest,
        };
        self.stream.on_records(bytes, now);
    }

    /// Returns `true` if the first bytes of an answer came too early to be one.
    #[inline]
    fn judge_reply(&mut self, probe: &mut impl Probe) -> bool {
        let is_too_early = match self.stream.is_too_early() {
            Some(is_too_early) => is_too_early,
            None => self.ledger.is_too_early(probe.snapshot()),
        };
        self.ledger.on_judged_reply(is_too_early) == Reply::Stray
    }

    /// A read returned no bytes.
    pub fn on_end(&mut self, probe: &mut impl Probe) -> ReadEnd {
        // A write takes a socket's error away, and the next read says end of
        // stream: only the counters tell that from a FIN.
        if let Some(errno) = self.ledger.errno()
            && !self.has_fin(probe)
        {
            self.on_error(Some(errno));
            return ReadEnd::Hidden(errno);
        }
        self.ledger.on_end();
        self.driver.on_read(StaleReason::Fin);
        ReadEnd::Fin
    }

    /// Returns `true` if the peer's FIN was received, and all before it was read.
    fn has_fin(&self, probe: &mut impl Probe) -> bool {
        let end = self.ledger.exchange().read + 1;
        probe.snapshot().is_ok_and(|snapshot| snapshot.bytes_received == end)
    }

    /// A read or write failed.
    pub fn on_error(&mut self, errno: Option<Errno>) {
        self.ledger.on_error(errno);
        self.driver.on_read(StaleReason::Reset);
    }

    /// A read would wait: the runtime knows of nothing to read.
    #[inline]
    pub fn before_wait(&mut self, probe: &mut impl Probe) -> WaitCheck {
        if !self.driver.checks_reads_in(self.ledger.phase()) {
            return WaitCheck::NotDue;
        }
        match self.stale_check(probe) {
            StaleCheck::Stale => WaitCheck::Stale,
            StaleCheck::Clear(Ok(())) => WaitCheck::Clear,
            StaleCheck::Clear(Err(_)) => WaitCheck::Uncounted,
        }
    }

    /// Something ended by the counters, and there is nothing to read. Whatever
    /// it is, nothing is written to it.
    pub fn on_silent_stale(&mut self) {
        if self.stream.is_within_record(self.ledger.phase()) {
            self.ledger.on_found(StaleReason::Stray);
        }
        self.on_error(None);
    }

    /// Bytes are about to be written to the socket.
    #[inline]
    pub fn before_write(&mut self, probe: &mut impl Probe) -> WriteCheck {
        if self.is_taken_over() {
            return WriteCheck::TakenOver;
        }
        // hyper reads before it takes a request, but another thread can hand one
        // over just after that read.
        if self.ledger.needs_stale_check() && self.stale_check(probe) == StaleCheck::Stale {
            return WriteCheck::Stale;
        }
        WriteCheck::Go
    }

    /// The stale check before a request is written (step B of the rule).
    #[inline]
    fn stale_check(&mut self, probe: &mut impl Probe) -> StaleCheck {
        if self.stream.is_within_record(self.ledger.phase()) {
            return StaleCheck::Stale;
        }
        let snapshot = probe.snapshot();
        if let (Some(monitor), Ok(snapshot), false) =
            (&mut self.contract.monitor, &snapshot, self.ledger.is_written())
        {
            monitor.on_stale_check(snapshot);
        }
        self.ledger.on_stale_check(snapshot)
    }

    /// The kernel accepted so many of the bytes that were offered to it.
    #[inline]
    pub fn on_written(&mut self, offered: usize, accepted: usize, probe: &mut impl Probe) {
        match self.stream {
            StreamKind::Tls(_) if !self.stream.has_text() => {
                return self.ledger.on_written_before(accepted);
            }
            StreamKind::Tls(_) | StreamKind::ProxyHandshake => {
                return self.ledger.on_written(accepted);
            }
            StreamKind::Http => self.driver.on_write_in(self.ledger.phase()),
        }
        self.ledger.on_written(accepted);
        if let Some(monitor) = &mut self.contract.monitor {
            monitor.on_write(offered, probe.elapsed());
        }
    }

    /// Returns `true` if a flush has to be reported too.
    #[inline]
    pub fn wants_flushes(&self) -> bool {
        self.contract.monitor.is_some()
    }

    /// The kernel accepted all that was offered so far.
    pub fn on_flush(&mut self) {
        let written = self.ledger.exchange().length();
        if let (StreamKind::Http, Some(monitor)) = (&self.stream, &mut self.contract.monitor) {
            monitor.on_flush(written);
        }
    }

    /// A write failed, now or before. `has_data` says whether bytes wait to be
    /// read, such as the 413 that explains the error.
    pub fn on_write_error(&self, held_back: HeldBack, has_data: bool) -> WriteError {
        // Without a request that is known to await its answer, the write may be a
        // close: TLS above says that it ends, and reads no more.
        let is_awaited = matches!(self.ledger.phase(), ExchangePhase::Armed | ExchangePhase::Sent);
        match (has_data, is_awaited) {
            (true, true) => WriteError::Hold,
            (true, false) if held_back != HeldBack::Unread => WriteError::HoldAndWake,
            (true | false, _) => WriteError::Deliver,
        }
    }

    /// hyper shuts its half down.
    pub fn before_shutdown(&mut self) -> OwnEnd {
        let end = self.own_end();
        if end == OwnEnd::Send {
            self.driver.on_own_fin();
        }
        end
    }

    /// hyper is done with the stream.
    pub fn on_io_dropped(&self) -> Leftover {
        match self.own_end() {
            OwnEnd::Send => Leftover::Close,
            OwnEnd::Suppress => Leftover::Park,
        }
    }

    fn own_end(&self) -> OwnEnd {
        match self.ledger.phase() {
            ExchangePhase::Idle | ExchangePhase::Released => OwnEnd::Send,
            ExchangePhase::Armed | ExchangePhase::Sent | ExchangePhase::TakenOver => {
                OwnEnd::Suppress
            }
        }
    }

    // ===== the IO above TLS =====

    /// This plaintext came out of TLS.
    pub fn on_text(&mut self, bytes: &[u8], probe: &mut impl Probe) -> Passage {
        if self.is_taken_over() {
            return Passage::Withhold;
        }
        self.stream.on_text();
        self.on_http(bytes, probe)
    }

    /// Plaintext is about to be given to TLS.
    pub fn before_text(&mut self) -> TextCheck {
        if self.is_taken_over() {
            return TextCheck::TakenOver;
        }
        self.driver.on_write_in(self.ledger.phase());
        self.stream.on_text_offered();
        if self.ledger.needs_stale_check() { TextCheck::CheckFirst } else { TextCheck::Go }
    }

    /// The check before plaintext found plaintext that was not asked for.
    pub fn on_unasked_text(&mut self) {
        self.stream.on_text();
        self.ledger.on_found(StaleReason::Stray);
    }

    /// TLS took so much of the plaintext that was offered to it.
    pub fn on_text_written(&mut self, offered: usize, taken: usize, probe: &mut impl Probe) {
        self.stream.on_text_taken(taken);
        // By now the last byte is at most younger than noted, which only makes
        // the time since then longer.
        if let Some(monitor) = &mut self.contract.monitor {
            monitor.on_write(offered, probe.elapsed());
        }
    }

    /// The kernel accepted all of the plaintext so far.
    pub fn on_text_flushed(&mut self) {
        let written = self.stream.on_text_flushed();
        if let (Some(monitor), Some(written)) = (&mut self.contract.monitor, written) {
            monitor.on_flush(written);
        }
    }

    /// The session of TLS ended. `alert` is that of the first error that ended
    /// it, if it was one by which a peer refuses us.
    pub fn on_tls_end(&mut self, alert: Option<Alert>) {
        self.ledger.on_found(StaleReason::EndOfTls);
        self.driver.on_read(StaleReason::EndOfTls);
        self.stream.on_tls_end(alert);
    }

    /// hyper shuts its half down, and TLS would say so.
    pub fn before_close_notify(&self) -> OwnEnd {
        self.own_end()
    }
}

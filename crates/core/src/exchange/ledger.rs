//! The bookkeeping of one connection: bytes, phase, first errno.

use super::fin_rule::{self, ExchangeCounts, StaleCheck};
use super::segments::SegmentBase;
use super::snapshot::Snapshot;
use crate::fate::{Errno, StaleReason, Unavailable};

/// What our side counted on one connection, and where its exchange stands.
///
/// Pure: the owner of the socket reports what it did (`on_*`), and asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ledger {
    written: u64,
    read: u64,
    errno: Option<Errno>,
    calibration: Result<(), Unavailable>,
    phase: ExchangePhase,
    found: Option<StaleReason>,
    base: u64,
    read_base: u64,
    check: Result<(), Unavailable>,
    /// The segment counters at the stale check that `check` is of.
    segment_base: Option<SegmentBase>,
    reply: Reply,
}

/// Where the exchange on a connection stands.
///
/// ```text
///                    arm: the request begins at base = written + 1
///            +------+ -----------------------------------> +-------+
///  connect   | Idle |                                      | Armed |--+ stale check, before each read
///  --------> |      | <----------------------------------- |       |<-+ that would wait and the first write
///            +------+   resolve: answered before any write +-------+
///               ^  |                                           |
///      resolve: |  |                                           | the kernel accepts the request's first byte
///  answer read  |  |                                           v
///   to its end  |  |                                       +------+
///               +--|---------------------------------------| Sent |  first bytes read: judged once, as
///                  |                                       +------+  an answer, or stray (none acknowledged)
///                  | release (101, CONNECT 2xx)   from every phase |
///                  v     from every phase but TakenOver            v take_over: failed, given up, refused
///            +----------+                                  +-----------+
///            | Released | -------------------------------> | TakenOver |  drain, settle, evidence, abort;
///            +----------+                                  +-----------+  no way out
/// ```
///
/// | phase | bytes read | end read | writes | shutdown | stream dropped |
/// |---|---|---|---|---|---|
/// | Idle | delivered, noted as stray | delivered, noted | counted as no request's | sends our FIN | closed |
/// | Armed | withheld, noted as stray | delivered: hyper hands the request back | stale check, then counted: Sent | sends nothing | parked |
/// | Sent | stray ones withheld | delivered | counted | sends nothing | parked |
/// | TakenOver | fails | fails | fail | sends nothing | parked |
/// | Released | delivered | delivered | counted | sends our FIN | closed |
///
/// A connection that another pool drives also has a stale check before reads in
/// Idle, until our FIN; a write in Idle ends its boundaries for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "a driver must handle each")]
pub enum ExchangePhase {
    /// No request is on the connection.
    Idle,
    /// A request is about to be handed over; nothing of it is written.
    Armed,
    /// At least one byte of the request is written.
    Sent,
    /// The exchange failed and its evidence is being taken. Nothing else may
    /// read or write.
    TakenOver,
    /// An upgrade: the connection no longer speaks HTTP.
    Released,
}

/// What the bytes read during an exchange are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "a driver must handle each")]
pub enum Reply {
    /// None was read.
    Nothing,
    /// The first came while none of the request was acknowledged.
    Stray,
    /// They may be the answer.
    Answer,
}

impl Ledger {
    /// Returns the ledger of a connection that was just made, with the result
    /// of its calibration (step A of the rule).
    pub fn new(calibration: Result<(), Unavailable>) -> Self {
        Self {
            written: 0,
            read: 0,
            errno: None,
            calibration,
            phase: ExchangePhase::Idle,
            found: None,
            base: 1,
            read_base: 0,
            check: Err(Unavailable::NotExamined),
            segment_base: None,
            reply: Reply::Nothing,
        }
    }

    /// Starts an exchange: all bytes written from here on are the request's.
    ///
    /// Does nothing on a connection that was taken over or released.
    #[inline]
    pub fn arm(&mut self) {
        if matches!(self.phase, ExchangePhase::TakenOver | ExchangePhase::Released) {
            return;
        }
        self.phase = ExchangePhase::Armed;
        self.base = self.written + 1;
        self.read_base = self.read;
        self.check = Err(Unavailable::NotExamined);
        self.segment_base = None;
        self.reply = Reply::Nothing;
    }

    /// Ends an exchange whose answer was read to its end.
    #[inline]
    pub fn resolve(&mut self) {
        if matches!(self.phase, ExchangePhase::Armed | ExchangePhase::Sent) {
            self.phase = ExchangePhase::Idle;
        }
    }

    /// Ends the connection's life as HTTP, for an upgrade.
    pub fn release(&mut self) {
        if self.phase != ExchangePhase::TakenOver {
            self.phase = ExchangePhase::Released;
        }
    }

    /// Takes the connection over from its reader and writer.
    pub fn take_over(&mut self) {
        self.phase = ExchangePhase::TakenOver;
    }

    /// Judges the counters before a request is written (step B of the rule).
    ///
    /// Once a byte of it is written, a stale check vouches for nothing any more.
    #[inline]
    pub fn on_stale_check(&mut self, snapshot: Result<Snapshot, Unavailable>) -> StaleCheck {
        let check = match snapshot {
            Ok(snapshot) => fin_rule::stale_check(self.written, self.read, &snapshot),
            Err(why) => StaleCheck::Clear(Err(why)),
        };
        if let (ExchangePhase::Armed, StaleCheck::Clear(counters)) = (self.phase, check) {
            self.check = self.calibration.and(counters);
            self.segment_base = match (self.check, snapshot) {
                (Ok(()), Ok(snapshot)) => SegmentBase::at_stale_check(self.written, &snapshot),
                _ => None,
            };
        }
        check
    }

    /// Returns `true` if a request is about to be written without a stale check.
    #[inline]
    pub fn needs_stale_check(&self) -> bool {
        self.phase == ExchangePhase::Armed && self.check == Err(Unavailable::NotExamined)
    }

    /// Notes that the kernel accepted so many bytes.
    #[inline]
    pub fn on_written(&mut self, accepted: usize) {
        self.written += accepted as u64;
        if self.phase == ExchangePhase::Armed && accepted > 0 {
            self.phase = ExchangePhase::Sent;
        }
    }

    /// Notes that the kernel accepted so many bytes that are not the request's,
    /// before any that are.
    pub fn on_written_before(&mut self, accepted: usize) {
        self.written += accepted as u64;
        if self.phase == ExchangePhase::Armed {
            self.base = self.written + 1;
        }
    }

    /// Notes that so many bytes were read. Returns `true` if they are the first to
    /// arrive after the request was written, so that [`on_reply`] must judge
    /// them before they are taken for an answer.
    ///
    /// [`on_reply`]: Self::on_reply
    #[must_use]
    pub fn on_read(&mut self, read: usize) -> bool {
        self.on_received(read);
        self.on_http(read)
    }

    /// Notes that so many bytes were read whose meaning is not known here: those
    /// of a TLS record, or of a proxy's handshake.
    #[inline]
    pub fn on_received(&mut self, read: usize) {
        self.read += read as u64;
    }

    /// Notes that so many bytes of HTTP came out of what was read. Returns the same
    /// as [`on_read`](Self::on_read).
    #[inline]
    #[must_use]
    pub fn on_http(&mut self, read: usize) -> bool {
        match self.phase {
            ExchangePhase::Idle | ExchangePhase::Armed if read > 0 => {
                self.found.get_or_insert(StaleReason::Stray);
                false
            }
            ExchangePhase::Sent | ExchangePhase::TakenOver => {
                read > 0 && self.reply == Reply::Nothing && self.is_written()
            }
            ExchangePhase::Idle | ExchangePhase::Armed | ExchangePhase::Released => false,
        }
    }

    /// Judges the first bytes read after the request was written.
    ///
    /// The first judgment stands: what follows stray bytes is no answer.
    pub fn on_reply(&mut self, snapshot: Result<Snapshot, Unavailable>) -> Reply {
        let is_stray = self.is_too_early(snapshot);
        self.on_judged_reply(is_stray)
    }

    /// Returns `true` if what arrives now cannot answer the request, since none
    /// of it is acknowledged.
    #[inline]
    pub fn is_too_early(&self, snapshot: Result<Snapshot, Unavailable>) -> bool {
        match (self.check, snapshot) {
            (Ok(()), Ok(snapshot)) => fin_rule::is_stray(&self.exchange(), &snapshot),
            _ => false,
        }
    }

    /// Notes what the first bytes read after the request was written are, by
    /// an [earlier judgment](Self::is_too_early).
    pub fn on_judged_reply(&mut self, is_stray: bool) -> Reply {
        if self.reply == Reply::Nothing {
            self.reply = if is_stray { Reply::Stray } else { Reply::Answer };
        }
        self.reply
    }

    /// Notes what was found above the socket while no request was on the
    /// connection. What was found first stands.
    pub fn on_found(&mut self, found: StaleReason) {
        if matches!(self.phase, ExchangePhase::Idle | ExchangePhase::Armed) {
            self.found.get_or_insert(found);
        }
    }

    /// Notes an end of the stream.
    pub fn on_end(&mut self) {
        self.on_found(StaleReason::Fin);
    }

    /// Notes an error; the first number is kept.
    pub fn on_error(&mut self, errno: Option<Errno>) {
        if self.errno.is_none() {
            self.errno = errno;
        }
        self.on_found(StaleReason::Reset);
    }

    /// Returns where the exchange stands.
    #[inline]
    pub fn phase(&self) -> ExchangePhase {
        self.phase
    }

    /// Returns what was found on the connection while no request was on it.
    #[inline]
    pub fn found(&self) -> Option<StaleReason> {
        self.found
    }

    /// Returns the first error number seen.
    #[inline]
    pub fn errno(&self) -> Option<Errno> {
        self.errno
    }

    /// Returns `true` if the kernel accepted any byte of the current request.
    #[inline]
    pub fn is_written(&self) -> bool {
        self.written + 1 > self.base
    }

    /// Checks that the counters may speak of the current request.
    ///
    /// # Errors
    ///
    /// Why they may not.
    #[inline]
    pub fn check(&self) -> Result<(), Unavailable> {
        self.check
    }

    /// Returns what the bytes read during the exchange are.
    #[inline]
    pub fn reply(&self) -> Reply {
        self.reply
    }

    /// Returns the counts of the current exchange.
    #[inline]
    pub fn exchange(&self) -> ExchangeCounts {
        ExchangeCounts::new(self.base, self.written, self.read).with_segment_base(self.segment_base)
    }

    /// Returns the bytes read during the current exchange.
    #[inline]
    pub fn exchange_read(&self) -> u64 {
        self.read - self.read_base
    }
}

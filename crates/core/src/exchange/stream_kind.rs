//! What stands between the socket and HTTP: nothing, a proxy's handshake, TLS.

use super::ledger::{ExchangePhase, Ledger};
use crate::fate::{Alert, StaleReason};

/// What the bytes on the socket are, and what is noted of that layer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum StreamKind {
    Http,
    ProxyHandshake,
    /// Boxed: plain connections need not carry it.
    Tls(Box<TlsState>),
}

/// What is noted of a connection under TLS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct TlsState {
    records: RecordBoundaries,
    /// Of the first record that the latest read ended.
    latest: RecordTiming,
    /// Of the record that is under way.
    next: RecordTiming,
    /// How many bytes of the request's plaintext TLS took.
    text_written: u64,
    text: TextOut,
    close: TlsClose,
    session: TlsSession,
    /// The alert of the first error that ended the session.
    alert: Option<Alert>,
}

/// When a record began to arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum RecordTiming {
    /// While no answer was awaited.
    BeforeRequest,
    /// While none of the request was acknowledged: what is in it answers
    /// nothing.
    TooEarly,
    /// Later.
    InTime,
}

/// Where the request's plaintext is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum TextOut {
    /// None was given to TLS. What TLS writes before any is, such as an alert,
    /// is not the request's.
    None,
    /// TLS may hold some that the kernel has not accepted.
    Buffered,
    /// The kernel accepted all of it.
    Flushed,
}

/// Whether the peer ended the session during this exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum TlsClose {
    Open,
    Announced,
}

/// Whether plaintext ever came out of the session. A peer that sent any had accepted
/// our certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum TlsSession {
    Silent,
    Spoke,
}

impl StreamKind {
    pub(super) fn tls() -> Self {
        Self::Tls(Box::new(TlsState {
            records: RecordBoundaries::default(),
            latest: RecordTiming::BeforeRequest,
            next: RecordTiming::BeforeRequest,
            text_written: 0,
            text: TextOut::None,
            close: TlsClose::Open,
            session: TlsSession::Silent,
            alert: None,
        }))
    }

    #[inline]
    fn state(&self) -> Option<&TlsState> {
        match self {
            Self::Http | Self::ProxyHandshake => None,
            Self::Tls(tls) => Some(tls),
        }
    }

    fn state_mut(&mut self) -> Option<&mut TlsState> {
        match self {
            Self::Http | Self::ProxyHandshake => None,
            Self::Tls(tls) => Some(tls),
        }
    }

    /// Forgets what was noted of the exchange before.
    #[inline]
    pub(super) fn begin_exchange(&mut self) {
        if let Self::Tls(tls) = self {
            (tls.latest, tls.next) = (RecordTiming::BeforeRequest, RecordTiming::BeforeRequest);
            (tls.text_written, tls.text, tls.close) = (0, TextOut::None, TlsClose::Open);
        }
    }

    /// Notes records that were read at a moment of this timing. It is judged
    /// when a record begins to arrive: by the time that its content is known,
    /// more may be acknowledged.
    pub(super) fn on_records(&mut self, bytes: &[u8], now: RecordTiming) {
        if let Self::Tls(tls) = self {
            let was_between = tls.records.is_between();
            tls.latest = if was_between { now } else { tls.next };
            if tls.records.on_bytes(bytes) {
                tls.next = now;
            }
        }
    }

    /// Returns when what came out of the latest read began to arrive; `None`
    /// if only the present moment can tell.
    #[inline]
    pub(super) fn is_too_early(&self) -> Option<bool> {
        match self.state()?.latest {
            RecordTiming::BeforeRequest => None,
            RecordTiming::TooEarly => Some(true),
            RecordTiming::InTime => Some(false),
        }
    }

    /// Returns `true` if a part of a record was read when a request is about to
    /// be written: an unsolicited response may be in it.
    #[inline]
    pub(super) fn is_within_record(&self, phase: ExchangePhase) -> bool {
        let is_within = self.state().is_some_and(|tls| !tls.records.is_between());
        is_within && phase == ExchangePhase::Armed
    }

    /// Returns `true` if any HTTP was read before the first request.
    pub(super) fn was_spoken_to(&self, ledger: &Ledger, last: Option<StaleReason>) -> bool {
        match self {
            Self::Http | Self::ProxyHandshake => ledger.exchange().read > 0,
            // All that could be read so far was noted last.
            Self::Tls(_) => last.is_some(),
        }
    }

    /// Notes that plaintext came out of TLS.
    pub(super) fn on_text(&mut self) {
        if let Self::Tls(tls) = self {
            tls.session = TlsSession::Spoke;
        }
    }

    /// Notes that plaintext is about to be given to TLS.
    pub(super) fn on_text_offered(&mut self) {
        if let Self::Tls(tls) = self {
            tls.text = TextOut::Buffered;
        }
    }

    /// Notes that TLS took plaintext.
    pub(super) fn on_text_taken(&mut self, taken: usize) {
        if let Self::Tls(tls) = self {
            tls.text_written += taken as u64;
        }
    }

    /// Notes that the kernel accepted all plaintext; returns how much that is.
    pub(super) fn on_text_flushed(&mut self) -> Option<u64> {
        let tls = self.state_mut()?;
        if tls.text == TextOut::Buffered {
            tls.text = TextOut::Flushed;
        }
        Some(tls.text_written)
    }

    /// Returns `true` if plaintext of the request was given to TLS.
    pub(super) fn has_text(&self) -> bool {
        self.state().is_some_and(|tls| tls.text != TextOut::None)
    }

    /// Returns `true` if the kernel accepted all that was written so far. Above
    /// TLS an upload that was answered early can look finished while its rest
    /// is still in TLS, and would count as the next request's.
    #[inline]
    pub(super) fn is_flushed(&self) -> bool {
        self.state().is_none_or(|tls| tls.text != TextOut::Buffered)
    }

    /// Notes that the session ended, and the alert of the first error if that
    /// was one.
    pub(super) fn on_tls_end(&mut self, alert: Option<Alert>) {
        if let Self::Tls(tls) = self {
            tls.close = TlsClose::Announced;
            tls.alert = tls.alert.or(alert);
        }
    }

    /// Returns `true` if the peer said during this exchange that it will close.
    pub(super) fn is_close_announced(&self) -> bool {
        self.state().is_some_and(|tls| tls.close == TlsClose::Announced)
    }

    /// Returns the alert by which the peer refused us.
    ///
    /// A server of TLS 1.3 judges our certificate after our last message of the
    /// handshake, behind which a request may be on its way already. If it
    /// refuses, it says so by a fatal alert and never sends plaintext. An alert
    /// that follows plaintext is of another kind, whatever its name.
    pub(super) fn alert(&self) -> Option<Alert> {
        self.state().filter(|tls| tls.session == TlsSession::Silent).and_then(|tls| tls.alert)
    }
}

/// Where the records of TLS begin and end (RFC 8446 5.1): a type of one byte, a
/// version and a length of two bytes each, and the content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct RecordBoundaries {
    /// How much of a header was seen, if not all.
    header: usize,
    length: u16,
    /// What is left of the content.
    content: usize,
}

impl RecordBoundaries {
    const HEADER: usize = 5;

    /// Takes the next bytes; returns `true` if a record began in them.
    fn on_bytes(&mut self, mut bytes: &[u8]) -> bool {
        let mut begins = false;
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.content > 0 {
                let taken = self.content.min(bytes.len());
                self.content -= taken;
                bytes = &bytes[taken..];
                continue;
            }
            begins |= self.header == 0;
            if self.header >= 3 {
                self.length = self.length << 8 | u16::from(byte);
            }
            self.header += 1;
            if self.header == Self::HEADER {
                (self.header, self.content) = (0, usize::from(self.length));
                self.length = 0;
            }
            bytes = rest;
        }
        begins
    }

    /// Returns `true` if no record is under way.
    fn is_between(&self) -> bool {
        self.header == 0 && self.content == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(content: usize) -> Vec<u8> {
        let [high, low] = u16::try_from(content).expect("a short record").to_be_bytes();
        let mut record = vec![23, 3, 3, high, low];
        record.resize(5 + content, 0);
        record
    }

    #[test]
    fn records_are_told_apart_wherever_they_are_split() {
        let stream = [record(300), record(0), record(7)].concat();
        let ends = [0, 305, 310, 322];
        for step in 1..stream.len() {
            let mut records = RecordBoundaries::default();
            let mut at = 0;
            for bytes in stream.chunks(step) {
                let begins = ends.iter().any(|end| (at..at + bytes.len()).contains(end));
                assert_eq!(records.on_bytes(bytes), begins, "{at} by {step}");
                at += bytes.len();
                assert_eq!(records.is_between(), ends.contains(&at), "{at} by {step}");
            }
        }
    }

    /// The judgment is that of the moment when a record began, however it is
    /// split over reads.
    #[test]
    fn a_record_is_judged_by_its_first_byte() {
        use RecordTiming::{BeforeRequest, InTime, TooEarly};
        let read = |pieces: &[(&[u8], RecordTiming)]| {
            let mut stream = StreamKind::tls();
            for (bytes, now) in pieces {
                stream.on_records(bytes, *now);
            }
            stream.is_too_early()
        };
        let whole = record(4);
        assert_eq!(read(&[(&whole, TooEarly)]), Some(true));
        assert_eq!(read(&[(&whole, InTime)]), Some(false));
        assert_eq!(read(&[(&whole, BeforeRequest)]), None);
        for at in 1..whole.len() {
            let (begin, end) = whole.split_at(at);
            assert_eq!(read(&[(begin, TooEarly), (end, InTime)]), Some(true), "split at {at}");
            assert_eq!(read(&[(begin, BeforeRequest), (end, InTime)]), None, "split at {at}");
            // The record behind it begins in the second read.
            let both = [end, &whole[..1]].concat();
            let last = (&whole[1..], InTime);
            assert_eq!(read(&[(begin, BeforeRequest), (&both, TooEarly), last]), Some(true));
        }
    }

    #[test]
    fn plaintext_is_flushed_only_once_there_is_some() {
        let mut stream = StreamKind::tls();
        assert_eq!(stream.on_text_flushed(), Some(0));
        assert!(stream.is_flushed() && !stream.has_text());
        stream.on_text_offered();
        stream.on_text_taken(3);
        assert!(!stream.is_flushed() && stream.has_text());
        assert_eq!(stream.on_text_flushed(), Some(3));
        assert!(stream.is_flushed() && stream.has_text());
        stream.begin_exchange();
        assert!(stream.is_flushed() && !stream.has_text());
        let mut plain = StreamKind::Http;
        plain.on_text_offered();
        assert!(plain.is_flushed() && !plain.has_text() && plain.on_text_flushed().is_none());
    }

    #[test]
    fn an_alert_refuses_only_before_any_plaintext() {
        let refused = Some(Alert(49));
        let mut stream = StreamKind::tls();
        stream.on_tls_end(refused);
        stream.on_tls_end(Some(Alert(42)));
        assert_eq!(stream.alert(), refused, "the first one");
        stream.on_text();
        assert_eq!(stream.alert(), None);
        assert_eq!(StreamKind::Http.alert(), None);
    }
}

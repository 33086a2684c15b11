//! What stands between the TrackedIo and HTTP: nothing, a proxy's greeting, TLS.

use std::sync::MutexGuard;

use super::session::Session;
use super::tracker::{ConnTracker, State};
use tower_resend_core::{ExchangePhase, Reply, StaleReason};

/// What the bytes are that pass the TrackedIo.
#[derive(Debug)]
pub(super) enum StreamKind {
    /// HTTP.
    Http,
    /// A proxy's greeting, which is part of no request or response.
    Greeting,
    /// Records of TLS. What is in them the [`TlsIo`](super::tls_io::TlsIo) tells.
    Tls(Box<Tls>),
}

/// What is kept of a connection under TLS.
#[derive(Debug, Default)]
pub(super) struct Tls {
    records: Records,
    /// Whether none of the request was acknowledged when the first of the
    /// records began to arrive that the latest read ended: what is in it then
    /// answers nothing. None if that was before the request.
    is_too_early: Option<bool>,
    /// The same of the record that is under way.
    is_next_too_early: Option<bool>,
    /// How many bytes of the request's text were written.
    written: u64,
    /// Text of the request was given to TLS.
    has_text: bool,
    /// TLS may hold text that the kernel has not accepted.
    is_unflushed: bool,
    /// The peer ended the session during the exchange.
    has_ended: bool,
    /// What ended it, and whether text came out of it.
    pub(super) session: Session,
}

impl ConnTracker {
    /// Says that the bytes are not HTTP until one of the two below is called.
    pub(crate) fn expect_greeting(&self) {
        self.lock().above = StreamKind::Greeting;
    }

    /// Says that the bytes are HTTP from here on.
    pub(crate) fn expect_http(&self) {
        self.lock().above = StreamKind::Http;
    }

    /// Says that the bytes are records of TLS from here on.
    #[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "there is no TLS"))]
    pub(crate) fn expect_tls(&self) {
        self.lock().above = StreamKind::Tls(Box::default());
    }
}

/// What the TlsIo reports.
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "there is no TLS"))]
impl ConnTracker {
    /// Returns the state, unless the connection was taken over.
    pub(super) fn untaken(&self) -> Option<MutexGuard<'_, State>> {
        let state = self.lock();
        (state.ledger.phase() != ExchangePhase::TakenOver).then_some(state)
    }

    /// Notes text that came out of TLS. Returns whether it must be withheld,
    /// since it cannot answer the request.
    pub(super) fn on_text(&self, octets: &[u8]) -> bool {
        self.untaken().is_none_or(|mut state| {
            state.on_session_text();
            state.on_http(octets, false)
        })
    }

    /// Notes that text is about to be written. Returns whether a stale check is due
    /// before it, and none if the connection was taken over.
    pub(super) fn on_text_offered(&self) -> Option<bool> {
        self.untaken().map(|mut state| {
            state.on_unannounced_write();
            if let StreamKind::Tls(tls) = &mut state.above {
                (tls.has_text, tls.is_unflushed) = (true, true);
            }
            state.ledger.needs_stale_check()
        })
    }

    /// Notes that there is unsolicited text.
    pub(super) fn on_unasked_text(&self) {
        let state = &mut *self.lock();
        state.on_session_text();
        state.ledger.on_found(StaleReason::Stray);
    }

    /// Notes that TLS took text of a request, `taken` bytes of those that
    /// were offered.
    pub(super) fn on_text_written(&self, offered: usize, taken: usize) {
        let state = &mut *self.lock();
        if let StreamKind::Tls(tls) = &mut state.above {
            tls.written += taken as u64;
        }
        // By now the last byte is at most younger than noted, which only
        // makes the time since then longer.
        if let Some(watch) = &mut state.watch {
            watch.on_write(offered);
        }
    }

    /// Notes that all of the text so far was accepted by the kernel.
    pub(super) fn on_text_flushed(&self) {
        let state = &mut *self.lock();
        if let StreamKind::Tls(tls) = &mut state.above {
            tls.is_unflushed = false;
            if let Some(watch) = &mut state.watch {
                watch.on_flush(tls.written);
            }
        }
    }
}

impl State {
    /// Notes bytes that were read. Returns whether they must be withheld,
    /// since they cannot answer the request.
    #[inline]
    pub(super) fn on_read(&mut self, octets: &[u8]) -> bool {
        let is_drain = self.ledger.phase() == ExchangePhase::TakenOver;
        let is_first_drained = is_drain && self.ledger.exchange_read() == 0;
        self.ledger.on_received(octets.len());
        match &mut self.above {
            StreamKind::Http => self.on_http(octets, is_first_drained),
            StreamKind::Greeting => false,
            StreamKind::Tls(_) => {
                self.on_records(octets);
                false
            }
        }
    }

    /// Judges records when they begin to arrive, before anybody can know what
    /// is in them: when that is known more may be acknowledged.
    fn on_records(&mut self, octets: &[u8]) {
        let is_awaited =
            self.ledger.phase() == ExchangePhase::Sent && self.ledger.reply() == Reply::Nothing;
        let now = is_awaited.then(|| self.ledger.is_too_early(self.snapshot()));
        if let StreamKind::Tls(tls) = &mut self.above {
            let was_between = tls.records.is_between();
            tls.is_too_early = if was_between { now } else { tls.is_next_too_early };
            if tls.records.on_octets(octets) {
                tls.is_next_too_early = now;
            }
        }
    }

    /// Returns `true` if the first bytes of an answer came too early to be one.
    pub(super) fn judge_reply(&mut self) -> bool {
        let judged = match &self.above {
            StreamKind::Tls(tls) => tls.is_too_early,
            StreamKind::Http | StreamKind::Greeting => None,
        };
        let is_too_early = match judged {
            Some(is_too_early) => is_too_early,
            None => self.ledger.is_too_early(self.snapshot()),
        };
        self.ledger.on_judged_reply(is_too_early) == Reply::Stray
    }

    /// Forgets what was noted of the exchange before.
    pub(super) fn clear_above(&mut self) {
        if let StreamKind::Tls(tls) = &mut self.above {
            (tls.is_too_early, tls.is_next_too_early) = (None, None);
            (tls.written, tls.has_text, tls.has_ended) = (0, false, false);
        }
    }

    /// Returns `true` if a part of a record was read when a request is about to
    /// be written: an unsolicited response may be in it.
    pub(super) fn is_within_record(&self) -> bool {
        let is_within = matches!(&self.above, StreamKind::Tls(tls) if !tls.records.is_between());
        is_within && self.ledger.phase() == ExchangePhase::Armed
    }

    /// Returns `true` if any HTTP was read before the first request.
    pub(super) fn was_spoken_to(&self, last: Option<StaleReason>) -> bool {
        match &self.above {
            StreamKind::Http | StreamKind::Greeting => self.ledger.exchange().read > 0,
            // All that could be read so far was noted last.
            StreamKind::Tls(_) => last.is_some(),
        }
    }

    /// Returns `true` if text of the request was given to TLS. What TLS writes
    /// before that, such as an alert, is not the request's.
    pub(super) fn has_text(&self) -> bool {
        matches!(&self.above, StreamKind::Tls(tls) if tls.has_text)
    }

    /// Returns `true` if the kernel has accepted all that was written so far.
    /// Above TLS an upload that was answered early can look finished while its
    /// rest is still in TLS, and would count as the next request's.
    pub(super) fn is_flushed(&self) -> bool {
        !matches!(&self.above, StreamKind::Tls(tls) if tls.is_unflushed)
    }

    /// Notes that the peer said that it will close.
    #[cfg(feature = "tls")]
    pub(super) fn on_end_announced(&mut self) {
        if let StreamKind::Tls(tls) = &mut self.above {
            tls.has_ended = true;
        }
    }

    fn on_session_text(&mut self) {
        if let StreamKind::Tls(tls) = &mut self.above {
            tls.session.has_text = true;
        }
    }

    /// Returns `true` if the peer said that it will close.
    pub(super) fn is_close_announced(&self) -> bool {
        matches!(&self.above, StreamKind::Tls(tls) if tls.has_ended)
    }
}

/// Where the records of TLS begin and end (RFC 8446 5.1): a type, a version
/// and a length of two bytes each but the first, and the content.
#[derive(Debug, Default)]
struct Records {
    /// How much of a header was seen, if not all.
    header: usize,
    length: u16,
    /// What is left of the content.
    content: usize,
}

impl Records {
    const HEADER: usize = 5;

    /// Takes the next bytes; returns whether a record began in them.
    fn on_octets(&mut self, mut octets: &[u8]) -> bool {
        let mut begins = false;
        while let Some((&octet, rest)) = octets.split_first() {
            if self.content > 0 {
                let taken = self.content.min(octets.len());
                self.content -= taken;
                octets = &octets[taken..];
                continue;
            }
            begins |= self.header == 0;
            if self.header >= 3 {
                self.length = self.length << 8 | u16::from(octet);
            }
            self.header += 1;
            if self.header == Self::HEADER {
                (self.header, self.content) = (0, usize::from(self.length));
                self.length = 0;
            }
            octets = rest;
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
        let [high, low] = u16::try_from(content).unwrap().to_be_bytes();
        let mut record = vec![23, 3, 3, high, low];
        record.resize(5 + content, 0);
        record
    }

    #[test]
    fn records_are_told_apart_wherever_they_are_split() {
        let stream = [record(300), record(0), record(7)].concat();
        let ends = [0, 305, 310, 322];
        for step in 1..stream.len() {
            let mut records = Records::default();
            let mut at = 0;
            for octets in stream.chunks(step) {
                let begins = ends.iter().any(|end| (at..at + octets.len()).contains(end));
                assert_eq!(records.on_octets(octets), begins, "{at} by {step}");
                at += octets.len();
                assert_eq!(records.is_between(), ends.contains(&at), "{at} by {step}");
            }
        }
    }
}

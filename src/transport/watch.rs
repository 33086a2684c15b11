//! What is noted of an exchange under a promise, for its limits (C4, C5).
//!
//! Only requests that go out under a promise are watched: to all others it
//! costs nothing.

use crate::classify::{Limits, Snapshot};
use crate::contract::{Observed, OutOfLimits, Promise};
use crate::time::{self, Instant};

/// The notes of one exchange.
#[derive(Debug)]
pub(super) struct Watch {
    promise: Promise,
    /// The length of the body, if it was known from the start.
    body: Option<u64>,
    /// How many octets were offered to the kernel by the first write. The head
    /// is among them, whole.
    offered: Option<u64>,
    has_body_ended: bool,
    /// The length of the request, once all of it was written.
    whole: Option<u64>,
    last_written: Option<Instant>,
    retransmissions: Option<u32>,
    closed: Option<Instant>,
    /// Whether the limits were kept, and which was not.
    judged: Option<Result<(), OutOfLimits>>,
}

impl Watch {
    pub(super) fn new(promise: Promise, body: Option<u64>) -> Self {
        Self {
            promise,
            body,
            offered: None,
            has_body_ended: false,
            whole: None,
            last_written: None,
            retransmissions: None,
            closed: None,
            judged: None,
        }
    }

    /// The counters before the request's first octet.
    pub(super) fn on_look(&mut self, snapshot: &Snapshot) {
        self.retransmissions = snapshot.total_retrans;
    }

    /// Octets were accepted of those that were offered. What is written after
    /// the whole request, such as a close_notify of TLS, is not the request's.
    pub(super) fn on_write(&mut self, offered: usize) {
        self.offered.get_or_insert(offered as u64);
        if self.whole.is_none() {
            self.last_written = Some(time::now());
        }
    }

    /// No further octet of the body will come.
    pub(super) fn on_body_end(&mut self) {
        self.has_body_ended = true;
    }

    /// All that was offered so far was accepted, `written` octets.
    pub(super) fn on_flush(&mut self, written: u64) {
        if self.has_body_ended && written > 0 {
            self.whole.get_or_insert(written);
        }
    }

    /// The close was seen.
    pub(super) fn on_close(&mut self) {
        self.closed.get_or_insert_with(time::now);
    }

    /// Judges the limits by the counters after the close. A second judgement
    /// can only be worse.
    pub(super) fn judge(&mut self, read: u64, snapshot: &Snapshot) -> Limits {
        let observed = self.observed(read, snapshot);
        let within = match self.promise.max() {
            Some(max) => observed.within(max),
            None => Err(OutOfLimits::NotKnown),
        };
        self.judged = Some(match self.judged {
            Some(Err(before)) => Err(before),
            Some(Ok(())) | None => within,
        });
        match self.judged {
            Some(Ok(())) => observed.limits(&self.promise),
            Some(Err(OutOfLimits::NotKnown)) | None => Limits::Unchecked,
            Some(Err(_)) => Limits::Exceeded,
        }
    }

    /// Returns which limit was not kept, of those that were judged.
    pub(super) fn exceeded(&self) -> Option<OutOfLimits> {
        self.judged.and_then(Result::err)
    }

    fn observed(&self, read: u64, snapshot: &Snapshot) -> Observed {
        let mut observed = Observed::new().with_response_octets(read);
        if let Some(octets) = self.whole.or_else(|| self.longest()) {
            observed = observed.with_request_octets(octets);
        }
        if let (Some(written), Some(closed)) = (self.last_written, self.closed) {
            let since = closed.saturating_duration_since(written);
            observed = observed.with_since_last_octet(since);
        }
        if let (Some(before), Some(after)) = (self.retransmissions, snapshot.total_retrans) {
            observed = observed.with_retransmissions(before, after);
        }
        if let Some(probes) = snapshot.probes {
            observed = observed.with_probes(probes);
        }
        observed
    }

    /// What a request of which only a part was written can have at most, if
    /// its body's length was known from the start.
    fn longest(&self) -> Option<u64> {
        self.offered?.checked_add(self.body?)
    }
}

//! What is noted of an exchange under a promise, for its limits (C4, C5).
//!
//! Only requests that go out under a promise are watched: to all others it
//! costs nothing.

use crate::time::{self, Instant};
use tower_resend_core::contract::{Max, Observed, OutOfLimits, Promise};
use tower_resend_core::{Limits, Snapshot};

/// The notes of one exchange.
#[derive(Debug)]
pub(super) struct LimitMonitor {
    promise: Promise,
    /// The length of the body on the wire, if it was known from the start: that of
    /// chunks was not.
    body: Option<u64>,
    /// How many bytes were offered to the kernel by the first write. The head
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

impl LimitMonitor {
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

    /// The counters before the request's first byte.
    pub(super) fn on_stale_check(&mut self, snapshot: &Snapshot) {
        self.retransmissions = snapshot.total_retrans;
    }

    /// Bytes were accepted of those that were offered. What is written after
    /// the whole request, such as a close_notify of TLS, is not the request's.
    pub(super) fn on_write(&mut self, offered: usize) {
        self.offered.get_or_insert(offered as u64);
        if self.whole.is_none() {
            self.last_written = Some(time::now());
        }
    }

    /// No further byte of the body will come.
    pub(super) fn on_body_end(&mut self) {
        self.has_body_ended = true;
    }

    /// All that was offered so far was accepted, `written` bytes.
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

    /// Returns whether the promise in force forbids a reset while this request
    /// is being answered: `rst`, and a request that is within `max`.
    pub(super) fn forbids_reset(&self) -> bool {
        let octets = self.whole.or_else(|| self.longest());
        let within = |max: Max| octets.is_some_and(|octets| octets <= u64::from(max.bytes()));
        self.promise.announced().has_rst() && self.promise.max().is_some_and(within)
    }

    /// Returns which limit was not kept, of those that were judged.
    pub(super) fn exceeded(&self) -> Option<OutOfLimits> {
        self.judged.and_then(Result::err)
    }

    fn observed(&self, read: u64, snapshot: &Snapshot) -> Observed {
        let mut observed = Observed::new().with_response_bytes(read);
        if let Some(octets) = self.whole.or_else(|| self.longest()) {
            observed = observed.with_request_bytes(octets);
        }
        if let (Some(written), Some(closed)) = (self.last_written, self.closed) {
            let since = closed.saturating_duration_since(written);
            observed = observed.with_since_last_byte(since);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use tower_resend_core::TcpState;
    use tower_resend_core::contract::{Hop, WINDOW, accept};

    fn promise() -> Promise {
        let own = "10.1.2.3:50211 10.1.2.9:80";
        let response = http::Response::builder()
            .header("connection", "retry-contract")
            .header("retry-contract", format!("hop=\"{own}\", max=1000, rst"))
            .body(())
            .unwrap();
        accept(&response, &own.parse::<Hop>().unwrap()).unwrap()
    }

    fn counted(retransmissions: impl Into<Option<u32>>, probes: impl Into<Option<u8>>) -> Snapshot {
        let mut snapshot = Snapshot::new(TcpState::Close);
        snapshot.total_retrans = retransmissions.into();
        snapshot.probes = probes.into();
        snapshot
    }

    /// A request of 100 bytes, written whole.
    fn written(body: Option<u64>) -> LimitMonitor {
        let mut watch = LimitMonitor::new(promise(), body);
        watch.on_stale_check(&counted(2, 0));
        watch.on_write(100);
        watch
    }

    fn whole() -> LimitMonitor {
        let mut watch = written(None);
        watch.on_body_end();
        watch.on_flush(100);
        watch
    }

    async fn judged(mut watch: LimitMonitor, after: Duration, snapshot: Snapshot) -> Limits {
        time::sleep(after).await;
        watch.on_close();
        watch.judge(0, &snapshot)
    }

    #[tokio::test(start_paused = true)]
    async fn a_close_counts_for_the_window_only() {
        assert_eq!(judged(whole(), WINDOW, counted(2, 0)).await, Limits::Kept);
        let late = WINDOW + Duration::from_millis(1);
        assert_eq!(judged(whole(), late, counted(2, 0)).await, Limits::Exceeded);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_kernel_does_not_count_is_not_within_limits() {
        let now = Duration::ZERO;
        assert_eq!(judged(whole(), now, counted(2, None)).await, Limits::Unchecked);
        assert_eq!(judged(whole(), now, counted(None, 0)).await, Limits::Unchecked);
        assert_eq!(judged(whole(), now, counted(3, 0)).await, Limits::Exceeded);
        assert_eq!(judged(whole(), now, counted(2, 1)).await, Limits::Exceeded);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_has_a_length_once_it_ended_or_its_body_has_one() {
        let (now, same) = (Duration::ZERO, counted(2, 0));
        assert_eq!(judged(written(None), now, same).await, Limits::Unchecked);
        let mut unflushed = written(None);
        unflushed.on_body_end();
        assert_eq!(judged(unflushed, now, same).await, Limits::Unchecked);
        let mut unended = written(None);
        unended.on_flush(100);
        assert_eq!(judged(unended, now, same).await, Limits::Unchecked);
        assert_eq!(judged(written(Some(900)), now, same).await, Limits::Kept);
        assert_eq!(judged(written(Some(901)), now, same).await, Limits::Exceeded);
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_judgement_is_never_better() {
        let mut watch = whole();
        watch.on_close();
        assert_eq!(watch.judge(0, &counted(2, 0)), Limits::Kept);
        assert_eq!(watch.judge(0, &counted(3, 0)), Limits::Exceeded);
        assert_eq!(watch.judge(0, &counted(2, 0)), Limits::Exceeded);
    }
}

//! What is noted of an exchange under a promise, for its limits (C4, C5).
//!
//! Only requests that go out under a promise have a monitor; it costs all
//! others nothing. Times are those since the connect.

use std::time::Duration;

use super::snapshot::Snapshot;
use crate::contract::{Max, Observed, OutOfLimits, Promise};
use crate::fate::Limits;

/// The notes of one exchange.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct LimitMonitor {
    promise: Promise,
    /// The length of the body on the wire, if it was known from the start: that of
    /// chunks was not.
    body: Option<u64>,
    /// How many bytes the first write offered to the kernel. hyper offers the
    /// whole head in it.
    offered: Option<u64>,
    has_body_ended: bool,
    /// The length of the request, once all of it was written.
    whole: Option<u64>,
    last_written: Option<Duration>,
    retransmissions: Option<u32>,
    closed: Option<Duration>,
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
    pub(super) fn on_write(&mut self, offered: usize, now: Duration) {
        self.offered.get_or_insert(offered as u64);
        if self.whole.is_none() {
            self.last_written = Some(now);
        }
    }

    /// No further byte of the body will come.
    pub(super) fn on_body_end(&mut self) {
        self.has_body_ended = true;
    }

    /// All that was offered so far was accepted, `written` bytes: of HTTP, so
    /// that under TLS it is the plaintext that counts.
    pub(super) fn on_flush(&mut self, written: u64) {
        if self.has_body_ended && written > 0 {
            self.whole.get_or_insert(written);
        }
    }

    /// The close was seen; `now` counts the first time.
    pub(super) fn on_close(&mut self, now: Duration) {
        self.closed.get_or_insert(now);
    }

    /// Judges the limits by the counters after the close, `read` bytes of a
    /// response having come. A second judgment can only be worse.
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

    /// Returns `true` if the promise in force forbids a reset while this request
    /// is being answered: `rst`, and a request that is within `max`.
    pub(super) fn forbids_reset(&self) -> bool {
        let length = self.whole.or_else(|| self.longest());
        let within = |max: Max| length.is_some_and(|length| length <= u64::from(max.bytes()));
        self.promise.announced().has_rst() && self.promise.max().is_some_and(within)
    }

    /// Returns which limit was not kept, of those that were judged.
    pub(super) fn exceeded(&self) -> Option<OutOfLimits> {
        self.judged.and_then(Result::err)
    }

    fn observed(&self, read: u64, snapshot: &Snapshot) -> Observed {
        let mut observed = Observed::new().with_response_bytes(read);
        if let Some(length) = self.whole.or_else(|| self.longest()) {
            observed = observed.with_request_bytes(length);
        }
        if let (Some(written), Some(closed)) = (self.last_written, self.closed) {
            let since = closed.saturating_sub(written);
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

    /// The largest length of a request that was written in part, if
    /// its body's length was known from the start.
    fn longest(&self) -> Option<u64> {
        self.offered?.checked_add(self.body?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{Hop, WINDOW, accept};
    use crate::exchange::TcpState;

    /// When the request was written.
    const WRITTEN: Duration = Duration::from_millis(7);

    fn promise() -> Promise {
        let own = "10.1.2.3:50211 10.1.2.9:80";
        let response = http::Response::builder()
            .header("connection", "retry-contract")
            .header("retry-contract", format!("hop=\"{own}\", max=1000, rst"))
            .body(())
            .expect("a response");
        accept(&response, &own.parse::<Hop>().expect("two ends")).expect("a promise")
    }

    fn counted(retransmissions: impl Into<Option<u32>>, probes: impl Into<Option<u8>>) -> Snapshot {
        let mut snapshot = Snapshot::new(TcpState::Close);
        snapshot.total_retrans = retransmissions.into();
        snapshot.probes = probes.into();
        snapshot
    }

    /// A request of 100 bytes, written whole.
    fn written(body: Option<u64>) -> LimitMonitor {
        let mut monitor = LimitMonitor::new(promise(), body);
        monitor.on_stale_check(&counted(2, 0));
        monitor.on_write(100, WRITTEN);
        monitor
    }

    fn whole() -> LimitMonitor {
        let mut monitor = written(None);
        monitor.on_body_end();
        monitor.on_flush(100);
        monitor
    }

    fn judged(mut monitor: LimitMonitor, after: Duration, snapshot: Snapshot) -> Limits {
        monitor.on_close(WRITTEN + after);
        monitor.judge(0, &snapshot)
    }

    #[test]
    fn a_close_counts_for_the_window_only() {
        assert_eq!(judged(whole(), WINDOW, counted(2, 0)), Limits::Kept);
        let late = WINDOW + Duration::from_millis(1);
        assert_eq!(judged(whole(), late, counted(2, 0)), Limits::Exceeded);
    }

    #[test]
    fn what_the_kernel_does_not_count_is_not_within_limits() {
        let now = Duration::ZERO;
        assert_eq!(judged(whole(), now, counted(2, None)), Limits::Unchecked);
        assert_eq!(judged(whole(), now, counted(None, 0)), Limits::Unchecked);
        assert_eq!(judged(whole(), now, counted(3, 0)), Limits::Exceeded);
        assert_eq!(judged(whole(), now, counted(2, 1)), Limits::Exceeded);
    }

    #[test]
    fn a_request_has_a_length_once_it_ended_or_its_body_has_one() {
        let (now, same) = (Duration::ZERO, counted(2, 0));
        assert_eq!(judged(written(None), now, same), Limits::Unchecked);
        let mut unflushed = written(None);
        unflushed.on_body_end();
        assert_eq!(judged(unflushed, now, same), Limits::Unchecked);
        let mut unended = written(None);
        unended.on_flush(100);
        assert_eq!(judged(unended, now, same), Limits::Unchecked);
        assert_eq!(judged(written(Some(900)), now, same), Limits::Kept);
        assert_eq!(judged(written(Some(901)), now, same), Limits::Exceeded);
    }

    #[test]
    fn a_second_judgment_is_never_better() {
        let mut monitor = whole();
        monitor.on_close(WRITTEN);
        assert_eq!(monitor.judge(0, &counted(2, 0)), Limits::Kept);
        assert_eq!(monitor.judge(0, &counted(3, 0)), Limits::Exceeded);
        assert_eq!(monitor.judge(0, &counted(2, 0)), Limits::Exceeded);
    }
}

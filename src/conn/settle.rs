//! Takes the evidence of a failed exchange, and waits while its fate settles.

use std::time::Duration;

use tokio::io::Interest;

use super::tracker::{ConnTracker, Parked};
use crate::time;
use tower_resend_core::{Contract, EndedBy, Evidence, FailureKind, SettleStep, TcpEvidence};

/// Takes the evidence of an exchange that failed before its response's head.
///
/// Takes the connection over, drains it, and after a FIN waits for the peer
/// TCP's answer where that can decide the fate; `on_settling` is called before
/// such a wait. `stated` is what user and server state. Ends with the
/// connection aborted: nothing of the request travels any further.
///
/// # Cancel safety
///
/// If dropped, the owner of the tracker must abort the connection.
pub(crate) async fn resolve(
    tracker: &ConnTracker,
    stated: &Contract,
    failure: FailureKind,
    on_settling: impl FnOnce(),
) -> Evidence {
    let tcp = match start(tracker, stated) {
        SettleStep::Done(tcp) => tcp,
        SettleStep::Wait(limit) => {
            on_settling();
            settle(tracker, stated, limit).await
        }
    };
    let evidence = {
        let mut tracked = tracker.lock();
        let (machine, socket) = tracked.parts();
        machine.conclude(failure, tcp, socket)
    };
    tracker.abort();
    evidence
}

/// Returns the evidence of an exchange that this side gave up, and aborts its
/// connection.
pub(crate) fn give_up(tracker: &ConnTracker, ended_by: EndedBy) -> Evidence {
    let evidence = tracker.give_up(ended_by);
    tracker.abort();
    evidence
}

/// Takes over and drains (steps C1 to C5).
fn start(tracker: &ConnTracker, stated: &Contract) -> SettleStep {
    let mut tracked = tracker.lock();
    if let Some(tcp) = tracked.parts().0.begin_settling() {
        return SettleStep::Done(tcp);
    }
    let last = tracked.drain();
    let (machine, socket) = tracked.parts();
    machine.on_drained(last, stated, socket)
}

/// Looks at the connection until it has settled, at most for `limit` (step C6).
async fn settle(tracker: &ConnTracker, stated: &Contract, limit: Duration) -> TcpEvidence {
    let deadline = time::now() + limit;
    let mut pause = Duration::from_millis(1);
    let mut listens = true;
    loop {
        // Tokio reports an error for ever: once it has, only the clock is left.
        let until = time::now() + pause.min(deadline - time::now());
        let parked = Parked::take(tracker);
        match parked.stream() {
            Some(stream) if listens => {
                // A reset gives the socket an error.
                let error = time::timeout_at(until, stream.ready(Interest::ERROR)).await;
                listens = error.is_err();
            }
            Some(_) | None => time::sleep_until(until).await,
        }
        drop(parked);
        let mut tracked = tracker.lock();
        let drained = tracked.parts().0.awaits_end().then(|| tracked.drain());
        let (machine, socket) = tracked.parts();
        if let Some(tcp) = machine.settle(drained, stated, socket) {
            return tcp;
        }
        if time::now() >= deadline {
            return machine.on_settle_deadline();
        }
        pause = (pause * 2).min(Duration::from_millis(8));
    }
}

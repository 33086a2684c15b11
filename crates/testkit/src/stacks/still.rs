//! Brings a runtime to rest, and keeps it there.

#![allow(clippy::unwrap_used, reason = "a test helper panics when it is in the way")]

use std::sync::mpsc::{Sender, channel};

use tokio::runtime::{Handle, RuntimeFlavor, RuntimeMetrics};

fn workers() -> Option<RuntimeMetrics> {
    let runtime = Handle::current();
    (runtime.runtime_flavor() == RuntimeFlavor::MultiThread).then(|| runtime.metrics())
}

/// Waits until every task waits for something else: the connection is then
/// back in its pool, and no task is checking it at this moment.
pub async fn until_idle() {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
    let Some(metrics) = workers() else { return };
    while !are_all_parked(&metrics) {
        std::thread::yield_now();
    }
}

/// Whether all workers were parked at one moment, and had nothing to do.
fn are_all_parked(metrics: &RuntimeMetrics) -> bool {
    let counts = || -> Vec<_> {
        (0..metrics.num_workers()).map(|at| metrics.worker_park_unpark_count(at)).collect()
    };
    let before = counts();
    let has_nothing = metrics.global_queue_depth() == 0;
    // The counts are odd while their workers are parked.
    has_nothing && before.iter().all(|count| count % 2 == 1) && counts() == before
}

/// Keeps all workers of a runtime with several from doing anything until the
/// senders are dropped; this very task runs on none of them.
///
/// One after the other: a worker that is held may have taken several tasks from
/// the queue, and no other worker has to steal what it does not get to.
pub fn hold_workers() -> Vec<Sender<()>> {
    let workers = workers().map_or(0, |metrics| metrics.num_workers());
    let hold = |_| {
        let (held, is_released) = channel();
        let (says, is_held) = channel();
        tokio::spawn(async move {
            says.send(()).unwrap();
            let _ = is_released.recv();
        });
        is_held.recv().unwrap();
        held
    };
    (0..workers).map(hold).collect()
}

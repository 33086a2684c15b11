//! Callers that post unique orders.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use testkit::demo::calls::{self, Call};
use testkit::demo::clients::End;
use tokio::task::JoinSet;

use super::args::Args;
use super::clients::Client;

/// Counts that may be watched while the load runs.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    pub(super) calls: AtomicU64,
    pub(super) failed: AtomicU64,
}

/// Lets all workers post for the time asked for, and returns when their last calls have ended.
pub(super) async fn run(
    args: &Args,
    client: Client,
    base: &str,
    gauge: &'static Gauge,
) -> Vec<Call> {
    let until = Instant::now() + args.duration;
    let mut workers = JoinSet::new();
    for number in 0..args.workers {
        let random = calls::randomness(args.settings.seed, number);
        workers.spawn(work(client.clone(), base.to_owned(), random, until, gauge));
    }
    workers.join_all().await.into_iter().flatten().collect()
}

async fn work(
    client: Client,
    base: String,
    mut random: fastrand::Rng,
    until: Instant,
    gauge: &Gauge,
) -> Vec<Call> {
    let mut done = Vec::new();
    loop {
        calls::think(&mut random).await;
        if Instant::now() >= until {
            return done;
        }
        let call = calls::post(&client, &base, PATIENCE).await;
        let failed = !matches!(call.outcome.end, End::Answer { .. });
        gauge.calls.fetch_add(1, Ordering::Relaxed);
        gauge.failed.fetch_add(u64::from(failed), Ordering::Relaxed);
        done.push(call);
    }
}

/// How long a caller waits; a call that takes longer hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

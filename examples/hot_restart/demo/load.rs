//! Callers that post unique orders.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::Uri;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::args::Args;
use super::clients::{Client, End, Outcome};
use super::host::Span;

/// What became of one call, as its caller sees it.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: u64,
    pub(super) outcome: Outcome,
    pub(super) span: Span,
}

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
        let random = fastrand::Rng::with_seed(args.seed.wrapping_mul(1000) + number);
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
    let mut calls = Vec::new();
    loop {
        tokio::time::sleep(THINK.start + (THINK.end - THINK.start).mul_f64(random.f64())).await;
        if Instant::now() >= until {
            return calls;
        }
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let uri: Uri =
            format!("{base}/orders/{id}").parse().expect("an address and a number make a URI");
        let from = Instant::now();
        let outcome = timeout(PATIENCE, client.post(uri, format!("order {id}"))).await;
        let outcome =
            outcome.unwrap_or_else(|_| End::from(format!("no end within {PATIENCE:?}")).into());
        gauge.calls.fetch_add(1, Ordering::Relaxed);
        gauge
            .failed
            .fetch_add(!matches!(outcome.end, End::Answer { .. }) as u64, Ordering::Relaxed);
        calls.push(Call { id, outcome, span: Span { from, to: Instant::now() } });
    }
}

/// Numbers are never used again, neither by another client nor in another mode.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// How long a caller does nothing between two calls.
const THINK: Range<Duration> = Duration::ZERO..Duration::from_millis(40);

/// How long a caller waits; a call that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(15);

//! Callers that post unique orders.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use http::Uri;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::args::Args;
use super::clients::{self, End, Outcome};
use super::curl;

/// Which client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    TowerResend,
    HyperUtil,
    Curl,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::TowerResend, Self::HyperUtil, Self::Curl];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::TowerResend => "tower-resend",
            Self::HyperUtil => "hyper-util",
            Self::Curl => "curl",
        }
    }
}

/// What became of one call, as its caller sees it.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) kind: Kind,
    pub(super) id: u64,
    pub(super) outcome: Outcome,
}

/// Lets all callers post until told to end, and returns when their last calls
/// have ended.
pub(super) async fn run(args: &Args, base: &str, is_over: &'static AtomicBool) -> Vec<Call> {
    let ours = clients::Kind::TowerResend.make();
    let theirs = clients::Kind::HyperUtil.make();
    let mut workers = JoinSet::new();
    for number in 0..args.workers {
        for (kind, client) in [(Kind::TowerResend, &ours), (Kind::HyperUtil, &theirs)] {
            let random = fastrand::Rng::with_seed(args.seed.wrapping_mul(1000) + number);
            workers.spawn(work(kind, client.clone(), base.to_owned(), random, is_over));
        }
    }
    if curl::is_there() {
        for _ in 0..args.workers.div_ceil(4) {
            workers.spawn(curl::work(base.to_owned(), is_over));
        }
    }
    workers.join_all().await.into_iter().flatten().collect()
}

async fn work(
    kind: Kind,
    client: clients::Client,
    base: String,
    mut random: fastrand::Rng,
    is_over: &AtomicBool,
) -> Vec<Call> {
    let mut calls = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        sleep(THINK.start + (THINK.end - THINK.start).mul_f64(random.f64())).await;
        let id = next_id();
        let uri: Uri =
            format!("{base}/orders/{id}").parse().expect("an address and a number make a URI");
        let outcome = timeout(PATIENCE, client.post(uri, format!("order {id}"))).await;
        let outcome =
            outcome.unwrap_or_else(|_| End::from(format!("no end within {PATIENCE:?}")).into());
        calls.push(Call { kind, id, outcome });
    }
    calls
}

/// Returns a number that was never used, neither by another client nor under
/// another plan.
pub(super) fn next_id() -> u64 {
    NEXT_ID.fetch_add(1, Ordering::Relaxed)
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// How long a caller does nothing between two calls.
const THINK: Range<Duration> = Duration::ZERO..Duration::from_millis(40);

/// How long a caller waits; a call that takes longer hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(40);

//! Callers that post unique orders.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use testkit::demo::calls::{self, Call};
use testkit::demo::clients::{Client, hyper_util, ours};
use tokio::task::JoinSet;

use super::args::Args;
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

/// Lets all callers post until told to end, and returns every call with its
/// client when the last ones have ended.
pub(super) async fn run(
    args: &Args,
    base: &str,
    is_over: &'static AtomicBool,
) -> Vec<(Kind, Call)> {
    let (own, plain) = (ours::Client::new(), hyper_util::Client::new());
    let mut workers = JoinSet::new();
    for number in 0..args.workers {
        let random = || calls::randomness(args.settings.seed, number);
        let done = work(own.clone(), base.to_owned(), random(), is_over);
        workers.spawn(async { (Kind::TowerResend, done.await) });
        let done = work(plain.clone(), base.to_owned(), random(), is_over);
        workers.spawn(async { (Kind::HyperUtil, done.await) });
    }
    if curl::is_there() {
        for _ in 0..args.workers.div_ceil(4) {
            let done = curl::work(base.to_owned(), is_over);
            workers.spawn(async { (Kind::Curl, done.await) });
        }
    }
    let done = workers.join_all().await.into_iter();
    done.flat_map(|(kind, calls)| calls.into_iter().map(move |call| (kind, call))).collect()
}

async fn work(
    client: impl Client + Sync,
    base: String,
    mut random: fastrand::Rng,
    is_over: &AtomicBool,
) -> Vec<Call> {
    let mut done = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        calls::think(&mut random).await;
        done.push(calls::post(&client, &base, PATIENCE).await);
    }
    done
}

/// How long a caller waits; a call that takes longer hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(40);

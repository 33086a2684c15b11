//! Callers that post unique orders.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::Uri;
use tokio::time::{sleep, timeout};

use super::clients::{Client, End, Outcome};

/// A span of time.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub from: Instant,
    pub to: Instant,
}

impl Span {
    /// Returns `true` if the two have an instant in common.
    pub fn meets(self, other: Self) -> bool {
        self.from <= other.to && other.from <= self.to
    }
}

/// What became of one call, as its caller sees it.
#[derive(Debug)]
pub struct Call {
    pub id: u64,
    pub outcome: Outcome,
    pub span: Span,
}

/// Returns the randomness of one caller.
pub fn randomness(seed: u64, caller: u64) -> fastrand::Rng {
    fastrand::Rng::with_seed(seed.wrapping_mul(1000) + caller)
}

/// Does nothing for as long as a caller does between two calls.
pub async fn think(random: &mut fastrand::Rng) {
    sleep(THINK.start + (THINK.end - THINK.start).mul_f64(random.f64())).await;
}

/// Posts one order; a call that takes longer than `patience` hangs.
pub async fn post(client: &impl Client, base: &str, patience: Duration) -> Call {
    post_order(client, base, next_id(), patience).await
}

/// Posts the order of this number.
pub async fn post_order(client: &impl Client, base: &str, id: u64, patience: Duration) -> Call {
    let uri: Uri =
        format!("{base}/orders/{id}").parse().expect("an address and a number make a URI");
    let from = Instant::now();
    let outcome = timeout(patience, client.post(uri, format!("order {id}"))).await;
    let outcome =
        outcome.unwrap_or_else(|_| End::from(format!("no end within {patience:?}")).into());
    Call { id, outcome, span: Span { from, to: Instant::now() } }
}

/// Returns a number that was never used before, by whatever client.
pub fn next_id() -> u64 {
    static NEXT_ID: AtomicU64 = AtomicU64::new(1);
    NEXT_ID.fetch_add(1, Ordering::Relaxed)
}

const THINK: Range<Duration> = Duration::ZERO..Duration::from_millis(40);

//! Dropping a call leaves no inner call running, whatever its state.

use crate::inner;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use inner::*;
use tokio_test::{assert_pending, task};
use tower::{Layer, Service, ServiceExt};
use tower_resend::{AttemptToken, Policy, Resend, ResendLayer};
use tower_resend_core::{Answer, Doubt, Fate};

/// Counts its calls that are under way, and records those that are dropped.
#[derive(Clone, Default)]
struct Counting {
    running: Arc<AtomicUsize>,
    calls: Arc<AtomicUsize>,
    ready: Arc<AtomicUsize>,
}

struct Running(Arc<AtomicUsize>, AttemptToken);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
        record(&self.1, dropped());
    }
}

impl Service<Request<Octets>> for Counting {
    type Response = Response<()>;
    type Error = tower::BoxError;
    type Future = std::pin::Pin<
        Box<dyn Future<Output = Result<Response<()>, tower::BoxError>> + Send + Sync>,
    >;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), tower::BoxError>> {
        match self.ready.load(Ordering::Relaxed) {
            0 => Poll::Pending,
            _ => Poll::Ready(Ok(())),
        }
    }

    /// The first call fails with evidence that allows a resend; others hang.
    fn call(&mut self, request: Request<Octets>) -> Self::Future {
        self.ready.fetch_sub(1, Ordering::Relaxed);
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let token = token(&request);
        if call == 0 {
            record(&token, not_connected());
            return Box::pin(async { Err("refused".into()) });
        }
        self.running.fetch_add(1, Ordering::Relaxed);
        let running = Running(Arc::clone(&self.running), token);
        Box::pin(async move {
            let _running = running;
            std::future::pending().await
        })
    }
}

struct Bench {
    inner: Counting,
    service: Resend<Counting>,
}

impl Bench {
    fn new(ready: usize) -> Self {
        let inner = Counting { ready: Arc::new(ready.into()), ..Counting::default() };
        let service = ResendLayer::new(Policy::new()).layer(inner.clone());
        Self { inner, service }
    }

    fn calls(&self) -> (usize, usize) {
        (self.inner.calls.load(Ordering::Relaxed), self.inner.running.load(Ordering::Relaxed))
    }
}

#[tokio::test(start_paused = true)]
async fn dropped_before_the_first_poll() {
    let mut bench = Bench::new(1);
    bench.inner.calls.store(1, Ordering::Relaxed);
    let call = bench.service.call(get());
    assert_eq!(bench.calls(), (2, 1));
    drop(call);
    assert_eq!(bench.calls(), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn dropped_while_waiting() {
    let mut bench = Bench::new(2);
    let mut call = task::spawn(bench.service.call(get()));
    assert_pending!(call.poll());
    assert!(format!("{call:?}").contains("\"waiting\""), "{call:?}");
    drop(call);
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(bench.calls(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn dropped_while_readying() {
    let mut bench = Bench::new(1);
    let mut call = task::spawn(bench.service.call(get()));
    assert_pending!(call.poll());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_pending!(call.poll());
    assert!(format!("{call:?}").contains("\"readying\""), "{call:?}");
    drop(call);
    bench.inner.ready.store(1, Ordering::Relaxed);
    assert_eq!(bench.calls(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn dropped_while_calling_again() {
    let mut bench = Bench::new(2);
    let mut call = task::spawn(bench.service.call(get()));
    assert_pending!(call.poll());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_pending!(call.poll());
    assert!(format!("{call:?}").contains("\"calling\""), "{call:?}");
    assert_eq!(bench.calls(), (2, 1), "the harness sees a call that is running");
    drop(call);
    assert_eq!(bench.calls(), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn deadline_drops_the_attempt_and_keeps_what_it_recorded() {
    let policy = || Policy::new().deadline(Duration::from_secs(5));
    let played = play(policy(), post(), |_| Reply::Hang(Some(dropped()))).await;
    assert_eq!(played.elapsed.as_secs(), 5);
    let error = played.error();
    assert_eq!(error.fate(), Fate::Unknown(Doubt::TimedOut));
    assert_eq!(error.name(), "outcome_unknown_timeout");

    // Never sent: the connection was still being made.
    let played = play(policy(), post(), |_| Reply::Hang(Some(not_connected()))).await;
    assert!(played.error().fate().is_not_applied());

    // Nothing was recorded, so that the fate is unknown.
    let played = play(policy(), post(), |_| Reply::Hang(None)).await;
    assert_eq!(played.error().fate(), Fate::Unknown(Doubt::NoEvidence));
}

/// A hand-off that was recorded before the deadline does not speak for what
/// was under way when it passed.
#[tokio::test(start_paused = true)]
async fn deadline_is_not_explained_by_an_earlier_record() {
    let stack = |inner| {
        let inner = RecordsFirst { inner };
        let policy = Policy::new().deadline(Duration::from_secs(5));
        ResendLayer::new(policy).layer(inner)
    };
    let played = play_in(post(), |_| Reply::Hang(None), stack).await;
    assert_eq!(played.calls.len(), 1);
    assert_eq!(played.error().fate(), Fate::Unknown(Doubt::NoEvidence));
}

/// Records a request that was handed back before it passes it on.
#[derive(Clone)]
struct RecordsFirst {
    inner: Scripted,
}

impl Service<Request<Octets>> for RecordsFirst {
    type Response = Response<()>;
    type Error = tower::BoxError;
    type Future = <Scripted as Service<Request<Octets>>>::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), tower::BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Octets>) -> Self::Future {
        record(&token(&request), handed_back());
        self.inner.call(request)
    }
}

/// A hand-off that goes on after its call has ended, and that is recorded
/// while the layer waits, still counts.
#[tokio::test(start_paused = true)]
async fn what_is_recorded_during_the_wait_is_judged_too() {
    let (mut service, mut handle) = spawn(Policy::new());
    handle.allow(1);
    tokio_test::assert_ready_ok!(service.poll_ready());
    let mut call = task::spawn(service.call(get()));
    let (request, respond) = taken(&mut handle);
    let token = token(&request);
    record(&token, reset());
    respond.send_error("reset");
    assert_pending!(call.poll());
    record(&token, answered(Answer::Complete));
    handle.allow(1);
    tokio::time::advance(Duration::from_secs(5)).await;
    let error = tokio_test::assert_ready_err!(call.poll());
    assert!(matches!(error.no_resend(), _), "{error}");
    assert_eq!(error.attempts().len(), 2);
    assert_none(&mut handle);
}

/// A copy of the request, or a hand-off that has not ended, holds the token. A proof about
/// what is recorded says nothing about what is not recorded yet.
#[tokio::test(start_paused = true)]
async fn request_held_elsewhere_is_not_resent_on_a_proof() {
    for evidence in proofs() {
        let (mut service, mut handle) = spawn(Policy::new());
        handle.allow(2);
        tokio_test::assert_ready_ok!(service.poll_ready());
        let mut call = task::spawn(service.call(post()));
        let (request, respond) = taken(&mut handle);
        record(&token(&request), evidence);
        respond.send_error("failed");
        let error = tokio_test::assert_ready_err!(call.poll());
        assert_eq!(error.fate(), Fate::Unknown(Doubt::NoEvidence));
        assert_none(&mut handle);
        drop(request);
    }
}

/// A layer between may have several hand-offs under way at a time. Those that
/// its failed future still holds are dropped, and so recorded, before the
/// decision.
#[tokio::test(start_paused = true)]
async fn what_a_failed_future_still_holds_is_judged_too() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let inner = tower::service_fn(move |request: Request<Octets>| {
        counted.fetch_add(1, Ordering::Relaxed);
        let token = token(&request);
        record(&token, handed_back());
        let sibling = Running(Arc::new(AtomicUsize::new(1)), token);
        std::future::poll_fn(move |_| {
            let _held = &sibling;
            Poll::Ready(Err::<Response<()>, tower::BoxError>("one of two failed".into()))
        })
    });
    let error = ResendLayer::default().layer(inner).oneshot(post()).await.unwrap_err();
    assert_eq!(error.fate(), Fate::Unknown(Doubt::Cancelled));
    assert_eq!(error.attempts().len(), 2);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

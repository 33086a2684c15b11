//! The layer among the layers that people have, over any tower service.

use crate::inner;
use crate::stack;

use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use inner::*;
use stack::*;
use tokio_test::{assert_pending, assert_ready, assert_ready_ok, task};
use tower::buffer::BufferLayer;
use tower::limit::{ConcurrencyLimitLayer, GlobalConcurrencyLimitLayer};
use tower::load_shed::LoadShedLayer;
use tower::load_shed::error::Overloaded;
use tower::timeout::TimeoutLayer as ErrorTimeoutLayer;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt};
use tower_http::decompression::DecompressionLayer;
use tower_http::follow_redirect::FollowRedirectLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;
use tower_resend::body::Replay;
use tower_resend::pool::{Pool, PoolOptions};
use tower_resend::resend::Idempotent;
use tower_resend::{Policy, ResendLayer, attempts};
use tower_resend_core::{Answer, Doubt, Fate, NoResend, Proof, StaleReason};

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_secs(1);

fn timeout(after: Duration) -> TimeoutLayer {
    TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, after)
}

// ===== every composition =====

/// What a call through any composition does: a POST that was handed back is
/// sent again, and one that nothing is known of is not.
async fn behaves<S, RB>(name: &str, stack: impl Fn(Wire) -> S)
where
    S: Stack + Service<Request<Octets>, Response = Response<RB>, Error: Into<BoxError>>,
{
    let (result, calls) = send(Wire::of(vec![fail(handed_back())]), post(), &stack).await;
    let response = result.unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(calls, 2, "{name}");
    assert_eq!(
        fates(&response),
        [Fate::NotApplied(Proof::HandedBack(StaleReason::Fin)), Fate::Completed],
        "{name}"
    );

    let (result, calls) = send(Wire::of(vec![Reply::Fail(vec![])]), post(), &stack).await;
    let Err(error) = result else { panic!("{name}: a lost POST has no answer") };
    assert_eq!(calls, 1, "{name}");
    assert_eq!(ours(&error).fate(), Fate::Unknown(Doubt::NoEvidence), "{name}");
    assert_eq!(ours(&error).no_resend(), NoResend::Doubt(Doubt::NoEvidence), "{name}");
}

/// Checks a layer above and below the resending one.
macro_rules! above_and_below {
    ($($layer:expr),* $(,)?) => {$(
        behaves(concat!(stringify!($layer), " above"), |wire| {
            ServiceBuilder::new().layer($layer).layer(ResendLayer::default()).service(wire)
        })
        .await;
        behaves(concat!(stringify!($layer), " below"), |wire| {
            ServiceBuilder::new().layer(ResendLayer::default()).layer($layer).service(wire)
        })
        .await;
    )*};
}

#[tokio::test(start_paused = true)]
async fn the_layer_works_above_and_below_each_usual_layer() {
    above_and_below![
        TraceLayer::new_for_http(),
        timeout(LONG),
        ErrorTimeoutLayer::new(LONG),
        DecompressionLayer::new(),
        FollowRedirectLayer::new(),
        LoadShedLayer::new(),
        ConcurrencyLimitLayer::new(1),
        GlobalConcurrencyLimitLayer::new(1),
        BufferLayer::new(1),
    ];
}

#[tokio::test(start_paused = true)]
async fn the_layer_works_among_all_of_them() {
    behaves("all", |wire| {
        ServiceBuilder::new()
            .layer(TraceLayer::new_for_http())
            .layer(DecompressionLayer::new())
            .load_shed()
            .buffer(4)
            .layer(ResendLayer::default())
            .layer(TraceLayer::new_for_http())
            .layer(FollowRedirectLayer::new())
            .layer(timeout(LONG))
            .concurrency_limit(1)
            .buffer(4)
            .service(wire)
    })
    .await;
}

/// Not every service is `Sync` or is `Clone` by itself: a boxed one and a
/// buffered one are.
#[tokio::test(start_paused = true)]
async fn the_layer_works_over_boxed_services() {
    behaves("boxed", |wire| {
        let boxed = tower::util::BoxCloneSyncService::new(wire);
        tower::util::BoxCloneSyncService::new(ResendLayer::default().layer(boxed))
    })
    .await;
}

/// What the compiler has to accept: all of it can be shared between threads.
#[tokio::test]
async fn layers_services_and_futures_over_the_pool_can_be_shared() {
    fn is_shared<T: Clone + Send + Sync + 'static>(_: &T) {}
    fn is_sent<T: Send + 'static>(_: &T) {}
    fn check<S>(mut service: S)
    where
        S: Service<Request<Octets>, Future: Send + 'static> + Clone + Send + Sync + 'static,
    {
        is_shared(&service);
        // It is dropped unpolled: nothing is sent.
        is_sent(&service.call(post()));
    }
    let pool = Pool::<Octets>::new(PoolOptions::new());
    is_shared(&ResendLayer::default());
    is_shared(&ResendLayer::default().replay_streams());
    let resend = || ServiceBuilder::new().layer(ResendLayer::default());
    check(resend().service(pool.clone()));
    check(resend().layer(TraceLayer::new_for_http()).service(pool.clone()));
    check(resend().layer(FollowRedirectLayer::new()).service(pool.clone()));
    check(resend().layer(DecompressionLayer::new()).service(pool.clone()));
    check(resend().layer(ErrorTimeoutLayer::new(LONG)).service(pool.clone()));
    check(resend().load_shed().service(pool.clone()));
    let streams = ResendLayer::default().replay_streams();
    check(streams.layer(Pool::<Replay<Octets>>::new(PoolOptions::new())));
}

#[tokio::test(start_paused = true)]
async fn control_blind_retry_doubles() {
    let (_, calls) = send(Wire::of(vec![Reply::Fail(vec![])]), post(), |wire| {
        ServiceBuilder::new().retry(Blind).service(wire)
    })
    .await;
    assert_eq!(calls, 2, "the harness must see a second call");
}

/// A `tower::retry` policy that sends once more on any error.
#[derive(Clone)]
struct Blind;

impl<R, E> tower::retry::Policy<Request<Octets>, R, E> for Blind {
    type Future = std::future::Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request<Octets>,
        result: &mut Result<R, E>,
    ) -> Option<Self::Future> {
        result.is_err().then(|| std::future::ready(()))
    }

    fn clone_request(&mut self, request: &Request<Octets>) -> Option<Request<Octets>> {
        Some(request.clone())
    }
}

// ===== a service that knows no token =====

#[tokio::test(start_paused = true)]
async fn without_a_token_only_repeatable_requests_are_resent() {
    let marked = || {
        let mut request = post();
        request.extensions_mut().insert(Idempotent);
        request
    };
    let keyed = || Policy::new().origins_deduplicate();
    let cases = [
        ("GET", Policy::new(), get(), 2),
        ("PUT", Policy::new(), request("PUT"), 2),
        ("DELETE", Policy::new(), request("DELETE"), 2),
        ("marked POST", Policy::new(), marked(), 2),
        ("honored key", keyed(), keyed_post(), 2),
        ("POST", Policy::new(), post(), 1),
        ("PATCH", Policy::new(), request("PATCH"), 1),
        ("POST without a key", keyed(), post(), 1),
        ("key without a word on the origin", Policy::new(), keyed_post(), 1),
    ];
    for (name, policy, request, expected) in cases {
        let wire = Wire::of(vec![Reply::Fail(vec![])]);
        let layer = ResendLayer::new(policy);
        let (result, calls) = send(wire, request, |wire| {
            layer.layer(ServiceBuilder::new().layer(TraceLayer::new_for_http()).service(wire))
        })
        .await;
        assert_eq!(calls, expected, "{name}");
        match result {
            Ok(response) => {
                let first = attempts(&response)[0].fate();
                assert_eq!(first, Fate::Unknown(Doubt::NoEvidence), "{name}");
            }
            Err(error) => {
                let error = ours(&error);
                assert_eq!(error.fate(), Fate::Unknown(Doubt::NoEvidence), "{name}");
                assert_eq!(error.name(), "outcome_unknown_no_evidence", "{name}");
                assert_eq!(error.no_resend(), NoResend::Doubt(Doubt::NoEvidence), "{name}");
            }
        }
    }
}

// ===== timeouts =====

#[tokio::test(start_paused = true)]
async fn a_timeout_below_that_fails_leaves_the_request_unknown() {
    let (result, calls) = send(Wire::of(vec![Reply::Hang(None)]), post(), |wire| {
        ServiceBuilder::new()
            .layer(ResendLayer::default())
            .layer(ErrorTimeoutLayer::new(SHORT))
            .service(wire)
    })
    .await;
    assert_eq!(calls, 1);
    let error = result.unwrap_err();
    assert_eq!(ours(&error).fate(), Fate::Unknown(Doubt::Cancelled));
    let source = std::error::Error::source(ours(&error)).unwrap();
    assert!(source.is::<tower::timeout::error::Elapsed>());
}

/// tower-http's timeout makes up a response. The layer cannot tell it from the
/// server's, but its attempts can.
#[tokio::test(start_paused = true)]
async fn response_made_by_a_layer_lists_its_unanswered_attempt() {
    let (result, calls) = send(Wire::of(vec![Reply::Hang(None)]), post(), |wire| {
        ServiceBuilder::new().layer(ResendLayer::default()).layer(timeout(SHORT)).service(wire)
    })
    .await;
    assert_eq!(calls, 1);
    let response = result.unwrap();
    assert_eq!(response.status(), StatusCode::REQUEST_TIMEOUT);
    assert_eq!(fates(&response), [Fate::Unknown(Doubt::Cancelled)]);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_above_ends_the_call_and_all_its_resends() {
    let wire = Wire::of(vec![fail(handed_back()), Reply::Hang(None)]);
    let (result, calls) = send(wire, post(), |wire| {
        ServiceBuilder::new().layer(timeout(SHORT)).layer(ResendLayer::default()).service(wire)
    })
    .await;
    assert_eq!(result.unwrap().status(), StatusCode::REQUEST_TIMEOUT);
    assert_eq!(calls, 2);
}

// ===== decompression =====

const GZIP_PAID: [u8; 24] =
    [31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 43, 72, 204, 76, 1, 0, 56, 171, 142, 253, 4, 0, 0, 0];

#[tokio::test(start_paused = true)]
async fn decompression_works_on_either_side_and_on_every_attempt() {
    let wire =
        || Wire::of(vec![fail(handed_back())]).answering(("content-encoding", "gzip"), &GZIP_PAID);
    let below = wire();
    let (response, _) = send(below.clone(), post(), |wire| {
        ResendLayer::default().layer(DecompressionLayer::new().layer(wire))
    })
    .await;
    let body = response.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "paid");
    let above = wire();
    let (response, _) = send(above.clone(), post(), |wire| {
        DecompressionLayer::new().layer(ResendLayer::default().layer(wire))
    })
    .await;
    let body = response.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "paid");
    for heads in [below.heads(), above.heads()] {
        let asked: Vec<_> = heads.iter().map(|head| head["accept-encoding"].as_bytes()).collect();
        assert_eq!(asked, [b"gzip", b"gzip"]);
    }
}

// ===== order and readiness, step by step =====

type Mocked = tower_test::mock::Mock<Request<Octets>, Response<()>>;
type Handle = tower_test::mock::Handle<Request<Octets>, Response<()>>;

fn mocked() -> (Mocked, Handle) {
    tower_test::mock::pair()
}

#[tokio::test(start_paused = true)]
async fn load_shed_below_leaves_an_attempt_without_evidence() {
    for (method, expected) in [("POST", 1), ("GET", 2)] {
        let (mock, mut handle) = mocked();
        handle.allow(0);
        let shedding =
            ServiceBuilder::new().layer(ResendLayer::default()).load_shed().service(mock);
        let error = shedding.clone().oneshot(request(method)).await.unwrap_err();
        assert_none(&mut handle);
        assert!(std::error::Error::source(&error).unwrap().is::<Overloaded>(), "{error}");
        assert_eq!(error.fate(), Fate::Unknown(Doubt::NoEvidence));
        assert_eq!(error.attempts().len(), expected, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn load_shed_above_sheds_before_the_layer() {
    let (mock, mut handle) = mocked();
    handle.allow(0);
    let service = ServiceBuilder::new().load_shed().layer(ResendLayer::default()).service(mock);
    let error = service.clone().oneshot(get()).await.unwrap_err();
    assert!(error.is::<Overloaded>());
    assert_none(&mut handle);
}

#[tokio::test(start_paused = true)]
async fn resend_waits_for_its_permit_behind_earlier_waiters() {
    let (mock, mut handle) = mocked();
    handle.allow(10);
    let mut service =
        ServiceBuilder::new().layer(ResendLayer::default()).concurrency_limit(1).service(mock);
    let mut other = service.clone();

    assert_ready_ok!(task::spawn(service.ready()).poll());
    let mut first = task::spawn(service.call(post()));
    assert_pending!(first.poll());
    let taken_first = taken(&mut handle);
    let mut waits = task::spawn(other.ready());
    assert_pending!(waits.poll(), "the only permit is with the attempt under way");

    fail_taken(taken_first, handed_back());
    // The permit went back with the attempt, and is the other call's now.
    assert_pending!(first.poll());
    assert_none(&mut handle);
    assert!(waits.is_woken());
    assert_ready_ok!(waits.poll());
    drop(waits);
    let mut second = task::spawn(other.call(get()));
    assert_pending!(second.poll());
    let (taken_second, respond) = taken(&mut handle);
    assert_eq!(taken_second.method(), "GET");
    assert_pending!(first.poll());
    respond.send_response(Response::new(()));
    assert_ready_ok!(second.poll());

    drop(second);
    assert!(first.is_woken());
    assert_pending!(first.poll());
    let (again, respond) = taken(&mut handle);
    assert_eq!(again.method(), "POST");
    respond.send_response(Response::new(()));
    assert_ready_ok!(first.poll());
}

#[tokio::test(start_paused = true)]
async fn concurrency_limit_above_counts_a_call_with_its_resends_once() {
    let (mock, mut handle) = mocked();
    handle.allow(10);
    let mut service =
        ServiceBuilder::new().concurrency_limit(1).layer(ResendLayer::default()).service(mock);
    let mut other = service.clone();
    assert_ready_ok!(task::spawn(service.ready()).poll());
    let mut call = task::spawn(service.call(post()));
    let mut waits = task::spawn(other.ready());
    for _ in 0..2 {
        assert_pending!(call.poll());
        assert_pending!(waits.poll());
        let (request, respond) = taken(&mut handle);
        match token(&request).is_empty() {
            true => {
                record(&token(&request), handed_back());
                respond.send_error("handed back");
            }
            false => respond.send_response(Response::new(())),
        }
    }
    assert_eq!(attempts(&assert_ready_ok!(call.poll())).len(), 2);
    drop(call);
    assert_ready_ok!(waits.poll());
}

#[tokio::test(start_paused = true)]
async fn readiness_is_polled_through_layers_before_each_attempt() {
    let (mock, mut handle) = mocked();
    handle.allow(1);
    let mut service = ServiceBuilder::new()
        .layer(ResendLayer::default())
        .layer(timeout(LONG))
        .concurrency_limit(1)
        .service(mock);
    assert_ready_ok!(task::spawn(service.ready()).poll());
    let mut call = task::spawn(service.call(post()));
    assert_pending!(call.poll());
    fail_taken(taken(&mut handle), handed_back());
    // The mock would panic if it were called unready.
    assert_pending!(call.poll());
    assert_none(&mut handle);
    handle.allow(1);
    assert_pending!(call.poll());
    let (_, respond) = taken(&mut handle);
    respond.send_response(Response::new(()));
    assert_ready_ok!(call.poll());
}

#[tokio::test(start_paused = true)]
async fn service_that_fails_between_attempts_is_reported_as_not_ready() {
    let (mock, mut handle) = mocked();
    handle.allow(1);
    let mut service =
        ServiceBuilder::new().layer(ResendLayer::default()).concurrency_limit(1).service(mock);
    assert_ready_ok!(task::spawn(service.ready()).poll());
    let mut call = task::spawn(service.call(post()));
    assert_pending!(call.poll());
    fail_taken(taken(&mut handle), never_received());
    assert_pending!(call.poll());
    handle.send_error("closed for good");
    let error = assert_ready!(call.poll()).unwrap_err();
    assert_eq!(error.fate(), Fate::NotApplied(Proof::NeverReceived));
    assert!(matches!(error.no_resend(), NoResend::NotReady));
}

// ===== nested resending layers =====

#[tokio::test(start_paused = true)]
async fn nested_resending_layers_stand_down() {
    let nested = |wire| {
        ServiceBuilder::new()
            .layer(ResendLayer::default())
            .layer(TraceLayer::new_for_http())
            .buffer(2)
            .layer(ResendLayer::default())
            .layer(FollowRedirectLayer::new())
            .layer(ResendLayer::default())
            .service(wire)
    };
    behaves("nested", nested).await;
    // Three layers of two attempts each would make eight of a GET.
    let (result, calls) = send(Wire::new(|_| fail(reset())), get(), nested).await;
    assert_eq!(calls, 2);
    let error = result.err().expect("every attempt fails");
    assert_eq!(ours(&error).no_resend(), NoResend::Attempts(2));
    assert_eq!(ours(&error).attempts().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn control_inner_layer_without_the_mark_multiplies_attempts() {
    let (_, calls) = send(Wire::new(|_| fail(reset())), get(), |wire| {
        ServiceBuilder::new()
            .layer(ResendLayer::default())
            .map_request(|mut request: Request<Octets>| {
                request.extensions_mut().clear();
                request
            })
            .layer(ResendLayer::default())
            .service(wire)
    })
    .await;
    assert_eq!(calls, 4);
}

// ===== what an answer and then an error is =====

/// A layer that saw a 421 may have turned elsewhere without the token, so that
/// an error after it is no proof.
#[tokio::test(start_paused = true)]
async fn an_error_after_an_answered_hand_off_is_never_not_applied() {
    for answer in [Answer::Misdirected, Answer::Complete] {
        let wire = Wire::of(vec![fail(answered(answer))]);
        let (result, calls) = send(wire, post(), |wire| ResendLayer::default().layer(wire)).await;
        assert_eq!(calls, 1, "{answer:?}");
        let error = result.unwrap_err();
        assert!(!ours(&error).fate().is_not_applied(), "{answer:?}");
    }
}

//! Bodies are sent again whole, or not at all.

use crate::inner;
use testkit::body_script as script;

use std::sync::{Arc, Mutex};
use std::task::Poll;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Version};
use http_body_util::{BodyExt, Full};
use inner::{
    dropped, get, handed_back, never_received, not_connected, post, record, request, reset, token,
};
use script::{Script, Step, drain, poll, trailers};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt};
use tower_resend::body::{self, Body, NotReplayable, Replay, ReplayCaps, Replayable};
use tower_resend::{Error, Policy, ResendLayer};
use tower_resend_core::{EndedBy, Fate, NoResend, Opinion, RequestFacts};

type Outcome = Result<Response<()>, BoxError>;

fn fine() -> Outcome {
    Ok(Response::new(()))
}

fn cut() -> Outcome {
    Err("the connection failed".into())
}

/// An inner service: what it does with its nth request, from 0.
fn inner<B>(
    mut act: impl FnMut(usize, Request<B>) -> Outcome + Clone,
) -> impl Service<Request<B>, Response = Response<()>, Error = BoxError> + Clone {
    let calls = Arc::new(Mutex::new(0));
    tower::service_fn(move |request| {
        let mut calls = calls.lock().expect("no test panics here");
        let outcome = act(*calls, request);
        *calls += 1;
        std::future::ready(outcome)
    })
}

fn stream(steps: impl IntoIterator<Item = Step>) -> Request<Script> {
    post().map(|_| Script::new(steps))
}

fn pay() -> [Step; 3] {
    [Step::data("pa"), Step::data("y"), Step::Trailers(trailers("sum", "1"))]
}

fn replaying(caps: ReplayCaps) -> tower_resend::resend::ReplayStreamsLayer {
    ResendLayer::default().replay_streams().caps(caps)
}

fn refusal(error: &Error) -> Option<NoResend> {
    Some(error.no_resend())
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_sent_again_whole_whatever_was_polled() {
    for polled in 0..=4 {
        let act = move |call, mut request: Request<Replay<Script>>| {
            if call == 1 {
                let log = drain(request.body_mut());
                assert_eq!(log.octets, b"pay");
                assert_eq!(log.trailers, Some(trailers("sum", "1")));
                return fine();
            }
            for _ in 0..polled {
                let _ = poll(request.body_mut());
            }
            record(&token(&request), never_received());
            cut()
        };
        let service = replaying(ReplayCaps::default()).layer(inner(act));
        service.oneshot(stream(pay())).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_over_the_cap_is_sent_once_and_the_error_says_so() {
    let act = |call, mut request: Request<Replay<Script>>| {
        assert_eq!(call, 0);
        assert_eq!(drain(request.body_mut()).octets, b"pay", "the first attempt is whole");
        record(&token(&request), never_received());
        cut()
    };
    let service = replaying(ReplayCaps::new(2, 1000)).layer(inner(act));
    let mut error = service.oneshot(stream(pay())).await.unwrap_err();
    assert!(error.fate().is_not_applied(), "the caller may redo it");
    assert_eq!(refusal(&error), Some(NoResend::BodyNotReplayable));
    assert!(error.take_request::<Replay<Script>>().is_none());
}

#[tokio::test(start_paused = true)]
async fn the_old_body_is_revoked_before_a_resend() {
    let old = Arc::new(Mutex::new(None));
    let kept = Arc::clone(&old);
    let act = move |call, mut request: Request<Replay<Script>>| {
        let mut kept = kept.lock().unwrap();
        if call == 0 {
            assert!(poll(request.body_mut()).is_ready());
            record(&token(&request), never_received());
            *kept = Some(request.into_body());
            return cut();
        }
        let old: &mut Replay<Script> = kept.as_mut().unwrap();
        assert!(matches!(poll(old), Poll::Ready(Some(Err(body::Error::Revoked)))));
        assert_eq!(drain(request.body_mut()).octets, b"pay");
        fine()
    };
    let service = replaying(ReplayCaps::default()).layer(inner(act));
    service.oneshot(stream(pay())).await.unwrap();
    let mut old = old.lock().unwrap().take().unwrap();
    assert!(matches!(poll(&mut old), Poll::Ready(Some(Err(_)))), "never an end of stream");
}

/// Without a resend nothing is revoked, so that the test above could fail.
#[tokio::test(start_paused = true)]
async fn control_a_body_that_is_not_resent_stays_alive() {
    let old = Arc::new(Mutex::new(None));
    let kept = Arc::clone(&old);
    let act = move |_, request: Request<Replay<Script>>| {
        *kept.lock().unwrap() = Some(request.into_body());
        fine()
    };
    let service = replaying(ReplayCaps::default()).layer(inner(act));
    service.oneshot(stream(pay())).await.unwrap();
    let mut old: Replay<Script> = old.lock().unwrap().take().unwrap();
    assert_eq!(drain(&mut old).octets, b"pay");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_failed_is_never_resent() {
    let act = |call, mut request: Request<Replay<Script>>| {
        assert_eq!(call, 0);
        let Poll::Ready(Some(Err(error))) = poll(request.body_mut()) else {
            panic!("the body fails");
        };
        record(&token(&request), never_received().with_ended_by(EndedBy::RequestBody));
        Err(error.into())
    };
    let service = replaying(ReplayCaps::default()).layer(inner(act));
    let error = service.oneshot(stream([Step::Fail("no disk")])).await.unwrap_err();
    assert_eq!(refusal(&error), Some(NoResend::BodyFailed));
    let theirs = std::error::Error::source(&error).and_then(|ours| ours.source()).unwrap();
    assert_eq!(theirs.to_string(), "no disk");
}

#[tokio::test(start_paused = true)]
async fn a_body_failure_that_only_the_transport_saw_counts_too() {
    let act = |call, request: Request<Full<Bytes>>| {
        assert_eq!(call, 0);
        record(&token(&request), reset().with_ended_by(EndedBy::RequestBody));
        cut()
    };
    let error = ResendLayer::default().layer(inner(act)).oneshot(get()).await.unwrap_err();
    assert_eq!(refusal(&error), Some(NoResend::BodyFailed));
    assert!(error.fate().is_unknown(), "the fate comes from the evidence");
}

#[tokio::test(start_paused = true)]
async fn octets_in_memory_are_not_copied() {
    let octets = Bytes::from(vec![7; 100]);
    let place = octets.as_ptr() as usize;
    let act = move |call, mut request: Request<Full<Bytes>>| {
        let Poll::Ready(Some(Ok(frame))) = poll(request.body_mut()) else {
            panic!("a frame is there");
        };
        assert_eq!(frame.into_data().unwrap().as_ptr() as usize, place);
        record(&token(&request), never_received());
        if call == 0 { cut() } else { fine() }
    };
    let request = post().map(|_| Full::new(octets));
    ResendLayer::default().layer(inner(act)).oneshot(request).await.unwrap();
}

fn one_shot() -> Request<Body> {
    post().map(|_| Body::new(Full::new(Bytes::from("pay"))))
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_given_back_is_sent_again() {
    for evidence in [handed_back(), not_connected()] {
        let act = move |call, mut request: Request<Body>| {
            if call < 2 {
                let token = token(&request);
                record(&token, evidence);
                token.give_back(request);
                return cut();
            }
            assert_eq!(token(&request).len(), 2);
            assert_eq!(drain(request.body_mut()).octets, b"pay");
            fine()
        };
        ResendLayer::default().layer(inner(act)).oneshot(one_shot()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_not_given_back_is_gone() {
    let act = |call, request: Request<Body>| {
        assert_eq!(call, 0);
        record(&token(&request), handed_back());
        cut()
    };
    let mut error = ResendLayer::default().layer(inner(act)).oneshot(one_shot()).await.unwrap_err();
    assert_eq!(refusal(&error), Some(NoResend::BodyNotReplayable));
    assert!(error.fate().is_not_applied());
    assert!(error.take_request::<Body>().is_none());
}

/// A body of a user's own type, which cannot be copied.
#[derive(Debug)]
struct Once;

impl Replayable for Once {
    fn replay(&self) -> Result<Self, NotReplayable> {
        Err(NotReplayable::OneShot)
    }

    fn check_replay(&self) -> Result<(), NotReplayable> {
        Err(NotReplayable::OneShot)
    }
}

#[tokio::test(start_paused = true)]
async fn request_of_another_call_that_was_given_back_is_not_sent() {
    type Change = fn(&mut Request<Once>);
    let to_another_target: Change =
        |request| *request.uri_mut() = "http://elsewhere.test/".parse().unwrap();
    let as_another_version: Change = |request| *request.version_mut() = Version::HTTP_10;
    let with_another_field: Change = |request| {
        request.headers_mut().insert("via", HeaderValue::from_static("1.1 gateway"));
    };
    let as_it_was: Change = |_| {};
    for change in [to_another_target, as_another_version, with_another_field, as_it_was] {
        let act = move |call, mut request: Request<Once>| {
            if call > 0 {
                return fine();
            }
            let token = token(&request);
            record(&token, handed_back());
            change(&mut request);
            token.give_back(request);
            cut()
        };
        let resent = ResendLayer::default().layer(inner(act)).oneshot(post().map(|_| Once)).await;
        match resent {
            Ok(_) => assert!(std::ptr::fn_addr_eq(change, as_it_was)),
            Err(error) => assert_eq!(refusal(&error), Some(NoResend::BodyNotReplayable)),
        }
    }
}

/// The layer between does so with each attempt; the head is made anew for it.
#[tokio::test(start_paused = true)]
async fn a_stream_whose_head_a_layer_between_changed_is_sent_again() {
    let with_a_field = |mut request: Request<Body>| {
        request.headers_mut().append("via", HeaderValue::from_static("1.1 gateway"));
        request
    };
    let act = |call, mut request: Request<Body>| {
        assert_eq!(request.headers().get_all("via").iter().count(), 1);
        if call < 2 {
            let token = token(&request);
            record(&token, handed_back());
            token.give_back(request);
            return cut();
        }
        assert_eq!(drain(request.body_mut()).octets, b"pay");
        fine()
    };
    let service = ServiceBuilder::new().map_request(with_a_field).service(inner(act));
    ResendLayer::default().layer(service).oneshot(one_shot()).await.unwrap();
}

/// It would go through the layer between a second time.
#[tokio::test(start_paused = true)]
async fn a_stream_that_a_layer_between_changed_is_not_sent_again() {
    let twice = |request: Request<Body>| {
        request.map(|body| {
            Body::new(body.map_frame(|frame| frame.map_data(|data| data.repeat(2).into())))
        })
    };
    let act = |call, request: Request<Body>| {
        assert_eq!(call, 0);
        let token = token(&request);
        record(&token, handed_back());
        token.give_back(request);
        cut()
    };
    let service = ServiceBuilder::new().map_request(twice).service(inner(act));
    let error = ResendLayer::default().layer(service).oneshot(one_shot()).await.unwrap_err();
    assert_eq!(refusal(&error), Some(NoResend::BodyNotReplayable));
}

#[tokio::test(start_paused = true)]
async fn request_both_sent_and_given_back_is_not_believed() {
    let act = |call, request: Request<Body>| {
        assert_eq!(call, 0);
        let token = token(&request);
        record(&token, never_received());
        token.give_back(request);
        cut()
    };
    let error = ResendLayer::default().layer(inner(act)).oneshot(one_shot()).await.unwrap_err();
    assert_eq!(refusal(&error), Some(NoResend::BodyNotReplayable));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_given_back_goes_to_the_caller() {
    let policy = Policy::new().classifier(|_: &Fate, _: &RequestFacts| Opinion::Forbidden("no"));
    let act = |_, request: Request<Body>| {
        let token = token(&request);
        record(&token, handed_back());
        token.give_back(request);
        cut()
    };
    let service = ResendLayer::new(policy).layer(inner(act));
    let mut error = service.oneshot(one_shot()).await.unwrap_err();
    let request = error.take_request::<Body>().unwrap();
    assert!(request.extensions().get::<tower_resend::AttemptToken>().is_none());
    assert_eq!(drain(&mut request.into_body()).octets, b"pay");
}

#[tokio::test(start_paused = true)]
async fn a_factory_makes_the_body_anew() {
    let act = |call, mut request: Request<Body>| {
        assert_eq!(drain(request.body_mut()).octets, b"pay");
        record(&token(&request), never_received());
        if call < 3 { cut() } else { fine() }
    };
    let body = || Body::from_factory(|| Full::new(Bytes::from("pay")));
    ResendLayer::default().layer(inner(act)).oneshot(post().map(|_| body())).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_stands_down_records_no_body() {
    let caps = ReplayCaps::default();
    let held = caps.clone();
    let act = move |_, mut request: Request<Replay<Script>>| {
        drain(request.body_mut());
        assert_eq!(held.held(), 0);
        record(&token(&request), dropped());
        cut()
    };
    let mut request = stream(pay());
    request.extensions_mut().insert(tower_resend::AttemptToken::new());
    let error = replaying(caps).layer(inner(act)).oneshot(request).await.unwrap_err();
    assert_eq!(error.no_resend(), NoResend::StandsDown);
}

#[tokio::test(start_paused = true)]
async fn get_without_a_replayable_body_is_not_resent() {
    let act = |_, request: Request<Body>| {
        record(&token(&request), reset());
        cut()
    };
    let request = request("GET").map(|_| Body::new(Full::new(Bytes::from("q"))));
    let error = ResendLayer::default().layer(inner(act)).oneshot(request).await.unwrap_err();
    assert_eq!(refusal(&error), Some(NoResend::BodyNotReplayable));
    assert!(error.fate().is_unknown());
}

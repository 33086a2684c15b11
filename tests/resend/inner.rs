//! A scripted inner service, and the evidence that it records.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "this is a test")]

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt};
use tower_resend::{Attempt, AttemptToken, Error, Policy, ResendLayer};
use tower_resend_core::{
    Acked, Answer, ConnectFailure, Contract, EndedBy, Evidence, HandOff, Segments, Settled,
    StaleReason, TcpEvidence,
};
use tower_test::mock::{self, Handle, Mock, SendResponse};

pub(crate) type Octets = Full<Bytes>;
pub(crate) type Inner = Mock<Request<Octets>, Response<()>>;

// ===== requests =====

pub(crate) fn request(method: &str) -> Request<Octets> {
    Request::builder()
        .method(method)
        .uri("http://shop.test/orders?secret=1")
        .body(Full::from("pay"))
        .unwrap()
}

pub(crate) fn post() -> Request<Octets> {
    request("POST")
}

pub(crate) fn get() -> Request<Octets> {
    request("GET")
}

pub(crate) fn keyed_post() -> Request<Octets> {
    let mut request = post();
    request.headers_mut().insert("idempotency-key", "\"a1\"".parse().unwrap());
    request
}

pub(crate) fn token<B>(request: &Request<B>) -> AttemptToken {
    request.extensions().get::<AttemptToken>().expect("the layer marks its requests").clone()
}

// ===== evidence =====

pub(crate) fn record(token: &AttemptToken, evidence: Evidence) {
    token.record(Attempt::new(evidence, &Contract::none()));
}

pub(crate) fn reset() -> Evidence {
    Evidence::new(HandOff::Written).with_tcp(TcpEvidence::Reset(Acked::All))
}

pub(crate) fn never_received() -> Evidence {
    Evidence::new(HandOff::Written)
        .with_tcp(TcpEvidence::Fin(Acked::None, Settled::Reset(Segments::One)))
}

pub(crate) fn not_connected() -> Evidence {
    Evidence::new(HandOff::NotConnected(ConnectFailure::Connect(None)))
}

pub(crate) fn handed_back() -> Evidence {
    Evidence::new(HandOff::HandedBack(StaleReason::Fin))
}

pub(crate) fn answered(answer: Answer) -> Evidence {
    Evidence::new(HandOff::Written).with_answer(answer)
}

pub(crate) fn dropped() -> Evidence {
    Evidence::new(HandOff::Written).with_ended_by(EndedBy::Caller)
}

/// One piece of evidence for each ground that a proof can give.
pub(crate) fn proofs() -> Vec<Evidence> {
    vec![not_connected(), handed_back(), Evidence::new(HandOff::NothingWritten), never_received()]
}

// ===== services =====

pub(crate) type Spawned = mock::Spawn<tower_resend::Resend<Inner>>;

/// A layer over a mock, to be polled by hand.
pub(crate) fn spawn(policy: Policy) -> (Spawned, Handle<Request<Octets>, Response<()>>) {
    mock::spawn_layer(ResendLayer::new(policy))
}

/// Takes the request that the inner service got, without waiting.
pub(crate) fn taken(
    handle: &mut Handle<Request<Octets>, Response<()>>,
) -> (Request<Octets>, SendResponse<Response<()>>) {
    let mut next = tokio_test::task::spawn(handle.next_request());
    match next.poll() {
        Poll::Ready(Some(taken)) => taken,
        Poll::Ready(None) => panic!("the layer is gone"),
        Poll::Pending => panic!("the inner service got no request"),
    }
}

/// Fails a request that was taken, and gives it up.
pub(crate) fn fail_taken(
    (request, respond): (Request<Octets>, SendResponse<Response<()>>),
    evidence: Evidence,
) {
    record(&token(&request), evidence);
    drop(request);
    respond.send_error("failed");
}

/// What the scripted inner service does with one request.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Records these hand-offs and fails.
    Fail(Vec<Evidence>),
    /// Records these hand-offs and answers.
    Answer(u16, Vec<Evidence>),
    /// Never answers, and records this when it is dropped.
    Hang(Option<Evidence>),
}

pub(crate) fn fail(evidence: Evidence) -> Reply {
    Reply::Fail(vec![evidence])
}

pub(crate) fn ok() -> Reply {
    Reply::Answer(200, vec![answered(Answer::Complete)])
}

/// What came of a call.
#[derive(Debug)]
pub(crate) struct Played {
    pub(crate) result: Result<Response<()>, Error>,
    /// When each call of the inner service began, from the start.
    pub(crate) calls: Vec<Duration>,
    pub(crate) elapsed: Duration,
}

impl Played {
    pub(crate) fn error(self) -> Error {
        self.result.expect_err("the call should fail")
    }
}

struct OnDrop(AttemptToken, Option<Evidence>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        if let Some(evidence) = self.1 {
            record(&self.0, evidence);
        }
    }
}

/// Plays a call through the layer. `script` replies to each call of the inner
/// service, which are counted from 0. The paused clock moves by itself.
pub(crate) async fn play(
    policy: Policy,
    request: Request<Octets>,
    script: impl FnMut(usize) -> Reply + Send + 'static,
) -> Played {
    play_in(request, script, |inner| ResendLayer::new(policy).layer(inner)).await
}

/// As [`play`], with the layers that `stack` puts on the inner service.
pub(crate) async fn play_in<S, B>(
    request: Request<B>,
    script: impl FnMut(usize) -> Reply + Send + 'static,
    stack: impl FnOnce(Scripted) -> S,
) -> Played
where
    S: Service<Request<B>, Response = Response<()>, Error = Error>,
{
    let start = Instant::now();
    let inner = Scripted { script: Arc::new(Mutex::new(Box::new(script))), calls: Arc::default() };
    let calls = Arc::clone(&inner.calls);
    let result = stack(inner).oneshot(request).await;
    let calls = calls.lock().unwrap().iter().map(|&at| at - start).collect();
    Played { result, calls, elapsed: start.elapsed() }
}

type Script = Box<dyn FnMut(usize) -> Reply + Send>;

/// The scripted inner service.
#[derive(Clone)]
pub(crate) struct Scripted {
    script: Arc<Mutex<Script>>,
    calls: Arc<Mutex<Vec<Instant>>>,
}

impl<B> Service<Request<B>> for Scripted {
    type Response = Response<()>;
    type Error = tower::BoxError;
    type Future = std::pin::Pin<
        Box<dyn Future<Output = Result<Response<()>, tower::BoxError>> + Send + Sync>,
    >;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), tower::BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let token = token(&request);
        let reply = {
            let mut calls = self.calls.lock().unwrap();
            calls.push(Instant::now());
            assert!(calls.len() < 1000, "the layer never stops");
            (self.script.lock().unwrap())(calls.len() - 1)
        };
        Box::pin(async move {
            let hand_offs = match &reply {
                Reply::Fail(hand_offs) | Reply::Answer(_, hand_offs) => hand_offs.as_slice(),
                Reply::Hang(_) => &[],
            };
            hand_offs.iter().for_each(|evidence| record(&token, *evidence));
            match reply {
                Reply::Fail(_) => Err("the connection failed".into()),
                Reply::Answer(status, _) => {
                    let mut response = Response::new(());
                    *response.status_mut() = StatusCode::from_u16(status)?;
                    Ok(response)
                }
                Reply::Hang(evidence) => {
                    let _guard = OnDrop(token, evidence);
                    std::future::pending().await
                }
            }
        })
    }
}

/// Asserts that the inner service has got no request.
pub(crate) fn assert_none(handle: &mut Handle<Request<Octets>, Response<()>>) {
    let mut next = tokio_test::task::spawn(handle.next_request());
    assert!(next.poll().is_pending(), "the inner service got a request");
}

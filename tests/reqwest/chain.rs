//! What the errors of reqwest's own client prove: what was never sent, HTTP/2,
//! redirects, and errors that speak of another request.
//!
//! What HTTP/1.1 errors are made of is in `errors.rs`, and what
//! becomes of a request that was written in the suites over all stacks.

#![allow(clippy::unwrap_used, reason = "tests may")]

use crate::h2_origin;
use testkit::origin;

use std::error::Error as StdError;
use std::io;
use std::net::TcpListener;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body::{Body as HttpBody, Frame as BodyFrame};
use http_body_util::Full;
use hyper_util::client::legacy;
use tower::{ServiceBuilder, ServiceExt};
use tower_http::follow_redirect::FollowRedirectLayer;
use tower_resend::{AttemptError, Body, ResendLayer};
use tower_resend_core::{ConnectFailure, Doubt, Fate, Proof};
use tower_resend_reqwest::with_evidence;

use self::h2_origin::{Act, CANCEL, Frame, INTERNAL_ERROR, NO_ERROR, REFUSED_STREAM};
use self::origin::Origin;
use self::origin::closed_port::ClosedPort;

/// reqwest with nothing of the machine's own settings.
fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder().no_proxy()
}

fn post<B>(url: &str, body: B) -> Request<B> {
    Request::post(url).body(body).unwrap()
}

/// The failure of one POST, without anything that resends.
async fn failure_of(
    builder: reqwest::ClientBuilder,
    url: &str,
    body: &'static str,
) -> AttemptError {
    let body = Full::<Bytes>::from(body);
    with_evidence(builder).unwrap().oneshot(post(url, body)).await.unwrap_err()
}

async fn fate_of(builder: reqwest::ClientBuilder, url: &str) -> Fate {
    failure_of(builder, url, "pay").await.attempt().fate()
}

const UNKNOWN: Fate = Fate::Unknown(Doubt::NoEvidence);

// ===== never sent =====

const BAD_TARGET: Fate = Fate::NotApplied(Proof::NotConnected(ConnectFailure::BadTarget));

#[tokio::test]
async fn a_target_that_is_no_url_is_never_sent() {
    assert_eq!(fate_of(builder(), "/orders").await, BAD_TARGET);
}

#[tokio::test]
async fn a_scheme_that_reqwest_does_not_speak_is_never_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("ftp://{}/", listener.local_addr().unwrap());
    assert_eq!(fate_of(builder(), &url).await, BAD_TARGET);
    assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

// ===== HTTP/2 =====

/// The fate of a POST, and how often it was executed.
async fn over_http2(act: Act, body: &'static str) -> (Fate, usize) {
    let (url, executed) = h2_origin::start(act);
    let failure = failure_of(builder().http2_prior_knowledge(), &url, body).await;
    let fate = failure.attempt().fate();
    let executed = tokio::task::spawn_blocking(|| executed.join().unwrap()).await.unwrap();
    (fate, executed)
}

const REFUSED: Fate = Fate::NotApplied(Proof::RefusedStream);

#[tokio::test]
async fn a_refused_stream_is_not_applied() {
    let act = Act { executes: false, frame: Frame::Reset(REFUSED_STREAM) };
    assert_eq!(over_http2(act, "pay").await, (REFUSED, 0));
    assert_eq!(over_http2(act, "").await, (REFUSED, 0));
}

#[tokio::test]
async fn a_stream_reset_for_another_reason_is_unknown() {
    for code in [NO_ERROR, INTERNAL_ERROR, CANCEL] {
        let act = Act { executes: true, frame: Frame::Reset(code) };
        assert_eq!(over_http2(act, "pay").await, (UNKNOWN, 1), "{code}");
    }
}

#[tokio::test]
async fn goaway_that_excludes_the_stream_is_not_applied() {
    for code in [NO_ERROR, INTERNAL_ERROR] {
        let act = Act { executes: false, frame: Frame::GoAway(0, code) };
        assert_eq!(over_http2(act, "pay").await, (REFUSED, 0), "{code}");
    }
}

#[tokio::test]
async fn a_goaway_that_names_the_stream_is_unknown() {
    for code in [NO_ERROR, INTERNAL_ERROR] {
        let act = Act { executes: true, frame: Frame::GoAway(1, code) };
        assert_eq!(over_http2(act, "pay").await, (UNKNOWN, 1), "{code}");
    }
}

/// hyper has a way to the same error for a stream that the GOAWAY names; only
/// a body that was polled tells them apart.
#[tokio::test]
async fn a_goaway_proves_nothing_for_a_request_without_a_body() {
    let act = Act { executes: false, frame: Frame::GoAway(0, NO_ERROR) };
    assert_eq!(over_http2(act, "").await, (UNKNOWN, 0));
}

// ===== more than one request =====

/// A POST that is executed, and answered by a 303 to a closed port.
fn redirecting(connections: usize, to: &ClosedPort) -> Origin {
    let target = to.url();
    Origin::start(connections, move |_, mut peer| {
        peer.read_request();
        peer.write(&format!(
            "HTTP/1.1 303 See Other\r\nlocation: {target}\r\ncontent-length: 0\r\n\r\n"
        ));
    })
}

#[tokio::test]
async fn redirects_are_off_whatever_the_builder_says() {
    let closed = ClosedPort::new();
    let origin = redirecting(1, &closed);
    let builder = builder().redirect(reqwest::redirect::Policy::limited(10));
    let request = post(&origin.url("/orders"), Body::from("pay"));
    let response = with_evidence(builder).unwrap().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert_eq!(origin.finish(), ["/orders"]);
}

#[tokio::test]
async fn post_with_a_dead_redirect_is_sent_once() {
    let closed = ClosedPort::new();
    let origin = redirecting(1, &closed);
    let service = ServiceBuilder::new()
        .layer(ResendLayer::default())
        .layer(FollowRedirectLayer::new())
        .service(with_evidence(builder()).unwrap());
    let request = post(&origin.url("/orders"), Body::from("pay"));
    let error = service.oneshot(request).await.unwrap_err();
    assert!(!error.fate().is_not_applied(), "{error}");
    assert_eq!(origin.finish(), ["/orders"]);
}

#[tokio::test]
async fn control_trusting_is_connect_after_a_redirect_doubles() {
    let closed = ClosedPort::new();
    let origin = redirecting(2, &closed);
    // Each request on a connection of its own.
    let builder = builder().pool_max_idle_per_host(0);
    let client = builder.redirect(reqwest::redirect::Policy::limited(10)).build().unwrap();
    for _ in 0..2 {
        let error = client.post(origin.url("/orders")).body("pay").send().await.unwrap_err();
        assert!(error.is_connect(), "it would be called never sent, and be sent again");
    }
    assert_eq!(origin.finish(), ["/orders", "/orders"]);
}

/// A client that sends again whatever failed.
fn retrying() -> reqwest::ClientBuilder {
    let retry = reqwest::retry::for_host("127.0.0.1").no_budget();
    let retry = retry.classify_fn(|attempt| attempt.retryable());
    builder().http2_prior_knowledge().retry(retry)
}

/// Its second request would not be refused so.
const REFUSES_ONCE: Act = Act { executes: false, frame: Frame::Reset(REFUSED_STREAM) };

/// Two things keep them off: the setting, and that reqwest cannot clone a body
/// which was wrapped.
#[tokio::test]
async fn retries_of_reqwest_are_off_whatever_the_builder_says() {
    let (url, executed) = h2_origin::start(REFUSES_ONCE);
    assert_eq!(failure_of(retrying(), &url, "pay").await.attempt().fate(), REFUSED);
    let executed = tokio::task::spawn_blocking(|| executed.join().unwrap()).await.unwrap();
    assert_eq!(executed, 0);
}

// ===== errors that speak of another request =====

/// Some bytes, and then the error of another client's refused connection.
struct Relayed {
    octets: Option<Bytes>,
    error: Option<reqwest::Error>,
}

impl HttpBody for Relayed {
    type Data = Bytes;
    type Error = reqwest::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, reqwest::Error>>> {
        if let Some(octets) = self.octets.take() {
            return Poll::Ready(Some(Ok(BodyFrame::data(octets))));
        }
        Poll::Ready(self.error.take().map(Err))
    }
}

#[tokio::test]
async fn an_error_of_the_requests_body_says_nothing_of_the_request() {
    let origin = Origin::start(1, |_, mut peer| {
        peer.read_request();
    });
    let closed = ClosedPort::new();
    let error = builder().build().unwrap().get(closed.url()).send().await.unwrap_err();
    let body = Relayed { octets: Some(Bytes::from("pay")), error: Some(error) };
    let request = post(&origin.url("/orders"), body);
    let failure = with_evidence(builder()).unwrap().oneshot(request).await.unwrap_err();
    assert_eq!(failure.attempt().fate(), UNKNOWN);
    let error = failure.into_source().expect("a source");
    let error = error.downcast::<reqwest::Error>().expect("an error of reqwest");
    assert!(is_connect_anywhere(&*error), "control: a search of the chain says never sent");
    assert!(error.is_connect(), "control: and so does reqwest's own predicate");
}

fn is_connect_anywhere(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref().is_some_and(legacy::Error::is_connect) {
            return true;
        }
        next = error.source();
    }
    false
}

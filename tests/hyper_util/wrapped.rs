//! hyper-util's legacy client over our connections: unmodified, and wrapped
//! under the resending layer.

#![allow(clippy::unwrap_used, reason = "a test panics when something is in its way")]

use testkit::circular;
use testkit::origin;
use testkit::stacks::heard;
use testkit::stacks::still;

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_resend::hyper_util::{
    Connector, EvidenceClient, TrackedBody, TrackedStream, with_evidence,
};
use tower_resend::{Attempt, AttemptError, AttemptToken, Policy, ResendLayer, attempts};
use tower_resend_core::{ConnectFailure, Doubt, Errno, Fate, Proof, StaleReason};

use self::circular::Circular;
use self::origin::closed_port::ClosedPort;
use self::origin::{Origin, Peer, turnstile};
use self::still::until_idle;

const ROUNDS: usize = 20;

type Pay = Full<Bytes>;

fn post(url: &str) -> Request<Pay> {
    Request::post(url).body(Full::from("pay")).unwrap()
}

/// The wrapped client. Each request that is handed back is a failure.
fn wrapped() -> EvidenceClient<Connector, Pay> {
    let mut builder = Client::builder(TokioExecutor::new());
    with_evidence(builder.retry_canceled_requests(false).build(Connector::new()))
}

// ===== closes at the moment of sending =====

/// Closes while a request is on its way, or is not yet: each call ends, also
/// where hyper leaves its request behind, and what it says is true.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_at_the_moment_of_sending_is_reported_truly() {
    for _ in 0..ROUNDS {
        let (go, may_go) = turnstile();
        let origin = Origin::start(2, move |nth, mut peer| {
            peer.serve(1);
            if nth == 0 {
                may_go.recv().unwrap();
            }
        });
        let client = wrapped();
        let before = client.clone().oneshot(post(&origin.url("/before"))).await.unwrap();
        before.into_body().collect().await.unwrap();
        until_idle().await;
        let service = ServiceBuilder::new().layer(ResendLayer::default()).service(client);
        go.send(()).unwrap();
        let expected = match service.oneshot(post(&origin.url("/after"))).await {
            Ok(response) => {
                let hand_offs = attempts(&response).iter().rev().skip(1);
                assert!(hand_offs.map(Attempt::fate).all(|fate| fate.is_not_applied()));
                "/after"
            }
            Err(error) => {
                // A close with the request unread is a reset, which proves nothing.
                assert!(matches!(error.fate(), Fate::Unknown(Doubt::Reset(_))), "{error}");
                wrapped().oneshot(post(&origin.url("/other"))).await.unwrap();
                "/other"
            }
        };
        assert_eq!(origin.finish(), ["/before", expected]);
    }
}

// ===== failures after the request was written =====

/// Serves `before` requests, then lets `act` treat the next one. Returns the
/// attempt that failed, and how often its request was dispatched.
async fn fail_after<S, RB>(service: S, before: usize, act: fn(Peer)) -> (Attempt, usize)
where
    S: Service<Request<Pay>, Response = http::Response<RB>> + Clone,
    S::Error: Into<tower::BoxError>,
    RB: http_body::Body,
    RB::Error: std::fmt::Debug,
{
    let origin = Origin::start(1, move |_, mut peer| {
        peer.serve(before);
        act(peer);
    });
    for _ in 0..before {
        let answered = service.clone().oneshot(post(&origin.url("/before"))).await;
        let response = answered.map_err(Into::into).unwrap();
        response.into_body().collect().await.unwrap();
        until_idle().await;
    }
    let token = AttemptToken::new();
    let mut request = post(&origin.url("/last"));
    request.extensions_mut().insert(token.clone());
    assert!(service.oneshot(request).await.is_err());
    let [attempt] = &token.attempts()[..] else { panic!("{token:?}") };
    let taken_up = origin.finish().iter().filter(|target| *target == "/last").count();
    (attempt.clone(), taken_up)
}

/// What the boundary rests on: hyper asks the body before it writes the head.
/// Were it otherwise, the bytes counted would be fewer than those sent.
#[tokio::test]
async fn every_byte_of_a_request_is_counted_as_its_own() {
    for before in [0, 1, 2] {
        let (first, _) = fail_after(wrapped(), before, |mut peer| drop(peer.read_request())).await;
        let head = "POST /last HTTP/1.1\r\nhost: 127.0.0.1:12345\r\ncontent-length: 3\r\n\r\npay";
        let longest = head.len() as u64;
        let written = first.evidence().counts.written;
        // The port has four or five digits.
        assert!((longest - 1..=longest).contains(&written), "{written} of {longest}");
    }
}

// ===== connections without a boundary or without a record =====

/// A connector above ours that greets, as TLS and tunnels do.
#[derive(Clone)]
struct Greeting(Connector);

impl Service<Uri> for Greeting {
    type Response = TrackedStream;
    type Error = tower::BoxError;
    type Future =
        std::pin::Pin<Box<dyn Future<Output = Result<TrackedStream, tower::BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Result<(), tower::BoxError>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let connecting = self.0.call(target);
        Box::pin(async move {
            let mut io = hyper_util::rt::TokioIo::new(connecting.await?);
            tokio::io::AsyncWriteExt::write_all(&mut io, b"GET /hello HTTP/1.1\r\n\r\n").await?;
            let mut hello = [0; 40];
            tokio::io::AsyncReadExt::read_exact(&mut io, &mut hello).await?;
            Ok(io.into_inner())
        })
    }
}

fn greeting() -> EvidenceClient<Greeting, Pay> {
    let mut builder = Client::builder(TokioExecutor::new());
    with_evidence(builder.retry_canceled_requests(false).build(Greeting(Connector::new())))
}

/// The greeting is the origin's first request on the connection.
fn greets(mut peer: Peer) -> Peer {
    assert_eq!(peer.read_request().as_deref(), Some("/hello"));
    peer.answer();
    peer
}

#[tokio::test]
async fn below_another_protocol_no_boundary_is_claimed() {
    for before in [0, 1, 3] {
        let origin = Origin::start(1, move |_, peer| {
            let mut peer = greets(peer);
            peer.serve(before);
            peer.wait_for_bytes();
        });
        let client = greeting();
        for _ in 0..before {
            let response = client.clone().oneshot(post(&origin.url("/before"))).await.unwrap();
            response.into_body().collect().await.unwrap();
            until_idle().await;
        }
        let failure = client.oneshot(post(&origin.url("/last"))).await.unwrap_err();
        assert_eq!(failure.attempt().fate(), Fate::Unknown(Doubt::NoRequestBoundary));
        assert!(!origin.finish().iter().any(|target| target == "/last"));
    }
}

/// A FIN while it is idle is found by the stale check there too.
#[tokio::test]
async fn request_below_another_protocol_is_still_handed_back() {
    for _ in 0..ROUNDS {
        let (acted, has_acted) = turnstile();
        let (go, may_go) = turnstile();
        let origin = Origin::start(1, move |_, peer| {
            let mut peer = greets(peer);
            peer.serve(1);
            may_go.recv().unwrap();
            heard::closes(peer);
            acted.send(()).unwrap();
        });
        let client = greeting();
        let response = client.clone().oneshot(post(&origin.url("/before"))).await.unwrap();
        response.into_body().collect().await.unwrap();
        until_idle().await;
        go.send(()).unwrap();
        has_acted.recv().unwrap();
        let failure = client.oneshot(post(&origin.url("/last"))).await.unwrap_err();
        let handed_back = Fate::NotApplied(Proof::HandedBack(StaleReason::Fin));
        assert_eq!(failure.attempt().fate(), handed_back);
        assert_eq!(origin.finish(), ["/hello", "/before"]);
    }
}

#[tokio::test]
async fn without_our_connector_there_is_no_evidence() {
    let client: Client<HttpConnector, TrackedBody<Pay>> =
        Client::builder(TokioExecutor::new()).build_http();
    let (attempt, taken_up) =
        fail_after(with_evidence(client), 1, |mut peer| drop(peer.read_request())).await;
    assert_eq!(attempt.fate(), Fate::Unknown(Doubt::NoEvidence));
    assert_eq!(taken_up, 1);
}

// ===== requests that were never sent =====

#[tokio::test]
async fn a_refused_connect_is_typed() {
    let failure = wrapped().oneshot(post(&ClosedPort::new().url())).await.unwrap_err();
    let why = ConnectFailure::Connect(Some(Errno::ECONNREFUSED));
    assert_eq!(failure.attempt().fate(), Fate::NotApplied(Proof::NotConnected(why)));
}

#[tokio::test]
async fn a_request_without_a_host_is_not_sent() {
    let failure = wrapped().oneshot(post("/nowhere")).await.unwrap_err();
    let why = ConnectFailure::BadTarget;
    assert_eq!(failure.attempt().fate(), Fate::NotApplied(Proof::NotConnected(why)));
}

/// A GET whose first attempt is unknown is sent again, and that is refused.
#[tokio::test]
async fn unknown_and_then_refused_stays_unknown() {
    let closed = ClosedPort::new();
    let listener = closed.open();
    let server = tokio::task::spawn_blocking(move || {
        let (mut peer, _) = listener.accept().unwrap();
        assert!(std::io::Read::read(&mut peer, &mut [0; 1024]).unwrap() > 0);
        drop(listener);
    });
    let policy = Policy::default().connect_patience(Duration::from_millis(50));
    let service = ServiceBuilder::new().layer(ResendLayer::new(policy)).service(wrapped());
    let request = Request::get(closed.url()).body(Pay::default()).unwrap();
    let error = service.oneshot(request).await.unwrap_err();
    server.await.unwrap();
    assert_eq!(error.fate(), Fate::Unknown(Doubt::Acknowledged), "{error}");
    let last = error.attempts().last().unwrap().fate();
    let why = ConnectFailure::Connect(Some(Errno::ECONNREFUSED));
    assert_eq!(last, Fate::NotApplied(Proof::NotConnected(why)));
}

// ===== calls that are given up =====

#[tokio::test]
async fn dropped_call_ends_its_connection_and_is_unknown() {
    let (read, has_read) = turnstile();
    let origin = Origin::start(1, move |_, mut peer| {
        assert!(peer.read_request().is_some());
        read.send(()).unwrap();
        assert_eq!(peer.read_request(), None);
    });
    let token = AttemptToken::new();
    let mut request = post(&origin.url("/dropped"));
    request.extensions_mut().insert(token.clone());
    let call = tokio::spawn(wrapped().oneshot(request));
    tokio::task::spawn_blocking(move || has_read.recv().unwrap()).await.unwrap();
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    assert_eq!(tokio::task::spawn_blocking(|| origin.finish()).await.unwrap(), ["/dropped"]);
    let fates: Vec<_> = token.attempts().iter().map(Attempt::fate).collect();
    assert_eq!(fates, [Fate::Unknown(Doubt::Cancelled)]);
}

#[tokio::test]
async fn a_call_that_is_dropped_before_it_is_polled_was_not_sent() {
    let token = AttemptToken::new();
    let mut request = post("http://127.0.0.1:1/");
    request.extensions_mut().insert(token.clone());
    drop(wrapped().call(request));
    let fates: Vec<_> = token.attempts().iter().map(Attempt::fate).collect();
    let why = ConnectFailure::PoolWait;
    assert_eq!(fates, [Fate::NotApplied(Proof::NotConnected(why))]);
}

// ===== answers =====

#[tokio::test]
async fn a_421_is_resent_once_on_another_connection() {
    let origin = Origin::start(2, |nth, mut peer| {
        assert!(peer.read_request().is_some());
        match nth {
            0 => peer.write("HTTP/1.1 421 No\r\ncontent-length: 0\r\n\r\n"),
            _ => peer.answer(),
        }
    });
    let service = ServiceBuilder::new().layer(ResendLayer::default()).service(wrapped());
    let response = service.oneshot(post(&origin.url("/moved"))).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let fates: Vec<_> = attempts(&response).iter().map(Attempt::fate).collect();
    assert_eq!(fates, [Fate::NotApplied(Proof::Misdirected), Fate::Completed]);
    assert_eq!(origin.finish().len(), 2);
}

/// An upgraded connection is left alone.
#[tokio::test]
async fn an_upgrade_works() {
    let origin = Origin::start(1, |_, mut peer| {
        assert!(peer.read_request().is_some());
        peer.write("HTTP/1.1 101 Go\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n");
        assert!(peer.read_request().is_some());
        peer.write("pong");
    });
    let mut request = post(&origin.url("/upgrade"));
    request.headers_mut().insert("connection", "upgrade".parse().unwrap());
    request.headers_mut().insert("upgrade", "echo".parse().unwrap());
    let response = wrapped().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let upgraded = hyper::upgrade::on(response).await.unwrap();
    let mut io = hyper_util::rt::TokioIo::new(upgraded);
    tokio::io::AsyncWriteExt::write_all(&mut io, b"PING /echo\r\n\r\n").await.unwrap();
    let mut pong = [0; 4];
    tokio::io::AsyncReadExt::read_exact(&mut io, &mut pong).await.unwrap();
    assert_eq!(&pong, b"pong");
    origin.finish();
}

// ===== types =====

#[test]
fn the_types_are_as_free_as_those_they_replace() {
    fn is_free<T: Clone + Send + Sync + Unpin + 'static>() {}
    fn is_shareable<T: Send + Sync + Unpin + 'static>() {}
    fn is_error<T: std::error::Error + Send + Sync + 'static>() {}
    fn is_client<T: Service<Request<Pay>, Error = AttemptError> + Clone>(_: &T) {}
    is_free::<Connector>();
    is_free::<Connector<HttpConnector>>();
    is_free::<EvidenceClient<Connector, Pay>>();
    is_shareable::<TrackedStream>();
    is_shareable::<TrackedBody<Pay>>();
    is_error::<AttemptError>();
    is_client(&wrapped());
    is_client(&with_evidence(Client::builder(TokioExecutor::new()).build(Connector::around(Raw))));
    let _ = Arc::new(wrapped());
}

/// A connector of a user, which yields tokio's own streams.
#[derive(Clone)]
struct Raw;

impl Service<Uri> for Raw {
    type Response = tokio::net::TcpStream;
    type Error = std::io::Error;
    type Future =
        std::pin::Pin<Box<dyn Future<Output = std::io::Result<tokio::net::TcpStream>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let address = target.authority().unwrap().to_string();
        Box::pin(tokio::net::TcpStream::connect(address))
    }
}

#[tokio::test]
async fn any_connector_of_tcp_streams_can_be_under_ours() {
    let origin = Origin::start(1, |_, mut peer| peer.serve(1));
    let client = with_evidence(Client::builder(TokioExecutor::new()).build(Connector::around(Raw)));
    let response = client.oneshot(post(&origin.url("/raw"))).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.extensions().get::<hyper_util::client::legacy::connect::HttpInfo>().is_some());
    origin.finish();
}

/// Such as a resolver's: it has no last one to walk to.
#[tokio::test]
async fn a_connectors_error_that_is_its_own_source_ends_the_call() {
    let fails =
        tower::service_fn(|_: Uri| std::future::ready(Err::<tokio::net::TcpStream, _>(Circular)));
    let client = Client::builder(TokioExecutor::new()).build(Connector::around(fails));
    let failure = with_evidence(client).oneshot(post("http://origin.invalid/")).await.unwrap_err();
    assert!(failure.attempt().fate().is_not_applied());
}

// ===== targets =====

/// As of a request that came to a gateway by HTTP/2. The client would refuse it on a
/// connection of HTTP/1.
#[tokio::test]
async fn request_of_another_version_is_sent_as_the_connection_speaks() {
    let origin = Origin::start(1, |_, mut peer| peer.serve(3));
    let client = wrapped();
    for version in [http::Version::HTTP_2, http::Version::HTTP_3, http::Version::HTTP_11] {
        let mut request = post(&origin.url("/orders"));
        *request.version_mut() = version;
        client.clone().oneshot(request).await.unwrap().into_body().collect().await.unwrap();
    }
    assert_eq!(origin.finish().len(), 3);
    let mut request = post("http://origin.invalid/");
    *request.version_mut() = http::Version::HTTP_09;
    let failure = wrapped().oneshot(request).await.unwrap_err();
    let bad = Proof::NotConnected(ConnectFailure::BadTarget);
    assert_eq!(failure.attempt().fate(), Fate::NotApplied(bad));
}

/// In the place of an `HttpConnector` it must not be the one that sends in
/// plain text what was meant for TLS.
#[tokio::test]
async fn target_other_than_http_fails_without_tls_and_gets_no_byte() {
    for scheme in ["https", "wss", "ftp"] {
        refuses_unless_told_otherwise(scheme).await;
    }
}

async fn refuses_unless_told_otherwise(scheme: &str) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("{scheme}://{}/", listener.local_addr().unwrap());
    let client = Client::builder(TokioExecutor::new()).build::<_, Pay>(Connector::new());
    let error = tokio::select! {
        answered = client.request(post(&url)) => answered.unwrap_err(),
        _ = listener.accept() => panic!("{scheme}: it was connected to"),
    };
    assert!(error.is_connect());
    let connected = Connector::new().enforce_http(false).oneshot(url.parse().unwrap());
    let (connected, accepted) = tokio::join!(connected, listener.accept());
    drop((connected.unwrap(), accepted.unwrap()));
}

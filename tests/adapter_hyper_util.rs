//! hyper-util's legacy client over our connections: unmodified, and wrapped
//! under the resending layer.

#![allow(clippy::unwrap_used, reason = "a test panics when something is in its way")]

#[path = "support/origin.rs"]
mod origin;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::TokioExecutor;
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_resend::adapter::hyper_util::{Connector, Failure, Marked, Metered, Wrapped, wrap};
use tower_resend::classify::{Acked, ConnectFailure, Doubt, Errno, Fate, Finding, HandOff, Proof};
use tower_resend::pool::{Pool, PoolOptions};
use tower_resend::{Attempt, AttemptToken, Policy, ResendLayer, attempts};

use self::origin::{Origin, Peer, turnstile};

const ROUNDS: usize = 20;

type Pay = Full<Bytes>;

fn post(url: &str) -> Request<Pay> {
    Request::post(url).body(Full::from("pay")).unwrap()
}

// ===== connections that ended or spoke while they were idle =====

/// What the origin does to its first connection once it is idle.
type Act = fn(Peer);

fn fin(peer: Peer) {
    closes(peer);
}

fn reset(peer: Peer) {
    let ends = (peer.stream().local_addr().unwrap(), peer.stream().peer_addr().unwrap());
    peer.reset();
    heard::until_reset(ends.1.port(), ends.0.port());
}

fn says_599_and_closes(mut peer: Peer) {
    peer.write("HTTP/1.1 599 Going Away\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    closes(peer);
}

fn says_408_and_closes(mut peer: Peer) {
    peer.write("HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    closes(peer);
}

fn says_599_and_stays(peer: Peer) {
    says(peer, "HTTP/1.1 599 Going Away\r\ncontent-length: 0\r\n\r\n");
}

fn says_200_and_stays(peer: Peer) {
    says(peer, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nstray");
}

/// Closes, and returns once the other kernel has the FIN.
fn closes(peer: Peer) {
    peer.half_close();
    heard::until_fin(peer.stream());
    peer.close();
}

/// Says something and stays open, for ever. Returns once the other kernel has
/// heard it.
fn says(mut peer: Peer, text: &str) {
    let before = heard::octets(peer.stream());
    peer.write(text);
    heard::until_octets(peer.stream(), before + text.len() as u64);
    std::mem::forget(peer);
}

/// Waits until the client's kernel has heard what its peer sent: on a busy
/// machine loopback delivers late.
#[cfg(target_os = "linux")]
#[path = "support/tcp_info.rs"]
mod tcp_info;

#[cfg(target_os = "linux")]
mod heard {
    use std::net::TcpStream;
    use std::thread::yield_now;

    use tower_resend::classify::TcpState;

    use super::tcp_info::snapshot;

    /// Linux's FIN_WAIT1: the FIN is not acknowledged yet.
    const FIN_WAIT1: TcpState = TcpState::Other(4);

    pub(super) fn octets(stream: &TcpStream) -> u64 {
        snapshot(stream).bytes_acked
    }

    pub(super) fn until_octets(stream: &TcpStream, octets: u64) {
        while snapshot(stream).bytes_acked < octets {
            yield_now();
        }
    }

    pub(super) fn until_fin(stream: &TcpStream) {
        while matches!(snapshot(stream).state, TcpState::Established | FIN_WAIT1) {
            yield_now();
        }
    }

    /// A socket that was reset is no longer listed.
    pub(super) fn until_reset(local: u16, remote: u16) {
        let (local, remote) = (format!("0100007F:{local:04X}"), format!("0100007F:{remote:04X}"));
        let is_it = |line: &str| line.contains(&format!(" {local} {remote} "));
        while std::fs::read_to_string("/proc/net/tcp").unwrap().lines().any(is_it) {
            yield_now();
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod heard {
    use std::net::TcpStream;

    pub(super) fn octets(_: &TcpStream) -> u64 {
        0
    }
    pub(super) fn until_octets(_: &TcpStream, _: u64) {}
    pub(super) fn until_fin(_: &TcpStream) {}
    pub(super) fn until_reset(_: u16, _: u16) {}
}

/// A client under test: answers with the body and the fates that are known.
trait Caller {
    async fn call(&self, url: &str) -> Result<(StatusCode, Bytes, Vec<Fate>), String>;
}

impl<C: Connect + Clone + Send + Sync + 'static> Caller for Client<C, Pay> {
    async fn call(&self, url: &str) -> Result<(StatusCode, Bytes, Vec<Fate>), String> {
        let response = self.request(post(url)).await.map_err(|error| format!("{error:?}"))?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|error| format!("{error:?}"))?;
        Ok((status, body.to_bytes(), Vec::new()))
    }
}

/// The wrapped client under the layer.
struct Layered<C>(Wrapped<C, Pay>);

impl<C: Connect + Clone + Send + Sync + 'static> Caller for Layered<C> {
    async fn call(&self, url: &str) -> Result<(StatusCode, Bytes, Vec<Fate>), String> {
        let service = ServiceBuilder::new().layer(ResendLayer::default()).service(self.0.clone());
        let response = service.oneshot(post(url)).await.map_err(|error| format!("{error:?}"))?;
        let status = response.status();
        let fates = attempts(&response).iter().map(Attempt::fate).collect();
        let body = response.into_body().collect().await.map_err(|error| format!("{error:?}"))?;
        Ok((status, body.to_bytes(), fates))
    }
}

fn unmodified() -> Client<Connector, Pay> {
    Client::builder(TokioExecutor::new()).build(Connector::new())
}

fn layered(retries: bool) -> Layered<Connector> {
    let mut builder = Client::builder(TokioExecutor::new());
    Layered(wrap(builder.retry_canceled_requests(retries).build(Connector::new())))
}

/// One round: a request is served, then the origin acts, and the next request
/// is sent once the kernel knows of it. Returns how that ended, and what was
/// taken up of it.
async fn round(client: impl Caller, act: Act) -> (Result<Vec<Fate>, String>, usize) {
    let (acted, has_acted) = turnstile();
    let (go, may_go) = turnstile();
    let origin = Origin::start(2, move |nth, mut peer| {
        if nth == 0 {
            peer.serve(1);
            may_go.recv().unwrap();
            act(peer);
            acted.send(()).unwrap();
        } else {
            peer.serve(1);
        }
    });
    client.call(&origin.url("/before")).await.unwrap();
    until_idle().await;
    let held = hold_workers().await;
    go.send(()).unwrap();
    has_acted.recv().unwrap();
    let url = origin.url("/after");
    let mut call = pin!(client.call(&url));
    // The request is handed over before the runtime has heard of anything.
    let first = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
    drop(held);
    let answered = match first {
        Poll::Ready(answered) => answered,
        Poll::Pending => call.await,
    };
    let outcome = match answered {
        Ok((StatusCode::OK, body, fates)) if body == "ok" => Ok(fates),
        other => Err(format!("{other:?}")),
    };
    if outcome.is_err() {
        // The script still waits for its second connection.
        unmodified().call(&origin.url("/other")).await.unwrap();
    }
    let taken_up = origin.finish();
    (outcome, taken_up.iter().filter(|target| *target == "/after").count())
}

/// Waits until every task waits for something else: the connection is then
/// back in the pool, and nobody is in the middle of looking at it.
async fn until_idle() {
    let metrics = tokio::runtime::Handle::current().metrics();
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
    let is_parked = |worker| metrics.worker_park_unpark_count(worker) % 2 == 1;
    if tokio::runtime::Handle::current().runtime_flavor()
        == tokio::runtime::RuntimeFlavor::MultiThread
    {
        while !(0..metrics.num_workers()).all(is_parked) {
            std::thread::yield_now();
        }
    }
}

/// Keeps all workers of a runtime with several from doing anything until the
/// sender is dropped; this very task runs on none of them.
async fn hold_workers() -> Vec<Sender<()>> {
    let runtime = tokio::runtime::Handle::current();
    if runtime.runtime_flavor() != tokio::runtime::RuntimeFlavor::MultiThread {
        return Vec::new();
    }
    let workers = runtime.metrics().num_workers();
    let all_held = Arc::new(std::sync::Barrier::new(workers + 1));
    let hold = |_| {
        let (held, is_released) = turnstile();
        let all_held = Arc::clone(&all_held);
        tokio::spawn(async move {
            all_held.wait();
            let _ = is_released.recv();
        });
        held
    };
    let held = (0..workers).map(hold).collect();
    all_held.wait();
    held
}

async fn survives(client: impl Fn() -> Layered<Connector>, act: Act, found: Finding) {
    for _ in 0..ROUNDS {
        let (outcome, taken_up) = round(unmodified(), act).await;
        assert_eq!(outcome, Ok(Vec::new()), "the unmodified client");
        assert_eq!(taken_up, 1);
        let (outcome, taken_up) = round(layered(true), act).await;
        assert_eq!(outcome, Ok(Vec::new()), "what the legacy client sends again is not seen");
        assert_eq!(taken_up, 1);
        let (outcome, taken_up) = round(client(), act).await;
        assert_eq!(taken_up, 1, "{outcome:?}");
        match outcome.unwrap()[..] {
            [Fate::NotApplied(Proof::HandedBack(what)), Fate::Completed] => {
                assert_eq!(what, found);
            }
            ref fates => panic!("{fates:?}"),
        }
    }
}

macro_rules! idle {
    ($($name:ident: $act:expr => $found:expr;)*) => {
        mod current_thread {
            use super::*;
            $(#[tokio::test] async fn $name() {
                survives(|| layered(false), $act, $found).await;
            })*
        }
        mod multi_thread {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { survives(|| layered(false), $act, $found).await; })*
        }
        /// The same rounds with hyper-util's own connector.
        mod control {
            use super::*;
            $(#[tokio::test] async fn $name() {
                for _ in 0..ROUNDS {
                    let client = Client::builder(TokioExecutor::new()).build_http::<Pay>();
                    let (outcome, taken_up) = round(client, $act).await;
                    outcome.unwrap_err();
                    assert_eq!(taken_up, 0, "it was not taken up, and lost");
                }
            })*
        }
    };
}

idle! {
    a_fin: fin => Finding::Fin;
    a_reset: reset => Finding::Reset;
    a_599_with_close: says_599_and_closes => Finding::Stray;
    a_408_with_close: says_408_and_closes => Finding::Stray;
    a_599_without_close: says_599_and_stays => Finding::Stray;
    a_stray_200: says_200_and_stays => Finding::Stray;
}

/// Closes while a request is on its way, or is not yet: each call ends, also
/// where hyper leaves its request behind, and what it says is true.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_at_the_moment_of_sending_is_told_truly() {
    for _ in 0..ROUNDS {
        let (go, may_go) = turnstile();
        let origin = Origin::start(2, move |nth, mut peer| {
            peer.serve(1);
            if nth == 0 {
                may_go.recv().unwrap();
            }
        });
        let client = layered(false).0;
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
                unmodified().call(&origin.url("/other")).await.unwrap();
                "/other"
            }
        };
        assert_eq!(origin.finish(), ["/before", expected]);
    }
}

// ===== failures after the request was written =====

/// Serves `before` requests, then lets `act` treat the next one. Returns the
/// attempt that failed, and how often its request was taken up.
async fn fail_after<S, RB>(service: S, before: usize, act: Act) -> (Attempt, usize)
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

fn wrapped() -> Wrapped<Connector, Pay> {
    layered(false).0
}

fn is_one_of(attempt: &Attempt, doubts: &[Doubt]) -> bool {
    attempt.fate().doubt().is_some_and(|doubt| doubts.contains(&doubt))
}

macro_rules! after_write {
    ($($name:ident: $act:expr, $taken_up:expr => $doubts:expr;)*) => {
        $(#[tokio::test]
        async fn $name() {
            for before in [0, 1, 3] {
                let (ours, _) = fail_after(Pool::new(PoolOptions::new()), before, $act).await;
                assert!(is_one_of(&ours, &$doubts), "our own pool: {ours:?}");
                let (attempt, taken_up) = fail_after(wrapped(), before, $act).await;
                assert!(is_one_of(&attempt, &$doubts), "{attempt:?}");
                assert_eq!(taken_up, $taken_up);
                assert!(attempt.peer().is_some());
                let counts = attempt.evidence().counts;
                assert!(counts.written > 0 && counts.acked.is_some(), "{counts:?}");
                assert_eq!(attempt.evidence().hand_off, HandOff::Written);
            }
        })*
    };
}

after_write! {
    read_then_fin_is_unknown: |mut peer| { peer.read_request(); }, 1
        => [Doubt::Acknowledged];
    read_then_reset_is_unknown: |mut peer| { peer.read_request(); peer.reset(); }, 1
        => [Doubt::Reset(Acked::None), Doubt::Reset(Acked::All)];
    an_unread_close_is_unknown: |peer| { peer.wait_for_bytes(); peer.close(); }, 0
        => [Doubt::Reset(Acked::None), Doubt::Reset(Acked::All)];
    a_half_close_that_reads_on_is_unknown: |mut peer| {
        peer.wait_for_bytes();
        peer.half_close();
        peer.read_request();
    }, 1 => [Doubt::Acknowledged];
    an_early_hint_and_then_a_cut_is_unknown: |mut peer| {
        peer.read_request();
        peer.write("HTTP/1.1 103 Early Hints\r\n\r\n");
    }, 1 => [Doubt::ResponseBegun];
    half_a_head_and_then_a_cut_is_unknown: |mut peer| {
        peer.read_request();
        peer.write("HTTP/1.1 200 OK\r\ncontent-le");
    }, 1 => [Doubt::ResponseBegun];
    an_answer_that_is_not_http_is_unknown: |mut peer| {
        peer.read_request();
        peer.write("SSH-2.0-OpenSSH_9.2\r\n\r\n");
    }, 1 => [Doubt::MalformedResponse];
}

/// What the boundary rests on: hyper asks the body before it writes the head.
/// Were it otherwise, the octets counted would be fewer than those sent.
#[tokio::test]
async fn every_octet_of_a_request_is_counted_as_its_own() {
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
    type Response = Metered;
    type Error = tower::BoxError;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Metered, tower::BoxError>> + Send>>;

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

fn greeting() -> Wrapped<Greeting, Pay> {
    let mut builder = Client::builder(TokioExecutor::new());
    wrap(builder.retry_canceled_requests(false).build(Greeting(Connector::new())))
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

/// A FIN while it is idle is found by the look there too.
#[tokio::test]
async fn below_another_protocol_a_request_is_handed_back_all_the_same() {
    for _ in 0..ROUNDS {
        let (acted, has_acted) = turnstile();
        let (go, may_go) = turnstile();
        let origin = Origin::start(1, move |_, peer| {
            let mut peer = greets(peer);
            peer.serve(1);
            may_go.recv().unwrap();
            peer.close();
            acted.send(()).unwrap();
        });
        let client = greeting();
        let response = client.clone().oneshot(post(&origin.url("/before"))).await.unwrap();
        response.into_body().collect().await.unwrap();
        until_idle().await;
        go.send(()).unwrap();
        has_acted.recv().unwrap();
        let failure = client.oneshot(post(&origin.url("/last"))).await.unwrap_err();
        let handed_back = Fate::NotApplied(Proof::HandedBack(Finding::Fin));
        assert_eq!(failure.attempt().fate(), handed_back);
        assert_eq!(origin.finish(), ["/hello", "/before"]);
    }
}

#[tokio::test]
async fn without_our_connector_there_is_no_evidence() {
    let client: Client<HttpConnector, Marked<Pay>> =
        Client::builder(TokioExecutor::new()).build_http();
    let (attempt, taken_up) =
        fail_after(wrap(client), 1, |mut peer| drop(peer.read_request())).await;
    assert_eq!(attempt.fate(), Fate::Unknown(Doubt::NoEvidence));
    assert_eq!(taken_up, 1);
}

// ===== requests that were never sent =====

async fn refused() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}/", listener.local_addr().unwrap())
}

#[tokio::test]
async fn a_refused_connect_is_typed() {
    let failure = wrapped().oneshot(post(&refused().await)).await.unwrap_err();
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
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut peer, _) = listener.accept().await.unwrap();
        let mut octets = [0; 1024];
        tokio::io::AsyncReadExt::read(&mut peer, &mut octets).await.unwrap();
        drop(listener);
    });
    let policy = Policy::default().connect_patience(Duration::from_millis(50));
    let service = ServiceBuilder::new().layer(ResendLayer::new(policy)).service(wrapped());
    let request = Request::get(url).body(Pay::default()).unwrap();
    let error = service.oneshot(request).await.unwrap_err();
    server.await.unwrap();
    assert_eq!(error.fate(), Fate::Unknown(Doubt::Acknowledged), "{error}");
    let last = error.attempts().last().unwrap().fate();
    let why = ConnectFailure::Connect(Some(Errno::ECONNREFUSED));
    assert_eq!(last, Fate::NotApplied(Proof::NotConnected(why)));
}

// ===== calls that are given up =====

#[tokio::test]
async fn a_call_that_is_dropped_ends_its_connection_and_is_unknown() {
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
    let (status, _, fates) = layered(false).call(&origin.url("/moved")).await.unwrap();
    assert_eq!(status, StatusCode::OK);
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
    fn is_client<T: Service<Request<Pay>, Error = Failure> + Clone>(_: &T) {}
    is_free::<Connector>();
    is_free::<Connector<HttpConnector>>();
    is_free::<Wrapped<Connector, Pay>>();
    is_shareable::<Metered>();
    is_shareable::<Marked<Pay>>();
    is_error::<Failure>();
    is_client(&wrapped());
    is_client(&wrap(Client::builder(TokioExecutor::new()).build(Connector::around(Raw))));
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
    let client = wrap(Client::builder(TokioExecutor::new()).build(Connector::around(Raw)));
    let response = client.oneshot(post(&origin.url("/raw"))).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.extensions().get::<hyper_util::client::legacy::connect::HttpInfo>().is_some());
    origin.finish();
}

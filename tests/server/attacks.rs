//! Attacks on the server half: ways in which a request that reached the
//! application could be taken for one that did not.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, reason = "a test that would hang has an end")]

use crate::site;

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{Empty, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tower::{Layer, Service};
use tower_resend::server::{
    CloseMode, Connection, DispatchLayer, Handle, Listener, ListenerOptions, RequestBody,
    ShutdownMode, serve,
};
use tower_resend_core::contract::Offer;

use self::site::{Client, End, Site};

const OFFER: &str =
    "Connection: retry-contract\r\nRetry-Contract: hop=\"{hop}\", rst, fin, gone, half\r\n";

async fn listen(options: ListenerOptions) -> (Listener, Client) {
    let listener = options.bind(([127, 0, 0, 1], 0).into()).await.expect("a free port");
    let address = listener.local_addr().expect("a socket has an address");
    (listener, Client(TcpStream::connect(address).await.expect("the server listens")))
}

// ===== under `fin`, what ends HTTP on the connection =====

/// Answers `/first`, opens tunnels, and never answers anything else.
async fn application(
    request: Request<RequestBody<Incoming>>,
    seen: mpsc::UnboundedSender<String>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let mut response = Response::new(Empty::new());
    match request.uri().path() {
        "/first" => {}
        "/switch" => *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS,
        "" => {}
        path => {
            let _ = seen.send(path.to_owned());
            std::future::pending::<()>().await;
        }
    }
    Ok(response)
}

/// Promises `fin`, dispatches a request, and ends before a byte of its response is
/// written. Returns what the client reads then.
async fn end_before_the_answer(mode: CloseMode, request: &str) -> (String, End) {
    let (mut listener, mut client) = listen(ListenerOptions::new().mode(mode)).await;
    let (connection, _) = listener.accept().await;
    let (seen, mut heard) = mpsc::unbounded_channel();
    let serving = tokio::spawn(async move {
        let service = {
            let seen = seen.clone();
            tower::service_fn(move |request| application(request, seen.clone()))
        };
        let dispatched = DispatchLayer::new(connection.handle().clone()).layer(service);
        // Between the response of the service and its first byte.
        let service = service_fn(move |request: Request<Incoming>| {
            let (seen, is_first) = (seen.clone(), request.uri().path() == "/first");
            let answering = dispatched.clone().call(request);
            async move {
                let answer = answering.await;
                if !is_first {
                    let _ = seen.send("answered".to_owned());
                    std::future::pending::<()>().await;
                }
                answer
            }
        });
        let http = http1::Builder::new().serve_connection(TokioIo::new(connection), service);
        let _ = http.with_upgrades().await;
    });
    client.get("/first", OFFER).await;
    let first = client.response().await;
    let promise = if mode == CloseMode::FinBeforeDispatch { ", fin" } else { ", rst" };
    assert!(first.contains(promise), "{first}");
    client.send(request).await;
    heard.recv().await.expect("the request reaches the application");
    serving.abort();
    client.rest().await
}

const ENDS: [&str; 4] = [
    "POST /order HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    "POST /order HTTP/1.0\r\nContent-Length: 0\r\n\r\n",
    "GET /switch HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n",
    "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
];

#[tokio::test]
async fn attack_fin_mode_resets_a_dispatched_request_that_ends_http() {
    for request in ENDS {
        let ended = end_before_the_answer(CloseMode::FinBeforeDispatch, request).await;
        assert_eq!(ended, (String::new(), End::Reset), "{request}");
    }
}

#[tokio::test]
async fn control_rst_mode_ends_the_same_request_with_a_fin() {
    for request in ENDS {
        let ended = end_before_the_answer(CloseMode::ResetBeforeDispatch, request).await;
        assert_eq!(ended, (String::new(), End::Fin), "{request}");
    }
}

// ===== tunnels =====

/// Plays HTTP and its service on a connection that becomes a tunnel.
async fn tunnel() -> (Connection, Client) {
    let (mut listener, mut client) = listen(ListenerOptions::new()).await;
    let (mut connection, _) = listener.accept().await;
    client.get("/switch", OFFER).await;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await.expect("nothing fails on loopback"));
    }
    let mut exchange = connection.handle().begin(Offer::all());
    exchange.received();
    exchange.dispatch().expect("the server does not leave");
    drop(exchange.answer(()));
    let switched = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
    connection.write_all(switched).await.expect("nothing fails on loopback");
    connection.flush().await.expect("nothing fails on loopback");
    client.response().await;
    (connection, client)
}

#[tokio::test]
async fn attack_half_closed_tunnel_can_still_be_read() {
    let (mut connection, mut client) = tunnel().await;
    connection.shutdown().await.expect("nothing fails on loopback");
    assert_eq!(client.rest().await, (String::new(), End::Fin));
    client.send("late").await;
    client.0.shutdown().await.expect("nothing fails on loopback");
    let mut read = String::new();
    connection.read_to_string(&mut read).await.expect("nothing fails on loopback");
    assert_eq!(read, "late");
}

// ===== layers above that call again =====

/// What a layer does that stands outside the outermost one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Above {
    /// Calls again once there is a response, which it drops.
    Retries,
    /// Calls again before there is a response.
    Hedges,
    /// Calls again after it dropped the first call.
    TimesOut,
}

/// Passes a request to the application, and a copy of it after the server was told
/// to leave. Returns what the client reads.
async fn call_again(above: Above) -> String {
    let (mut listener, mut client) = listen(ListenerOptions::new()).await;
    let (connection, _) = listener.accept().await;
    let handle = connection.handle().clone();
    let app = tower::service_fn(move |request: Request<RequestBody<Empty<Bytes>>>| async move {
        if request.extensions().get() != Some(&"copy") && above != Above::Retries {
            std::future::pending::<()>().await;
        }
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    let dispatched = DispatchLayer::new(handle.clone()).layer(app);
    let service = service_fn(move |request: Request<Incoming>| {
        let (mut dispatched, handle) = (dispatched.clone(), handle.clone());
        async move {
            let mut first = request.map(|_| Empty::<Bytes>::new());
            let mut copy = first.clone();
            first.extensions_mut().clear();
            copy.extensions_mut().insert("copy");
            let mut answering = Box::pin(dispatched.call(first));
            let answered = poll_fn(|cx| Poll::Ready(answering.as_mut().poll(cx))).await;
            assert_eq!(handle.counters().dispatched, 1);
            handle.go_away();
            match above {
                Above::Retries => drop(answered),
                Above::TimesOut => drop(answering),
                Above::Hedges => std::mem::forget(answering),
            }
            dispatched.call(copy).await
        }
    });
    let http = http1::Builder::new().serve_connection(TokioIo::new(connection), service);
    tokio::spawn(http);
    client
        .send(&format!("POST /order HTTP/1.1\r\nHost: a\r\n{OFFER}Content-Length: 0\r\n\r\n"))
        .await;
    client.response().await
}

#[tokio::test]
async fn attack_request_with_a_dispatched_copy_is_not_refused() {
    for above in [Above::Retries, Above::Hedges, Above::TimesOut] {
        let response = call_again(above).await;
        assert!(!response.contains("refused"), "{above:?}: {response}");
    }
}

/// Returns `true` if the service sees the body of a request whole: one without an
/// offer of its own, on a connection with a promise, whose layer is made anew for
/// each request.
#[tokio::test]
async fn attack_promise_is_kept_whichever_layer_made_it() {
    let (mut listener, mut client) = listen(ListenerOptions::new()).await;
    let (connection, _) = listener.accept().await;
    let handle = connection.handle().clone();
    let app = tower::service_fn(|request: Request<RequestBody<Incoming>>| async move {
        let body = if request.body().is_whole() { "whole" } else { "streamed" };
        Ok::<_, Infallible>(Response::new(body.to_owned()))
    });
    let service =
        service_fn(move |request| DispatchLayer::new(handle.clone()).layer(app).call(request));
    tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(connection), service));
    client.get("/first", OFFER).await;
    assert!(client.response().await.contains(", rst"), "it is promised");
    client.send("POST /order HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc").await;
    client.send("def").await;
    let response = client.response().await;
    assert!(response.ends_with("whole"), "{response}");
}

// ===== a drain and what has arrived already =====

/// A request of a client without a contract. The part before `|` has arrived when
/// the server leaves. Returns what the client reads.
async fn leave_amid(request: &str) -> String {
    let mut site = Site::start().await;
    let mut client = site.client().await;
    client.get("/first", "").await;
    client.response().await;
    let (arrived, rest) = request.split_once('|').expect("a cut");
    client.send(arrived).await;
    if !rest.is_empty() {
        site.settle().await;
    }
    site.leave(ShutdownMode::HandedOver);
    while !rest.is_empty() && TcpStream::connect(site.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let _ = client.0.write_all(rest.as_bytes()).await;
    let (response, end) = client.rest().await;
    assert_eq!(end, End::Fin);
    assert_eq!(site.report().await.answered, u64::from(!response.is_empty()));
    response
}

#[tokio::test]
async fn attack_drain_does_not_drop_an_arrived_request() {
    for request in
        ["GET /quick HTTP/1.1\r\nHost: a\r\n\r\n|", "GET /quick HTTP/1.1\r\nHo|st: a\r\n\r\n"]
    {
        let response = leave_amid(request).await;
        assert!(response.starts_with("http/1.1 200"), "{request:?}: {response}");
        assert!(response.contains("connection: close"), "{response}");
    }
}

#[tokio::test]
async fn attack_response_that_is_cut_off_does_not_count_as_answered() {
    const LARGE: usize = 64 << 20;
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.expect("a free port");
    let address = listener.local_addr().expect("a socket has an address");
    let app = tower::service_fn(|_: Request<RequestBody<Incoming>>| async {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(vec![0; LARGE]))))
    });
    let (leave, signal) = oneshot::channel::<()>();
    let serving = serve(listener, app)
        .drain_deadline(Duration::from_millis(50))
        .with_graceful_shutdown(async { signal.await.unwrap_or_default() });
    let serving = tokio::spawn(serving.into_future());
    let mut client = Client(TcpStream::connect(address).await.expect("the server listens"));
    client.get("/large", OFFER).await;
    client.0.read_u8().await.expect("the answer begins");
    let _ = leave.send(());
    let report = serving.await.expect("no panic").expect("no error");
    assert_eq!((report.answered, report.running.len()), (0, 1), "{report}");
    assert!(client.rest().await.0.len() < LARGE, "it was cut off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_service_that_blocks_its_thread_delays_no_drain() {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.expect("a free port");
    let address = listener.local_addr().expect("a socket has an address");
    let (blocks, mut heard) = mpsc::unbounded_channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let app = tower::service_fn(move |_: Request<RequestBody<Incoming>>| {
        let (blocks, released) = (blocks.clone(), Arc::clone(&released));
        async move {
            let _ = blocks.send(());
            let _ = released.lock().map(|released| released.recv());
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let (leave, signal) = oneshot::channel::<()>();
    let serving = serve(listener, app)
        .drain_deadline(Duration::from_millis(50))
        .with_graceful_shutdown(async { signal.await.unwrap_or_default() });
    let serving = tokio::spawn(serving.into_future());
    let mut client = Client(TcpStream::connect(address).await.expect("the server listens"));
    client.get("/blocks", OFFER).await;
    heard.recv().await.expect("the request reaches the application");
    let _ = leave.send(());
    let report = tokio::time::timeout(Duration::from_secs(20), serving).await;
    drop(release);
    let report = report.expect("the drain ends").expect("no panic").expect("no error");
    assert_eq!(report.running.len(), 1, "{report}");
}

// ===== wakers =====

/// Locks the connection whenever it is woken or dropped, as an executor does that
/// runs or frees a task on the spot.
struct Asking(Handle);

impl Wake for Asking {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let _ = self.0.phase();
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let _ = self.0.phase();
    }
}

#[tokio::test]
async fn attack_no_waker_runs_under_the_lock_of_a_connection() {
    let (mut listener, mut client) = listen(ListenerOptions::new()).await;
    let (mut connection, _) = listener.accept().await;
    let handle = connection.handle().clone();
    client.get("/first", OFFER).await;
    connection.read_u8().await.expect("nothing fails on loopback");
    let mut exchange = handle.begin(Offer::all());
    exchange.dispatch().expect("the server does not leave");
    drop(exchange.answer(()));
    connection.write_all(b"answer").await.expect("nothing fails on loopback");
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let waker = || Waker::from(Arc::new(Asking(handle.clone())));
        let flushed = Pin::new(&mut connection).poll_flush(&mut Context::from_waker(&waker()));
        assert!(matches!(flushed, Poll::Ready(Ok(()))));
        for _ in 0..3 {
            let mut all = [0; 1024];
            let mut buf = ReadBuf::new(&mut all);
            let _ =
                Pin::new(&mut connection).poll_read(&mut Context::from_waker(&waker()), &mut buf);
        }
        handle.go_away();
        let _ = done.send(());
        // It uses the test's timers and reactor.
        std::mem::forget(connection);
    });
    let waited = tokio::task::spawn_blocking(move || is_done.recv_timeout(Duration::from_secs(20)));
    assert!(matches!(waited.await, Ok(Ok(()))), "the lock was held, or the thread failed");
}

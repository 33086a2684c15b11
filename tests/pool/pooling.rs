//! The pool on loopback: limits, the queue, cancellation, lifetimes.

#![allow(clippy::unwrap_used, reason = "a test panics when something is in its way")]

use testkit::origin;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use socket2::{Domain, Socket, Type};
use tokio::task::spawn_blocking;
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};
use tower_resend::pool::{Pool, PoolOptions, ResponseBody};
use tower_resend::{AttemptError, AttemptToken, ResendLayer};
use tower_resend_core::{ConnectFailure, Doubt, Fate, HandOff, Proof};

use self::origin::Origin;

type Client = Pool<Full<Bytes>>;

fn post(url: &str) -> Request<Full<Bytes>> {
    Request::post(url).body(Full::from("pay")).unwrap()
}

async fn send(pool: &Client, url: &str) -> Result<Response<ResponseBody>, AttemptError> {
    pool.clone().oneshot(post(url)).await
}

async fn read(response: Response<ResponseBody>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

/// Runs blocking work, such as waiting for an origin's end, outside of the runtime.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    spawn_blocking(work).await.unwrap()
}

#[tokio::test]
async fn a_connection_is_used_again_once_its_response_is_read() {
    let origin = Origin::start(1, |_, peer| peer.serve_all());
    let pool = Client::new(PoolOptions::new());
    for nth in 0..5 {
        let response = send(&pool, &origin.url(&format!("/{nth}"))).await.unwrap();
        assert_eq!(read(response).await, "ok");
    }
    assert_eq!(origin.truth().accepted(), 1);
    drop(pool);
    assert_eq!(beside(|| origin.finish()).await, ["/0", "/1", "/2", "/3", "/4"]);
}

#[tokio::test]
async fn the_largest_settings_are_accepted() {
    let origin = Origin::start(1, |_, peer| peer.serve_all());
    let (longest, most) = (Duration::MAX, usize::MAX);
    let options = PoolOptions::new()
        .connect_timeout(longest)
        .wait_timeout(longest)
        .idle_timeout(longest)
        .max_age(longest)
        .tcp_keepalive(longest, longest, u32::MAX)
        .tcp_user_timeout(longest)
        .max_idle_per_origin(most)
        .max_per_origin(most)
        .max_total(most);
    let pool = Client::new(options);
    for nth in 0..2 {
        let response = send(&pool, &origin.url(&format!("/{nth}"))).await.unwrap();
        assert_eq!(read(response).await, "ok");
    }
    drop(pool);
    assert_eq!(beside(|| origin.finish()).await, ["/0", "/1"]);
}

/// A request in a connection's queue is not a copy that may yet be sent.
#[tokio::test]
async fn a_request_given_up_in_the_connections_queue_is_resent() {
    let origin = Origin::start(2, |_, peer| peer.serve_all());
    let pool = Client::new(PoolOptions::new());
    assert_eq!(read(send(&pool, &origin.url("/first")).await.unwrap()).await, "ok");
    let calls = Arc::new(AtomicUsize::new(0));
    let inner = service_fn(move |request| {
        let (pool, calls) = (pool.clone(), Arc::clone(&calls));
        async move {
            let mut call = pin!(pool.oneshot(request));
            if calls.fetch_add(1, Ordering::Relaxed) == 0 {
                // The connection has no turn before it is given up.
                assert!(poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await.is_pending());
                return Err(BoxError::from(tower::timeout::error::Elapsed::new()));
            }
            call.await.map_err(BoxError::from)
        }
    });
    let response = ResendLayer::default().layer(inner).oneshot(post(&origin.url("/next"))).await;
    let response = response.unwrap();
    let attempts = tower_resend::attempts(&response);
    assert_eq!(attempts[0].fate(), Fate::NotApplied(Proof::NothingWritten));
    assert_eq!(attempts.len(), 2);
    assert_eq!(read(response).await, "ok");
    assert_eq!(beside(|| origin.finish()).await, ["/first", "/next"]);
}

#[tokio::test]
async fn dropping_an_unread_response_closes_its_connection() {
    let origin = Origin::start(2, |nth, mut peer| {
        if nth == 0 {
            peer.read_request();
            peer.write("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nsome");
            assert_eq!(peer.read_request(), None);
        } else {
            peer.serve(1);
        }
    });
    let pool = Client::new(PoolOptions::new());
    drop(send(&pool, &origin.url("/dropped")).await.unwrap());
    read(send(&pool, &origin.url("/next")).await.unwrap()).await;
    assert_eq!(beside(|| origin.finish()).await, ["/dropped", "/next"]);
}

#[tokio::test]
async fn a_cut_response_body_is_a_lost_response() {
    let origin = Origin::start(1, |_, mut peer| {
        peer.read_request();
        peer.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nsome");
    });
    let pool = Client::new(PoolOptions::new());
    let response = send(&pool, &origin.url("/")).await.unwrap();
    let error = response.into_body().collect().await.unwrap_err();
    assert_eq!(error.fate(), Fate::ResponseLost);
}

/// With a limit of one, the second request waits for the first one's connection and
/// gets it.
#[tokio::test]
async fn requests_beyond_the_limit_wait_for_a_connection_in_order() {
    let origin = Origin::start(1, |_, peer| peer.serve_all());
    let pool = Client::new(PoolOptions::new().max_per_origin(1));
    let first = send(&pool, &origin.url("/first")).await.unwrap();
    let mut waiting = Vec::new();
    for path in ["/second", "/third"] {
        let mut sent = tokio_test::task::spawn(pool.clone().oneshot(post(&origin.url(path))));
        assert!(sent.poll().is_pending());
        waiting.push(sent);
    }
    read(first).await;
    for sent in waiting {
        read(sent.into_inner().await.unwrap()).await;
    }
    assert_eq!(origin.truth().accepted(), 1);
    drop(pool);
    assert_eq!(beside(|| origin.finish()).await, ["/first", "/second", "/third"]);
}

#[tokio::test]
async fn a_waiter_that_gives_up_does_not_hold_up_the_next() {
    let origin = Origin::start(1, |_, peer| peer.serve_all());
    let pool = Client::new(PoolOptions::new().max_per_origin(1));
    let first = send(&pool, &origin.url("/first")).await.unwrap();
    let mut given_up = tokio_test::task::spawn(pool.clone().oneshot(post(&origin.url("/never"))));
    assert!(given_up.poll().is_pending());
    let mut next = tokio_test::task::spawn(pool.clone().oneshot(post(&origin.url("/next"))));
    assert!(next.poll().is_pending());
    drop(given_up);
    read(first).await;
    read(next.into_inner().await.unwrap()).await;
    drop(pool);
    assert_eq!(beside(|| origin.finish()).await, ["/first", "/next"]);
}

#[tokio::test]
async fn a_wait_that_takes_too_long_is_not_applied() {
    let origin = Origin::start(1, |_, peer| peer.serve_all());
    let options = PoolOptions::new().max_per_origin(1).wait_timeout(Duration::from_secs(2));
    let pool = Client::new(options);
    let first = send(&pool, &origin.url("/first")).await.unwrap();
    let failure = send(&pool, &origin.url("/second")).await.unwrap_err();
    let fate = Fate::NotApplied(Proof::NotConnected(ConnectFailure::PoolWait));
    assert_eq!(failure.attempt().fate(), fate);
    drop((first, pool));
}

/// An idle connection of one origin is closed when another origin needs its permit.
#[tokio::test]
async fn an_idle_connection_of_another_origin_makes_room() {
    let origins = [(); 2].map(|()| Origin::start(1, |_, peer| peer.serve_all()));
    let pool = Client::new(PoolOptions::new().max_total(1));
    for origin in &origins {
        read(send(&pool, &origin.url("/")).await.unwrap()).await;
    }
    assert_eq!(origins.each_ref().map(|origin| origin.truth().accepted()), [1, 1]);
}

#[tokio::test]
async fn a_refused_connect_is_not_applied_and_returns_the_request() {
    // Bound but not listening: no other process can take the port.
    let bound = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    bound.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let port = bound.local_addr().unwrap().as_socket().unwrap().port();
    let closed = format!("http://127.0.0.1:{port}/path?query");
    let pool = Client::new(PoolOptions::new());
    let token = AttemptToken::new();
    let mut request = post(&closed);
    request.extensions_mut().insert(token.clone());
    let failure = pool.oneshot(request).await.unwrap_err();
    let errno = Some(tower_resend_core::Errno::ECONNREFUSED);
    let not_connected = HandOff::NotConnected(ConnectFailure::Connect(errno));
    assert_eq!(failure.attempt().evidence().hand_off, not_connected);
    let request = token.take_back::<Full<Bytes>>().unwrap();
    assert_eq!(request.uri().to_string(), closed);
    assert!(request.headers().is_empty());
    assert!(request.extensions().get::<AttemptToken>().is_none());
}

#[tokio::test]
async fn a_target_that_cannot_be_reached_is_not_applied() {
    for target in ["/no-host", "wss://a.example/", "ftp://a.example/"] {
        let failure = send(&Client::new(PoolOptions::new()), target).await.unwrap_err();
        let fate = Fate::NotApplied(Proof::NotConnected(ConnectFailure::BadTarget));
        assert_eq!(failure.attempt().fate(), fate, "{target}");
    }
}

/// Dropped before the connection's task has turned, nothing was written, and
/// nothing ever is.
#[tokio::test]
async fn a_request_dropped_before_a_byte_is_written_was_never_sent() {
    let origin = Origin::start(1, |_, peer| peer.serve_all());
    let pool = Client::new(PoolOptions::new());
    read(send(&pool, &origin.url("/before")).await.unwrap()).await;
    let token = AttemptToken::new();
    let mut request = post(&origin.url("/dropped"));
    request.extensions_mut().insert(token.clone());
    let mut pool = pool;
    drop(pool.call(request));
    let fates: Vec<Fate> = token.attempts().iter().map(tower_resend::Attempt::fate).collect();
    assert_eq!(fates, [Fate::NotApplied(Proof::NothingWritten)]);
    drop(pool);
    assert_eq!(beside(|| origin.finish()).await, ["/before"]);
}

#[tokio::test]
async fn a_request_dropped_after_a_write_is_unknown_and_reset() {
    let (arrived, has_arrived) = channel();
    let origin = Origin::start(1, move |_, mut peer| {
        peer.read_request();
        arrived.send(()).unwrap();
        assert_eq!(peer.read_request(), None);
    });
    let pool = Client::new(PoolOptions::new());
    let token = AttemptToken::new();
    let mut request = post(&origin.url("/dropped"));
    request.extensions_mut().insert(token.clone());
    let sent = tokio::spawn(pool.clone().oneshot(request));
    beside(move || has_arrived.recv().unwrap()).await;
    sent.abort();
    assert!(sent.await.unwrap_err().is_cancelled());
    let attempts = token.attempts();
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0].fate(), Fate::Unknown(Doubt::Cancelled));
    assert!(attempts[0].evidence().counts.written > 0);
    assert_eq!(beside(|| origin.finish()).await, ["/dropped"]);
}

/// A body that fails by itself says nothing of the connection.
#[tokio::test]
async fn a_failed_request_body_is_recognized_by_its_type() {
    let origin = Origin::start(1, |_, mut peer| {
        peer.read_request();
    });
    let failing = http_body_util::StreamBody::new(tokio_stream::iter([
        Ok(http_body::Frame::data(Bytes::from("some"))),
        Err(std::io::Error::other("the user's own")),
    ]));
    let request = Request::post(origin.url("/")).body(failing).unwrap();
    let failure = Pool::new(PoolOptions::new()).oneshot(request).await.unwrap_err();
    let ended_by = failure.attempt().evidence().ended_by;
    assert_eq!(ended_by, tower_resend_core::EndedBy::RequestBody);
    assert!(!failure.attempt().fate().is_not_applied() || origin.truth().dispatched().is_empty());
}

/// An upgrade ends the pool's part in the connection.
#[tokio::test]
async fn an_upgraded_connection_is_not_pooled() {
    let origin = Origin::start(2, |nth, mut peer| {
        peer.read_request();
        if nth == 0 {
            peer.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nhello");
        } else {
            peer.answer();
        }
    });
    let pool = Client::new(PoolOptions::new());
    let mut request = post(&origin.url("/upgrade"));
    request.headers_mut().insert("connection", "upgrade".parse().unwrap());
    request.headers_mut().insert("upgrade", "x".parse().unwrap());
    let response = pool.clone().oneshot(request).await.unwrap();
    let upgraded = hyper::upgrade::on(response).await.unwrap();
    let mut upgraded = hyper_util::rt::TokioIo::new(upgraded);
    let mut hello = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut upgraded, &mut hello).await.unwrap();
    assert_eq!(hello, "hello");
    read(send(&pool, &origin.url("/next")).await.unwrap()).await;
    assert_eq!(beside(|| origin.finish()).await, ["/upgrade", "/next"]);
}

/// A body can end where there is no runtime, and its connection still goes
/// back to the pool.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_can_be_read_outside_of_a_runtime() {
    let origin = Origin::start(1, |_, peer| peer.serve_all());
    let pool = Client::new(PoolOptions::new().max_per_origin(1));
    let response = send(&pool, &origin.url("/first")).await.unwrap();
    let read_elsewhere = std::thread::spawn(move || {
        let mut body = pin!(response.into_body().collect());
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        loop {
            if let Poll::Ready(read) = body.as_mut().poll(&mut cx) {
                return read.unwrap().to_bytes();
            }
            std::thread::yield_now();
        }
    });
    assert_eq!(beside(|| read_elsewhere.join().unwrap()).await, "ok");
    // With a limit of one, this waits for the same connection.
    read(send(&pool, &origin.url("/second")).await.unwrap()).await;
    assert_eq!(origin.truth().accepted(), 1);
}

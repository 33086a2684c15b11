//! Which connection a request goes to after a connection handed it back.

#![allow(clippy::unwrap_used, reason = "a test panics when something is in its way")]

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tower::{BoxError, Layer, ServiceExt, service_fn};
use tower_resend::pool::{Pool, PoolOptions, ResponseBody};
use tower_resend::{AttemptToken, Error, Policy, ResendLayer};
use tower_resend_core::{Fate, NoResend, Proof};

type FullBody = Full<Bytes>;

/// A pool with three connections to one server on the test's own thread, so that
/// nothing of the client runs until the test awaits.
struct Site {
    pool: Pool<FullBody>,
    listener: TcpListener,
    /// Idle, never used, at the bottom of the idle list.
    unused: TcpStream,
    /// Idle, on top of `unused`.
    used: TcpStream,
    /// A call that waits for its response on `busy`.
    waiting: JoinHandle<Result<Bytes, BoxError>>,
    busy: TcpStream,
}

impl Site {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pool = Pool::new(PoolOptions::new().hedged_connects(false));
        let request = |path| request(&listener, path);
        let waiting = call(&pool, request("/waiting"));
        let busy = take(accept(&listener).await).await;
        let first = call(&pool, request("/first"));
        let used = take(accept(&listener).await).await;
        // Given up while it waits, this one leaves the pool the connection it began.
        let mut given_up = tokio_test::task::spawn(pool.clone().oneshot(request("/never")));
        assert!(given_up.poll().is_pending());
        drop(given_up);
        let unused = accept(&listener).await;
        // Two calls, three connections, and the reaper of idle connections.
        tasks_are(6).await;
        let used = answer(used).await;
        first.await.unwrap().unwrap();
        tasks_are(5).await;
        Self { pool, listener, unused, used, waiting, busy }
    }

    fn request(&self, path: &str) -> Request<FullBody> {
        request(&self.listener, path)
    }
}

fn request(listener: &TcpListener, path: &str) -> Request<FullBody> {
    let url = format!("http://{}{path}", listener.local_addr().unwrap());
    Request::put(url).body(Full::from("pay")).unwrap()
}

fn call(pool: &Pool<FullBody>, request: Request<FullBody>) -> JoinHandle<Result<Bytes, BoxError>> {
    let sent = pool.clone().oneshot(request);
    tokio::spawn(async move { Ok(sent.await?.into_body().collect().await?.to_bytes()) })
}

/// Waits until the runtime has this number of tasks. Nothing else shows that a
/// task of the pool has ended.
async fn tasks_are(tasks: usize) {
    while tokio::runtime::Handle::current().metrics().num_alive_tasks() != tasks {
        tokio::task::yield_now().await;
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    listener.accept().await.unwrap().0
}

/// Reads one request.
async fn take(mut stream: TcpStream) -> TcpStream {
    let mut read = Vec::new();
    while !read.ends_with(b"pay") {
        assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0);
    }
    stream
}

async fn answer(mut stream: TcpStream) -> TcpStream {
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
    stream
}

/// Which connection was given the request in the end.
#[derive(Debug, PartialEq, Eq)]
enum Went {
    ToTheUnused,
    ToANew,
}

/// Answers on whichever connection the request arrives.
async fn serve_either(listener: TcpListener, unused: TcpStream) -> (Went, TcpStream) {
    tokio::select! {
        new = accept(&listener) => (Went::ToANew, answer(take(new).await).await),
        old = take(unused) => (Went::ToTheUnused, answer(old).await),
    }
}

fn fates(response: &Response<ResponseBody>) -> Vec<Fate> {
    tower_resend::attempts(response).iter().map(tower_resend::Attempt::fate).collect()
}

fn is_handed_back(fate: &Fate) -> bool {
    matches!(fate, Fate::NotApplied(Proof::HandedBack(_)))
}

/// A request fails, and is sent again on a connection that was given back since,
/// which then hands it back. The unused connection is older than the failure, so
/// that it may have died with the server.
#[tokio::test]
async fn hand_back_at_the_poll_keeps_the_freshness_requirement() {
    let site = Site::new().await;
    let request = site.request("/fails");
    let Site { pool, listener, unused, used, waiting, busy } = site;
    let failing = tokio::spawn(async move { take(used).await.set_zero_linger() });
    let given_back = Arc::new(Mutex::new(Some((waiting, busy, failing))));
    let calls = Arc::new(Mutex::new(0));
    let inner = service_fn(move |request: Request<FullBody>| {
        let (pool, given_back, calls) = (pool.clone(), Arc::clone(&given_back), Arc::clone(&calls));
        async move {
            *calls.lock().unwrap() += 1;
            let is_resend = *calls.lock().unwrap() > 1;
            let given_back = given_back.lock().unwrap().take_if(|_| is_resend);
            if let Some((waiting, busy, failing)) = given_back {
                failing.await.unwrap().unwrap();
                let busy = answer(busy).await;
                waiting.await.unwrap().unwrap();
                // This call, two connections, and the pool's reaper.
                tasks_are(4).await;
                drop(busy);
            }
            pool.oneshot(request).await.map_err(BoxError::from)
        }
    });
    let resend = ResendLayer::default().layer(inner);
    let sent = tokio::spawn(resend.oneshot(request));
    let (went, _stream) = serve_either(listener, unused).await;
    let response = sent.await.unwrap().unwrap();
    let fates = fates(&response);
    assert!(
        matches!(fates[..], [Fate::Unknown(_), back, Fate::Completed] if is_handed_back(&back))
    );
    assert_eq!(went, Went::ToANew);
}

/// Without a failure before, the unused connection will do.
#[tokio::test]
async fn control_hand_back_goes_to_an_unused_connection() {
    let site = Site::new().await;
    let request = site.request("/");
    let sent = ResendLayer::default().layer(site.pool.clone());
    drop(site.used);
    let sent = tokio::spawn(sent.oneshot(request));
    let (went, _stream) = serve_either(site.listener, site.unused).await;
    let response = sent.await.unwrap().unwrap();
    assert!(matches!(fates(&response)[..], [back, Fate::Completed] if is_handed_back(&back)));
    assert_eq!(went, Went::ToTheUnused);
}

/// Sends a request by `send` to a pool whose two idle connections hand it back.
fn send_by<E>(
    send: impl AsyncFnOnce(Pool<FullBody>, Request<FullBody>) -> Result<Response<ResponseBody>, E>,
) -> Result<Response<ResponseBody>, E> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let site = Site::new().await;
        let request = site.request("/");
        drop((site.used, site.unused));
        let listener = site.listener;
        let server = tokio::spawn(async move { answer(take(accept(&listener).await).await).await });
        let outcome = send(site.pool, request).await;
        server.abort();
        outcome
    })
}

fn send_with(policy: Policy) -> Result<Vec<Fate>, Box<Error>> {
    let resend = ResendLayer::new(policy);
    let response = send_by(async |pool, request| resend.layer(pool).oneshot(request).await);
    Ok(fates(&response.map_err(Box::new)?))
}

#[test]
fn max_hand_backs_limits_what_the_pool_does_itself() {
    for limit in [0, 1] {
        let mut error = send_with(Policy::new().max_hand_backs(limit)).unwrap_err();
        assert_eq!(error.no_resend(), NoResend::Attempts(limit));
        let attempts = error.attempts();
        assert_eq!(attempts.len(), limit as usize + 1);
        assert!(attempts.iter().all(|attempt| is_handed_back(&attempt.fate())));
        assert!(error.fate().is_not_applied());
        assert_eq!(error.take_request::<FullBody>().unwrap().uri().path(), "/");
    }
}

#[test]
fn a_pool_without_a_layer_goes_on_after_hand_backs() {
    let token = AttemptToken::new();
    let response = send_by(async |pool, mut request| {
        request.extensions_mut().insert(token.clone());
        pool.oneshot(request).await
    });
    assert!(response.unwrap().status().is_success());
    let fates: Vec<_> = token.attempts().iter().map(tower_resend::Attempt::fate).collect();
    assert!(matches!(fates[..], [one, other, Fate::Completed]
            if is_handed_back(&one) && is_handed_back(&other)));
    assert!(send_by(async |pool, request| pool.oneshot(request).await).is_ok(), "no token");
}

#[test]
fn control_hand_backs_within_the_limit_are_resent() {
    for policy in [Policy::new(), Policy::new().max_hand_backs(2)] {
        let fates = send_with(policy).unwrap();
        assert!(matches!(fates[..], [one, other, Fate::Completed]
            if is_handed_back(&one) && is_handed_back(&other)));
    }
}

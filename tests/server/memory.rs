//! Thousands of slow requests against the memory for requests that are received
//! whole: those of others are answered.
//!
//! Slow connections come from several addresses of the loopback network, so that
//! not the share of one peer alone stops them.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "this is a test")]

use testkit::skip;

use std::convert::Infallible;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};
use tokio::sync::Mutex;
use tower_resend::server::{Buffering, Listener, RequestBody, serve};
use tower_resend::{Body, Client, Policy};

use self::skip::skip;

/// Descriptors for both ends of 5,000 connections, and some more.
const DESCRIPTORS: u64 = 10_300;
/// How many small POSTs are timed together, and how many times.
const SMALL: usize = 200;
const ROUNDS: u32 = 5;

/// One test at a time: each takes most of the descriptors of the process.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Raises the limit of descriptors of the process.
fn has_descriptors(needed: u64) -> bool {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let has = soft >= needed
        || hard >= needed && setrlimit(Resource::RLIMIT_NOFILE, needed, hard).is_ok();
    if !has {
        skip(format!("{needed} descriptors are needed, {hard} are allowed"));
    }
    has
}

/// A server in a runtime of its own, which counts the requests it dispatched.
struct Site {
    address: SocketAddr,
    dispatched: Arc<AtomicUsize>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Site {
    fn start(buffering: Buffering) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let dispatched = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&dispatched);
        let app = tower::service_fn(move |request: Request<RequestBody<Incoming>>| {
            let seen = Arc::clone(&seen);
            async move {
                if request.method() == http::Method::POST {
                    seen.fetch_add(1, Ordering::SeqCst);
                }
                drop(request);
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("ok"))))
            }
        });
        // A short queue drops SYNs, and each of those costs a second.
        let listening = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listening.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listening.listen(4096).unwrap();
        let listening = std::net::TcpListener::from(listening);
        let address = listening.local_addr().unwrap();
        runtime.spawn(async move {
            let listener = Listener::from_std(listening).unwrap();
            serve(listener, app).buffering(buffering).await
        });
        Self { address, dispatched, runtime: Some(runtime) }
    }

    fn dispatched(&self) -> usize {
        self.dispatched.load(Ordering::SeqCst)
    }

    /// Opens connections from ten addresses that offer the contract, declare 64 KiB,
    /// and send only `bytes` of it.
    fn slow(&self, connections: usize, bytes: usize) -> Vec<TcpStream> {
        self.slow_from(|n| n % 10 + 1, connections, bytes)
    }

    fn slow_from(
        &self,
        host: impl Fn(usize) -> usize,
        connections: usize,
        bytes: usize,
    ) -> Vec<TcpStream> {
        let open = |n: usize| {
            let from = Ipv4Addr::new(127, 0, 1, u8::try_from(host(n)).unwrap());
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
            socket.connect(&self.address.into()).unwrap();
            let mut stream = TcpStream::from(socket);
            let (ours, theirs) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
            let head = format!(
                "POST / HTTP/1.1\r\nHost: a\r\nConnection: retry-contract\r\n\
                 Retry-Contract: hop=\"{ours} {theirs}\", rst, gone\r\nContent-Length: 65536\r\n\r\n"
            );
            stream.write_all(&[head.as_bytes(), &vec![b'x'; bytes]].concat()).unwrap();
            stream
        };
        (0..connections).map(open).collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Returns `true` if the server has neither answered nor closed any of them.
fn are_untouched(slow: &[TcpStream]) -> bool {
    slow.iter().all(|stream| {
        stream.set_nonblocking(true).unwrap();
        matches!(stream.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
    })
}

/// A client that has a contract, from 127.0.0.1.
async fn client(address: SocketAddr) -> Client {
    let policy = Policy::new().deadline(Duration::from_secs(120)).max_proven_resends(0);
    let client = Client::builder().policy(policy).build();
    let warm = Request::get(format!("http://{address}/")).body(Body::empty()).unwrap();
    client.request(warm).await.unwrap().into_body().collect().await.unwrap();
    client
}

/// Posts a body, and returns the outcome.
async fn post(client: &Client, address: SocketAddr, body: impl Into<Body>) -> String {
    let request = Request::post(format!("http://{address}/pay")).body(body.into()).unwrap();
    match client.request(request).await {
        Ok(response) => {
            let status = response.status().to_string();
            response.into_body().collect().await.unwrap();
            status
        }
        Err(error) => format!("{:?}", error.fate()),
    }
}

/// Posts small bodies one after the other, in rounds. Returns how long the quickest
/// round took.
async fn small_posts(client: &Client, address: SocketAddr) -> Duration {
    let mut quickest = Duration::MAX;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for _ in 0..SMALL {
            assert_eq!(post(client, address, "pay").await, "200 OK");
        }
        quickest = quickest.min(began.elapsed());
    }
    quickest
}

/// Waits until so many bytes are held: everything that arrived was read.
async fn until_held(buffering: &Buffering, bytes: u64) {
    let began = Instant::now();
    while buffering.held() != bytes {
        assert!(began.elapsed() < Duration::from_secs(60), "{} are held", buffering.held());
        tokio::task::yield_now().await;
    }
}

/// 1,024 times 110 bytes declare the whole default budget.
#[tokio::test]
async fn attack_declared_bytes_that_do_not_arrive_take_no_memory() {
    let _alone = ALONE.lock().await;
    if !has_descriptors(2_200) {
        return;
    }
    let buffering = Buffering::new();
    let site = Site::start(buffering.clone());
    let client = client(site.address).await;
    let slow = site.slow(1_024, 0);
    assert_eq!(post(&client, site.address, "pay").await, "200 OK");
    assert_eq!(post(&client, site.address, vec![b'x'; 60_000]).await, "200 OK");
    assert_eq!((site.dispatched(), buffering.held()), (2, 0));
    assert!(are_untouched(&slow), "it was answered before any of them");
}

/// 5,000 connections that send the first part of their requests fill what large
/// requests may have: small ones are answered, a large one waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn attack_slow_requests_keep_no_small_one_waiting() {
    let _alone = ALONE.lock().await;
    if !has_descriptors(DESCRIPTORS) {
        return;
    }
    let hour = Duration::from_secs(3600);
    let buffering = Buffering::new()
        .with_total_bytes(4 << 20)
        .with_small(4 << 10, 1 << 20)
        .with_bytes_per_peer(2 << 20)
        .with_stall_limit(hour)
        .with_arrival(hour);
    let site = Site::start(buffering.clone());
    let client = client(site.address).await;
    let without = small_posts(&client, site.address).await;
    let slow = site.slow(5_000, 1_000);
    // 3 MiB are for all: 3,145 requests have their first part in it.
    until_held(&buffering, 3_145_000).await;
    let with = small_posts(&client, site.address).await;
    println!(
        "{SMALL} small POSTs: {without:?} alone, {with:?} beside {} slow requests ({:.2} times)",
        slow.len(),
        with.as_secs_f64() / without.as_secs_f64(),
    );
    let rounds = SMALL * ROUNDS as usize;
    assert_eq!(site.dispatched(), 2 * rounds);
    assert!(are_untouched(&slow), "all are open, and none was refused for the others");
    // Control: a large one does not fit, until memory is given back.
    let address = site.address;
    let large = tokio::spawn(async move { post(&client, address, vec![b'x'; 60_000]).await });
    let other = self::client(address).await;
    small_posts(&other, address).await;
    assert!(!large.is_finished());
    drop(slow);
    assert_eq!(large.await.unwrap(), "200 OK");
    assert_eq!(site.dispatched(), 3 * rounds + 1);
    until_held(&buffering, 0).await;
}

/// One address alone keeps no other waiting, not even large requests.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn attack_one_peer_has_no_more_than_its_share() {
    let _alone = ALONE.lock().await;
    if !has_descriptors(6_200) {
        return;
    }
    let hour = Duration::from_secs(3600);
    let buffering =
        Buffering::new().with_total_bytes(2 << 20).with_stall_limit(hour).with_arrival(hour);
    let site = Site::start(buffering.clone());
    let client = client(site.address).await;
    let slow = site.slow_from(|_| 1, 3_000, 1_000);
    // A peer has 512 KiB of 2 MiB, three quarters of that for large requests.
    until_held(&buffering, 393_000).await;
    assert_eq!(post(&client, site.address, vec![b'x'; 60_000]).await, "200 OK");
    assert_eq!(post(&client, site.address, "pay").await, "200 OK");
    assert!(are_untouched(&slow));
    assert_eq!((site.dispatched(), buffering.held()), (2, 393_000));
}

/// Silent requests give way as soon as others wait, whatever their peer.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn attack_silent_requests_leave_a_full_budget() {
    let _alone = ALONE.lock().await;
    if !has_descriptors(4_200) {
        return;
    }
    let hour = Duration::from_secs(3600);
    let buffering = Buffering::new()
        .with_total_bytes(1 << 20)
        .with_stall_limit(Duration::from_millis(1))
        .with_arrival(hour);
    let site = Site::start(buffering.clone());
    let client = client(site.address).await;
    let slow = site.slow(2_000, 1_000);
    assert_eq!(post(&client, site.address, vec![b'x'; 60_000]).await, "200 OK");
    assert_eq!(site.dispatched(), 1, "none of those that gave way was dispatched");
    assert!(!are_untouched(&slow));
    let refused = slow.iter().map(refusal).filter(|said| said.contains(", refused")).count();
    assert!(refused > 0);
}

/// What can be read without waiting.
fn refusal(mut stream: &TcpStream) -> String {
    stream.set_nonblocking(true).unwrap();
    let mut said = [0; 1024];
    let read = stream.read(&mut said).unwrap_or(0);
    String::from_utf8_lossy(&said[..read]).to_ascii_lowercase()
}

//! Many POSTs at once over a wrapped legacy client, against a server that
//! treats its connections badly, and the truth of what was taken up.
//!
//! It sends nothing unsolicited: what crosses a request can be taken for its
//! answer, here as by our own client, and is tested on the wire.

#![allow(clippy::unwrap_used, reason = "a test panics when something is in its way")]

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use socket2::SockRef;
use tower::{BoxError, Layer, ServiceExt};
use tower_resend::adapter::hyper_util::{Connector, wrap};
use tower_resend::{Error, ResendLayer};

const CALLERS: usize = 8;
const CALLS: usize = 60;

/// How often each target was taken up: a read returned some of its request.
type Truth = Arc<Mutex<HashMap<String, usize>>>;

/// Serves each connection on a thread of its own, until the test ends.
fn server() -> (SocketAddr, Truth) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let truth = Truth::default();
    let seen = Arc::clone(&truth);
    let requests = Arc::new(AtomicUsize::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, seen, requests) =
                (stream.unwrap(), Arc::clone(&seen), Arc::clone(&requests));
            std::thread::spawn(move || serve(stream, &seen, &requests));
        }
    });
    (address, truth)
}

fn serve(mut stream: TcpStream, truth: &Truth, requests: &AtomicUsize) {
    stream.set_nodelay(true).unwrap();
    loop {
        let nth = requests.fetch_add(1, Ordering::Relaxed);
        if nth % 11 == 7 {
            // Closed unread.
            let _ = stream.peek(&mut [0]);
            return;
        }
        let mut octets = [0; 4096];
        let Ok(read @ 1..) = stream.read(&mut octets) else { return };
        let target = take_up(truth, &octets[..read]);
        let response =
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{target}", target.len());
        let (whole, half) = (response.as_bytes(), &response.as_bytes()[..9]);
        let _ = match nth % 11 {
            0 => return,
            1 => {
                return SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            }
            2 => {
                let _ = stream.write_all(half);
                return;
            }
            3 => {
                let _ = stream.write_all(whole);
                return;
            }
            4 => {
                let _ = stream.write_all(whole);
                std::thread::yield_now();
                return SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            }
            5 => {
                // A close that reads on: it is half of one.
                let _ = stream.write_all(whole);
                std::thread::yield_now();
                let _ = stream.shutdown(Shutdown::Write);
                let _ = stream.set_read_timeout(Some(Duration::from_millis(5)));
                while let Ok(read @ 1..) = stream.read(&mut octets) {
                    take_up(truth, &octets[..read]);
                }
                return;
            }
            6 => {
                let _ = stream.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n");
                stream.write_all(whole)
            }
            _ => stream.write_all(whole),
        };
    }
}

fn take_up(truth: &Truth, octets: &[u8]) -> String {
    let request = String::from_utf8_lossy(octets);
    let target = request.split(' ').nth(1).unwrap().to_owned();
    *truth.lock().unwrap().entry(target.clone()).or_default() += 1;
    target
}

/// How a call ended.
enum End {
    /// Answered with this body.
    Answered(Bytes),
    NotApplied,
    Unknown,
}

/// Makes all calls, and returns their ends by their targets.
async fn run<F>(call: impl Fn(String, Request<Full<Bytes>>) -> F) -> (HashMap<String, End>, Truth)
where
    F: Future<Output = End> + Send + 'static,
{
    let (address, truth) = server();
    let mut ends = HashMap::new();
    for nth in 0..CALLS {
        let calls = (0..CALLERS).map(|caller| {
            let target = format!("/{caller}/{nth}");
            let request = Request::post(format!("http://{address}{target}"));
            let request = request.body(Full::from("pay")).unwrap();
            (target.clone(), tokio::spawn(call(target, request)))
        });
        for (target, call) in calls.collect::<Vec<_>>() {
            ends.insert(target, call.await.unwrap());
        }
    }
    (ends, truth)
}

fn doubled(truth: &Truth) -> usize {
    truth.lock().unwrap().values().filter(|times| **times > 1).count()
}

async fn nothing_is_doubled_and_nothing_false_is_said() {
    let client = wrap(Client::builder(TokioExecutor::new()).build(Connector::new()));
    let service = ResendLayer::default().layer(client);
    let (ends, truth) = run(|_, request| {
        let call = service.clone().oneshot(request);
        async move {
            let error: Error = match call.await {
                Ok(response) => match response.into_body().collect().await {
                    Ok(body) => return End::Answered(body.to_bytes()),
                    Err(_) => return End::Unknown,
                },
                Err(error) => error,
            };
            if error.fate().is_not_applied() { End::NotApplied } else { End::Unknown }
        }
    })
    .await;
    let mut unknown = 0;
    for (target, end) in &ends {
        let times = truth.lock().unwrap().get(target).copied().unwrap_or(0);
        match end {
            End::Answered(body) => {
                assert_eq!(body, target, "the answer to another request");
                assert_eq!(times, 1, "{target} was answered");
            }
            End::NotApplied => assert_eq!(times, 0, "{target} was not applied"),
            End::Unknown => unknown += 1,
        }
    }
    assert_eq!(doubled(&truth), 0);
    assert!((1..ends.len() / 2).contains(&unknown), "{unknown} of {}", ends.len());
}

#[tokio::test]
async fn on_one_thread_nothing_is_doubled_and_nothing_false_is_said() {
    nothing_is_doubled_and_nothing_false_is_said().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn on_several_threads_nothing_is_doubled_and_nothing_false_is_said() {
    nothing_is_doubled_and_nothing_false_is_said().await;
}

/// Who sends again after every error runs requests twice here.
#[tokio::test]
async fn control_resending_after_every_error_doubles() {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let (_, truth) = run(|_, request| {
        let client = client.clone();
        async move {
            for _ in 0..3 {
                let answered: Result<_, BoxError> =
                    client.request(request.clone()).await.map_err(Into::into);
                if let Ok(response) = answered {
                    return match response.into_body().collect().await {
                        Ok(body) => End::Answered(body.to_bytes()),
                        Err(_) => End::Unknown,
                    };
                }
            }
            End::Unknown
        }
    })
    .await;
    assert!(doubled(&truth) > 0);
}

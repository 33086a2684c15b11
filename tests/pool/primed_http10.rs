//! A server that speaks HTTP/1.0, asked for its promise before the first request.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test panics when something is in its way")]

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use tower::Service;
use tower_resend::pool::{ContractOptions, Pool, PoolOptions};

/// Serves every connection: answers each head that it reads by `answer`. Returns how many
/// connections there were so far.
fn serve(answer: &'static str) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || {
                let mut read = Vec::new();
                let mut chunk = [0; 1024];
                while let Ok(length @ 1..) = stream.read(&mut chunk) {
                    read.extend_from_slice(&chunk[..length]);
                    // The head of a request without a body, or the end of a chunked one.
                    if (read.starts_with(b"OPTIONS") && read.ends_with(b"\r\n\r\n"))
                        || read.ends_with(b"0\r\n\r\n")
                    {
                        read.clear();
                        stream.write_all(answer.as_bytes()).unwrap();
                    }
                }
            });
        }
    });
    (url, accepted)
}

async fn upload(options: PoolOptions, answer: &'static str) -> (Result<StatusCode, String>, usize) {
    let (url, accepted) = serve(answer);
    let frames = tokio_stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from("pay")))]);
    let request = Request::post(url).body(StreamBody::new(frames)).unwrap();
    let outcome = Pool::new(options).call(request).await;
    let outcome = outcome.map(|response| response.status()).map_err(|error| format!("{error:#}"));
    (outcome, accepted.load(Ordering::SeqCst))
}

const KEPT_ALIVE: &str = "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n";
const CHUNKED: &str =
    "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";

/// A connection learns from its primer that the server speaks HTTP/1.0, on which hyper would
/// cut a chunked body, and hands the request back. The next connection would do the same if
/// it were primed. An origin of HTTP/1.0 promises nothing, so one primer is enough.
#[tokio::test]
async fn primed_http10_origin_is_primed_once() {
    let primed = PoolOptions::new().contract(ContractOptions::new().prime());
    let (outcome, accepted) = upload(primed, KEPT_ALIVE).await;
    assert_eq!((outcome, accepted), (Ok(StatusCode::OK), 2));
}

/// HTTP/1.0 has no transfer coding: that is no response (RFC 9112 6.1), whatever was asked.
#[tokio::test]
async fn primed_http10_origin_that_answers_chunked_gets_no_request() {
    let primed = PoolOptions::new().contract(ContractOptions::new().prime());
    let (outcome, accepted) = upload(primed, CHUNKED).await;
    assert!(outcome.is_err_and(|error| error.starts_with("not applied: ")));
    assert_eq!(accepted, 1);
}

#[tokio::test]
async fn control_unprimed_http10_origin_gets_a_chunked_request() {
    assert_eq!(upload(PoolOptions::new(), KEPT_ALIVE).await, (Ok(StatusCode::OK), 1));
    let (outcome, accepted) = upload(PoolOptions::new(), CHUNKED).await;
    assert!(outcome.is_err_and(|error| error.starts_with("unknown: ")));
    assert_eq!(accepted, 1);
}

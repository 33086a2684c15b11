//! An answer that was cut is never delivered as a whole one.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test panics when something is in its way")]

use testkit::origin;

use std::convert::Infallible;

use bytes::Bytes;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use origin::{Origin, turnstile};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tower::Service;
use tower_resend::pool::{Pool, PoolOptions};

/// The server answers while the request is still sent, and its answer lasts until the
/// connection ends. A reset ends it. What is written next takes the socket's error, so
/// that the next read says end of stream.
#[tokio::test]
async fn attack_a_write_takes_the_error_that_cut_an_answer() {
    for is_cut in [true, false] {
        let (read, is_read) = turnstile();
        let (go, may_go) = turnstile();
        let mut origin = Origin::start(1, move |_, mut peer| {
            peer.read_until("\r\n\r\n");
            read.send(()).unwrap();
            may_go.recv().unwrap();
            peer.write("HTTP/1.1 200 OK\r\n\r\n");
            match is_cut {
                true => peer.reset(),
                // The control: this end is the answer's.
                false => peer.close(),
            }
        });
        let (chunks, upload) = tokio::sync::mpsc::unbounded_channel();
        let frames = UnboundedReceiverStream::new(upload);
        let frames = frames.map(|chunk: Bytes| Ok::<_, Infallible>(Frame::data(chunk)));
        let request = Request::post(origin.url("/")).body(StreamBody::new(frames)).unwrap();
        let call = tokio::spawn(Pool::new(PoolOptions::new()).call(request));
        tokio::task::spawn_blocking(move || is_read.recv().unwrap()).await.unwrap();

        // The runtime does not turn until the origin is gone: the write comes first.
        go.send(()).unwrap();
        origin.wait();
        chunks.send(Bytes::from("more")).unwrap();
        let response = call.await.unwrap().unwrap();
        let body = response.into_body().collect().await;
        assert_eq!(body.is_err(), is_cut, "{body:?}");
    }
}

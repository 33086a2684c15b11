//! Requests whose length is not what their head says, sent to have them dispatched
//! twice, or in part: each attack with a control that shows what it would do.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tower_resend::server::{Listener, RequestBody, serve};
use tower_resend::{Body, Client, attempts};
use tower_resend_core::{BadRequest, Doubt, Fate, Limits, NoResend, Proof};

#[cfg(feature = "reqwest")]
use crate::lengths;

/// A body of frames of one byte, which stops in the middle.
struct Drip {
    left: usize,
    stops_at: usize,
    is_known: bool,
}

impl HttpBody for Drip {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == self.stops_at {
            return if self.left == 0 { Poll::Ready(None) } else { Poll::Pending };
        }
        self.left -= 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
    }

    fn size_hint(&self) -> SizeHint {
        match self.is_known {
            true => SizeHint::with_exact(self.left as u64),
            false => SizeHint::new(),
        }
    }
}

/// A body of this many bytes. The first attempt sends some of them.
fn cut_at_first(bytes: usize, is_known: bool) -> Body {
    let made = AtomicUsize::new(0);
    Body::from_factory(move || {
        let is_first = made.fetch_add(1, Ordering::SeqCst) == 0;
        Drip { left: bytes, stops_at: if is_first { bytes - SOME } else { 0 }, is_known }
    })
}

const SOME: usize = 1_000;
/// The `max` of the server here.
const MAX: usize = 65_536;

/// A server that promises `rst`, takes what is above `max` up early, and is killed
/// with the first POST under way.
struct EarlyTaker {
    at: SocketAddr,
    posts: Arc<AtomicUsize>,
}

impl EarlyTaker {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let posts = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&posts);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let seen = Arc::clone(&seen);
                std::thread::spawn(move || Self::serve(stream, &seen));
            }
        });
        Self { at, posts }
    }

    fn serve(mut stream: TcpStream, posts: &AtomicUsize) {
        let hop = format!("{} {}", stream.peer_addr().unwrap(), stream.local_addr().unwrap());
        while let Some((is_post, mut content)) = read_head(&mut stream) {
            if !is_post {
                let promise = format!("hop=\"{hop}\", max={MAX}, rst, half");
                let head = format!(
                    "HTTP/1.1 200 OK\r\nconnection: retry-contract\r\nretry-contract: {promise}\r\ncontent-length: 0\r\n\r\n"
                );
                stream.write_all(head.as_bytes()).unwrap();
                continue;
            }
            if posts.fetch_add(1, Ordering::SeqCst) == 0 {
                read_until(&mut stream, &mut content, SOME);
                socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                return;
            }
            // The body of the second attempt has that many bytes.
            read_until(&mut stream, &mut content, 60_000);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
        }
    }

    async fn outcome(&self, request: Request<Body>) -> Result<Response<()>, tower_resend::Error> {
        let client = Client::new();
        let warm = Request::get(format!("http://{}/", self.at)).body(Body::empty()).unwrap();
        client.request(warm).await.unwrap().into_body().collect().await.unwrap();
        client.request(request).await.map(|response| response.map(drop))
    }

    fn post(&self) -> http::request::Builder {
        Request::post(format!("http://{}/pay", self.at))
    }

    fn posts(&self) -> usize {
        self.posts.load(Ordering::SeqCst)
    }
}

/// Reads a head. Returns `true` if it is that of a POST, and what came behind it;
/// nothing at the end of the stream.
fn read_head(stream: &mut TcpStream) -> Option<(bool, Vec<u8>)> {
    let mut read = Vec::new();
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            return Some((read.starts_with(b"POST"), read.split_off(end + 4)));
        }
        read_more(stream, &mut read)?;
    }
}

/// Reads until so many bytes of content, all of them `x`, are there.
fn read_until(stream: &mut TcpStream, read: &mut Vec<u8>, bytes: usize) {
    while read.iter().filter(|byte| **byte == b'x').count() < bytes {
        read_more(stream, read).unwrap();
    }
}

fn read_more(stream: &mut TcpStream, read: &mut Vec<u8>) -> Option<()> {
    let mut chunk = [0; 4096];
    let bytes = stream.read(&mut chunk).ok().filter(|bytes| *bytes > 0)?;
    read.extend_from_slice(&chunk[..bytes]);
    Some(())
}

fn assert_not_resent(outcome: Result<Response<()>, tower_resend::Error>, limits: Limits) {
    let error = outcome.unwrap_err();
    assert!(matches!(error.fate(), Fate::Unknown(Doubt::Reset(_))), "{error}");
    let [attempt] = error.attempts() else { panic!("{error}") };
    assert_eq!(attempt.evidence().limits, limits, "{error}");
}

fn assert_resent(outcome: Result<Response<()>, tower_resend::Error>) {
    let response = outcome.unwrap();
    let fates: Vec<_> = attempts(&response).iter().map(tower_resend::Attempt::fate).collect();
    assert_eq!(fates, [Fate::NotApplied(Proof::ResetPromised), Fate::Completed]);
}

/// 60,000 bytes in chunks of one are 360,000 on the wire.
#[tokio::test]
async fn attack_chunks_count_with_their_framing() {
    let server = EarlyTaker::start();
    let request = server.post().header("transfer-encoding", "chunked");
    let outcome = server.outcome(request.body(cut_at_first(60_000, true)).unwrap()).await;
    assert_not_resent(outcome, Limits::Unchecked);
    assert_eq!(server.posts(), 1);
}

#[tokio::test]
async fn control_the_same_bytes_without_chunks_are_within_the_promise() {
    let server = EarlyTaker::start();
    let request = server.post().body(cut_at_first(60_000, true)).unwrap();
    assert_resent(server.outcome(request).await);
    assert_eq!(server.posts(), 2);
}

#[tokio::test]
async fn attack_a_declared_length_counts_whatever_was_sent_of_it() {
    let server = EarlyTaker::start();
    let request = server.post().header("content-length", "100000");
    let outcome = server.outcome(request.body(cut_at_first(60_000, false)).unwrap()).await;
    assert_not_resent(outcome, Limits::Exceeded);
    assert_eq!(server.posts(), 1);
}

#[tokio::test]
async fn control_a_declared_length_within_the_promise_is_resent() {
    let server = EarlyTaker::start();
    let request = server.post().header("content-length", "60000");
    assert_resent(server.outcome(request.body(cut_at_first(60_000, false)).unwrap()).await);
    assert_eq!(server.posts(), 2);
}

/// Neither larger nor smaller: the error says what to do, and has the request.
#[tokio::test]
async fn attack_a_length_that_is_not_the_bodys_is_never_sent() {
    for (length, said) in [
        ("100000", "the request body ended 99997 bytes short of its declared 100000"),
        ("2", "the request body exceeds its declared 2 bytes"),
    ] {
        let server = EarlyTaker::start();
        let request = server.post().header("content-length", length).body(Body::from("pay"));
        let mut error = server.outcome(request.unwrap()).await.unwrap_err();
        let why = BadRequest::LengthMismatch;
        assert_eq!(error.fate(), Fate::NotApplied(Proof::NotSendable(why)));
        assert_eq!(error.no_resend(), NoResend::NotSendable(why));
        let port = server.at.port();
        let line = format!(
            "not applied: POST /pay for 127.0.0.1:{port}; never sent (its Content-Length is not the \
             length of its body: leave it out, the body's is sent); not resent: it would not be \
             sent the next time either"
        );
        assert_eq!(error.to_string(), line);
        let with_sources = format!("{error:#}");
        assert!(with_sources.ends_with(said), "{with_sources}");
        assert_eq!(server.posts(), 0);
        let request: Request<Body> = error.take_request().unwrap();
        assert_eq!(request.headers()["content-length"], length);
        assert_eq!(request.into_body().collect().await.unwrap().to_bytes(), "pay");
    }
}

// ===== a peer of HTTP/1.0 =====

/// Hyper makes HTTP/1.0 of what follows an answer of that version, and leaves out of
/// it a body that comes in chunks.
#[cfg(feature = "reqwest")]
mod http10 {
    use super::lengths::body::Kind;
    use super::lengths::origin::Origin;
    use super::lengths::stacks::{Cell, STACKS, Stacks, Told};

    /// Sends a body of unknown length after another request was answered. Returns what
    /// the caller was told, and what of the content arrived, each time that it was sent.
    async fn second_request(stack: usize) -> (Told, Vec<String>) {
        let origin = Origin::answering("HTTP/1.0");
        let mut stacks = Stacks::new(origin.at());
        stacks.patience = super::Duration::from_secs(30);
        let cell = |name: &str, body| Cell {
            name: name.to_owned(),
            method: http::Method::POST,
            version: http::Version::HTTP_11,
            body,
            fields: http::HeaderMap::new(),
        };
        assert_eq!(stacks.call(stack, &cell("first", Kind::Held)).await, Told::Answered);
        let told = stacks.call(stack, &cell("second", Kind::Unknown)).await;
        drop(stacks);
        (told, origin.of("second").into_iter().map(|arrived| arrived.content).collect())
    }

    #[tokio::test]
    async fn attack_a_peer_of_http10_gets_no_request_without_its_content() {
        for (stack, name) in STACKS.iter().enumerate() {
            let (told, contents) = second_request(stack).await;
            match *name {
                // Its pool cannot be told.
                "reqwest" => {
                    assert_eq!((told, contents), (Told::Cut, vec![String::new()]), "{name}");
                }
                _ => assert_eq!((told, contents), (Told::Answered, vec!["pay".into()]), "{name}"),
            }
        }
    }

    #[tokio::test]
    async fn control_hyper_alone_gives_it_no_content_and_says_nothing() {
        let (told, contents) = second_request(STACKS.len()).await;
        assert_eq!((told, contents), (Told::Answered, vec![String::new()]));
    }
}

// ===== this crate's own server =====

/// Starts a server on a socket, whose process ends with the runtime.
fn run(socket: TcpListener, taken: Arc<Taken>, answers: bool) -> tokio::runtime::Runtime {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
    let app = tower::service_fn(move |request: Request<RequestBody<Incoming>>| {
        let taken = Arc::clone(&taken);
        async move {
            if request.method() == http::Method::POST {
                taken.posts.fetch_add(1, Ordering::SeqCst);
                taken.one.notify_one();
                if !answers {
                    std::future::pending::<()>().await;
                }
                request.into_body().collect().await?;
            }
            Ok::<_, tower_resend::BoxError>(Response::new(Full::new(Bytes::from("ok"))))
        }
    });
    runtime.spawn(async move {
        let listener = Listener::from_std(socket).unwrap();
        let _ = serve(listener, app).await;
    });
    runtime
}

#[derive(Default)]
struct Taken {
    posts: AtomicUsize,
    one: tokio::sync::Notify,
}

/// It takes a request above `max` up before it has all of it, and is killed then.
async fn killed_while_it_works(body: Body) -> (usize, Result<Response<()>, tower_resend::Error>) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let (at, next) = (socket.local_addr().unwrap(), socket.try_clone().unwrap());
    let taken = Arc::new(Taken::default());
    let first = run(socket, Arc::clone(&taken), false);
    let client = Client::new();
    let warm = Request::get(format!("http://{at}/")).body(Body::empty()).unwrap();
    client.request(warm).await.unwrap().into_body().collect().await.unwrap();
    let request = Request::post(format!("http://{at}/pay")).header("content-length", "10000000");
    let mut call = tokio::spawn(client.request(request.body(body).unwrap()));
    tokio::select! {
        () = taken.one.notified() => {}
        outcome = &mut call => {
            first.shutdown_background();
            return (0, outcome.unwrap().map(|response| response.map(drop)));
        }
    }
    // The next process on the same socket; the first is gone.
    first.shutdown_background();
    let second = run(next, Arc::clone(&taken), true);
    let outcome = call.await.unwrap().map(|response| response.map(drop));
    second.shutdown_background();
    (taken.posts.load(Ordering::SeqCst), outcome)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_our_server_is_killed_with_part_of_a_long_request() {
    let (taken, outcome) = killed_while_it_works(cut_at_first(60_000, false)).await;
    let error = outcome.unwrap_err();
    assert!(error.fate().is_unknown(), "{error}");
    assert_eq!(taken, 1);
}

/// All that there is of the body is sent, and within `max`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_our_server_never_has_a_request_that_is_longer_than_its_body() {
    let (taken, outcome) = killed_while_it_works(Body::from(vec![b'x'; 60_000])).await;
    let why = BadRequest::LengthMismatch;
    assert_eq!(outcome.unwrap_err().fate(), Fate::NotApplied(Proof::NotSendable(why)));
    assert_eq!(taken, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_our_server_answers_a_whole_request() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = socket.local_addr().unwrap();
    let taken = Arc::new(Taken::default());
    let server = run(socket, Arc::clone(&taken), true);
    let body = Body::from_factory(|| Drip { left: 60_000, stops_at: 0, is_known: false });
    let request = Request::post(format!("http://{at}/pay")).header("content-length", "60000");
    Client::new().request(request.body(body).unwrap()).await.unwrap();
    assert_eq!(taken.posts.load(Ordering::SeqCst), 1);
    server.shutdown_background();
}

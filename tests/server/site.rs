//! A server with an application that reports what it saw, and clients that write
//! raw bytes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tower_resend::server::{Listener, ListenerOptions, Report, RequestBody, Serve, ShutdownMode};
use tower_resend::server::{NotApplied, SharedService, serve};

/// The offer of a client that knows the contract, for its own connection.
pub(crate) const OFFER: &str =
    "Connection: retry-contract\r\nRetry-Contract: hop=\"{hop}\", rst, gone, half\r\n";

// ===== the application =====

/// What the application saw, and how many requests may go on.
#[derive(Clone, Debug)]
pub(crate) struct App {
    /// The paths of all requests that reached it: the ground truth.
    pub(crate) seen: Arc<Mutex<Vec<String>>>,
    events: mpsc::UnboundedSender<String>,
    gate: Arc<Semaphore>,
}

impl App {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<String>) {
        let (events, heard) = mpsc::unbounded_channel();
        (Self { seen: Arc::default(), events, gate: Arc::new(Semaphore::new(0)) }, heard)
    }

    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("no holder panicked").clone()
    }

    /// Lets this many requests to `/slow` go on.
    pub(crate) fn release(&self, requests: usize) {
        self.gate.add_permits(requests);
    }

    fn say(&self, event: String) {
        let _ = self.events.send(event);
    }

    pub(crate) async fn answer<B>(self, request: Request<RequestBody<B>>) -> Response<Full<Bytes>>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
    {
        let path = request.uri().path().to_owned();
        self.seen.lock().expect("no holder panicked").push(path.clone());
        self.say(path.clone());
        let names = request.headers().contains_key("retry-contract");
        match path.as_str() {
            "/slow" => self.gate.acquire().await.expect("nothing fails on loopback").forget(),
            "/body" => return ok(self.read(request).await),
            "/field" => return ok(format!("{names}")),
            "/foreign" => {
                let mut response = ok("ok");
                let field = r#"hop="9.9.9.9:9 8.8.8.8:8", refused"#.parse().expect("well formed");
                response.headers_mut().insert("retry-contract", field);
                return response;
            }
            "/not-applied" => {
                let mut response = ok("");
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                response.extensions_mut().insert(NotApplied::of(request.extensions()));
                return response;
            }
            "/upgrade" => {
                let mut response = ok("");
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                response.headers_mut().insert("upgrade", "other".parse().expect("a valid field"));
                response
                    .headers_mut()
                    .insert("connection", "upgrade".parse().expect("a valid field"));
                return response;
            }
            _ => {}
        }
        ok("ok")
    }

    /// Reads the body, and reports each part of it.
    async fn read<B>(&self, request: Request<RequestBody<B>>) -> String
    where
        B: http_body::Body<Data = Bytes> + Unpin,
    {
        let mut body = request.into_body();
        let mut read = if body.is_whole() { "whole:" } else { "streamed:" }.to_owned();
        while let Some(frame) = body.frame().await {
            match frame.map(http_body::Frame::into_data) {
                Ok(Ok(data)) => {
                    self.say(format!("part {}", data.len()));
                    read += &format!("{} ", data.len());
                }
                Ok(Err(trailers)) => {
                    read += &format!(
                        "trailers {}",
                        trailers.into_trailers().expect("nothing fails on loopback").len()
                    );
                }
                Err(_) => {
                    self.say("failed".to_owned());
                    read += "failed";
                }
            }
        }
        read
    }
}

fn ok(body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::new(Full::new(body.into()))
}

type Answering = std::pin::Pin<Box<dyn Future<Output = Answer> + Send>>;
type Answer = Result<Response<Full<Bytes>>, Infallible>;

impl<B> tower::Service<Request<RequestBody<B>>> for App
where
    B: http_body::Body<Data = Bytes> + Unpin + Send + 'static,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody<B>>) -> Answering {
        let app = self.clone();
        Box::pin(async move { Ok(app.answer(request).await) })
    }
}

// ===== the server =====

/// A running server.
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    pub(crate) app: App,
    pub(crate) events: mpsc::UnboundedReceiver<String>,
    leave: Option<oneshot::Sender<ShutdownMode>>,
    serving: JoinHandle<std::io::Result<Report>>,
}

impl Site {
    pub(crate) async fn start() -> Self {
        Self::start_with(ListenerOptions::new(), |server| server).await
    }

    pub(crate) async fn start_with(
        options: ListenerOptions,
        set: impl FnOnce(Serve<SharedService<App>>) -> Serve<SharedService<App>>,
    ) -> Self {
        let listener = options.bind(([127, 0, 0, 1], 0).into()).await.expect("a free port");
        Self::on(listener, set)
    }

    pub(crate) fn on(
        listener: Listener,
        set: impl FnOnce(Serve<SharedService<App>>) -> Serve<SharedService<App>>,
    ) -> Self {
        let address = listener.local_addr().expect("a socket has an address");
        let (app, events) = App::new();
        let (leave, signal) = oneshot::channel();
        let signal = async { signal.await.unwrap_or_default() };
        let server = set(serve(listener, app.clone())).with_graceful_shutdown(signal);
        let serving = tokio::spawn(server.into_future());
        Self { address, app, events, leave: Some(leave), serving }
    }

    pub(crate) async fn client(&self) -> Client {
        Client(TcpStream::connect(self.address).await.expect("the server listens"))
    }

    /// Returns the next report of the application.
    pub(crate) async fn hear(&mut self) -> String {
        self.events.recv().await.expect("nothing fails on loopback")
    }

    /// Lets the server handle everything that has arrived so far.
    pub(crate) async fn settle(&self) {
        for _ in 0..2 {
            let mut client = self.client().await;
            client.send("GET /settle HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
            client.rest().await;
        }
    }

    pub(crate) fn leave(&mut self, leave: ShutdownMode) {
        let _ = self.leave.take().expect("nothing fails on loopback").send(leave);
    }

    /// Makes the server leave. Returns once its connections know.
    pub(crate) async fn leave_and_see(&mut self) {
        let mut witness = self.client().await;
        self.settle().await;
        self.leave(ShutdownMode::Alone);
        assert_eq!(witness.rest().await, (String::new(), End::Fin));
    }

    pub(crate) async fn report(self) -> Report {
        self.serving.await.expect("nothing fails on loopback").expect("nothing fails on loopback")
    }
}

// ===== a client =====

pub(crate) struct Client(pub(crate) TcpStream);

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Fin,
    Reset,
}

impl Client {
    /// Sends bytes, with the connection's two ends in place of `{hop}`.
    pub(crate) async fn send(&mut self, bytes: &str) {
        let bytes = bytes.replace("{hop}", &self.hop());
        self.0.write_all(bytes.as_bytes()).await.expect("nothing fails on loopback");
    }

    /// Returns the connection's two ends as the client's socket sees them.
    pub(crate) fn hop(&self) -> String {
        let ends = (self.0.local_addr(), self.0.peer_addr());
        let (Ok(local), Ok(peer)) = ends else { panic!("a connected socket has two ends") };
        format!("{local} {peer}")
    }

    /// Sends a request without a body, with or without an offer.
    pub(crate) async fn get(&mut self, path: &str, offer: &str) {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n{offer}\r\n")).await;
    }

    /// Reads one response with a declared length.
    pub(crate) async fn response(&mut self) -> String {
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            assert_eq!(
                self.0.read(&mut byte).await.expect("nothing fails on loopback"),
                1,
                "{}",
                text(&read)
            );
            read.push(byte[0]);
        }
        let head = text(&read).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().expect("well formed"))];
        self.0.read_exact(&mut body).await.expect("nothing fails on loopback");
        head + &text(&body)
    }

    /// Reads to the end of the connection.
    pub(crate) async fn rest(&mut self) -> (String, End) {
        let mut read = Vec::new();
        let mut part = [0; 4096];
        loop {
            match self.0.read(&mut part).await {
                Ok(0) => return (text(&read).to_ascii_lowercase(), End::Fin),
                Ok(bytes) => read.extend_from_slice(&part[..bytes]),
                Err(_) => return (text(&read).to_ascii_lowercase(), End::Reset),
            }
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The body that hyper passes to a service.
pub(crate) type Body = RequestBody<Incoming>;

//! Origins on loopback whose applications keep the truth, for calls of several
//! hops.

#![allow(clippy::unwrap_used, reason = "a test helper panics when it is in the way")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Layer, Service, ServiceExt};
use tower_resend::pool::{Pool, PoolOptions, ResponseBody};
use tower_resend::{Attempt, AttemptToken, Policy, ResendLayer};
use tower_resend_core::{Fate, NoResend};

pub(crate) type Octets = Full<Bytes>;
pub(crate) type Answered = Response<ResponseBody>;
pub(crate) type Inner = BoxCloneSyncService<Request<Octets>, Answered, BoxError>;

// ===== origins =====

/// What an origin's application does with a request that it dispatched.
pub(crate) enum Reply {
    /// Answers.
    Say(String),
    /// Answers, when the origin has stopped listening.
    SayAndStop(String),
    /// Closes without an answer.
    Close,
    /// Does not answer, and holds the connection.
    Hold,
}

/// An origin. Its port is held while it does not listen, so that connects are
/// refused then.
#[derive(Clone)]
pub(crate) struct Site(Arc<Shared>);

struct Shared {
    port: Socket,
    address: SocketAddr,
    reply: Box<dyn Fn(&str) -> Reply + Send + Sync>,
    executed: Mutex<Vec<String>>,
    taken_up: Notify,
    stop: Notify,
    stopped: Notify,
}

impl Site {
    /// Returns an origin that listens, and replies to `METHOD path`.
    pub(crate) fn start(reply: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let site = Self::dead_with(reply);
        site.listen();
        site
    }

    /// Returns an origin that refuses every connect.
    pub(crate) fn dead() -> Self {
        Self::dead_with(|_| Reply::Close)
    }

    fn dead_with(reply: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let port = bound(SocketAddr::from(([127, 0, 0, 1], 0)));
        let address = port.local_addr().unwrap().as_socket().unwrap();
        Self(Arc::new(Shared {
            port,
            address,
            reply: Box::new(reply),
            executed: Mutex::default(),
            taken_up: Notify::new(),
            stop: Notify::new(),
            stopped: Notify::new(),
        }))
    }

    /// Listens, again or for the first time.
    pub(crate) fn listen(&self) {
        let address = self.0.port.local_addr().unwrap().as_socket().unwrap();
        let socket = bound(address);
        socket.listen(16).unwrap();
        let listener = TcpListener::from_std(socket.into()).unwrap();
        tokio::spawn(self.clone().serve(listener));
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.0.address)
    }

    /// What the application dispatched, as `METHOD path`.
    pub(crate) fn executed(&self) -> Vec<String> {
        self.0.executed.lock().unwrap().clone()
    }

    /// Waits until the application has taken a request up.
    pub(crate) async fn taken_up(&self) {
        self.0.taken_up.notified().await;
    }

    async fn serve(self, listener: TcpListener) {
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    tokio::spawn(self.clone().converse(accepted.unwrap().0));
                }
                () = self.0.stop.notified() => break,
            }
        }
        drop(listener);
        self.0.stopped.notify_one();
    }

    async fn converse(self, mut stream: TcpStream) {
        while let Some(line) = read_request(&mut stream).await {
            self.0.executed.lock().unwrap().push(line.clone());
            self.0.taken_up.notify_one();
            let text = match (self.0.reply)(&line) {
                Reply::Say(text) => text,
                Reply::SayAndStop(text) => {
                    self.0.stop.notify_one();
                    self.0.stopped.notified().await;
                    text
                }
                Reply::Close => return,
                Reply::Hold => std::future::pending().await,
            };
            if stream.write_all(text.as_bytes()).await.is_err() || text.contains("close") {
                return;
            }
        }
    }
}

/// Returns a socket that holds a port beside others of its kind.
fn bound(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket
}

/// Reads one whole request; returns its method and path.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut octets = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => octets.extend_from_slice(&chunk[..count]),
        }
        let text = String::from_utf8_lossy(&octets);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map_or(0, |(_, value)| value.trim().parse().unwrap());
        if body.len() >= length {
            return Some(head.split(' ').take(2).collect::<Vec<_>>().join(" "));
        }
    }
}

/// Returns a response without a body.
pub(crate) fn say(status: &str, fields: &str) -> Reply {
    Reply::Say(format!("HTTP/1.1 {status}\r\n{fields}content-length: 0\r\n\r\n"))
}

// ===== calls =====

pub(crate) fn post(url: &str) -> Request<Octets> {
    Request::post(url).body(Full::from("pay")).unwrap()
}

/// This crate's transport, with its error boxed.
pub(crate) fn pool() -> Inner {
    boxed(Pool::new(PoolOptions::new()))
}

pub(crate) fn boxed<S>(service: S) -> Inner
where
    S: Service<Request<Octets>, Response = Answered, Error: Into<BoxError>>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    BoxCloneSyncService::new(service.map_err(Into::into))
}

/// What came of a call that failed.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) fate: Fate,
    pub(crate) no_resend: NoResend,
    pub(crate) attempts: Vec<Attempt>,
}

/// Sends a request through the layer over `inner`; it has to fail.
pub(crate) async fn fails(inner: Inner, request: Request<Octets>) -> Failed {
    let policy = Policy::new().connect_patience(std::time::Duration::from_millis(100));
    let error = ResendLayer::new(policy).layer(inner).oneshot(request).await.unwrap_err();
    Failed { fate: error.fate(), no_resend: error.no_resend(), attempts: error.attempts().to_vec() }
}

/// A rule that says from what it sees whether a request may be sent again.
pub(crate) type Rule = fn(&[Attempt], &BoxError) -> bool;

/// The rules that people use. The last hop's fate, and a refused connect
/// somewhere in the error's chain.
pub(crate) const CARELESS: [(&str, Rule); 2] = [
    ("last hop", |attempts, _| attempts.last().is_some_and(|it| it.fate().is_not_applied())),
    ("is_connect", |_, error| is_connect(error.as_ref())),
];

fn is_connect(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| {
        error.downcast_ref().is_some_and(|error: &std::io::Error| {
            error.kind() == std::io::ErrorKind::ConnectionRefused
        })
    })
}

/// Sends a request in place of the layer, once more if `rule` says so.
pub(crate) async fn by_rule(mut inner: Inner, request: Request<Octets>, rule: Rule) {
    let token = AttemptToken::new();
    for _ in 0..2 {
        let mut request = request.clone();
        request.extensions_mut().insert(token.clone());
        let Err(error) = inner.ready().await.unwrap().call(request).await else { return };
        if !rule(&token.attempts(), &error) {
            return;
        }
    }
}

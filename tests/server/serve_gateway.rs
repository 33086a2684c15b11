//! What a gateway answers when the next server fails.

use crate::site;
use testkit::closed_port;

use std::net::SocketAddr;
use std::time::Duration;

use http::{Method, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer, ServiceExt};
use tower_resend::body::Body;
use tower_resend::gateway::{Gateway, GatewayLayer, RefuseUnforwardedLayer};
use tower_resend::pool::PoolOptions;
use tower_resend::server::{Listener, RequestBody, serve};
use tower_resend::{Client, Policy};
use tower_resend_core::Role;

use self::closed_port::ClosedPort;
use self::site::{Client as Raw, OFFER};

/// What the next server does with a request that it has read.
#[derive(Clone, Copy, Debug)]
enum Next {
    NotThere,
    Closes,
    Waits,
    Answers,
    /// Begins a response, and closes in the middle of its head.
    BeginsHead,
    /// Begins a response, and closes in the middle of its body.
    BeginsBody,
}

impl Next {
    /// The deadline of a request to it. A test waits that long for a server that only
    /// waits or does not exist; the others are slow only on a busy machine.
    fn deadline(self) -> Duration {
        match self {
            Self::NotThere => Duration::from_millis(100),
            // The request must have been written by then.
            Self::Waits => Duration::from_secs(2),
            Self::Closes | Self::Answers | Self::BeginsHead | Self::BeginsBody => {
                Duration::from_secs(30)
            }
        }
    }

    /// What it writes before it does nothing more.
    fn answer(self) -> &'static str {
        match self {
            Self::Answers => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            Self::BeginsHead => "HTTP/1.1 200 OK\r\nConte",
            Self::BeginsBody => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhal",
            Self::NotThere | Self::Closes | Self::Waits => "",
        }
    }
}

async fn next(next: Next) -> SocketAddr {
    if let Next::NotThere = next {
        let port = ClosedPort::new();
        let address = port.address();
        tokio::spawn(async move {
            std::future::pending::<()>().await;
            drop(port);
        });
        return address;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a socket has an address");
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("nothing fails on loopback");
            stream.read_exact(&mut [0]).await.expect("nothing fails on loopback");
            let mut read = vec![0; 4096];
            let bytes = stream.read(&mut read).await.expect("nothing fails on loopback");
            assert!(bytes > 0);
            match next {
                Next::Waits => {
                    tokio::spawn(async move { stream.read(&mut read).await });
                }
                Next::Answers | Next::BeginsHead | Next::BeginsBody => {
                    let answer = next.answer().as_bytes();
                    stream.write_all(answer).await.expect("nothing fails on loopback");
                }
                Next::NotThere | Next::Closes => drop(stream),
            }
        }
    });
    address
}

/// Serves a gateway in front of such a server. Returns what a client reads, with or
/// without an offer.
async fn ask(behind: Next, offer: &str) -> String {
    call(behind, offer).await.response().await
}

/// Does the same, and returns the client.
async fn call(behind: Next, offer: &str) -> Raw {
    let policy = Policy::new().role(Role::Proxy).deadline(behind.deadline());
    let behind = next(behind).await;
    // The next server serves one connection after another.
    let pool = PoolOptions::new().hedged_connects(false);
    let gateway: Gateway<Client> =
        GatewayLayer::new().layer(Client::builder().pool(pool).policy(policy).build());
    let app = tower::service_fn(move |request: Request<RequestBody<_>>| {
        let (mut head, _) = request.into_parts();
        let target = format!("http://{behind}{}", head.uri.path());
        head.uri = target.parse().expect("a valid target");
        head.method = Method::POST;
        gateway.clone().oneshot(Request::from_parts(head, Body::from("order")))
    });
    let app = RefuseUnforwardedLayer::new().layer(app);
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.expect("a free port");
    let address = listener.local_addr().expect("a socket has an address");
    tokio::spawn(serve(listener, app).into_future());
    let mut client = Raw(TcpStream::connect(address).await.expect("the server listens"));
    client.get("/order", &format!("{offer}X: y\r\n")).await;
    client
}

#[tokio::test]
async fn not_applied_is_503_and_refused() {
    let response = ask(Next::NotThere, OFFER).await;
    assert!(response.starts_with("http/1.1 503"), "{response}");
    assert!(response.contains(", refused\r\n") && response.contains("close"), "{response}");
    let naive = ask(Next::NotThere, "").await;
    assert!(naive.starts_with("http/1.1 503") && !naive.contains("retry-contract"), "{naive}");
    assert!(naive.contains("connection: close"), "{naive}");
}

#[tokio::test]
async fn unknown_is_502_and_never_refused() {
    let response = ask(Next::Closes, OFFER).await;
    assert!(response.starts_with("http/1.1 502"), "{response}");
    assert!(response.contains("retry-contract: hop=") && !response.contains("refused"));
}

#[tokio::test]
async fn response_lost_in_its_head_is_502_and_never_refused() {
    let response = ask(Next::BeginsHead, OFFER).await;
    assert!(response.starts_with("http/1.1 502"), "{response}");
    assert!(response.contains("retry-contract: hop=") && !response.contains("refused"));
}

/// The head was passed on: the gateway can only cut the response off too.
#[tokio::test]
async fn response_lost_in_its_body_is_cut_and_never_refused() {
    let (response, _) = call(Next::BeginsBody, OFFER).await.rest().await;
    assert!(
        response.starts_with("http/1.1 200") && response.ends_with("\r\n\r\nhal"),
        "{response}"
    );
    assert!(response.contains("content-length: 5\r\n") && !response.contains("refused"));
}

#[tokio::test]
async fn no_response_in_time_is_504_and_never_refused() {
    let response = ask(Next::Waits, OFFER).await;
    assert!(response.starts_with("http/1.1 504"), "{response}");
    assert!(response.contains("retry-contract: hop=") && !response.contains("refused"));
}

#[tokio::test]
async fn response_is_passed_on() {
    let response = ask(Next::Answers, OFFER).await;
    assert!(response.starts_with("http/1.1 200") && response.ends_with("ok"), "{response}");
    assert!(!response.contains("refused"));
}

//! The pieces of a server, put together by hand; services of users.

use crate::site;

use std::convert::Infallible;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::extract::connect_info::Connected;
use axum::routing::get;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::{Layer, Service};
use tower_resend::server::{
    Accepted, Connection, DispatchLayer, Handle, Listener, Phase, serve, serve_make,
};

use self::site::{App, Client, OFFER};

// ===== a refused request never reaches the service =====

/// How the service side behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// As that of this crate.
    Ours,
    /// Passes a request on after it was refused.
    ActsAfterRefusing,
}

/// Serves one connection.
async fn serve_one(connection: Connection, side: Side, app: App) {
    let handle = connection.handle().clone();
    let gone = handle.clone();
    let io = TokioIo::new(connection);
    let http = http1::Builder::new();
    match side {
        Side::Ours => {
            let service = DispatchLayer::new(handle).layer(app);
            let service = service_fn(move |request| service.clone().call(request));
            let mut served = std::pin::pin!(http.serve_connection(io, service));
            tokio::select! {
                _ = served.as_mut() => return,
                () = gone.gone() => served.as_mut().graceful_shutdown(),
            }
            let _ = served.await;
        }
        Side::ActsAfterRefusing => {
            let service =
                service_fn(move |request| dispatch_anyway(request, handle.clone(), app.clone()));
            let mut served = std::pin::pin!(http.serve_connection(io, service));
            tokio::select! {
                _ = served.as_mut() => return,
                () = gone.gone() => served.as_mut().graceful_shutdown(),
            }
            let _ = served.await;
        }
    }
}

async fn dispatch_anyway(
    request: Request<Incoming>,
    handle: Handle,
    app: App,
) -> Result<Response<tower_resend::server::TrackedResponseBody<Empty<Bytes>>>, Infallible> {
    let mut exchange = handle.begin(handle.offer(&request));
    handle.gone().await;
    let refused = exchange.dispatch();
    let mut response = Response::new(Empty::new());
    if refused.is_err() {
        exchange
            .refusal()
            .expect("a valid field")
            .write(response.headers_mut())
            .expect("a valid field");
    }
    app.seen.lock().expect("no holder panicked").push(request.uri().path().to_owned());
    Ok(response.map(|body| exchange.answer(body)))
}

/// Refuses a half-received request. Returns what the client read and
/// what the service saw.
async fn refuse(side: Side) -> (String, Vec<String>) {
    let mut listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.expect("a free port");
    let address = listener.local_addr().expect("a socket has an address");
    let mut client = Client(TcpStream::connect(address).await.expect("the server listens"));
    let (connection, _) = listener.accept().await;
    let handle = connection.handle().clone();
    let (app, _events) = App::new();
    let serving = tokio::spawn(serve_one(connection, side, app.clone()));
    let head = "POST /order HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n";
    client.send(&format!("{head}{OFFER}\r\nabc")).await;
    while handle.phase() != Phase::Head {
        tokio::task::yield_now().await;
    }
    handle.go_away();
    let (response, _) = client.rest().await;
    drop(client);
    serving.await.expect("nothing fails on loopback");
    (response, app.seen())
}

/// Returns `true` if the promise is kept: a client that reads `refused` may send the
/// request again.
fn is_kept((response, seen): &(String, Vec<String>)) -> bool {
    response.contains(", refused\r\n") && seen.is_empty()
}

#[tokio::test]
async fn refused_request_never_reaches_the_service() {
    let refused = refuse(Side::Ours).await;
    assert!(is_kept(&refused), "{refused:?}");
}

#[tokio::test]
async fn control_service_that_acts_after_refusing_is_seen() {
    let refused = refuse(Side::ActsAfterRefusing).await;
    assert!(refused.0.contains(", refused\r\n") && !is_kept(&refused), "{refused:?}");
}

// ===== axum =====

/// The connect info of a user.
#[derive(Clone, Copy, Debug)]
struct Ends {
    client: std::net::SocketAddr,
    server: std::net::SocketAddr,
}

impl Connected<Accepted> for Ends {
    fn connect_info(accepted: Accepted) -> Self {
        Self { client: accepted.peer(), server: accepted.local() }
    }
}

async fn ask(address: std::net::SocketAddr) -> (Client, String) {
    let mut client = Client(TcpStream::connect(address).await.expect("the server listens"));
    client.get("/", OFFER).await;
    let response = client.response().await;
    (client, response)
}

#[tokio::test]
async fn router_is_served_and_announced() {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/", get(async || "hello"));
    tokio::spawn(serve(listener, app).into_future());
    let (mut client, response) = ask(address).await;
    assert!(response.contains("retry-contract: hop=") && response.ends_with("hello"), "{response}");
    client.get("/missing", OFFER).await;
    let missing = client.response().await;
    assert!(missing.starts_with("http/1.1 404") && missing.contains("retry-contract: hop="));
}

#[tokio::test]
async fn connect_info_of_a_users_type_works() {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route(
        "/",
        get(async |ConnectInfo(ends): ConnectInfo<Ends>| {
            format!("{} {}", ends.client, ends.server)
        }),
    );
    let make = app.into_make_service_with_connect_info::<Ends>();
    tokio::spawn(serve_make(listener, make).into_future());
    let (client, response) = ask(address).await;
    let told = format!("{} {address}", client.0.local_addr().unwrap());
    assert!(response.ends_with(&told), "{response}");
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn client_address_is_connect_info() {
    use std::net::SocketAddr;

    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new()
        .route("/", get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.to_string()));
    let make = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(serve_make(listener, make).into_future());
    let (client, response) = ask(address).await;
    assert!(response.ends_with(&client.0.local_addr().unwrap().to_string()), "{response}");
}

/// A client that knows the contract reads the response like any other.
#[tokio::test]
async fn our_client_is_served() {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/", get(async || "hello"));
    tokio::spawn(serve(listener, app).into_future());
    let client = tower_resend::Client::new();
    for _ in 0..3 {
        let request = Request::get(format!("http://{address}/")).body("").unwrap();
        assert_eq!(client.request(request).await.unwrap().status(), 200);
    }
}

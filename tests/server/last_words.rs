//! What a connection says at its end: nothing if it became a tunnel, and nothing
//! after a response that said it was the last.
#![cfg(target_os = "linux")]

use crate::site;

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tower::{Layer, Service};
use tower_resend::server::{
    CloseMode, Connection, DispatchLayer, Handle, ListenerOptions, Phase, RequestBody,
};

use self::site::{Client, End};

const MODES: [CloseMode; 3] =
    [CloseMode::ResetBeforeDispatch, CloseMode::FinBeforeDispatch, CloseMode::Plain];
const FIELD: &str = "Retry-Contract: hop=\"{hop}\", rst, fin, gone, half\r\n";

type Parts = mpsc::UnboundedSender<Result<Frame<Bytes>, Infallible>>;
type Sent = StreamBody<UnboundedReceiverStream<Result<Frame<Bytes>, Infallible>>>;

/// A response whose body the test sends.
fn body() -> (Parts, Sent) {
    let (parts, sent) = mpsc::unbounded_channel();
    (parts, StreamBody::new(UnboundedReceiverStream::new(sent)))
}

fn send(parts: &Parts, part: &'static str) {
    parts.send(Ok(Frame::data(Bytes::from_static(part.as_bytes())))).expect("it is read");
}

/// Accepts one connection and serves it with hyper and this application; hyper shuts
/// down gracefully once the connection goes away.
async fn serve<S>(mode: CloseMode, app: S) -> (Client, Handle)
where
    S: Service<Request<RequestBody<Incoming>>, Response = Response<Sent>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    let options = ListenerOptions::new().mode(mode);
    let mut listener = options.bind(([127, 0, 0, 1], 0).into()).await.expect("a free port");
    let address = listener.local_addr().expect("a socket has an address");
    let client = Client(TcpStream::connect(address).await.expect("the server listens"));
    let (connection, _): (Connection, _) = listener.accept().await;
    let handle = connection.handle().clone();
    let service = DispatchLayer::new(handle.clone()).layer(app);
    let service = service_fn(move |request| service.clone().call(request));
    let gone = handle.clone();
    tokio::spawn(async move {
        let http = http1::Builder::new().serve_connection(TokioIo::new(connection), service);
        let mut http = std::pin::pin!(http.with_upgrades());
        tokio::select! {
            _ = http.as_mut() => return,
            () = gone.gone() => http.as_mut().graceful_shutdown(),
        }
        let _ = http.await;
    });
    (client, handle)
}

// ===== last responses =====

/// The server leaves while a response is being sent and its head is written. Returns
/// what came after the head.
async fn leave_in_an_answer(mode: CloseMode, asked: &str, answered: Option<&str>) -> String {
    let (parts, sent) = body();
    let response = Response::builder();
    let response = match answered {
        Some(option) => response.header("connection", option),
        None => response,
    };
    let response = response.body(sent).expect("a valid head");
    let response = Arc::new(Mutex::new(Some(response)));
    let app = tower::service_fn(move |_: Request<RequestBody<Incoming>>| {
        let response = response.lock().expect("no holder panicked").take();
        std::future::ready(Ok(response.expect("there is one request")))
    });
    let (mut client, handle) = serve(mode, app).await;
    client.get("/", &format!("Connection: retry-contract{asked}\r\n{FIELD}")).await;
    let head = client.response().await;
    assert!(head.contains("retry-contract: hop="), "{head}");
    handle.go_away();
    send(&parts, "last");
    drop(parts);
    let (rest, end) = client.rest().await;
    assert_eq!(end, End::Fin, "{rest}");
    assert!(rest.starts_with("4\r\nlast\r\n0\r\n\r\n"), "{rest}");
    assert_eq!(handle.counters().closing_responses, u64::from(rest.contains("http/1.1 503")));
    rest
}

#[tokio::test]
async fn no_closing_response_follows_connection_close() {
    for mode in MODES {
        for (asked, answered) in
            [("", Some("close")), ("", Some("x, Close")), (", close", None), (", close", Some("x"))]
        {
            let rest = leave_in_an_answer(mode, asked, answered).await;
            assert!(!rest.contains("http/1.1"), "{mode:?} {asked} {answered:?}: {rest}");
        }
    }
}

#[tokio::test]
async fn control_closing_response_follows_a_keep_alive_response() {
    for mode in MODES {
        for answered in [None, Some("x")] {
            let rest = leave_in_an_answer(mode, "", answered).await;
            assert_eq!(rest.matches("http/1.1 503").count(), 1, "{rest}");
            assert!(rest.contains(", refused\r\n"), "{rest}");
        }
    }
}

// ===== tunnels =====

/// Answers `CONNECT` with this status, and everything else with 200. A tunnel
/// echoes until a full stop.
fn tunnels(
    status: StatusCode,
) -> impl Service<
    Request<RequestBody<Incoming>>,
    Response = Response<Sent>,
    Error = Infallible,
    Future = std::future::Ready<Result<Response<Sent>, Infallible>>,
> + Clone
+ Send
+ 'static {
    tower::service_fn(move |mut request: Request<RequestBody<Incoming>>| {
        let mut response = Response::new(body().1);
        if request.method() == Method::CONNECT {
            *response.status_mut() = status;
            tokio::spawn(echo(hyper::upgrade::on(&mut request)));
        }
        std::future::ready(Ok(response))
    })
}

async fn echo(tunnel: hyper::upgrade::OnUpgrade) {
    let Ok(tunnel) = tunnel.await else {
        return;
    };
    let mut tunnel = TokioIo::new(tunnel);
    let mut byte = [0];
    while byte != *b"." && tunnel.read_exact(&mut byte).await.is_ok() {
        tunnel.write_all(&byte).await.expect("nothing fails on loopback");
        tunnel.flush().await.expect("nothing fails on loopback");
    }
}

/// Sends a `CONNECT` on a connection that was used before and, if the mode resets
/// idle ones, is armed.
async fn connect(mode: CloseMode, status: StatusCode) -> (Client, Handle, String) {
    let (mut client, handle) = serve(mode, tunnels(status)).await;
    let offer = format!("Connection: retry-contract\r\n{FIELD}");
    client.get("/", &offer).await;
    let response = client.response().await;
    assert!(response.contains("retry-contract: hop="), "{response}");
    read_end_of_body(&mut client).await;
    while mode == CloseMode::ResetBeforeDispatch && !is_armed(&handle) {
        tokio::task::yield_now().await;
    }
    client.send(&format!("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n{offer}\r\n")).await;
    let response = client.response().await;
    (client, handle, response)
}

async fn read_end_of_body(client: &mut Client) {
    let mut end = [0; 5];
    client.0.read_exact(&mut end).await.expect("nothing fails on loopback");
    assert_eq!(&end, b"0\r\n\r\n");
}

fn is_armed(handle: &Handle) -> bool {
    let counters = handle.counters();
    counters.armed > counters.cleared
}

#[tokio::test]
async fn tunnel_gets_no_closing_response() {
    for mode in MODES {
        let (mut client, handle, response) = connect(mode, StatusCode::OK).await;
        assert!(response.starts_with("http/1.1 200"), "{response}");
        assert!(!response.contains("retry-contract"), "{response}");
        assert_eq!(handle.phase(), Phase::Disarmed);
        for leaves in [false, true] {
            if leaves {
                handle.go_away();
            }
            client.send("x").await;
            let mut echoed = [0];
            client.0.read_exact(&mut echoed).await.expect("the tunnel lives");
            assert_eq!((&echoed, is_armed(&handle)), (b"x", false), "{mode:?}");
        }
        client.send(".").await;
        assert_eq!(client.rest().await, (".".to_owned(), End::Fin), "{mode:?}");
        assert_eq!(handle.counters().closing_responses, 0);
    }
}

#[tokio::test]
async fn control_refused_tunnel_keeps_the_contract() {
    for mode in MODES {
        let (mut client, handle, response) = connect(mode, StatusCode::FORBIDDEN).await;
        assert!(response.contains("retry-contract: hop="), "{response}");
        assert_ne!(handle.phase(), Phase::Disarmed);
        read_end_of_body(&mut client).await;
        handle.go_away();
        let (rest, end) = client.rest().await;
        assert!(rest.starts_with("http/1.1 503") && rest.contains(", refused\r\n"), "{rest}");
        assert_eq!(end, End::Fin, "{mode:?}");
    }
}

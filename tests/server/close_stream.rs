//! The server's connection under other streams and protocols than plain HTTP:
//! below something like TLS, after an upgrade, with HTTP/2, under axum.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "tests may panic")]

use std::io;
#[cfg(feature = "axum")]
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use http::{HeaderMap, HeaderValue};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tower_resend::server::{CloseMode, Connection, Handle, Listener, ListenerOptions, Phase};
use tower_resend_core::contract::{ClosingStatus, Offer, RETRY_CONTRACT};

const ANY: &str = "127.0.0.1:0";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

async fn listen(options: ListenerOptions) -> (Listener, TcpStream) {
    let listener = options.bind(ANY.parse().unwrap()).await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (listener, client)
}

/// Plays HTTP and its service: one request that is answered with `response`.
async fn exchange<S>(
    connection: &mut Connection<S>,
    client: &mut (impl AsyncWrite + Unpin),
    response: &[u8],
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    client.write_all(REQUEST).await.unwrap();
    let mut read = vec![0; REQUEST.len()];
    connection.read_exact(&mut read).await.unwrap();
    assert_eq!(read, REQUEST);
    let mut exchange = connection.handle().begin(Offer::all());
    exchange.received();
    exchange.dispatch().unwrap();
    assert!(exchange.announcement().is_some());
    drop(exchange.answer(()));
    connection.write_all(response).await.unwrap();
    connection.flush().await.unwrap();
}

/// Polls the connection as HTTP does while it waits, until its handle says so.
async fn until<S>(connection: &mut Connection<S>, is_so: impl Fn(&Handle) -> bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handle = connection.handle().clone();
    let mut byte = [0];
    tokio::select! {
        read = connection.read(&mut byte) => panic!("{read:?}"),
        () = async { while !is_so(&handle) { tokio::task::yield_now().await } } => {}
    }
}

fn is_armed(handle: &Handle) -> bool {
    let counters = handle.counters();
    counters.armed > counters.cleared
}

#[tokio::test]
async fn closing_response_is_written_above_tls() {
    let (mut listener, client) = listen(ListenerOptions::new()).await;
    let (socket, handle, _) = listener.accept_socket().await;
    let mut connection = Connection::new(Flipped(socket), handle.clone());
    let mut client = Flipped(client);
    exchange(&mut connection, &mut client, b"response").await;
    until(&mut connection, is_armed).await;

    handle.go_away();
    let close = tokio::spawn(async move {
        let end = connection.read(&mut [0]).await;
        assert_eq!(end.unwrap(), 0, "HTTP sees an end");
    });
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("responseHTTP/1.1 503 Service Unavailable\r\n"), "{text}");
    assert!(text.contains(&format!("Retry-Contract: hop=\"{}\", refused\r\n", handle.hop())));
    drop(client);
    close.await.unwrap();
    assert_eq!(handle.counters().closing_responses, 1);
    assert!(!is_armed(&handle));
}

#[tokio::test]
async fn connection_dropped_while_leaving_sends_its_closing_response() {
    let options = ListenerOptions::new().closing_status(ClosingStatus::GoingAway);
    let (mut listener, mut client) = listen(options).await;
    let (mut connection, _) = listener.accept().await;
    exchange(&mut connection, &mut client, b"response").await;
    until(&mut connection, is_armed).await;
    connection.handle().go_away();
    drop(connection);
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("responseHTTP/1.1 599 Going Away\r\n"), "{text}");
}

#[tokio::test]
async fn never_used_connection_gets_a_599_only_if_set() {
    for is_set in [false, true] {
        let (mut listener, mut client) =
            listen(ListenerOptions::new().never_used_599(is_set)).await;
        let (connection, _) = listener.accept().await;
        connection.handle().go_away();
        drop(connection);
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        assert_eq!(text.starts_with("HTTP/1.1 599 "), is_set, "{text}");
        assert_eq!(text.is_empty(), !is_set, "{text}");
    }
}

#[tokio::test]
async fn nothing_is_dispatched_after_the_connection_ended() {
    let (mut listener, mut client) = listen(ListenerOptions::new()).await;
    let (mut connection, _) = listener.accept().await;
    client.write_all(REQUEST).await.unwrap();
    connection.read_exact(&mut vec![0; REQUEST.len()]).await.unwrap();
    let handle = connection.handle().clone();
    let mut exchange = handle.begin(Offer::all());
    exchange.received();
    drop(connection);
    assert!(exchange.dispatch().is_err());
}

#[tokio::test]
async fn gone_completes_before_and_after_the_server_leaves() {
    let (mut listener, _client) = listen(ListenerOptions::new()).await;
    let (connection, _) = listener.accept().await;
    let handle = connection.handle().clone();
    let waits = tokio::spawn({
        let handle = handle.clone();
        async move { handle.gone().await }
    });
    tokio::task::yield_now().await;
    handle.go_away();
    waits.await.unwrap();
    handle.gone().await;
}

#[tokio::test]
async fn upgrade_disarms_for_good() {
    let (mut listener, mut client) = listen(ListenerOptions::new()).await;
    let (mut connection, _) = listener.accept().await;
    exchange(&mut connection, &mut client, b"response").await;
    until(&mut connection, is_armed).await;
    exchange(&mut connection, &mut client, b"HTTP/1.1 101 Switching Protocols\r\n\r\n").await;
    assert_eq!(connection.handle().phase(), Phase::Disarmed);
    assert!(!is_armed(connection.handle()));
}

/// A tunnel that opens just after the server decided to leave ends at once, and no
/// closing response is written into it.
#[tokio::test]
async fn attack_closing_response_in_a_tunnel() {
    for is_tunnel in [false, true] {
        let (mut listener, mut client) = listen(ListenerOptions::new()).await;
        let (mut connection, _) = listener.accept().await;
        exchange(&mut connection, &mut client, b"response").await;
        connection.handle().go_away();
        if is_tunnel {
            connection.handle().disarm();
        }
        let ends = tokio::spawn(async move { connection.shutdown().await });
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        drop(client);
        ends.await.unwrap().unwrap();
        match is_tunnel {
            true => assert_eq!(text, "response"),
            // Control: HTTP/1.1 is owed the closing response here.
            false => assert!(text.starts_with("responseHTTP/1.1 503 "), "{text}"),
        }
    }
}

/// A closing response that is being written when the connection becomes a tunnel
/// stops there: the rest would be bytes in the tunnel.
#[tokio::test]
async fn attack_disarm_cuts_a_closing_response_short() {
    const BEGUN: usize = "HTTP/1.1 503 ".len();
    for is_tunnel in [false, true] {
        let (mut listener, mut client) = listen(ListenerOptions::new()).await;
        let (socket, handle, _) = listener.accept_socket().await;
        let gate = Gate::default();
        let mut connection = Connection::new(Gated(socket, gate.clone()), handle.clone());
        exchange(&mut connection, &mut client, b"response").await;
        gate.close_after(BEGUN);
        handle.go_away();
        let mut ends = tokio_test::task::spawn(async move { connection.shutdown().await });
        assert!(ends.poll().is_pending(), "the gate is closed");
        if is_tunnel {
            handle.disarm();
        }
        gate.open();
        let ends = tokio::spawn(ends);
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        drop(client);
        ends.await.unwrap().unwrap();
        match is_tunnel {
            true => assert_eq!(text, "responseHTTP/1.1 503 "),
            // Control: without the tunnel the same response is finished.
            false => assert!(text.ends_with("Content-Length: 0\r\n\r\n"), "{text}"),
        }
    }
}

/// A stream that takes no more bytes once its gate is closed.
struct Gated<S>(S, Gate);

/// How many bytes still pass; all if that is unset.
#[derive(Clone, Default)]
struct Gate(Arc<Mutex<Option<usize>>>);

impl Gate {
    fn close_after(&self, bytes: usize) {
        *self.0.lock().unwrap() = Some(bytes);
    }

    fn open(&self) {
        *self.0.lock().unwrap() = None;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gated<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gated<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self(stream, gate) = &mut *self;
        let mut passes = gate.0.lock().unwrap();
        let bytes = match *passes {
            None => bytes,
            Some(0) => return Poll::Pending,
            Some(count) => &bytes[..count.min(bytes.len())],
        };
        let written = ready!(Pin::new(stream).poll_write(cx, bytes));
        if let (Some(count), Ok(written)) = (passes.as_mut(), &written) {
            *count -= written;
        }
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn http2_is_left_alone() {
    let (mut listener, mut client) = listen(ListenerOptions::new()).await;
    let (mut connection, _) = listener.accept().await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    client.write_all(preface).await.unwrap();
    connection.read_exact(&mut vec![0; preface.len()]).await.unwrap();
    assert_eq!(connection.handle().phase(), Phase::Disarmed);
    let mut exchange = connection.handle().begin(Offer::none());
    assert!(exchange.dispatch().is_ok(), "HTTP/2 has its own refusals");
    assert_eq!(exchange.announcement(), None);
}

#[tokio::test]
async fn written_announcement_is_the_returned_one() {
    for mode in [CloseMode::ResetBeforeDispatch, CloseMode::FinBeforeDispatch, CloseMode::Plain] {
        let (mut listener, mut client) = listen(ListenerOptions::new().mode(mode)).await;
        let (mut connection, _) = listener.accept().await;
        let handle = connection.handle().clone();
        let mut written = Vec::new();
        // Written, repeated, and written anew for another offer and for a leave.
        for (offer, leaves) in [
            (Offer::all(), false),
            (Offer::all(), false),
            (Offer::none().with_half(), false),
            (Offer::all(), true),
        ] {
            client.write_all(REQUEST).await.unwrap();
            connection.read_exact(&mut vec![0; REQUEST.len()]).await.unwrap();
            let mut exchange = handle.begin(offer);
            exchange.dispatch().unwrap();
            if leaves {
                handle.go_away();
            }
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_CONTRACT, HeaderValue::from_static("of another hop"));
            exchange.announce(&mut headers).unwrap();
            let mut expected = HeaderMap::new();
            exchange.announcement().unwrap().write(&mut expected).unwrap();
            assert_eq!(headers, expected);
            written.push(headers[RETRY_CONTRACT].to_str().unwrap().to_owned());
            drop(exchange.answer(()));
            connection.write_all(b"response").await.unwrap();
            connection.flush().await.unwrap();
        }
        assert_eq!(written[0], written[1]);
        assert!(written[2].ends_with("max=65536, half"), "{}", written[2]);
        assert_eq!(written[3], format!("{}, drain", written[0]));
    }
}

#[tokio::test]
async fn client_without_offer_is_told_nothing_and_never_reset() {
    for mode in [CloseMode::ResetBeforeDispatch, CloseMode::FinBeforeDispatch, CloseMode::Plain] {
        let (mut listener, mut client) = listen(ListenerOptions::new().mode(mode)).await;
        let (mut connection, _) = listener.accept().await;
        for _ in 0..2 {
            client.write_all(REQUEST).await.unwrap();
            connection.read_exact(&mut vec![0; REQUEST.len()]).await.unwrap();
            let mut exchange = connection.handle().begin(Offer::none());
            exchange.dispatch().unwrap();
            assert_eq!(exchange.announcement(), None);
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_CONTRACT, HeaderValue::from_static("of another hop"));
            exchange.announce(&mut headers).unwrap();
            assert!(headers.is_empty(), "{headers:?}");
            drop(exchange.answer(()));
            connection.write_all(b"response").await.unwrap();
            connection.flush().await.unwrap();
        }
        assert_eq!(connection.handle().counters().armed, 0);
    }
}

/// Stands for TLS: the bytes below differ from those above.
struct Flipped<S>(S);

fn flip(bytes: &mut [u8]) {
    bytes.iter_mut().for_each(|byte| *byte = !*byte);
}

impl<S: AsyncRead + Unpin> AsyncRead for Flipped<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let start = buf.filled().len();
        let polled = Pin::new(&mut self.0).poll_read(cx, buf);
        flip(&mut buf.filled_mut()[start..]);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Flipped<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut bytes = bytes.to_vec();
        flip(&mut bytes);
        Pin::new(&mut self.0).poll_write(cx, &bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn axum_serves_over_the_listener_and_knows_client_addresses() {
    use axum::extract::ConnectInfo;
    use axum::extract::connect_info::Connected;
    use axum::routing::get;
    use axum::serve::{IncomingStream, ListenerExt};

    #[derive(Clone)]
    struct Known(SocketAddr, Handle);

    impl Connected<IncomingStream<'_, Listener>> for Known {
        fn connect_info(stream: IncomingStream<'_, Listener>) -> Self {
            Self(*stream.remote_addr(), stream.io().handle().clone())
        }
    }

    async fn ask(server: SocketAddr) -> (String, SocketAddr) {
        let mut client = TcpStream::connect(server).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
        client.write_all(request).await.unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        (text, client.local_addr().unwrap())
    }

    let own = |ConnectInfo(Known(address, handle)): ConnectInfo<Known>| async move {
        format!("{address} {}", handle.hop())
    };
    let listener = Listener::bind(ANY.parse().unwrap()).await.unwrap();
    let server = listener.local_addr().unwrap();
    let app = axum::Router::new().route("/", get(own));
    let app = app.into_make_service_with_connect_info::<Known>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let (text, client) = ask(server).await;
    assert!(text.ends_with(&format!("{client} {client} {server}")), "{text}");

    let plain = |ConnectInfo(address): ConnectInfo<SocketAddr>| async move { address.to_string() };
    let listener = Listener::bind(ANY.parse().unwrap()).await.unwrap().tap_io(|_| {});
    let server = axum::serve::Listener::local_addr(&listener).unwrap();
    let app = axum::Router::new().route("/", get(plain));
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let (text, client) = ask(server).await;
    assert!(text.ends_with(&client.to_string()), "{text}");
}

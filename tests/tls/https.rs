//! Targets whose scheme is https: which servers the client trusts, what it shows of
//! itself, and what a failure under TLS says of the request.

#![allow(clippy::unwrap_used, reason = "a test panics when something is in its way")]

use testkit::origin;

use std::error::Error as _;
use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tower_resend::pool::{PoolOptions, ResponseBody};
use tower_resend::tls::rustls::{HandshakeKind, ProtocolVersion, RootCertStore};
use tower_resend::tls::{Tls, TlsError};
use tower_resend::{Body, Client, Error, Policy, attempts};
use tower_resend_core::{ConnectFailure, Doubt, Fate, Proof};

use self::origin::tls::{Authority, Server};
use self::origin::{Origin, Peer, turnstile};

fn client(tls: Tls) -> Client {
    Client::builder().pool(PoolOptions::new().hedged_connects(false).tls(tls)).build()
}

/// Without settings for TLS: what a client has by default.
fn by_default() -> Client {
    Client::builder().pool(PoolOptions::new().hedged_connects(false)).build()
}

fn trusting(authority: &Authority) -> Client {
    client(authority.client().build().unwrap())
}

fn post(url: &str) -> Request<Body> {
    Request::post(url).body("pay".into()).unwrap()
}

async fn text(response: Response<ResponseBody>) -> Bytes {
    assert_eq!(response.status(), StatusCode::OK);
    assert!(attempts(&response).is_empty(), "{:?}", attempts(&response));
    response.into_body().collect().await.unwrap().to_bytes()
}

/// An origin with which no handshake succeeds.
fn refused(server: &Server) -> Origin {
    Origin::start_tls(1, server, |_, _| panic!("it is not trusted"))
}

// ===== which servers the client trusts =====

#[tokio::test]
async fn a_server_with_an_added_root_is_trusted() {
    let authority = Authority::new();
    let (saw, seen) = channel();
    let origin = Origin::start_tls(1, &authority.server(), move |_, mut peer| {
        let session = &peer.tls().0.0;
        saw.send((session.alpn_protocol().map(<[u8]>::to_vec), session.protocol_version()))
            .unwrap();
        peer.serve_all();
    });
    let client = trusting(&authority);
    for _ in 0..3 {
        let response = client.request(post(&origin.url("/pay"))).await.unwrap();
        assert_eq!(text(response).await, "ok");
    }
    drop(client);
    assert_eq!(finish(origin).await, ["/pay"; 3]);
    let (protocol, version) = seen.recv().unwrap();
    assert_eq!(protocol.unwrap(), b"http/1.1", "h2 was offered too");
    assert_eq!(version, Some(ProtocolVersion::TLSv1_3));
}

#[tokio::test]
async fn an_untrusted_server_gets_no_request() {
    let origin = refused(&Authority::new().server());
    let error = trusting(&Authority::new()).request(post(&origin.url("/pay"))).await.unwrap_err();
    assert_not_connected(error);
    assert_eq!(finish(origin).await, [""; 0]);
}

#[tokio::test]
async fn the_default_roots_do_not_trust_it_either() {
    let origin = refused(&Authority::new().server());
    let error = by_default().request(post(&origin.url("/pay"))).await.unwrap_err();
    assert_not_connected(error);
    assert_eq!(finish(origin).await, [""; 0]);
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let authority = Authority::new();
    let origin = refused(&authority.server());
    let url = origin.url("/pay").replace("127.0.0.1", "localhost");
    let error = trusting(&authority).request(post(&url)).await.unwrap_err();
    assert_not_connected(error);
    assert_eq!(finish(origin).await, [""; 0]);
}

/// The handshake failed: the request is there, and the reason by its type.
fn assert_not_connected(mut error: Error) {
    assert_eq!(error.fate(), Fate::NotApplied(Proof::NotConnected(ConnectFailure::Untrusted)));
    assert_eq!(error.attempts().len(), 1, "it would end the same way");
    let mut source = error.source();
    let found = std::iter::from_fn(|| {
        let this = source?;
        source = this.source();
        Some(this)
    });
    let rustls =
        found.filter_map(|error| error.downcast_ref::<TlsError>()).find_map(TlsError::rustls);
    assert!(rustls.is_some(), "{error:?}");
    let request = error.take_request::<Body>().unwrap();
    assert_eq!(request.method(), "POST");
    assert_eq!(request.uri().scheme_str(), Some("https"));
    assert!(!request.headers().contains_key("host"));
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_gets_no_request() {
    let origin = Origin::start(1, |_, mut peer| {
        peer.wait_for_bytes();
        peer.write("HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n");
    });
    let url = origin.url("/pay").replace("http:", "https:");
    let error = by_default().request(post(&url)).await.unwrap_err();
    assert_not_connected(error);
}

#[tokio::test]
async fn a_server_without_http_1_1_is_asked_once() {
    let authority = Authority::new();
    let origin = Origin::start_tls(1, &authority.server().speaking(b"h2"), |_, _| panic!("none"));
    let error = trusting(&authority).request(post(&origin.url("/pay"))).await.unwrap_err();
    assert_not_connected(error);
    assert_eq!(finish(origin).await, [""; 0]);
}

// ===== what the client shows of itself =====

#[tokio::test]
async fn a_client_certificate_is_shown_to_a_server_that_demands_one() {
    let authority = Authority::new();
    let (saw, seen) = channel();
    let origin = Origin::start_tls(1, &authority.demanding_server(), move |_, mut peer| {
        saw.send(peer.tls().0.0.peer_certificates().map(<[_]>::len)).unwrap();
        peer.serve_all();
    });
    let identity = authority.issue("payments");
    let tls = authority.client().identity(identity.chain, identity.key).build().unwrap();
    let client = client(tls);
    let response = client.request(post(&origin.url("/pay"))).await.unwrap();
    assert_eq!(text(response).await, "ok");
    drop(client);
    assert_eq!(finish(origin).await, ["/pay"]);
    assert_eq!(seen.recv().unwrap(), Some(1));
}

/// With TLS 1.3 the refusal comes after the client's last word, and the
/// request may be on its way behind that.
#[tokio::test]
async fn a_client_without_the_demanded_certificate_is_rejected() {
    let authority = Authority::new();
    let server = authority.demanding_server();
    let origin = Origin::start_tls(1, &server, |_, _| panic!("it showed no certificate"));
    let client = Client::builder()
        .pool(PoolOptions::new().hedged_connects(false).tls(authority.client().build().unwrap()))
        // Long enough to say something, which the origin waits for.
        .policy(Policy::new().deadline(Duration::from_secs(2)))
        .build();
    let error = client.request(post(&origin.url("/pay"))).await.unwrap_err();
    assert!(matches!(error.fate(), Fate::NotApplied(_) | Fate::Unknown(_)), "{error}");
    assert_eq!(finish(origin).await, [""; 0]);
}

/// A configuration that would send a resumed session's first request as early
/// data, which an attacker who copied it could replay.
#[tokio::test]
async fn early_data_is_off_whatever_the_configuration_says() {
    let authority = Authority::new();
    let (saw, seen) = channel();
    let origin = Origin::start_tls(2, &authority.server(), move |_, mut peer| {
        let session = &mut peer.tls().0.0;
        saw.send((session.handshake_kind(), session.early_data().is_some())).unwrap();
        peer.read_request();
        // Without the field the next request could be written before the close.
        peer.write("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok");
    });
    let mut roots = RootCertStore::empty();
    roots.add(authority.root()).unwrap();
    let mut config = authority.client_config(roots);
    config.enable_early_data = true;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let client = client(Tls::from_config(config));
    for _ in 0..2 {
        let response = client.request(post(&origin.url("/pay"))).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
    }
    assert_eq!(finish(origin).await, ["/pay"; 2]);
    assert_eq!(seen.recv().unwrap(), (Some(HandshakeKind::Full), false));
    assert_eq!(seen.recv().unwrap(), (Some(HandshakeKind::Resumed), false));
}

// ===== session tickets =====

/// Two connects are under way; the first connection serves both requests, so
/// that the second is idle with its tickets unread when it is used.
#[tokio::test]
async fn tickets_that_arrive_while_idle_are_no_response() {
    for _ in 0..10 {
        let authority = Authority::new();
        let (flushed, is_flushed) = turnstile();
        let origin = Origin::start_tls(2, &authority.server(), move |nth, mut peer| {
            if nth == 1 {
                send_tickets(&mut peer);
                flushed.send(()).unwrap();
            }
            peer.serve(if nth == 0 { 2 } else { 1 });
        });
        let client = trusting(&authority);
        let url = origin.url("/0");
        let first = async || text(client.request(post(&url)).await.unwrap()).await;
        assert_eq!(tokio::join!(first(), first()), ("ok".into(), "ok".into()));
        // The second handshake takes the reactor.
        let is_flushed = tokio::task::spawn_blocking(move || is_flushed.recv());
        is_flushed.await.unwrap().unwrap();
        let response = client.request(post(&origin.url("/1"))).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
        assert_eq!(finish(origin).await, ["/0", "/0", "/1"]);
    }
}

#[tokio::test]
async fn tickets_and_key_updates_within_an_upload_are_no_response() {
    for act in [send_tickets, send_key_update] {
        for _ in 0..10 {
            let authority = Authority::new();
            let (acted, has_acted) = turnstile();
            let origin = Origin::start_tls(1, &authority.server(), move |_, mut peer| {
                peer.read_some();
                act(&mut peer);
                acted.send(()).unwrap();
                peer.read_until("end\r\n0\r\n\r\n");
                peer.answer();
                peer.serve_all();
            });
            let (feed, frames) = tokio::sync::mpsc::unbounded_channel();
            let body = StreamBody::new(UnboundedReceiverStream::new(frames));
            let request = Request::post(origin.url("/up")).body(Body::new(body)).unwrap();
            let frame = |text| Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(text)));
            feed.send(frame(b"start")).unwrap();
            let client = trusting(&authority);
            let upload = tokio::spawn(client.request(request));
            tokio::task::spawn_blocking(move || has_acted.recv().unwrap()).await.unwrap();
            feed.send(frame(b"end")).unwrap();
            drop(feed);
            assert_eq!(text(upload.await.unwrap().unwrap()).await, "ok");
            let response = client.request(post(&origin.url("/next"))).await.unwrap();
            assert_eq!(text(response).await, "ok", "on the same connection");
            drop(client);
            assert_eq!(finish(origin).await, ["/up", "/next"]);
        }
    }
}

fn send_tickets(peer: &mut Peer) {
    let (session, stream) = peer.tls();
    assert!(session.0.wants_write(), "there are tickets");
    session.flush(stream);
}

fn send_key_update(peer: &mut Peer) {
    let (session, stream) = peer.tls();
    session.0.refresh_traffic_keys().unwrap();
    session.flush(stream);
}

// ===== ends after the request was written =====

/// Returns the fate of a request that the origin treats so.
async fn fate_after(act: fn(Peer)) -> (Fate, usize) {
    let authority = Authority::new();
    let origin = Origin::start_tls(1, &authority.server(), move |_, mut peer| {
        peer.serve(1);
        act(peer);
    });
    let client = trusting(&authority);
    let response = client.request(post(&origin.url("/before"))).await.unwrap();
    text(response).await;
    let error = client.request(post(&origin.url("/last"))).await.unwrap_err();
    let taken_up = finish(origin).await.iter().filter(|target| *target == "/last").count();
    (error.fate(), taken_up)
}

#[tokio::test]
async fn a_close_notify_after_dispatch_is_unknown() {
    let act = |mut peer: Peer| {
        peer.read_request();
        let (session, stream) = peer.tls();
        session.close(stream);
    };
    let (fate, taken_up) = fate_after(act).await;
    // The FIN may be some microseconds behind, and would not change anything.
    let Fate::Unknown(Doubt::Acknowledged | Doubt::StillOpen) = fate else { panic!("{fate:?}") };
    assert_eq!(taken_up, 1);
}

#[tokio::test]
async fn a_truncation_after_dispatch_is_unknown() {
    let act = |mut peer: Peer| {
        peer.read_request();
    };
    assert_eq!(fate_after(act).await, (Fate::Unknown(Doubt::Acknowledged), 1));
}

/// A server that ends its session and waits for the client to close: nothing
/// says that it will not answer any more, but that it took nothing up neither.
#[tokio::test]
async fn a_close_notify_without_a_close_is_unknown() {
    let act = |mut peer: Peer| {
        peer.read_request();
        let (session, stream) = peer.tls();
        session.close(stream);
        peer.leave_open();
    };
    assert_eq!(fate_after(act).await, (Fate::Unknown(Doubt::StillOpen), 1));
}

#[tokio::test]
async fn records_that_do_not_decrypt_are_unknown() {
    let act = |mut peer: Peer| {
        peer.read_request();
        let (session, stream) = peer.tls();
        let mut records = session.records("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        let last = records.len() - 1;
        records[last] ^= 1;
        std::io::Write::write_all(stream, &records).unwrap();
        peer.read_request();
    };
    let (fate, taken_up) = fate_after(act).await;
    assert!(matches!(fate, Fate::Unknown(_)), "{fate:?}");
    assert_eq!(taken_up, 1);
}

async fn finish(origin: Origin) -> Vec<String> {
    tokio::task::spawn_blocking(|| origin.finish()).await.unwrap()
}

//! https through proxies: a tunnel first, and TLS to the origin inside it.

#![allow(clippy::unwrap_used, reason = "a test panics when something is in its way")]

use testkit::origin;
use testkit::proxy;

use std::error::Error as StdError;
use std::net::Shutdown;
use std::sync::Mutex;
use std::time::Duration;

use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use tower_resend::pool::{PoolOptions, Proxies, ProxyError};
use tower_resend::{Attempt, Body, Client, Error, Policy, attempts};
use tower_resend_core::{ConnectFailure, Fate, Proof, StaleReason};

use self::origin::tls::Authority;
use self::origin::{Origin, Peer, turnstile};
use self::proxy::client_end::Client as ClientEnd;
use self::proxy::{Asked, Guest, Proxy};

const ROUNDS: usize = 20;

fn client(authority: &Authority, proxy: &str, policy: Policy) -> Client {
    let tls = authority.client().build().unwrap();
    let proxies = Proxies::builder().https(proxy).build().unwrap();
    let options = PoolOptions::new().tls(tls).proxies(proxies).hedged_connects(false);
    Client::builder().pool(options).policy(policy).build()
}

async fn post(client: &Client, target: &str) -> Result<Vec<Fate>, Error> {
    let response = client.request(Request::post(target).body(Body::from("pay")).unwrap()).await?;
    let fates = attempts(&response).iter().map(Attempt::fate).collect();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
    Ok(fates)
}

#[tokio::test]
async fn only_the_tunnel_of_an_https_request_has_the_credentials() {
    for (scheme, credentials) in
        [("http", "Basic bWU6cHc="), ("socks5h", "me:pw"), ("socks5", "me:pw")]
    {
        let authority = Authority::new();
        let (tell, told) = std::sync::mpsc::channel();
        let origin = Origin::start_tls(1, &authority.server(), move |_, mut peer| {
            for _ in 0..2 {
                tell.send(read(&mut peer)).unwrap();
                peer.answer();
            }
        });
        let proxy = Proxy::to(origin.address());
        let client = client(&authority, &proxy.uri_with(scheme, "me:pw"), Policy::new());
        for _ in 0..2 {
            assert_eq!(post(&client, &origin.url("/orders")).await.unwrap(), []);
        }
        let target = origin.address().to_string();
        let asked = Asked { target, credentials: Some(credentials.to_owned()) };
        assert_eq!(proxy.seen().tunnels, [asked], "{scheme}");
        for head in told.try_iter() {
            assert!(head.starts_with("POST /orders HTTP/1.1\r\n"), "{head}");
            assert!(!head.contains("authorization") && !head.contains("retry-contract"), "{head}");
        }
    }
}

#[tokio::test]
async fn only_targets_of_its_scheme_go_through_a_proxy() {
    let authority = Authority::new();
    let plain = Origin::start(1, |_, peer| peer.serve_all());
    let proxy = Proxy::to(plain.address());
    let client = client(&authority, &proxy.uri("http"), Policy::new());
    post(&client, &plain.url("/orders")).await.unwrap();
    assert_eq!(proxy.seen().connections, 0);
}

/// Reads a request that ends in `pay`.
fn read(peer: &mut Peer) -> String {
    let (session, stream) = peer.tls();
    let mut octets = Vec::new();
    while !octets.ends_with(b"pay") {
        let mut chunk = [0; 4096];
        let read = session.read(stream, &mut chunk).unwrap();
        assert_ne!(read, 0);
        octets.extend_from_slice(&chunk[..read]);
    }
    String::from_utf8(octets).unwrap()
}

/// One round: a request is served, then the proxy closes the tunnel, and the
/// next request is sent before the reactor has turned.
async fn closed_while_idle(scheme: &str) -> Vec<Fate> {
    let authority = Authority::new();
    let (go, may_go) = turnstile();
    let (closed, is_closed) = turnstile();
    let origin = Origin::start_tls(2, &authority.server(), |_, peer| peer.serve_all());
    let (address, turnstile) = (origin.address(), Mutex::new(Some((may_go, closed))));
    let proxy = Proxy::start(move |_, mut guest| {
        guest.open();
        if let Some((may_go, closed)) = turnstile.lock().unwrap().take() {
            let stream = guest.stream().try_clone().unwrap();
            std::thread::spawn(move || {
                may_go.recv().unwrap();
                let client = ClientEnd::of(&stream);
                stream.shutdown(Shutdown::Write).unwrap();
                client.until_fin();
                closed.send(()).unwrap();
            });
        }
        guest.relay(address);
    });
    let client = client(&authority, &proxy.uri(scheme), Policy::new());
    post(&client, &origin.url("/before")).await.unwrap();
    go.send(()).unwrap();
    is_closed.recv().unwrap();
    let fates = post(&client, &origin.url("/after")).await.unwrap();
    assert_eq!(origin.truth().dispatched(), ["/before", "/after"]);
    fates
}

#[tokio::test]
async fn a_tunnel_that_died_idle_hands_the_request_back() {
    for scheme in ["http", "socks5h"] {
        for _ in 0..ROUNDS {
            let fates = closed_while_idle(scheme).await;
            let [handed_back, Fate::Completed] = fates[..] else { panic!("{fates:?}") };
            let found = [StaleReason::Fin, StaleReason::EndOfTls].map(Proof::HandedBack);
            assert!(found.map(Fate::NotApplied).contains(&handed_back), "{handed_back}");
        }
    }
}

// ===== a proxy that opens no tunnel =====

fn why(error: &Error) -> Option<ConnectFailure> {
    match error.fate() {
        Fate::NotApplied(Proof::NotConnected(why)) => Some(why),
        _ => None,
    }
}

/// What the proxy's answer was.
fn status(error: &Error) -> Option<StatusCode> {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<ProxyError>() {
            return error.status();
        }
        next = error.source();
    }
    None
}

/// The request as it was before it was sent.
async fn assert_handed_back(mut error: Error) {
    let (head, body) = error.take_request::<Body>().unwrap().into_parts();
    assert_eq!(head.uri, "https://shop.example/orders");
    assert_eq!(head.headers, HeaderMap::new());
    assert_eq!(body.collect().await.unwrap().to_bytes(), "pay");
}

/// A proxy that always answers so.
fn answering(answer: String) -> Proxy {
    Proxy::start(move |_, mut guest| {
        guest.answer(answer.as_bytes());
        guest.wait_for_end();
    })
}

#[tokio::test]
async fn a_denied_tunnel_is_not_asked_for_again() {
    for code in [401, 403, 405, 407, 501] {
        let proxy = answering(format!("HTTP/1.1 {code} No\r\ncontent-length: 2\r\n\r\nno"));
        let client = client(&Authority::new(), &proxy.uri("http"), Policy::new());
        let error = post(&client, "https://shop.example/orders").await.unwrap_err();
        assert_eq!(why(&error), Some(ConnectFailure::ProxyDenied), "{error}");
        assert_eq!(status(&error), StatusCode::from_u16(code).ok(), "{error:?}");
        assert_eq!((proxy.seen().connections, error.attempts().len()), (1, 1), "{code}");
        assert_handed_back(error).await;
    }
}

#[tokio::test]
async fn a_failed_tunnel_leaves_the_request_unchanged() {
    let long = format!("HTTP/1.1 200 OK\r\nfield: {}", "x".repeat(9000));
    for (answer, code) in [
        ("HTTP/1.1 502 No\r\n\r\n".to_owned(), Some(502)),
        ("HTTP/1.1 204 No\r\n\r\n".to_owned(), Some(204)),
        ("HTTP/1.1 103 Wait\r\n\r\n".to_owned(), Some(103)),
        ("HTTP/1.1 2".to_owned(), None),
        ("SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned(), None),
        (long, Some(200)),
    ] {
        let closes = code.is_none();
        let said = answer.clone();
        let proxy = Proxy::start(move |_, mut guest: Guest| {
            guest.answer(said.as_bytes());
            if !closes {
                guest.wait_for_end();
            }
        });
        let policy = Policy::new().connect_patience(Duration::ZERO);
        let client = client(&Authority::new(), &proxy.uri("http"), policy);
        let error = post(&client, "https://shop.example/orders").await.unwrap_err();
        assert_eq!(why(&error), Some(ConnectFailure::Proxy), "{answer}: {error}");
        assert_eq!(status(&error).map(|status| status.as_u16()), code, "{answer}");
        assert_handed_back(error).await;
    }
}

#[tokio::test]
async fn a_tunnel_refused_for_now_is_asked_for_again() {
    let authority = Authority::new();
    let origin = Origin::start_tls(1, &authority.server(), |_, peer| peer.serve_all());
    let address = origin.address();
    let proxy = Proxy::start(move |nth, mut guest| match nth {
        0 => {
            guest.answer(b"HTTP/1.1 503 Later\r\ncontent-length: 0\r\n\r\n");
            guest.wait_for_end();
        }
        _ => {
            guest.open();
            guest.relay(address);
        }
    });
    let client = client(&authority, &proxy.uri("http"), Policy::new());
    let fates = post(&client, &origin.url("/orders")).await.unwrap();
    let refused = Fate::NotApplied(Proof::NotConnected(ConnectFailure::Proxy));
    assert_eq!(fates, [refused, Fate::Completed]);
    assert_eq!(origin.truth().dispatched(), ["/orders"]);
}

/// A proxy that says it opened a tunnel and then goes on speaking itself is
/// no way to the origin.
#[tokio::test]
async fn a_proxy_inside_the_tunnel_is_not_the_origin() {
    let proxy = answering(
        "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned(),
    );
    let client = client(&Authority::new(), &proxy.uri("http"), Policy::new());
    let error = post(&client, "https://shop.example/orders").await.unwrap_err();
    assert_eq!(why(&error), Some(ConnectFailure::Untrusted), "{error}");
    assert_handed_back(error).await;
}

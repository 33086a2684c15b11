//! hyper-util's own tunnel connectors above our connector: the legacy client
//! survives what ended while it was idle, and what fails later has no request
//! boundary, since the greeting was written before any request.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test panics when something is in its way")]

use testkit::proxy;

use std::sync::Mutex;
use std::sync::mpsc::channel;

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::proxy::{SocksV4, SocksV5, Tunnel};
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::TokioExecutor;
use tower::{Layer, ServiceExt};
use tower_resend::hyper_util::{Connector, with_evidence};
use tower_resend::{Attempt, AttemptToken, ResendLayer};
use tower_resend_core::{ConnectFailure, Doubt, Fate, HandOff};

use self::proxy::{Guest, Proxy};

const ROUNDS: usize = 20;
const TARGET: &str = "http://shop.example:80/orders";

type Pay = Full<Bytes>;

fn request() -> Request<Pay> {
    Request::post(TARGET).body(Full::from("pay")).unwrap()
}

fn client<C: Connect + Clone>(connector: C) -> Client<C, Pay> {
    Client::builder(TokioExecutor::new()).build(connector)
}

fn at(proxy: &Proxy) -> Uri {
    proxy.uri("http").parse().unwrap()
}

async fn post<C: Connect + Clone + Send + Sync + 'static>(client: &Client<C, Pay>) -> bool {
    let Ok(response) = client.request(request()).await else { return false };
    response.into_body().collect().await.unwrap().to_bytes() == "ok"
}

/// Serves a request in a tunnel that `act` then ends; the next request is sent
/// before the runtime has heard of it. Returns `true` if it was answered, and
/// how often a request was dispatched.
async fn round<C>(connect: impl FnOnce(Uri) -> C, act: fn(Guest)) -> (bool, usize)
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let (go, may_go) = channel::<()>();
    let (acted, has_acted) = channel();
    let turnstile = Mutex::new((may_go, acted));
    let proxy = Proxy::start(move |nth, mut guest| {
        guest.open();
        if nth > 0 {
            return guest.serve();
        }
        guest.serve_one();
        let (may_go, acted) = &*turnstile.lock().unwrap();
        may_go.recv().unwrap();
        act(guest);
        acted.send(()).unwrap();
    });
    let client = client(connect(at(&proxy)));
    assert!(post(&client).await);
    // The connection goes back to the pool.
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
    go.send(()).unwrap();
    has_acted.recv().unwrap();
    (post(&client).await, proxy.seen().heads.len())
}

macro_rules! tunnels {
    ($($name:ident: $connector:expr;)*) => {
        $(mod $name {
            use super::*;

            #[tokio::test]
            async fn a_tunnel_that_died_idle_is_survived() {
                for act in [Guest::close as fn(Guest), Guest::reset] {
                    for _ in 0..ROUNDS {
                        let connect = |at| $connector(at, Connector::new());
                        assert_eq!(round(connect, act).await, (true, 2));
                    }
                }
            }

            /// With hyper-util's own connector inside.
            #[tokio::test]
            async fn control_without_our_connector_the_request_is_lost() {
                for act in [Guest::close as fn(Guest), Guest::reset] {
                    for _ in 0..ROUNDS {
                        let connect = |at| $connector(at, HttpConnector::new());
                        assert_eq!(round(connect, act).await, (false, 1), "not dispatched");
                    }
                }
            }

            /// The greeting is in the counters, which would call each connection
            /// ended for as long as connects are repeated.
            #[tokio::test]
            async fn tunnel_under_our_connector_fails_and_nothing_is_sent() {
                let proxy = Proxy::start(|_, mut guest| guest.open());
                let tunnel = $connector(at(&proxy), HttpConnector::new());
                let client = with_evidence(Client::builder(TokioExecutor::new()).build(Connector::around(tunnel)));
                let error = ResendLayer::default().layer(client).oneshot(request()).await.unwrap_err();
                let [attempt] = error.attempts() else { panic!("{error:?}") };
                let bad = HandOff::NotConnected(ConnectFailure::BadTarget);
                assert_eq!(attempt.evidence().hand_off, bad);
                assert!(proxy.seen().heads.is_empty());
            }

            #[tokio::test]
            async fn what_fails_after_the_write_has_no_boundary() {
                for before in [0, 1] {
                    let connect = |at| $connector(at, Connector::new());
                    for end in [Guest::close as fn(Guest), Guest::reset] {
                        let attempt = failed(connect, before, end).await;
                        let unknown = Fate::Unknown(Doubt::NoRequestBoundary);
                        assert_eq!(attempt.fate(), unknown, "{attempt:?}");
                    }
                }
            }
        })*
    };
}

tunnels! {
    connect: Tunnel::new;
    socks4: SocksV4::new;
    socks5: SocksV5::new;
}

/// Serves `before` requests in a tunnel, and takes the next one up before it
/// ends. Returns the attempt that failed.
async fn failed<C>(connect: impl FnOnce(Uri) -> C, before: usize, end: fn(Guest)) -> Attempt
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let proxy = Proxy::start(move |_, mut guest| {
        guest.open();
        for _ in 0..before {
            guest.serve_one();
        }
        guest.dispatch();
        end(guest);
    });
    let client = with_evidence(Client::builder(TokioExecutor::new()).build(connect(at(&proxy))));
    for _ in 0..before {
        let response = client.clone().oneshot(request()).await.unwrap();
        response.into_body().collect().await.unwrap();
    }
    let token = AttemptToken::new();
    let mut request = request();
    request.extensions_mut().insert(token.clone());
    assert!(client.oneshot(request).await.is_err());
    assert_eq!(proxy.seen().heads.len(), before + 1, "it was dispatched");
    let [attempt] = &token.attempts()[..] else { panic!("{token:?}") };
    attempt.clone()
}

//! A request goes where its target says, or nowhere.

#![allow(clippy::unwrap_used, reason = "a test panics when something is in its way")]

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower::{Service, ServiceExt};
use tower_resend::hyper_util::{Connector, with_evidence};
use tower_resend::pool::{Pool, PoolOptions, Proxies};
use tower_resend_core::{ConnectFailure, HandOff};

/// `http` takes them for targets without a port, and so would go to port 80.
const NO_PORTS: [&str; 4] = ["65616", "8o80", "+80", "80:"];

fn post(target: &str) -> Request<Full<Bytes>> {
    Request::post(target).body(Full::from("pay")).unwrap()
}

fn is_bad(hand_off: HandOff) -> bool {
    hand_off == HandOff::NotConnected(ConnectFailure::BadTarget)
}

#[tokio::test]
async fn attack_a_target_with_a_port_that_is_no_number_is_rejected() {
    for port in NO_PORTS {
        for host in ["127.0.0.1", "[::1]", "me:1@127.0.0.1"] {
            let target = format!("http://{host}:{port}/");
            if target.parse::<Uri>().is_err() {
                continue;
            }
            let mut pool = Pool::new(PoolOptions::new());
            let failure = pool.ready().await.unwrap().call(post(&target)).await.unwrap_err();
            assert!(is_bad(failure.attempt().evidence().hand_off), "{target}: {failure}");
            let mut client =
                with_evidence(Client::builder(TokioExecutor::new()).build(Connector::new()));
            let failure = client.ready().await.unwrap().call(post(&target)).await.unwrap_err();
            assert!(is_bad(failure.attempt().evidence().hand_off), "{target}: {failure}");
        }
    }
}

#[test]
fn attack_a_proxy_with_a_port_that_is_no_number_is_rejected() {
    for port in NO_PORTS {
        let proxies = |at: String| Proxies::builder().all(at).build();
        assert!(proxies(format!("http://proxy.invalid:{port}")).is_err(), "{port}");
    }
    assert!(Proxies::builder().all("http://proxy.invalid:80").build().is_ok(), "the control");
}

/// The controls: an empty port is the scheme's (RFC 3986 3.2.3), and nothing listens on
/// port 1.
#[tokio::test]
async fn a_target_with_a_port_or_without_is_connected_to() {
    for target in ["http://127.0.0.1:1/", "http://[::1]:1/", "http://127.0.0.1:00001/"] {
        let mut pool = Pool::new(PoolOptions::new());
        let failure = pool.ready().await.unwrap().call(post(target)).await.unwrap_err();
        let hand_off = failure.attempt().evidence().hand_off;
        let is_connect =
            matches!(hand_off, HandOff::NotConnected(ConnectFailure::Connect(Some(_))));
        assert!(is_connect, "{target}: {failure}");
    }
}

//! A gateway that is trusted by name to say what it did not pass on
//! (`Proxy-Status`, RFC 9209), on loopback, compared with what the application saw.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test panics when something is in its way")]

use testkit::contract;

use contract::{Announce, Peer, Server, Tried, post};
use tower_resend::pool::{OriginTrust, PoolOptions};
use tower_resend::{Client, Policy};
use tower_resend_core::contract::TrustedGateway;
use tower_resend_core::{Doubt, Fate, NoResend, Proof};

const REFUSED: &str = "edge; error=connection_refused";

fn say(peer: &mut Peer, status: u16, field: &str) {
    peer.write(&format!(
        "HTTP/1.1 {status} No\r\nproxy-status: {field}\r\ncontent-length: 2\r\n\r\nno"
    ));
}

/// A gateway that passes nothing on, and says so truly in its first response.
fn truly(status: u16, field: &'static str) -> Server {
    Server::start(move |nth, mut peer| {
        if nth == 0 {
            peer.peek_request();
            say(&mut peer, status, field);
        }
        peer.serve_all(&Announce::nothing());
    })
}

/// Sends a POST to a gateway that is trusted as `edge`.
async fn trusting(gateway: Server, policy: Policy) -> Tried {
    let edge = TrustedGateway::new("edge");
    let pool = PoolOptions::new().trust(gateway.authority(), OriginTrust::new().proxy_status(edge));
    post(&Client::builder().pool(pool).policy(policy).build(), gateway).await
}

#[tokio::test]
async fn request_not_forwarded_by_a_trusted_gateway_is_resent() {
    for (status, field) in [
        (502, REFUSED),
        (503, "edge; error=connection_limit_reached"),
        (504, "\"edge\"; error=connection_timeout; details=\"10.0.0.5\""),
    ] {
        let tried = trusting(truly(status, field), Policy::new()).await;
        assert_eq!(tried.first_fate(), Fate::NotApplied(Proof::NotForwarded), "{field}");
        assert_eq!((tried.outcome.ok(), tried.posts), (Some(200), 1), "{field}");
    }
}

#[tokio::test]
async fn no_gateway_is_trusted_by_default() {
    let tried = post(&Client::new(), truly(502, REFUSED)).await;
    assert_eq!((tried.outcome.ok(), tried.posts), (Some(502), 0));
}

#[tokio::test]
async fn proxy_status_of_another_proxy_is_an_answer() {
    for (status, field) in [
        (500, "edge; error=connection_refused"),
        (502, "edge; error=connection_terminated"),
        (502, "edge; error=destination_unavailable"),
        (502, "other; error=connection_refused"),
        (502, "inner; error=connection_refused, edge"),
        (502, "edge; error=connection_refused; received-status=502"),
        (502, "edge; error=connection_refused,"),
        (502, "edge; error=\"connection_refused"),
    ] {
        let tried = trusting(truly(status, field), Policy::new()).await;
        assert_eq!((tried.outcome.ok(), tried.posts), (Some(status), 0), "{field}");
    }
}

#[tokio::test]
async fn unforwarded_request_not_resent_is_a_not_applied_error() {
    let tried = trusting(truly(502, REFUSED), Policy::new().max_proven_resends(0)).await;
    let mut error = tried.outcome.unwrap_err();
    assert_eq!(error.fate(), Fate::NotApplied(Proof::NotForwarded), "{error}");
    assert!(error.take_request::<tower_resend::Body>().is_some());
    assert_eq!(tried.posts, 0);
}

#[tokio::test]
async fn proxy_status_on_a_hostile_path_is_forgeable() {
    let policy = Policy::new().require_authenticated_refusal();
    let tried = trusting(truly(502, REFUSED), policy).await;
    let error = tried.outcome.unwrap_err();
    assert_eq!(error.fate(), Fate::Unknown(Doubt::Forgeable(Proof::NotForwarded)), "{error}");
    assert_eq!(error.no_resend(), NoResend::Forgeable(Proof::NotForwarded));
    assert_eq!(tried.posts, 0);
}

/// A gateway that passes the request on and then says otherwise.
#[tokio::test]
async fn control_trusted_gateway_that_lies_doubles() {
    let lying = || {
        Server::start(|nth, mut peer| {
            if nth == 0 {
                peer.read_request();
                say(&mut peer, 502, REFUSED);
            }
            peer.serve_all(&Announce::nothing());
        })
    };
    let tried = trusting(lying(), Policy::new()).await;
    assert_eq!((tried.outcome.ok(), tried.posts), (Some(200), 2));
    let tried = post(&Client::new(), lying()).await;
    assert_eq!((tried.outcome.ok(), tried.posts), (Some(502), 1), "none is trusted by default");
}

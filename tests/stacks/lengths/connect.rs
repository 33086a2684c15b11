//! The target of a CONNECT goes out in authority form (RFC 9112 3.2.3), or not at all: a
//! server that reads another form may open a tunnel to somewhere else.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use tower::{Service, ServiceExt};
use tower_resend::hyper_util::{Connector, with_evidence};
use tower_resend::pool::{Pool, PoolOptions};
use tower_resend::{AttemptError, Body, Client};
use tower_resend_core::{ConnectFailure, HandOff};

use super::origin::Origin;

const STACKS: [&str; 4] = ["client", "pool", "hyper-util", "reqwest"];

/// Sends a CONNECT through a stack. Returns how the attempt failed, if it did.
async fn connect(stack: &str, target: &str) -> Option<HandOff> {
    let request = Request::connect(target).header("x-cell", stack);
    let empty = request.body(Empty::<Bytes>::new()).unwrap();
    let failed = |error: AttemptError| {
        assert!(error.attempt().fate().is_not_applied(), "{stack} {target}: {error}");
        error.attempt().evidence().hand_off
    };
    match stack {
        "client" => {
            let request = empty.map(|_| Body::empty());
            let error = Client::new().request(request).await.err()?;
            assert!(error.fate().is_not_applied(), "{target}: {error}");
            assert_eq!(error.attempts().len(), 1, "{target}: {error}");
            Some(error.attempts()[0].evidence().hand_off)
        }
        "pool" => Pool::new(PoolOptions::new()).oneshot(empty).await.err().map(failed),
        "hyper-util" => {
            let client = legacy::Client::builder(TokioExecutor::new()).build(Connector::new());
            with_evidence(client).oneshot(empty).await.err().map(failed)
        }
        _ => {
            let builder = reqwest::Client::builder().no_proxy();
            let mut client = tower_resend_reqwest::with_evidence(builder).unwrap();
            client.call(empty).await.err().map(failed)
        }
    }
}

fn wrong_forms(at: SocketAddr) -> [String; 5] {
    let host = at.ip();
    [
        format!("http://{at}/elsewhere"),
        format!("http://{at}/?elsewhere"),
        format!("http://me:1@{at}/"),
        format!("http://{host}/"),
        format!("{host}"),
    ]
}

#[tokio::test]
async fn attack_a_connect_to_other_than_host_and_port_is_not_sent() {
    let origin = Origin::start();
    for stack in STACKS {
        for target in wrong_forms(origin.at()) {
            let hand_off = connect(stack, &target).await;
            let bad_target = HandOff::NotConnected(ConnectFailure::BadTarget);
            assert_eq!(hand_off, Some(bad_target), "{stack}: {target}");
        }
        assert!(origin.of(stack).is_empty(), "{stack}");
    }
    // reqwest drops the scheme's own port from a URL.
    let hand_off = connect("reqwest", "http://127.0.0.1:80/").await;
    assert_eq!(hand_off, Some(HandOff::NotConnected(ConnectFailure::BadTarget)));
}

/// hyper-util takes a scheme and leaves it out; HTTP/1.1 alone has no use for one.
#[tokio::test]
async fn attack_no_connect_arrives_in_absolute_form() {
    let origin = Origin::start();
    for stack in STACKS {
        let hand_off = connect(stack, &format!("http://{}/", origin.at())).await;
        match stack {
            "client" | "pool" => {
                let bad_target = HandOff::NotConnected(ConnectFailure::BadTarget);
                assert_eq!(hand_off, Some(bad_target), "{stack}");
                assert!(origin.of(stack).is_empty(), "{stack}");
            }
            _ => arrives_in_authority_form(&origin, stack, hand_off),
        }
    }
}

#[tokio::test]
async fn control_a_connect_in_authority_form_is_sent() {
    let origin = Origin::start();
    for stack in ["client", "pool", "hyper-util"] {
        let hand_off = connect(stack, &origin.at().to_string()).await;
        arrives_in_authority_form(&origin, stack, hand_off);
    }
}

fn arrives_in_authority_form(origin: &Origin, stack: &str, failed: Option<HandOff>) {
    assert_eq!(failed, None, "{stack}");
    let lines: Vec<_> = origin.of(stack).into_iter().map(|arrived| arrived.line).collect();
    assert_eq!(lines, [format!("CONNECT {} HTTP/1.1", origin.at())], "{stack}");
}

/// What the check is for: the path is gone.
#[tokio::test]
async fn control_hyper_util_alone_drops_the_path_of_a_connect() {
    let origin = Origin::start();
    let client = legacy::Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let target = format!("http://{}/elsewhere", origin.at());
    let request = Request::connect(target).header("x-cell", "alone").body(Empty::new()).unwrap();
    assert_eq!(client.request(request).await.unwrap().status(), 200);
    arrives_in_authority_form(&origin, "alone", None);
}

//! Content of an earlier response that arrives late and reads like a response to the
//! next request. It may be delivered, as by every HTTP/1.1 client. It proves nothing.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test panics when something is in its way")]

use testkit::contract;

use std::sync::Arc;

use bytes::Bytes;
use contract::{Announce, Peer, Server, Tried, get, read_attempts};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use tower::{ServiceBuilder, ServiceExt};
use tower_resend::hyper_util::{Connector, EvidenceClient, with_evidence};
use tower_resend::pool::{OriginTrust, PoolOptions};
use tower_resend::{Attempt, Body, Client, ResendLayer, attempts};
use tower_resend_core::contract::{ContractStatus, Ignored, TrustedGateway};
use tower_resend_core::{Fate, Proof};

const MISDIRECTED: &str = "HTTP/1.1 421 Misdirected Request\r\ncontent-length: 0\r\n\r\n";
const NOT_FORWARDED: &str = "HTTP/1.1 502 Bad Gateway\r\n\
    proxy-status: edge; error=connection_refused\r\ncontent-length: 0\r\n\r\n";

/// Content that an attacker chose, who may know both ends of the connection.
type Content = fn(&Peer) -> String;

fn misdirected(_: &Peer) -> String {
    MISDIRECTED.to_owned()
}

fn not_forwarded(_: &Peer) -> String {
    NOT_FORWARDED.to_owned()
}

/// How a server sends more than it framed.
#[derive(Clone, Copy, Debug)]
enum Spill {
    /// The body that a HEAD must not have.
    AfterHead,
    /// A body that is longer than its `Content-Length`.
    AfterTooShortALength,
}

const SPILLS: [Spill; 2] = [Spill::AfterHead, Spill::AfterTooShortALength];

impl Spill {
    fn method(self) -> &'static str {
        match self {
            Self::AfterHead => "HEAD",
            Self::AfterTooShortALength => "GET",
        }
    }

    fn before(self, content: &str) -> String {
        match self {
            Self::AfterHead => {
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", content.len())
            }
            Self::AfterTooShortALength => {
                "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned()
            }
        }
    }
}

/// A server that spills content on its first connection: what it sends after the
/// next request arrived was content of the response before.
fn spilling(spill: Spill, content: Content) -> Server {
    Server::start(move |nth, mut peer| {
        if nth > 0 {
            return peer.serve_all(&Announce::nothing());
        }
        peer.read_request();
        let content = content(&peer);
        peer.write(&spill.before(&content));
        // Dispatched, whatever the client reads.
        peer.read_request();
        peer.write(&content);
        peer.serve_all(&Announce::nothing());
    })
}

async fn post_after(client: &Client, spill: Spill, server: Server) -> Tried {
    let target = format!("http://{}/", server.address());
    let first = Request::builder().method(spill.method()).uri(target).body(Body::empty()).unwrap();
    client.request(first).await.unwrap().into_body().collect().await.unwrap();
    contract::post(client, server).await
}

// ===== our own client =====

#[tokio::test]
async fn attack_late_421_is_an_answer_and_no_proof() {
    for spill in SPILLS {
        let tried = post_after(&Client::new(), spill, spilling(spill, misdirected)).await;
        assert_eq!((tried.outcome.ok(), tried.posts), (Some(421), 1), "{spill:?}");
        assert_eq!(tried.fates, [], "{spill:?}: one attempt, which was answered");
    }
}

#[tokio::test]
async fn attack_late_word_of_a_trusted_gateway_is_no_proof() {
    for spill in SPILLS {
        let server = spilling(spill, not_forwarded);
        let edge = TrustedGateway::new("edge");
        let pool =
            PoolOptions::new().trust(server.authority(), OriginTrust::new().proxy_status(edge));
        let client = Client::builder().pool(pool).build();
        let tried = post_after(&client, spill, server).await;
        assert_eq!((tried.outcome.ok(), tried.posts), (Some(502), 1), "{spill:?}");
    }
}

/// The attacker knows both ends of the connection.
#[tokio::test]
async fn attack_late_refusal_without_a_contract_is_no_proof() {
    for spill in SPILLS {
        let server = spilling(spill, Peer::refusal);
        let tried = post_after(&Client::new(), spill, server).await;
        assert_eq!((tried.outcome.ok(), tried.posts), (Some(503), 1), "{spill:?}");
    }
}

/// The same with a promise: a reset comes after the request that it seems to cover.
#[tokio::test]
async fn attack_late_announcement_begins_no_contract() {
    for spill in SPILLS {
        let server = Server::start(move |nth, mut peer| {
            if nth > 0 {
                return peer.serve_all(&Announce::nothing());
            }
            peer.read_request();
            let content = Announce::of("max=65536, rst").response(&peer.hop());
            peer.write(&spill.before(&content));
            peer.read_request();
            peer.write(&content);
            peer.read_request();
            peer.reset();
        });
        let client = Client::new();
        let target = format!("http://{}/", server.address());
        for method in [spill.method(), "GET"] {
            let request = Request::builder().method(method).uri(&target).body(Body::empty());
            let response = client.request(request.unwrap()).await.unwrap();
            response.into_body().collect().await.unwrap();
        }
        let tried = contract::post(&client, server).await;
        assert!(tried.first_fate().is_unknown(), "{spill:?}: {:?}", tried.outcome);
        assert_eq!(
            tried.contract_status(),
            Some(ContractStatus::Ignored(Ignored::Absent)),
            "{spill:?}"
        );
        assert_eq!(tried.posts, 1, "{spill:?}");
    }
}

// ===== a wrapped client =====

type Pay = Full<Bytes>;

fn wrapped() -> EvidenceClient<Connector, Pay> {
    with_evidence(legacy::Client::builder(TokioExecutor::new()).build(Connector::new()))
}

fn request(method: &str, server: &Server) -> Request<Pay> {
    let target = format!("http://{}/pay", server.address());
    let body = if method == "POST" { "pay" } else { "" };
    Request::builder().method(method).uri(target).body(Full::from(body)).unwrap()
}

#[tokio::test]
async fn attack_late_421_is_no_proof_for_a_wrapped_client() {
    for spill in SPILLS {
        let server = spilling(spill, misdirected);
        let service = ServiceBuilder::new().layer(ResendLayer::default()).service(wrapped());
        let response = service.clone().oneshot(request(spill.method(), &server)).await.unwrap();
        response.into_body().collect().await.unwrap();
        let response = service.oneshot(request("POST", &server)).await.unwrap();
        assert_eq!(response.status(), 421, "{spill:?}");
        assert!(attempts(&response).is_empty(), "{spill:?}: {:?}", attempts(&response));
        let heads = server.heads();
        let posts = heads.iter().filter(|head| head.starts_with("POST "));
        assert_eq!(posts.count(), 1, "{spill:?}");
    }
}

// ===== controls =====

/// A server that answers so if it has acted on nothing, and serves otherwise.
fn refusing(content: Content, dispatches: bool) -> Server {
    Server::start(move |nth, mut peer| {
        if nth == 0 {
            if dispatches {
                peer.read_request();
            } else {
                peer.peek_request();
            }
            let content = content(&peer);
            peer.write(&content);
        }
        peer.serve_all(&Announce::nothing());
    })
}

async fn first_on_a_connection(content: Content, dispatches: bool) -> (Tried, Vec<Attempt>) {
    let server = refusing(content, dispatches);
    let edge = TrustedGateway::new("edge");
    let pool = PoolOptions::new().trust(server.authority(), OriginTrust::new().proxy_status(edge));
    let client = Client::builder().pool(pool).build();
    let answered = client.request(contract::request(&server, "pay".into())).await;
    let (outcome, attempts) = read_attempts(answered).await;
    (Tried::of(outcome, attempts.clone(), server.heads()), attempts)
}

#[tokio::test]
async fn control_first_response_of_a_connection_is_a_proof() {
    let contents: [(Content, Proof); 3] = [
        (misdirected, Proof::Misdirected),
        (not_forwarded, Proof::NotForwarded),
        (Peer::refusal, Proof::Refused),
    ];
    for (content, proof) in contents {
        let (tried, attempts) = first_on_a_connection(content, false).await;
        let fates: Vec<_> = attempts.iter().map(Attempt::fate).collect();
        assert_eq!(fates, [Fate::NotApplied(proof), Fate::Completed]);
        assert_eq!((tried.outcome.ok(), tried.posts), (Some(200), 1), "{proof}");
    }
}

/// Shows that a doubling would be seen: the same words, first on their connection,
/// from a server that lies.
#[tokio::test]
async fn control_server_that_lies_in_its_first_response_doubles() {
    for content in [misdirected as Content, not_forwarded, Peer::refusal] {
        let (tried, _) = first_on_a_connection(content, true).await;
        assert_eq!((tried.outcome.ok(), tried.posts), (Some(200), 2));
    }
}

/// If a contract is in force from the first response on, a refusal counts on a used
/// connection too.
#[tokio::test]
async fn control_refusal_under_a_contract_proves_on_a_used_connection() {
    let server = Arc::new(Server::start(|nth, mut peer| {
        if nth > 0 {
            return peer.serve_all(&Announce::nothing());
        }
        peer.read_request();
        peer.answer(&Announce::of("max=65536, rst, gone"));
        peer.peek_request();
        peer.refuse();
    }));
    let client = Client::new();
    get(&client, &server).await;
    let answered = client.request(contract::request(&server, "pay".into())).await;
    let (outcome, attempts) = read_attempts(answered).await;
    assert_eq!(attempts[0].fate(), Fate::NotApplied(Proof::Refused));
    assert_eq!(outcome.unwrap(), 200);
    assert_eq!(server.heads().len(), 2, "the GET and the POST, once each");
}

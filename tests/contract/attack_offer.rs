//! Offers through a proxy that passes the contract's field on: the server must not
//! take the proxy for a client that understands it, nor the client the proxy for a
//! server that keeps it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test panics when something is in its way")]

use testkit::contract;
use testkit::contract::between;
use testkit::contract::watched;
use testkit::skip;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use between::{Between, Started};
use contract::{Announce, Server, read_attempts};
use http::Request;
use http_body_util::BodyExt;
use tower_resend::server::{Counters, ListenerOptions};
use tower_resend::{Attempt, Body, Client};
use tower_resend_core::contract::{ContractStatus, Ignored, RETRY_CONTRACT};
use watched::Watched;

/// Starts the proxy in between, or says why the test is skipped.
fn before(between: Between, origin: SocketAddr) -> Option<Started> {
    between.start(origin).inspect_err(|why| skip::skip(why)).ok()
}

/// A bare socket as a client. It offers what our client offers.
struct Raw(TcpStream);

impl Raw {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self(stream)
    }

    /// Sends a GET with an offer, and returns the response.
    fn get(&mut self) -> String {
        let hop = format!("{} {}", self.0.local_addr().unwrap(), self.0.peer_addr().unwrap());
        let request = format!(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: retry-contract\r\n\
             Retry-Contract: hop=\"{hop}\", rst, fin, gone, half\r\n\r\n"
        );
        self.0.write_all(request.as_bytes()).unwrap();
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n\r\nok") {
            let mut chunk = [0; 4096];
            let bytes = self.0.read(&mut chunk).unwrap();
            assert!(bytes > 0, "{}", String::from_utf8_lossy(&read));
            read.extend_from_slice(&chunk[..bytes]);
        }
        String::from_utf8(read).unwrap().to_ascii_lowercase()
    }
}

/// What the server did on all its connections.
fn told(counters: &[Counters]) -> (bool, u64) {
    let armed = counters.iter().any(|counters| counters.armed > 0);
    (armed, counters.iter().map(|counters| counters.closing_responses).sum())
}

/// Sends two requests on a connection, and ends the server. Returns the two
/// responses, and what the server did.
async fn drained(between: Between, trusts_nat: bool) -> Option<([String; 2], (bool, u64))> {
    let server = Watched::start(ListenerOptions::new().trust_nat(trusts_nat));
    let started = before(between, server.address())?;
    // The client stays: if it went, a proxy might close its connection too.
    let (responses, _client) = tokio::task::block_in_place(|| {
        let mut client = Raw::connect(started.address());
        ([client.get(), client.get()], client)
    });
    server.until_idle().await;
    server.leave().await;
    Some((responses, told(&server.counters())))
}

// ===== the server's side =====

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_proxy_that_passes_the_offer_on_gets_no_contract() {
    for between in Between::PROXIES {
        let Some((responses, did)) = drained(between, false).await else { return };
        for response in responses {
            assert!(!response.contains("retry-contract"), "{between:?}: {response}");
        }
        let (armed, closing_responses) = did;
        assert!(!armed, "{between:?}: a killed process would reset the proxy's connection");
        assert_eq!(closing_responses, 0, "{between:?}: unsolicited, to a proxy");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_direct_client_gets_a_contract() {
    let server = Watched::start(ListenerOptions::new());
    let (responses, _client) = tokio::task::block_in_place(|| {
        let mut client = Raw::connect(server.address());
        ([client.get(), client.get()], client)
    });
    for response in responses {
        assert!(response.contains("\nretry-contract: hop="), "{response}");
    }
    server.until_armed().await;
    server.leave().await;
    assert_eq!(told(&server.counters()), (true, 1));
}

/// A server that compares no ends takes each of them for a client.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_server_that_trusts_nat_gives_the_proxy_a_contract() {
    for between in [Between::Haproxy, Between::Nginx] {
        let Some((responses, did)) = drained(between, true).await else { return };
        let [first, _] = responses;
        assert!(first.contains("\nretry-contract: hop="), "{between:?}: it came back: {first}");
        assert_eq!(did.1, 1, "{between:?}: an unsolicited response");
    }
}

// ===== the client's side =====

/// Sends a GET, and a POST whose response never comes: the proxy is killed, or the
/// server if there is none. Returns the attempt of the POST.
async fn cut_off(between: Between) -> Option<Attempt> {
    let mut server = Watched::start(ListenerOptions::new());
    let mut started = before(between, server.address())?;
    let client = Client::new();
    let target = format!("http://{}/", started.address());
    let first = client.request(Request::get(&target).body(Body::empty()).unwrap()).await.unwrap();
    let is_announced = first.headers().contains_key(RETRY_CONTRACT);
    assert_eq!(is_announced, between == Between::Nothing, "{between:?}");
    first.into_body().collect().await.unwrap();
    let post = Request::post(&target).body(Body::from("pay")).unwrap();
    let call = tokio::spawn(client.request(post));
    server.has_post().await;
    match between {
        Between::Nothing => server.die(),
        _ => started.kill(),
    }
    let (outcome, attempts) = read_attempts(call.await.unwrap()).await;
    assert!(outcome.unwrap_err().fate().is_unknown(), "{between:?}");
    let posts: u64 = server.counters().iter().map(|counters| counters.dispatched).sum();
    assert_eq!(posts, 2, "{between:?}: the GET and the POST, once each");
    attempts.into_iter().next()
}

#[tokio::test]
async fn attack_client_behind_such_a_proxy_has_no_contract() {
    for between in [Between::Haproxy, Between::Nginx] {
        let Some(attempt) = cut_off(between).await else { return };
        let absent = ContractStatus::Ignored(Ignored::Absent);
        assert_eq!(attempt.contract_status(), Some(&absent), "{between:?}");
    }
}

#[tokio::test]
async fn control_direct_client_has_a_contract() {
    let attempt = cut_off(Between::Nothing).await.unwrap();
    assert!(
        matches!(attempt.contract_status(), Some(ContractStatus::InForce(_))),
        "{:?}",
        attempt.contract_status()
    );
}

// ===== what these proxies do =====

/// They do pass the field on: the announcement of a server that announces to every
/// client arrives, and names another connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_the_proxies_pass_the_field_on() {
    for between in [Between::Haproxy, Between::Nginx] {
        let server = Server::start(|_, peer| peer.serve_all(&Announce::of("max=65536, rst")));
        let Some(started) = before(between, server.address()) else { return };
        let response = tokio::task::block_in_place(|| Raw::connect(started.address()).get());
        let heads = server.heads();
        let [head] = &heads[..] else { panic!("{between:?}: {heads:?}") };
        let head = head.to_ascii_lowercase();
        assert!(head.contains("\nconnection: retry-contract\r\n"), "{between:?}: {head}");
        assert!(head.contains("\nretry-contract: hop="), "{between:?}: {head}");
        assert!(head.contains(&format!("{}\", rst", started.address())), "{between:?}: {head}");
        assert!(response.contains("\nretry-contract: hop="), "{between:?}: {response}");
        // nginx writes a `Connection` of its own.
        let is_listed = response.contains("\nconnection: retry-contract\r\n");
        assert_eq!(is_listed, between == Between::Haproxy, "{response}");
    }
}

//! Which servers a client no longer believes (C9) if an attacker chooses its targets:
//! many origins that lie cost an honest one nothing.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test helper panics when it is in the way")]

use testkit::contract;

use std::net::{Ipv4Addr, SocketAddr};

use contract::{Announce, Server, get};
use http::Request;
use http_body_util::BodyExt;
use tower_resend::{Body, Client};

const RST: &str = "max=65536, rst, half, gone";
/// More origins than any list of them holds.
const LIARS: u16 = 1_100;

/// An address of the loopback network.
fn address(n: u16, port: u16) -> SocketAddr {
    let [high, low] = (n + 0x0200).to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(127, 1, high, low), port))
}

/// A server at many addresses, each an origin, which refuses a POST and then answers
/// it all the same. Requests without an offer are served.
fn liars() -> Server {
    Server::start_at(([0, 0, 0, 0], 0).into(), |_, mut peer| {
        peer.read_request();
        let refusal = peer.refusal();
        peer.write(&format!("{refusal}HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
    })
}

async fn lied_to(client: &Client, origin: SocketAddr) -> bool {
    let pay = Request::post(format!("http://{origin}/pay")).body(Body::from("pay")).unwrap();
    match client.request(pay).await {
        Ok(response) => response.into_body().collect().await.is_err(),
        Err(error) => error.fate().is_unknown(),
    }
}

/// Returns `true` if the last request that came to the server had an offer.
fn was_offered(server: &Server) -> bool {
    server.heads().last().unwrap().contains("retry-contract")
}

#[tokio::test]
async fn attack_foreign_origins_cost_no_other_its_contract() {
    let (liars, honest) = (liars(), Server::start(|_, peer| peer.serve_all(&Announce::of(RST))));
    let port = liars.address().port();
    let client = Client::new();
    for n in 0..LIARS {
        assert!(lied_to(&client, address(n, port)).await, "{n} lied");
        assert!(was_offered(&liars), "no lie of {n} was noticed before");
    }
    get(&client, &honest).await;
    assert!(was_offered(&honest), "the honest one is asked as before");
    for n in [0, 1, LIARS / 2, LIARS - 1] {
        lied_to(&client, address(n, port)).await;
        assert!(!was_offered(&liars), "{n} is asked for nothing any more");
    }
}

#[tokio::test]
async fn distrust_is_shared_by_clones_of_one_pool_only() {
    let liars = liars();
    let liar = address(0, liars.address().port());
    let (client, other) = (Client::new(), Client::new());
    assert!(lied_to(&client, liar).await && was_offered(&liars));
    lied_to(&client.clone(), liar).await;
    assert!(!was_offered(&liars));
    lied_to(&other, liar).await;
    assert!(was_offered(&liars));
}

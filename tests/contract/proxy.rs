//! The contract behind a blind HTTP/1.1 proxy: one that does not know
//! `Connection` (RFC 9110 7.6.1) and passes every field on, on a connection of
//! its own.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test panics when something is in its way")]

use testkit::contract;

use contract::{Announce, Server, Tried, get, post};
use tower_resend::Client;
use tower_resend::pool::{OriginTrust, PoolOptions};
use tower_resend_core::contract::{ContractStatus, Ignored};
use tower_resend_core::{Doubt, Proof};

/// A server that announces truly on every response and never resets, behind a proxy
/// that resets after it has passed a POST on.
async fn behind_a_blind_proxy(members: &'static str, trust: OriginTrust) -> Tried {
    let server = Server::start(move |_, peer| peer.serve_all(&Announce::of(members)));
    let server = server.behind_proxy();
    let pool = PoolOptions::new().trust(server.authority(), trust);
    let client = Client::builder().pool(pool).build();
    get(&client, &server).await;
    post(&client, server).await
}

const RST: &str = "max=65536, rst, half, gone";

#[tokio::test]
async fn contract_passed_on_by_a_blind_proxy_is_not_believed() {
    for members in [RST, "max=65536, fin, gone"] {
        let tried = behind_a_blind_proxy(members, OriginTrust::new()).await;
        assert!(matches!(tried.doubt(), Some(Doubt::Reset(_))), "{:?}", tried.outcome);
        let standing = tried.contract_status();
        assert!(
            matches!(standing, Some(ContractStatus::Ignored(Ignored::OtherHop(_)))),
            "{standing:?}"
        );
        assert_eq!(tried.posts, 1, "dispatched once, and not sent again");
    }
}

#[tokio::test]
async fn control_blind_proxy_passes_the_field_on_both_ways() {
    let tried = behind_a_blind_proxy(RST, OriginTrust::new()).await;
    assert_eq!(tried.heads.len(), 2);
    let head = &tried.heads[0];
    assert!(head.contains("connection: retry-contract\r\n"), "{head}");
    assert!(head.contains(", rst, fin, gone, half\r\n"), "{head}");
    let standing = tried.contract_status();
    assert_ne!(standing, Some(ContractStatus::Ignored(Ignored::Absent)), "the field came back");
    assert_ne!(standing, Some(ContractStatus::Ignored(Ignored::NotListed)), "listed as it was");
}

/// Without the comparison of C2 the proxy's reset passes for the server's.
#[tokio::test]
async fn control_comparing_no_hop_doubles_behind_a_blind_proxy() {
    let tried = behind_a_blind_proxy(RST, OriginTrust::new().behind_nat()).await;
    assert_eq!(tried.first_fate().proof(), Some(Proof::ResetPromised), "{:?}", tried.outcome);
    assert_eq!((tried.outcome.ok(), tried.posts), (Some(200), 2));
}

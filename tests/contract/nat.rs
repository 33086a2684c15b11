//! The contract through real address translation: two kernels, and a wire
//! between them that rewrites addresses and ports in every packet (C2).
#![cfg(target_os = "linux")]
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "the wire and the waits for what happens are in real time; a test may panic"
)]

use testkit::contract;
use testkit::contract::honest;
use testkit::skip;
use testkit::wire;

use contract::{Announce, Server, Tried, get, post, read_attempts};
use http::uri::Authority;
use http_body_util::BodyExt;
use tower_resend::pool::{OriginTrust, PoolOptions};
use tower_resend::{Body, Client};
use tower_resend_core::contract::{ContractStatus, Hop, Ignored};
use tower_resend_core::{Doubt, Proof};
use wire::{Config, Nat, Wire};

/// Where servers listen, at their end of the wire.
const PORT: u16 = 80;
const NATS: [Nat; 3] = [Nat::SOURCE, Nat::DESTINATION, Nat::BOTH];

/// Lays a wire, or says why the test is skipped.
fn lay(nat: impl Into<Option<Nat>>) -> Option<Wire> {
    Wire::new(Config::default().nat(nat)).inspect_err(|why| skip::skip(why)).ok()
}

/// Runs a client at its end of the wire.
fn at_client<T: Send>(wire: &Wire, work: impl AsyncFnOnce() -> T + Send) -> T {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(work()))
    };
    wire.client().run(run).unwrap()
}

/// A client whose user states this about the way to the server.
fn client(wire: &Wire, trusts_nat: bool) -> Client {
    let origin: Authority = wire.server_for_clients(PORT).to_string().parse().unwrap();
    let trust = if trusts_nat { OriginTrust::new().behind_nat() } else { OriginTrust::new() };
    Client::builder().pool(PoolOptions::new().trust(origin, trust)).build()
}

/// The status of an attempt whose server named other ends than the client sees.
fn names_other_ends(tried: &Tried, wire: &Wire, nat: Nat) -> bool {
    let Some(ContractStatus::Ignored(Ignored::OtherHop(stated))) = tried.contract_status() else {
        return false;
    };
    let is_translated = |hop: &Hop| {
        let (client, server) = (wire.client().address(), wire.server_for_clients(PORT));
        [hop.client().ip() != client, hop.server() != server]
    };
    is_translated(&stated) == [nat != Nat::DESTINATION, nat != Nat::SOURCE]
}

// ===== a server that keeps its promise =====

/// Which halves trust the address translation.
#[derive(Clone, Copy, Debug, Default)]
struct Trust {
    client: bool,
    server: bool,
}

const BOTH: Trust = Trust { client: true, server: true };

/// Sends a request that has arrived, and is not dispatched, when its server's process
/// ends. Returns its outcome, and how many POSTs the application saw. A server that
/// reads no offer is not armed.
fn reset_before_dispatch(wire: &Wire, trust: Trust, is_translated: bool) -> Tried {
    let server = honest::Server::start(wire, PORT, trust.server);
    reset_before_dispatch_by(wire, server, trust.client, trust.server || !is_translated)
}

fn reset_before_dispatch_by(
    wire: &Wire,
    mut server: honest::Server,
    trusts_nat: bool,
    is_armed: bool,
) -> Tried {
    at_client(wire, async || {
        let client = client(wire, trusts_nat);
        let target = format!("http://{}", wire.server_for_clients(PORT));
        let first = http::Request::get(&target).body(Body::empty()).unwrap();
        let response = client.request(first).await.unwrap();
        response.into_body().collect().await.unwrap();
        match is_armed {
            true => server.stand_still_when_armed().await,
            false => server.stand_still_when_idle().await,
        }
        let request = http::Request::post(&target).body("pay").unwrap();
        let call = tokio::spawn(client.request(request));
        server.until_a_request_arrived(wire).await;
        server.die_and_start_again();
        let (outcome, attempts) = read_attempts(call.await.unwrap()).await;
        Tried::of(outcome, attempts, server.heads())
    })
}

#[test]
fn reset_of_our_server_is_resent_without_nat() {
    let Some(wire) = lay(None) else { return };
    let tried = reset_before_dispatch(&wire, Trust::default(), false);
    assert_eq!(tried.first_fate().proof(), Some(Proof::ResetPromised), "{:?}", tried.outcome);
    assert!(matches!(tried.contract_status(), Some(ContractStatus::InForce(_))));
    assert_eq!((tried.outcome.ok(), tried.posts), (Some(200), 1));
}

#[test]
fn reset_of_our_server_is_unknown_behind_nat() {
    for nat in NATS {
        let Some(wire) = lay(nat) else { return };
        let tried = reset_before_dispatch(&wire, Trust::default(), true);
        assert!(matches!(tried.doubt(), Some(Doubt::Reset(_))), "{nat:?}: {:?}", tried.outcome);
        // The server took the offer for another connection's (S11).
        assert_eq!(
            tried.contract_status(),
            Some(ContractStatus::Ignored(Ignored::Absent)),
            "{nat:?}"
        );
        assert_eq!(tried.posts, 0, "{nat:?}");
    }
}

/// Each half compares for itself: one alone makes no contract.
#[test]
fn nat_that_only_the_server_trusts_makes_no_contract() {
    for nat in NATS {
        let Some(wire) = lay(nat) else { return };
        let server = honest::Server::start(&wire, PORT, true);
        // The client shows no private address to a server of another network (C10).
        let offers = nat == Nat::SOURCE;
        let tried = reset_before_dispatch_by(&wire, server, false, offers);
        assert!(matches!(tried.doubt(), Some(Doubt::Reset(_))), "{nat:?}: {:?}", tried.outcome);
        match offers {
            true => {
                assert!(
                    names_other_ends(&tried, &wire, nat),
                    "{nat:?}: {:?}",
                    tried.contract_status()
                )
            }
            false => {
                assert_eq!(tried.contract_status(), Some(ContractStatus::Ignored(Ignored::Absent)))
            }
        }
        assert_eq!(tried.posts, 0, "{nat:?}");
    }
}

#[test]
fn nat_that_only_the_client_trusts_makes_no_contract() {
    for nat in NATS {
        let Some(wire) = lay(nat) else { return };
        let tried = reset_before_dispatch(&wire, Trust { client: true, ..Trust::default() }, true);
        assert!(matches!(tried.doubt(), Some(Doubt::Reset(_))), "{nat:?}: {:?}", tried.outcome);
        assert_eq!(
            tried.contract_status(),
            Some(ContractStatus::Ignored(Ignored::Absent)),
            "{nat:?}"
        );
        assert_eq!(tried.posts, 0, "{nat:?}");
    }
}

#[test]
fn reset_of_our_server_is_resent_through_a_trusted_nat() {
    for nat in NATS {
        let Some(wire) = lay(nat) else { return };
        let tried = reset_before_dispatch(&wire, BOTH, true);
        let proof = tried.first_fate().proof();
        assert_eq!(proof, Some(Proof::ResetPromised), "{nat:?}: {:?}", tried.outcome);
        assert_eq!((tried.outcome.ok(), tried.posts), (Some(200), 1), "{nat:?}");
    }
}

/// Once a whole response is acknowledged the server may reset (S2), and the client's
/// kernel still delivers it: that breaks no promise (C9).
#[test]
fn reset_behind_an_unread_whole_response_breaks_no_promise() {
    let Some(wire) = lay(None) else { return };
    let mut server = honest::Server::start(&wire, PORT, false);
    at_client(&wire, async || {
        let client = client(&wire, false);
        let get = async |path: &str| {
            let target = format!("http://{}{path}", wire.server_for_clients(PORT));
            client.request(http::Request::get(target).body(Body::empty()).unwrap()).await.unwrap()
        };
        get("/").await.into_body().collect().await.unwrap();
        let unread = get("/long").await;
        server.stand_still_when_armed().await;
        server.die_and_start_again();
        let next = get("/").await;
        assert!(tower_resend::attempts(&next).is_empty(), "on a connection of its own");
        let read = unread.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(read.len(), honest::LONG);
        next.into_body().collect().await.unwrap();
    });
    let tried = reset_before_dispatch_by(&wire, server, false, true);
    assert_eq!(tried.first_fate().proof(), Some(Proof::ResetPromised), "still believed");
}

// ===== promises that the client's connection does not keep =====

/// A server that announces its own ends in its response, and resets after it has
/// dispatched the next request; with or without a relay at its end of the wire.
fn reset_after_dispatch(wire: &Wire, is_relayed: bool, trusts_nat: bool) -> Tried {
    let address = (wire.server().address(), PORT).into();
    let start = || {
        let script = |nth, mut peer: contract::Peer| {
            if nth > 0 {
                return peer.serve_all(&Announce::nothing());
            }
            peer.read_request();
            peer.answer(&Announce::of("max=65536, rst, half, gone"));
            peer.read_request();
            peer.reset();
        };
        Ok(match is_relayed {
            true => {
                let behind = (wire.server().address(), 0).into();
                Server::start_at(behind, script).behind_relay_at(address)
            }
            false => Server::start_at(address, script),
        })
    };
    let server = wire.server().run(start).unwrap();
    let server = server.reached_at(wire.server_for_clients(PORT));
    at_client(wire, async || {
        let client = client(wire, trusts_nat);
        get(&client, &server).await;
        post(&client, server).await
    })
}

#[test]
fn reset_after_dispatch_is_not_resent_behind_nat() {
    for (nat, is_relayed) in NATS.into_iter().flat_map(|nat| [(nat, false), (nat, true)]) {
        let Some(wire) = lay(nat) else { return };
        let tried = reset_after_dispatch(&wire, is_relayed, false);
        assert!(tried.first_fate().is_unknown(), "{nat:?}: {:?}", tried.outcome);
        let standing = tried.contract_status();
        assert!(
            matches!(standing, Some(ContractStatus::Ignored(Ignored::OtherHop(_)))),
            "{standing:?}"
        );
        assert_eq!(tried.posts, 1, "{nat:?}");
    }
}

/// The same resets without the comparison: shows that the harness sees a doubling,
/// and why `trust_nat` is a statement about relays.
#[test]
fn control_trusted_nat_doubles_when_a_promise_is_broken() {
    for (nat, is_relayed) in NATS.into_iter().flat_map(|nat| [(nat, false), (nat, true)]) {
        let Some(wire) = lay(nat) else { return };
        let tried = reset_after_dispatch(&wire, is_relayed, true);
        assert_eq!((tried.outcome.ok(), tried.posts), (Some(200), 2), "{nat:?}");
    }
}

/// Without any translation a server that lies is believed.
#[test]
fn control_broken_promise_without_nat_doubles() {
    let Some(wire) = lay(None) else { return };
    let tried = reset_after_dispatch(&wire, false, false);
    assert_eq!((tried.outcome.ok(), tried.posts), (Some(200), 2));
    let Some(wire) = lay(None) else { return };
    let tried = reset_after_dispatch(&wire, true, false);
    assert!(tried.first_fate().is_unknown(), "{:?}", tried.outcome);
    assert_eq!(tried.posts, 1, "a relay alone is noticed");
}

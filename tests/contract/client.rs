//! The client half of the contract, on loopback with a scripted server whose
//! promises are true or false: what is resent, and what is dispatched twice.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test helper panics when it is in the way")]

use testkit::closed_port;
use testkit::contract;

use std::time::Duration;

use closed_port::ClosedPort;
use contract::{Announce, Peer, Server, Tried, get, post, post_with};
use http::Request;
use http_body_util::BodyExt;
use tower_resend::pool::{ContractOptions, OriginTrust, PoolOptions};
use tower_resend::{Body, Client, Policy, attempts};
use tower_resend_core::contract::{ContractStatus, Ignored};
use tower_resend_core::{Doubt, Fate, NoResend, Proof};

const RST: &str = "max=65536, rst, half, gone";
const FIN: &str = "max=65536, fin, gone";

/// Sends one request that is answered with `announce`, and then a POST on whose
/// connection `end` acts. Requests on later connections are served.
async fn after(announce: Announce, end: fn(Peer)) -> Tried {
    let server = Server::start(move |nth, mut peer| {
        if nth > 0 {
            return peer.serve_all(&Announce::nothing());
        }
        peer.read_request();
        peer.answer(&announce);
        end(peer);
    });
    let client = Client::new();
    get(&client, &server).await;
    post(&client, server).await
}

fn proof(tried: &Tried) -> Option<Proof> {
    tried.first_fate().proof()
}

fn read_and_reset(mut peer: Peer) {
    peer.read_request();
    peer.reset();
}

fn read_and_close(mut peer: Peer) {
    peer.read_request();
    peer.close();
}

// ===== what a promise changes (C7) =====

#[tokio::test]
async fn reset_under_a_promise_is_resent_from_the_second_request() {
    let tried = after(Announce::of(RST), Peer::reset_when_read).await;
    assert!(tried.outcome.is_ok(), "{:?}", tried.outcome);
    assert_eq!(proof(&tried), Some(Proof::ResetPromised));
    assert_eq!(tried.posts, 1, "dispatched once, after the resend");
}

#[tokio::test]
async fn fin_under_its_promise_is_resent() {
    let tried = after(Announce::of(FIN), Peer::close_when_read).await;
    assert!(tried.outcome.is_ok(), "{:?}", tried.outcome);
    assert_eq!(proof(&tried), Some(Proof::ClosePromised));
    assert_eq!(tried.posts, 1);
}

#[tokio::test]
async fn each_promise_says_nothing_about_the_other_end() {
    let tried = after(Announce::of(RST), read_and_close).await;
    assert_eq!(tried.doubt(), Some(Doubt::Acknowledged));
    assert_eq!(tried.posts, 1);
    let tried = after(Announce::of(FIN), read_and_reset).await;
    assert!(matches!(tried.doubt(), Some(Doubt::Reset(_))), "{:?}", tried.outcome);
    assert_eq!(tried.posts, 1);
}

/// The same server, lying: shows that the harness sees a doubling.
#[tokio::test]
async fn control_server_that_lies_makes_the_client_double() {
    for (announce, end) in [(RST, read_and_reset as fn(Peer)), (FIN, read_and_close as fn(Peer))] {
        let tried = after(Announce::of(announce), end).await;
        assert!(tried.outcome.is_ok());
        assert_eq!(tried.posts, 2, "{announce}");
    }
}

#[tokio::test]
async fn the_first_request_has_no_promise() {
    for end in [read_and_reset as fn(Peer), read_and_close as fn(Peer)] {
        let server = Server::start(move |_, peer| end(peer));
        let tried = post(&Client::new(), server).await;
        assert!(tried.first_fate().is_unknown(), "{:?}", tried.outcome);
        assert_eq!(tried.contract_status(), Some(ContractStatus::FirstRequest));
        let text = tried.outcome.unwrap_err().to_string();
        assert!(text.contains("no contract (first request on the connection)"), "{text}");
        assert_eq!(tried.posts, 1);
    }
}

#[tokio::test]
async fn the_latest_response_counts() {
    let server = Server::start(|_, mut peer| {
        for announce in [Announce::of(RST), Announce::nothing()] {
            peer.read_request();
            peer.answer(&announce);
        }
        read_and_reset(peer);
    });
    let client = Client::new();
    get(&client, &server).await;
    get(&client, &server).await;
    let tried = post(&client, server).await;
    assert!(tried.first_fate().is_unknown());
    assert_eq!(tried.contract_status(), Some(ContractStatus::Ignored(Ignored::Absent)));
    assert_eq!(tried.posts, 1);
}

/// A response without the field ends the contract of its connection. A later one that
/// says otherwise may be content of an earlier response.
#[tokio::test]
async fn withdrawn_contract_does_not_come_back() {
    let server = Server::start(|_, mut peer| {
        for announce in [Announce::of(RST), Announce::nothing(), Announce::of(RST)] {
            peer.read_request();
            peer.answer(&announce);
        }
        read_and_reset(peer);
    });
    let client = Client::new();
    for _ in 0..3 {
        get(&client, &server).await;
    }
    let tried = post(&client, server).await;
    assert!(tried.first_fate().is_unknown(), "{:?}", tried.outcome);
    assert_eq!(tried.contract_status(), Some(ContractStatus::Ignored(Ignored::Absent)));
    assert_eq!(tried.posts, 1);
}

// ===== fields that grant nothing (C1 to C3) =====

#[tokio::test]
async fn ignored_field_grants_nothing() {
    let ends = [read_and_reset as fn(Peer), read_and_close as fn(Peer)];
    for (what, announce) in [
        ("unlisted", Announce::of(RST).unlisted()),
        ("another hop", Announce::of(RST).hop("10.1.2.3:50211 10.1.2.9:80")),
        ("contradictory", Announce::of("max=65536, rst, fin")),
        ("contradictory fin", Announce::of("max=65536, fin, fin=?0")),
        ("duplicated", Announce::of("max=65536, rst, max=1024")),
        ("truncated", Announce::of("max=65536, rst, half,")),
        ("without max", Announce::of("rst")),
        ("fin without max", Announce::of("fin")),
        ("HTTP/1.0", Announce::of(RST).old()),
        ("in a 103", Announce::of(RST).early()),
        ("nothing promised", Announce::of("max=65536, gone, drain=?0")),
    ] {
        for end in ends {
            let tried = after(announce.clone(), end).await;
            assert!(tried.first_fate().is_unknown(), "{what}: {:?}", tried.outcome);
            assert_eq!(tried.posts, 1, "{what}");
        }
    }
}

// ===== limits (C4, C5) =====

#[tokio::test]
async fn request_longer_than_max_is_outside_the_promise() {
    let tried = after(Announce::of("max=64, rst"), read_and_reset).await;
    assert!(tried.first_fate().is_unknown());
    assert_eq!(tried.contract_status().map(|status| status.name()), Some("out_of_limits"));
    let text = tried.outcome.unwrap_err().to_string();
    assert!(text.contains("longer than the contract's `max`"), "{text}");
    assert_eq!(tried.posts, 1);
}

#[tokio::test]
async fn response_byte_ends_the_promise() {
    for (announce, end) in [
        (
            RST,
            (|mut peer: Peer| {
                peer.begin();
                peer.reset()
            }) as fn(Peer),
        ),
        (FIN, |mut peer: Peer| {
            peer.begin();
            peer.close()
        }),
    ] {
        let tried = after(Announce::of(announce), end).await;
        assert!(tried.first_fate().is_unknown(), "{:?}", tried.outcome);
        assert_eq!(tried.posts, 1);
    }
}

#[tokio::test]
async fn streams_are_covered_once_written_whole() {
    for body in [|| Body::from("pay"), || contract::stream(&["p", "a", "y"])] {
        let server = Server::start(|nth, mut peer| {
            if nth > 0 {
                return peer.serve_all(&Announce::nothing());
            }
            peer.read_request();
            peer.answer(&Announce::of(RST));
            peer.reset_when_read();
        });
        let client = Client::new();
        get(&client, &server).await;
        let tried = post_with(&client, server, body()).await;
        assert_eq!(proof(&tried), Some(Proof::ResetPromised), "{:?}", tried.outcome);
    }
}

// ===== `refused` (C8) =====

#[tokio::test]
async fn refused_request_is_resent_and_its_response_not_delivered() {
    let tried = after(Announce::of(RST), |mut peer| {
        peer.peek_request();
        peer.refuse();
    })
    .await;
    assert_eq!(tried.outcome.as_ref().ok(), Some(&200), "{:?}", tried.outcome);
    assert_eq!(proof(&tried), Some(Proof::Refused));
    assert_eq!(tried.posts, 1);
}

#[tokio::test]
async fn first_request_can_be_refused_too() {
    let server = Server::start(|nth, mut peer| {
        if nth > 0 {
            return peer.serve_all(&Announce::nothing());
        }
        peer.peek_request();
        peer.refuse();
    });
    let tried = post(&Client::new(), server).await;
    assert_eq!(proof(&tried), Some(Proof::Refused), "{:?}", tried.outcome);
    assert_eq!((tried.outcome.ok(), tried.posts), (Some(200), 1));
}

#[tokio::test]
async fn refusal_that_is_not_resent_is_a_not_applied_error() {
    let server = Server::start(|_, mut peer| {
        peer.peek_request();
        peer.refuse();
    });
    let policy = Policy::new().max_proven_resends(0);
    let client = Client::builder().policy(policy).build();
    let tried = post(&client, server).await;
    let mut error = tried.outcome.unwrap_err();
    assert!(error.fate().is_not_applied(), "{error}");
    let request: Request<Body> = error.take_request().unwrap();
    assert!(request.headers().get("retry-contract").is_none());
    assert!(request.headers().get("connection").is_none());
    assert_eq!(tried.posts, 0);
}

#[tokio::test]
async fn refusal_on_an_idle_connection_sends_the_request_elsewhere() {
    let tried = after(Announce::of(RST), |mut peer| peer.refuse()).await;
    assert_eq!(tried.outcome.as_ref().ok(), Some(&200), "{:?}", tried.outcome);
    let grounds = matches!(proof(&tried), None | Some(Proof::HandedBack(_) | Proof::Refused));
    assert!(grounds, "{:?}", tried.fates);
    assert_eq!(tried.posts, 1);
}

#[tokio::test]
async fn refusal_for_another_connection_is_a_plain_response() {
    let server = Server::start(|_, mut peer| {
        peer.peek_request();
        peer.write(
            "HTTP/1.1 503 No\r\nconnection: close, retry-contract\r\ncontent-length: 0\r\n\
             retry-contract: hop=\"10.1.2.3:50211 10.1.2.9:80\", refused\r\n\r\n",
        );
    });
    let tried = post(&Client::new(), server).await;
    assert_eq!(tried.outcome.ok(), Some(503));
}

#[tokio::test]
async fn server_that_goes_on_after_refusing_loses_trust() {
    let server = Server::start(|nth, mut peer| match nth {
        0 => {
            peer.read_request();
            peer.answer(&Announce::of(RST));
            peer.read_request();
            let refusal = peer.refusal();
            peer.write(&format!("{refusal}HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
        }
        1 => {
            peer.read_request();
            peer.answer(&Announce::of(RST));
            read_and_reset(peer);
        }
        _ => peer.serve_all(&Announce::nothing()),
    });
    let client = Client::new();
    get(&client, &server).await;
    let error = client.request(contract::request(&server, "pay".into())).await.unwrap_err();
    assert!(error.fate().is_unknown(), "{error}");
    get(&client, &server).await;
    assert!(!server.heads().last().unwrap().contains("retry-contract"), "{:?}", server.heads());
    let tried = post(&client, server).await;
    assert!(tried.first_fate().is_unknown(), "{:?}", tried.outcome);
    assert_eq!(tried.contract_status(), Some(ContractStatus::Distrusted));
    assert_eq!(tried.posts, 2);
}

/// Answers in a way that S5 rules out, before any promise.
#[tokio::test]
async fn server_that_goes_on_after_a_first_refusal_loses_trust() {
    let server = Server::start(|nth, mut peer| match nth {
        0 => {
            peer.read_request();
            let refusal = peer.refusal();
            peer.write(&format!("{refusal}HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
        }
        _ => peer.serve_all(&Announce::nothing()),
    });
    let client = Client::new();
    let error = client.request(contract::request(&server, "pay".into())).await.unwrap_err();
    assert!(error.fate().is_unknown(), "{error}");
    get(&client, &server).await;
    let heads = server.heads();
    assert!(!heads.last().unwrap().contains("retry-contract"), "{heads:?}");
    assert_eq!(heads.len(), 2, "the POST was dispatched once");
}

/// Begins to answer a POST under a promise, resets, and then lies about a second
/// one. Returns the outcome of the second.
async fn after_a_cut(begun: &'static str) -> Tried {
    let server = Server::start(move |nth, mut peer| {
        if nth > 1 {
            return peer.serve_all(&Announce::nothing());
        }
        peer.read_request();
        peer.answer(&Announce::of(RST));
        peer.read_request();
        if nth == 0 {
            peer.write(begun);
        }
        peer.reset();
    });
    let client = Client::new();
    get(&client, &server).await;
    match client.request(contract::request(&server, "pay".into())).await {
        Ok(response) => drop(response.into_body().collect().await.unwrap_err()),
        Err(error) => assert!(error.fate().is_unknown(), "{error}"),
    }
    get(&client, &server).await;
    post(&client, server).await
}

#[tokio::test]
async fn server_that_resets_within_a_response_loses_trust() {
    for begun in [
        "HTTP/1.1 200 OK\r\nconte",
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npa",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\npa\r\n",
    ] {
        let tried = after_a_cut(begun).await;
        assert!(tried.first_fate().is_unknown(), "{begun}: {:?}", tried.outcome);
        assert_eq!(tried.contract_status(), Some(ContractStatus::Distrusted), "{begun}");
        assert_eq!(tried.posts, 2, "each POST was dispatched once");
    }
}

/// A server that asks for the body has not dispatched the request, and may reset: it
/// is believed again, and this one lies.
#[tokio::test]
async fn control_a_reset_after_a_1xx_breaks_no_promise() {
    let tried = after_a_cut("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(proof(&tried), Some(Proof::ResetPromised));
    assert_eq!((tried.outcome.ok(), tried.posts), (Some(200), 3));
}

// ===== hostile paths =====

/// Sends a POST that meets `end` under a promise, with a policy that accepts no
/// forgeable proof.
async fn on_a_hostile_path(announce: &'static str, end: fn(Peer)) -> Tried {
    let server = Server::start(move |nth, mut peer| {
        if nth > 0 {
            return peer.serve_all(&Announce::nothing());
        }
        peer.read_request();
        peer.answer(&Announce::of(announce));
        end(peer);
    });
    let policy = Policy::new().require_authenticated_refusal();
    let client = Client::builder().policy(policy).build();
    get(&client, &server).await;
    post(&client, server).await
}

#[tokio::test]
async fn forgeable_proof_is_reported_as_unknown() {
    for (announce, end, proof) in [
        (RST, Peer::reset_when_read as fn(Peer), Proof::ResetPromised),
        (FIN, Peer::close_when_read, Proof::ClosePromised),
        (
            RST,
            |mut peer: Peer| {
                peer.peek_request();
                peer.refuse();
            },
            Proof::Refused,
        ),
    ] {
        let tried = on_a_hostile_path(announce, end).await;
        let error = tried.outcome.unwrap_err();
        assert_eq!(error.fate(), Fate::Unknown(Doubt::Forgeable(proof)), "{error}");
        assert_eq!(error.no_resend(), NoResend::Forgeable(proof));
        assert_eq!(error.attempts()[0].fate(), error.fate());
        assert_eq!(error.name(), "outcome_unknown_forgeable");
        assert!(error.to_string().contains("could have been forged"), "{error}");
        assert_eq!(tried.posts, 0);
        let believed = after(Announce::of(announce), end).await;
        assert_eq!(believed.first_fate(), Fate::NotApplied(proof), "control");
    }
}

#[tokio::test]
async fn unsent_request_is_not_applied_on_a_hostile_path_too() {
    let policy = Policy::new().require_authenticated_refusal().connect_patience(Duration::ZERO);
    let closed = ClosedPort::new();
    let request = Request::post(closed.url()).body(Body::from("pay")).unwrap();
    let error = Client::builder().policy(policy).build().request(request).await.unwrap_err();
    assert!(matches!(error.fate(), Fate::NotApplied(Proof::NotConnected(_))), "{error}");
}

// ===== what goes over the wire =====

#[tokio::test]
async fn offer_is_added_beside_the_fields_of_a_request() {
    let server = Server::start(|_, peer| peer.serve_all(&Announce::of(RST)));
    let client = Client::new();
    get(&client, &server).await;
    let mut own = contract::request(&server, "pay".into());
    own.headers_mut().insert("connection", "keep-alive".parse().unwrap());
    assert_eq!(client.request(own).await.unwrap().status(), 200);
    let heads = server.heads();
    for head in &heads {
        assert!(head.contains("retry-contract: hop=\"127.0.0.1:"), "{head}");
        assert!(head.contains(" 127.0.0.1:"), "{head}");
        assert!(head.contains("\", rst, fin, gone, half\r\n"), "{head}");
        assert!(head.contains("connection: retry-contract\r\n"), "{head}");
    }
    assert!(heads[1].contains("connection: keep-alive\r\n"), "{}", heads[1]);

    let silent = Server::start(|_, peer| peer.serve_all(&Announce::nothing()));
    let pool = PoolOptions::new().contract(ContractOptions::none());
    get(&Client::builder().pool(pool).build(), &silent).await;
    assert!(!silent.heads()[0].contains("retry-contract"));
}

#[tokio::test]
async fn unanswered_offer_is_made_once_for_each_connection() {
    for (announce, asked) in [(Announce::nothing(), 1), (Announce::of(RST), 6)] {
        let server = Server::start(move |_, peer| peer.serve_all(&announce));
        for connections in 1..=2 {
            let client = Client::new();
            for _ in 0..6 {
                get(&client, &server).await;
            }
            assert_eq!(server.accepted(), connections);
        }
        let offers = |head: &String| head.contains("retry-contract");
        for heads in server.heads().chunks(6) {
            assert!(heads[..asked].iter().all(offers), "{heads:?}");
            assert!(!heads[asked..].iter().any(offers), "{heads:?}");
        }
    }
}

/// A request with a field of its own makes its own offer, and a contract that does
/// not begin with the first response does not begin later (C6).
#[tokio::test]
async fn request_with_its_own_contract_field_is_sent_as_it_is() {
    let server = Server::start(|_, peer| peer.serve_all(&Announce::nothing()));
    let client = Client::new();
    let mut own = contract::request(&server, "pay".into());
    own.headers_mut().insert("retry-contract", "half".parse().unwrap());
    client.request(own).await.unwrap().into_body().collect().await.unwrap();
    get(&client, &server).await;
    assert_eq!(server.accepted(), 1);
    let heads = server.heads();
    assert!(heads[0].contains("retry-contract: half\r\n"), "{}", heads[0]);
    assert!(!heads[1].contains("retry-contract"), "{}", heads[1]);
}

#[tokio::test]
async fn draining_connection_gets_no_second_request() {
    let server = Server::start(|_, mut peer| {
        peer.read_request();
        peer.answer(&Announce::of("drain"));
        peer.wait_for_end();
    });
    let client = Client::new();
    for connections in 1..=3 {
        get(&client, &server).await;
        assert_eq!(server.accepted(), connections);
    }
}

// ===== priming (C6) =====

#[tokio::test]
async fn primed_connection_has_a_promise_for_its_first_post() {
    let server = Server::start(|nth, mut peer| {
        peer.read_request();
        peer.answer(&Announce::of(RST));
        if nth > 0 {
            return peer.serve_all(&Announce::nothing());
        }
        peer.reset_when_read();
    });
    let pool = PoolOptions::new().contract(ContractOptions::new().prime());
    let client = Client::builder().pool(pool).build();
    let tried = post(&client, server).await;
    assert_eq!(proof(&tried), Some(Proof::ResetPromised), "{:?}", tried.outcome);
    assert_eq!((tried.outcome.ok(), tried.posts), (Some(200), 1));
    assert!(tried.heads[0].starts_with("OPTIONS * HTTP/1.1\r\n"), "{}", tried.heads[0]);
}

#[tokio::test]
async fn connection_that_cannot_be_primed_is_not_used() {
    let server = Server::start(|nth, mut peer| {
        if nth > 0 {
            return peer.serve_all(&Announce::of(RST));
        }
        peer.read_request();
        peer.reset();
    });
    let pool = PoolOptions::new().contract(ContractOptions::new().prime());
    let client = Client::builder().pool(pool).build();
    let tried = post(&client, server).await;
    assert!(matches!(tried.first_fate(), Fate::NotApplied(Proof::NotConnected(_))));
    assert_eq!((tried.outcome.ok(), tried.posts), (Some(200), 1));
}

// ===== relays =====

/// A relay that forwards all bytes to a server that announces truly and resets after
/// the dispatch: its promise is about the connection to the *relay*. Returns how
/// many times the request was dispatched.
async fn behind_a_relay(trust: OriginTrust) -> Tried {
    let server = Server::start(|nth, mut peer| {
        if nth > 0 {
            return peer.serve_all(&Announce::nothing());
        }
        peer.read_request();
        peer.answer(&Announce::of(RST));
        read_and_reset(peer);
    });
    let server = server.behind_relay();
    let pool = PoolOptions::new().trust(server.authority(), trust);
    let client = Client::builder().pool(pool).build();
    get(&client, &server).await;
    post(&client, server).await
}

#[tokio::test]
async fn nothing_is_promised_behind_a_relay() {
    let tried = behind_a_relay(OriginTrust::new()).await;
    assert!(tried.first_fate().is_unknown(), "{:?}", tried.outcome);
    assert_eq!(tried.contract_status().map(|status| status.name()), Some("other_hop"));
    assert_eq!(tried.posts, 1);
}

#[tokio::test]
async fn control_comparing_no_hop_doubles_behind_a_relay() {
    let tried = behind_a_relay(OriginTrust::new().behind_nat()).await;
    assert!(tried.outcome.is_ok());
    assert_eq!(tried.posts, 2);
}

#[tokio::test]
async fn attempts_report_their_ground() {
    let server = Server::start(|nth, mut peer| {
        if nth > 0 {
            return peer.serve_all(&Announce::nothing());
        }
        peer.read_request();
        peer.answer(&Announce::of(RST));
        peer.reset_when_read();
    });
    let client = Client::new();
    get(&client, &server).await;
    let response = client.request(contract::request(&server, "pay".into())).await.unwrap();
    let first = &attempts(&response)[0];
    assert_eq!(first.ground().map(|ground| ground.id()), Some("G4"));
    assert!(matches!(first.contract_status(), Some(ContractStatus::InForce(_))));
}

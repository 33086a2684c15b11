//! Requests that fail on their way through a proxy: evidence of the first hop counts,
//! statements about the origin do not.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test panics when something is in its way")]

use testkit::contract;
use testkit::proxy;

use std::sync::Mutex;
use std::sync::mpsc::channel;

use contract::{Announce, Server, Tried, get, read_attempts};
use http::Request;
use tower_resend::pool::{ContractOptions, OriginTrust, PoolOptions, Proxies};
use tower_resend::{Attempt, Body, Client, Policy};
use tower_resend_core::contract::{ContractStatus, TrustedGateway};
use tower_resend_core::{Doubt, Fate, Opinion, Proof, RequestFacts, StaleReason};

use self::proxy::{Guest, Proxy};

const ROUNDS: usize = 20;
const TARGET: &str = "http://shop.example/orders";

/// Not hedged, because the proxy counts the connects.
fn options() -> PoolOptions {
    PoolOptions::new().hedged_connects(false)
}

fn proxies(proxy: &Proxy, scheme: &str) -> Proxies {
    Proxies::builder().all(proxy.uri(scheme)).build().unwrap()
}

fn client(proxy: &Proxy, scheme: &str) -> Client {
    Client::builder().pool(options().proxies(proxies(proxy, scheme))).build()
}

async fn post(client: &Client, target: &str) -> (Result<u16, tower_resend::Error>, Vec<Attempt>) {
    let request = Request::post(target).body(Body::from("pay")).unwrap();
    read_attempts(client.request(request).await).await
}

fn fates(attempts: &[Attempt]) -> Vec<Fate> {
    attempts.iter().map(Attempt::fate).collect()
}

// ===== before the request was written =====

/// What the proxy does to its first connection once it is idle.
type Act = fn(Guest);

/// One round: a request is served, then the proxy acts, and the next request
/// is sent before the reactor has turned. Returns the fates of its attempts.
async fn round(scheme: &str, act: Act) -> Vec<Fate> {
    let (go, may_go) = channel::<()>();
    let (acted, has_acted) = channel();
    let turnstile = Mutex::new((may_go, acted));
    let proxy = Proxy::start(move |nth, mut guest| {
        guest.begin();
        if nth > 0 {
            return guest.serve();
        }
        guest.serve_one();
        let (may_go, acted) = &*turnstile.lock().unwrap();
        may_go.recv().unwrap();
        act(guest);
        acted.send(()).unwrap();
    });
    let client = client(&proxy, scheme);
    post(&client, TARGET).await.0.unwrap();
    go.send(()).unwrap();
    has_acted.recv().unwrap();
    let (outcome, attempts) = post(&client, TARGET).await;
    assert_eq!(outcome.unwrap(), 200);
    assert_eq!(proxy.seen().heads.len(), 2, "each request was dispatched once");
    assert_eq!(proxy.seen().connections, 2);
    fates(&attempts)
}

async fn rounds(act: Act, found: StaleReason) {
    for scheme in ["socks5h", "socks4a", "http"] {
        for _ in 0..ROUNDS {
            let handed_back = Fate::NotApplied(Proof::HandedBack(found));
            assert_eq!(round(scheme, act).await, [handed_back, Fate::Completed], "{scheme}");
        }
    }
}

#[tokio::test]
async fn a_tunnel_closed_while_idle_hands_the_request_back() {
    rounds(Guest::close, StaleReason::Fin).await;
}

#[tokio::test]
async fn a_tunnel_reset_while_idle_hands_the_request_back() {
    rounds(Guest::reset, StaleReason::Reset).await;
}

#[tokio::test]
async fn unsolicited_bytes_in_a_tunnel_hand_the_request_back() {
    let speak = |mut guest: Guest| {
        guest.say("HTTP/1.1 599 Away\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        guest.leave_open();
    };
    rounds(speak, StaleReason::Stray).await;
}

/// The origin speaks at once, and its bytes come with the proxy's last ones.
#[tokio::test]
async fn bytes_that_follow_the_proxys_answer_are_not_lost() {
    for _ in 0..ROUNDS {
        let proxy = Proxy::start(|nth, mut guest| {
            if nth > 0 {
                guest.begin();
                return guest.serve();
            }
            guest.answer(&[5, 0]);
            let mut opened = vec![5, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            opened.extend(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nstray");
            guest.answer(&opened);
            guest.serve();
        });
        let (outcome, attempts) = post(&client(&proxy, "socks5h"), TARGET).await;
        assert_eq!(outcome.unwrap(), 200);
        let [handed_back, Fate::Completed] = fates(&attempts)[..] else { panic!("{attempts:?}") };
        assert!(matches!(handed_back.proof(), Some(Proof::HandedBack(_))), "{handed_back}");
        assert_eq!(proxy.seen().heads.len(), 1, "dispatched once");
    }
}

// ===== after the origin took it up =====

/// The first POST is passed on, and once the origin has answered it, `end`
/// comes instead of the answer.
async fn dispatched_and_then(scheme: &str, end: fn(Guest), policy: Policy) -> Tried {
    let server = Server::start(|_, peer| peer.serve_all(&Announce::nothing()));
    let target = format!("http://{}/pay", server.authority());
    let proxy = cutting(&server, end);
    let options = options().proxies(proxies(&proxy, scheme));
    let client = Client::builder().policy(policy).pool(options).build();
    let (outcome, attempts) = post(&client, &target).await;
    Tried::of(outcome, attempts, server.heads())
}

/// A proxy whose first connection ends so when a POST was answered.
fn cutting(server: &Server, end: fn(Guest)) -> Proxy {
    let origin = server.address();
    Proxy::start(move |nth, mut guest| {
        guest.begin();
        match nth {
            0 => end(guest.pass_on_until_a_post(origin)),
            _ => guest.relay(origin),
        }
    })
}

#[tokio::test]
async fn a_tunnel_that_ends_after_dispatch_is_unknown_and_not_resent() {
    for scheme in ["socks5h", "http"] {
        for end in [Guest::close as fn(Guest), Guest::reset] {
            let tried = dispatched_and_then(scheme, end, Policy::new()).await;
            let doubt = tried.doubt();
            assert!(matches!(doubt, Some(Doubt::Acknowledged | Doubt::Reset(_))), "{doubt:?}");
            assert_eq!(tried.fates.len(), 1, "{scheme}");
            assert_eq!(tried.posts, 1, "{scheme}");
        }
    }
}

/// The same ends, and a caller who says that all may be sent again.
#[tokio::test]
async fn control_resending_after_such_an_end_doubles() {
    for scheme in ["socks5h", "http"] {
        for end in [Guest::close as fn(Guest), Guest::reset] {
            let policy =
                Policy::new().classifier(|_: &Fate, _: &RequestFacts| Opinion::Resend("test"));
            let tried = dispatched_and_then(scheme, end, policy).await;
            assert_eq!((tried.outcome.ok(), tried.posts), (Some(200), 2), "{scheme}");
        }
    }
}

// ===== what is said of the origin =====

const RST: &str = "max=65536, rst, half, gone";

/// A server that announces truly on every response and never resets, and a proxy, or
/// a relay that the client does not know of, that resets after a POST was answered.
/// The client believes every announcement.
async fn believing(scheme: Option<&str>) -> Tried {
    let server = Server::start(|_, peer| peer.serve_all(&Announce::of(RST)));
    let proxy = cutting(&server, Guest::reset);
    let (server, proxies) = match scheme {
        Some(scheme) => (server, proxies(&proxy, scheme)),
        None => (server.reached_at(proxy.address()), Proxies::none()),
    };
    let trust = OriginTrust::new().behind_nat();
    let options = options().trust(server.authority(), trust).proxies(proxies);
    let client = Client::builder().pool(options).build();
    get(&client, &server).await;
    contract::post(&client, server).await
}

#[tokio::test]
async fn no_contract_is_asked_for_or_believed_through_a_proxy() {
    for scheme in ["socks5h", "socks4a", "http"] {
        let tried = believing(Some(scheme)).await;
        assert_eq!(tried.contract_status(), Some(ContractStatus::NotOffered), "{scheme}");
        assert!(matches!(tried.doubt(), Some(Doubt::Reset(_))), "{:?}", tried.outcome);
        assert_eq!(tried.posts, 1, "{scheme}");
        for head in &tried.heads {
            assert!(!head.contains("retry-contract"), "{head}");
        }
    }
}

/// The same relay, believed: what a proxy's reset would be taken for.
#[tokio::test]
async fn control_the_same_contract_is_believed_without_a_proxy() {
    let tried = believing(None).await;
    assert_eq!(tried.first_fate().proof(), Some(Proof::ResetPromised), "{:?}", tried.outcome);
    assert_eq!((tried.outcome.ok(), tried.posts), (Some(200), 2));
    assert!(tried.heads[0].contains("retry-contract: "), "{}", tried.heads[0]);
}

/// Whether a POST whose connection is primed is preceded by a request.
async fn primes(scheme: Option<&str>) -> bool {
    let server = Server::start(|_, peer| peer.serve_all(&Announce::of(RST)));
    let proxy = Proxy::to(server.address());
    let options = options().contract(ContractOptions::new().prime());
    let options = options.proxies(scheme.map_or_else(Proxies::none, |s| proxies(&proxy, s)));
    let tried = contract::post(&Client::builder().pool(options).build(), server).await;
    assert_eq!((tried.outcome.ok(), tried.posts), (Some(200), 1));
    tried.heads[0].starts_with("OPTIONS * ")
}

#[tokio::test]
async fn no_connection_through_a_proxy_is_primed() {
    assert!(!primes(Some("socks5h")).await && !primes(Some("http")).await);
    assert!(primes(None).await, "control: one without is");
}

/// An origin that says as a gateway that it passed nothing on.
async fn trusting_a_gateway(scheme: Option<&str>) -> Tried {
    let server = Server::start(|nth, mut peer| {
        if nth == 0 {
            peer.peek_request();
            peer.write(
                "HTTP/1.1 502 No\r\nproxy-status: edge; error=connection_refused\r\n\
                 content-length: 0\r\n\r\n",
            );
        }
        peer.serve_all(&Announce::nothing());
    });
    let proxy = Proxy::to(server.address());
    let edge = TrustedGateway::new("edge");
    let options = options().trust(server.authority(), OriginTrust::new().proxy_status(edge));
    let options = options.proxies(scheme.map_or_else(Proxies::none, |s| proxies(&proxy, s)));
    contract::post(&Client::builder().pool(options).build(), server).await
}

#[tokio::test]
async fn a_trusted_gateway_is_not_believed_through_a_proxy() {
    for scheme in ["socks5h", "http"] {
        let tried = trusting_a_gateway(Some(scheme)).await;
        assert_eq!((tried.outcome.ok(), tried.posts), (Some(502), 0), "{scheme}");
    }
    let tried = trusting_a_gateway(None).await;
    assert_eq!(tried.first_fate().proof(), Some(Proof::NotForwarded), "control");
}

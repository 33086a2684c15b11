//! Servers that end TLS by a fatal alert. One that does not take our certificate
//! says so, with TLS 1.3, when our part of the handshake is done and the request
//! may be on its way: it is asked no more, and its word is found in the error.

#![allow(clippy::unwrap_used, reason = "a test panics when something is in its way")]

use testkit::origin;

use std::error::Error as StdError;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use tower::{Layer, ServiceExt};
use tower_resend::hyper_util::{Connector, with_evidence};
use tower_resend::pool::{ContractOptions, PoolOptions};
use tower_resend::tls::Tls;
use tower_resend::tls::rustls::{self, AlertDescription, SupportedProtocolVersion, version};
use tower_resend::{Body, Client, Error, Resend, ResendLayer, attempts};
use tower_resend_core::{ConnectFailure, Fate, HandOff, NoResend, Proof};

use self::origin::tls::{Authority, Server};
use self::origin::{Origin, Peer};

/// Whether the refusal or the request comes first is chance: each case is run so
/// often.
const ROUNDS: usize = 10;
/// More connections than any call makes.
const MANY: usize = 100;

fn client(tls: Tls) -> Client {
    client_of(PoolOptions::new(), tls)
}

fn client_of(options: PoolOptions, tls: Tls) -> Client {
    Client::builder().pool(options.hedged_connects(false).tls(tls)).build()
}

fn post(url: &str) -> Request<Body> {
    Request::post(url).body("pay".into()).unwrap()
}

/// An origin that serves no client whose certificate it rejects.
fn refusing(server: &Server) -> Origin {
    Origin::start_tls(MANY, server, |_, _| panic!("it was taken"))
}

/// What a client shows that is not taken, and what it hears of that.
type Shown = (Tls, AlertDescription);

fn nothing(authority: &Authority) -> Shown {
    (authority.client().build().unwrap(), AlertDescription::CertificateRequired)
}

fn of_a_stranger(authority: &Authority) -> Shown {
    (showing(authority, &Authority::named("stranger")), AlertDescription::UnknownCA)
}

/// Of one who says that he is the authority.
fn forged(authority: &Authority) -> Shown {
    (showing(authority, &Authority::new()), AlertDescription::DecryptError)
}

fn showing(authority: &Authority, issuer: &Authority) -> Tls {
    let identity = issuer.issue("payments");
    authority.client().identity(identity.chain, identity.key).build().unwrap()
}

const SHOWN: [fn(&Authority) -> Shown; 3] = [nothing, of_a_stranger, forged];

/// Returns the alert among an error's sources.
fn alert(error: &(dyn StdError + 'static)) -> Option<AlertDescription> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::AlertReceived(alert)) = error.downcast_ref() {
            return Some(*alert);
        }
        next = error.source();
    }
    None
}

/// The peer was asked once, and by now perhaps once more for a resend that was
/// not made. The error says why that is all.
fn assert_asked_once(origin: &Origin, error: &Error, expected: AlertDescription) {
    assert_eq!(error.attempts().len(), 1, "{error}");
    assert!((1..=2).contains(&origin.truth().accepted()), "{}", origin.truth().accepted());
    assert_eq!(origin.truth().dispatched(), [""; 0]);
    let told = error.attempts()[0].evidence().alert.unwrap();
    assert_eq!(told.0, u8::from(expected));
    assert!(error.to_string().contains(told.name().unwrap()), "{error}");
    match error.fate() {
        Fate::NotApplied(_) => assert_eq!(error.no_resend(), NoResend::Permanent),
        // Written, and no ground.
        Fate::Unknown(doubt) => {
            assert_eq!(error.no_resend(), NoResend::Doubt(doubt));
        }
        other => panic!("{other}"),
    }
}

async fn refuse_each(version: &'static SupportedProtocolVersion, assert: fn(&Error)) {
    for shown in SHOWN {
        for _ in 0..ROUNDS {
            let authority = Authority::new();
            let origin = refusing(&authority.demanding_server_of(version));
            let (tls, expected) = shown(&authority);
            let error = client(tls).request(post(&origin.url("/pay"))).await.unwrap_err();
            assert_asked_once(&origin, &error, expected);
            assert_eq!(alert(&error), Some(expected), "{error:?}");
            assert(&error);
        }
    }
}

#[tokio::test]
async fn a_peer_that_rejects_our_certificate_is_asked_once() {
    refuse_each(&version::TLS13, |error| {
        let hand_off = error.attempts()[0].evidence().hand_off;
        assert!(!matches!(hand_off, HandOff::NotConnected(_)), "{error}");
    })
    .await;
}

#[tokio::test]
async fn with_tls_1_2_it_is_asked_once_too() {
    refuse_each(&version::TLS12, |error| {
        let untrusted = Proof::NotConnected(ConnectFailure::Untrusted);
        assert_eq!(error.fate(), Fate::NotApplied(untrusted));
    })
    .await;
}

/// The alert proves nothing, even if it is the peer's: the kernel has the request.
#[tokio::test]
async fn a_request_written_before_the_alert_is_unknown() {
    for _ in 0..ROUNDS {
        let authority = Authority::new();
        let origin = refusing(&authority.demanding_server_of(&version::TLS13).slow());
        let (tls, expected) = of_a_stranger(&authority);
        let error = client(tls).request(post(&origin.url("/pay"))).await.unwrap_err();
        assert_asked_once(&origin, &error, expected);
        assert_eq!(alert(&error), Some(expected), "{error:?}");
        assert!(error.fate().is_unknown(), "{error}");
        assert_eq!(error.attempts()[0].evidence().hand_off, HandOff::Written);
    }
}

/// There is a ground to repeat it, and no server that would accept it.
#[tokio::test]
async fn an_idempotent_request_is_not_repeated_after_the_alert() {
    for _ in 0..ROUNDS {
        let authority = Authority::new();
        let origin = refusing(&authority.demanding_server_of(&version::TLS13).slow());
        let (tls, expected) = of_a_stranger(&authority);
        let request = Request::put(origin.url("/pay")).body("pay").unwrap();
        let error = client(tls).request(request).await.unwrap_err();
        assert_eq!(error.no_resend(), NoResend::Permanent, "{error}");
        assert_eq!(error.attempts().len(), 1, "{error}");
        assert_eq!(alert(&error), Some(expected), "{error:?}");
        assert!(error.fate().is_unknown(), "{error}");
        assert_eq!(origin.truth().dispatched(), [""; 0]);
    }
}

#[tokio::test]
async fn a_connection_rejected_while_primed_is_the_last() {
    for shown in SHOWN {
        let authority = Authority::new();
        let origin = refusing(&authority.demanding_server_of(&version::TLS13));
        let (tls, expected) = shown(&authority);
        let options = PoolOptions::new().contract(ContractOptions::new().prime());
        let client = client_of(options, tls);
        let error = client.request(post(&origin.url("/pay"))).await.unwrap_err();
        assert_asked_once(&origin, &error, expected);
        assert_eq!(alert(&error), Some(expected), "{error:?}");
        let untrusted = Proof::NotConnected(ConnectFailure::Untrusted);
        assert_eq!(error.fate(), Fate::NotApplied(untrusted));
    }
}

#[tokio::test]
async fn the_legacy_client_asks_once_too() {
    for version in [&version::TLS12, &version::TLS13] {
        for shown in SHOWN {
            for _ in 0..ROUNDS {
                let authority = Authority::new();
                let origin = refusing(&authority.demanding_server_of(version));
                let (tls, expected) = shown(&authority);
                let error = legacy(tls).oneshot(post(&origin.url("/pay"))).await.unwrap_err();
                assert_asked_once(&origin, &error, expected);
            }
        }
    }
}

type Legacy = tower_resend::hyper_util::EvidenceClient<Connector, Body>;

fn legacy(tls: Tls) -> Resend<Legacy> {
    let client = legacy::Client::builder(TokioExecutor::new()).build(Connector::new().tls(tls));
    ResendLayer::default().layer(with_evidence(client))
}

// ===== alerts of other kinds =====

/// Ends the session by an alert that speaks of one record.
fn says_bad_record(mut peer: Peer) {
    let (session, stream) = peer.tls();
    let garbage = [&[23, 3, 3, 0, 32][..], &[0; 32]].concat();
    session.take_in(&garbage).unwrap_err();
    session.flush(stream);
}

#[tokio::test]
async fn an_alert_of_another_kind_is_told_too() {
    let authority = Authority::new();
    let origin = Origin::start_tls(1, &authority.server(), |_, mut peer| {
        peer.read_request();
        says_bad_record(peer);
    });
    let client = client(authority.client().build().unwrap());
    let error = client.request(post(&origin.url("/pay"))).await.unwrap_err();
    assert_eq!(alert(&error), Some(AlertDescription::BadRecordMac), "{error:?}");
    assert_eq!(error.attempts()[0].evidence().alert, None);
    assert!(error.fate().is_unknown(), "{error}");
    assert_eq!(origin.finish(), ["/pay"]);
}

/// The control: nothing is wrong with us, and another connection will do.
#[tokio::test]
async fn after_an_alert_of_another_kind_a_request_is_resent() {
    for _ in 0..ROUNDS {
        let authority = Authority::new();
        let origin = Origin::start_tls(2, &authority.server(), |nth, mut peer| match nth {
            0 => {
                peer.wait_for_bytes();
                says_bad_record(peer);
            }
            _ => peer.serve(1),
        });
        let client = client(authority.client().build().unwrap());
        let request = Request::put(origin.url("/pay")).body("pay").unwrap();
        let response = client.request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(attempts(&response).len(), 2, "{:?}", attempts(&response));
        let body: Bytes = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "ok");
        assert_eq!(origin.finish(), ["/pay"]);
    }
}

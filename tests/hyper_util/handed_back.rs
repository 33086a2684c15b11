//! The wrapped legacy client with its own retries: requests that come back to
//! it, that are left behind, and calls that are given up.

#![allow(clippy::unwrap_used, reason = "a test panics when something is in its way")]

use crate::parts as hyper_util_parts;
use testkit::origin;
use testkit::stacks::heard;
use testkit::stacks::still;

use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio_test::task;
use tower::ServiceExt;
use tower_resend::hyper_util::{EvidenceClient, with_evidence};
use tower_resend::{Attempt, AttemptToken};
use tower_resend_core::{ConnectFailure, Doubt, Errno, Fate, Ground, Proof, StaleReason};

use self::hyper_util_parts::{Freezing, Gated, Keeping};
use self::origin::{Origin, turnstile};
use self::still::until_idle;

const ROUNDS: usize = 20;

/// Longer than any connect of these tests.
const AGES: Duration = Duration::from_secs(24 * 60 * 60);

type Pay = Full<Bytes>;

fn post(url: &str) -> Request<Pay> {
    Request::post(url).body(Full::from("pay")).unwrap()
}

fn noted(url: &str) -> (Request<Pay>, AttemptToken) {
    let token = AttemptToken::new();
    let mut request = post(url);
    request.extensions_mut().insert(token.clone());
    (request, token)
}

/// The wrapped client as its builder has it.
fn wrapped(connector: &Gated) -> EvidenceClient<Gated, Pay> {
    with_evidence(Client::builder(TokioExecutor::new()).build(connector.clone()))
}

/// One call that is answered, and after which its connection is idle.
async fn serve_one(client: &EvidenceClient<Gated, Pay>, url: &str) {
    let response = client.clone().oneshot(post(url)).await.unwrap();
    response.into_body().collect().await.unwrap();
    until_idle().await;
}

/// An origin whose first connection closes while it is idle, at a word, and
/// whose second serves on.
fn closing_once(connections: usize) -> (Origin, Sender<()>, Receiver<()>) {
    let (go, may_go) = turnstile();
    let (acted, has_acted) = turnstile();
    let origin = Origin::start(connections, move |nth, mut peer| {
        peer.serve(1);
        if nth == 0 {
            may_go.recv().unwrap();
            heard::closes(peer);
            acted.send(()).unwrap();
        }
    });
    (origin, go, has_acted)
}

/// A client whose one connection has died, and whose next connect waits.
async fn cut_off(connections: usize) -> (Origin, Gated, EvidenceClient<Gated, Pay>) {
    let (origin, go, has_acted) = closing_once(connections);
    let connector = Gated::new();
    let client = wrapped(&connector);
    serve_one(&client, &origin.url("/before")).await;
    connector.close();
    go.send(()).unwrap();
    has_acted.recv().unwrap();
    (origin, connector, client)
}

// ===== what is connecting is waited for, what is left behind is not =====

/// The client alone would go on and succeed.
#[tokio::test]
async fn a_slow_connect_after_a_hand_back_is_waited_for() {
    let (origin, connector, client) = cut_off(2).await;
    let call = tokio::spawn(client.oneshot(post(&origin.url("/after"))));
    connector.until_waiting(1).await;
    until_idle().await;
    tokio::time::pause();
    tokio::time::advance(AGES).await;
    until_idle().await;
    assert!(!call.is_finished());
    tokio::time::resume();
    connector.open();
    assert_eq!(call.await.unwrap().unwrap().status(), StatusCode::OK);
    assert_eq!(origin.finish(), ["/before", "/after"]);
}

/// What hyper has and will neither send nor give back: the connection's task
/// does not run any more, and its io is gone.
#[tokio::test]
async fn a_request_that_is_left_behind_is_given_up() {
    let origin = Origin::start(1, |_, mut peer| peer.serve(2));
    let (connector, executor) = (Gated::new(), Freezing::default());
    let client = with_evidence(Client::builder(executor.clone()).build(connector.clone()));
    serve_one(&client, &origin.url("/before")).await;
    executor.freeze();
    connector.drop_ios();
    let (request, token) = noted(&origin.url("/after"));
    let call = tokio::spawn(client.oneshot(request));
    until_idle().await;
    assert!(!call.is_finished(), "it may still come back");
    tokio::time::pause();
    tokio::time::advance(AGES).await;
    let failure = call.await.unwrap().unwrap_err();
    assert_eq!(failure.attempt().fate(), Fate::Unknown(Doubt::NoEvidence), "hyper has it yet");
    assert_eq!(token.len(), 1);
    assert_eq!(connector.connects(), 1);
    assert_eq!(origin.finish(), ["/before"]);
}

// ===== what came back is listed =====

fn handed_back(found: StaleReason) -> Fate {
    Fate::NotApplied(Proof::HandedBack(found))
}

/// Newest first, as the pool gives its connections.
#[tokio::test]
async fn hand_backs_by_dead_connections_are_listed_before_the_answer() {
    let (go, may_go) = turnstile();
    let (acted, has_acted) = turnstile();
    let mut first = None;
    let origin = Origin::start(3, move |nth, mut peer| {
        assert!(peer.read_request().is_some());
        match nth {
            0 => first = Some(peer),
            1 => {
                let mut first = first.take().unwrap();
                peer.answer();
                may_go.recv().unwrap();
                first.answer();
                may_go.recv().unwrap();
                heard::closes(first);
                heard::resets(peer);
                acted.send(()).unwrap();
            }
            _ => peer.answer(),
        }
    });
    let connector = Gated::new();
    let client = wrapped(&connector);
    let slow = tokio::spawn(client.clone().oneshot(post(&origin.url("/first"))));
    until_taken_up(&origin, 1).await;
    serve_one(&client, &origin.url("/second")).await;
    go.send(()).unwrap();
    slow.await.unwrap().unwrap().into_body().collect().await.unwrap();
    until_idle().await;
    go.send(()).unwrap();
    has_acted.recv().unwrap();
    let (request, token) = noted(&origin.url("/after"));
    client.oneshot(request).await.unwrap();
    let expected =
        [handed_back(StaleReason::Fin), handed_back(StaleReason::Reset), Fate::Completed];
    assert_eq!(fates(&token), expected);
    let attempts = token.attempts();
    assert!(attempts.iter().all(|attempt| attempt.peer() == Some(origin.address())));
    let grounds = expected.map(|fate| fate.proof().map(Ground::Proven));
    assert!(attempts.iter().map(Attempt::ground).eq(grounds), "{token:?}");
    assert_eq!(connector.connects(), 3);
    assert_eq!(origin.finish(), ["/first", "/second", "/after"]);
}

#[tokio::test]
async fn hand_back_is_listed_before_a_connect_that_failed() {
    let (mut origin, go, has_acted) = closing_once(1);
    let client = wrapped(&Gated::new());
    serve_one(&client, &origin.url("/before")).await;
    go.send(()).unwrap();
    has_acted.recv().unwrap();
    origin.wait();
    let (request, token) = noted(&origin.url("/after"));
    let failure = client.oneshot(request).await.unwrap_err();
    let refused = ConnectFailure::Connect(Some(Errno::ECONNREFUSED));
    let refused = Fate::NotApplied(Proof::NotConnected(refused));
    assert_eq!(failure.attempt().fate(), refused);
    assert_eq!(fates(&token), [handed_back(StaleReason::Fin), refused]);
}

/// Once, where it comes back to the caller.
#[tokio::test]
async fn hand_back_that_the_client_does_not_resend_is_listed_once() {
    let (origin, go, has_acted) = closing_once(1);
    let mut builder = Client::builder(TokioExecutor::new());
    let client = with_evidence(builder.retry_canceled_requests(false).build(Gated::new()));
    serve_one(&client, &origin.url("/before")).await;
    go.send(()).unwrap();
    has_acted.recv().unwrap();
    let (request, token) = noted(&origin.url("/after"));
    let failure = client.oneshot(request).await.unwrap_err();
    assert_eq!(failure.attempt().peer(), Some(origin.address()));
    assert_eq!(fates(&token), [handed_back(StaleReason::Fin)]);
    assert_eq!(origin.finish(), ["/before"]);
}

#[tokio::test]
async fn hand_back_is_listed_when_the_next_connect_is_dropped() {
    let (origin, connector, client) = cut_off(1).await;
    let (request, token) = noted(&origin.url("/after"));
    let call = tokio::spawn(client.oneshot(request));
    connector.until_waiting(1).await;
    until_idle().await;
    assert_eq!(fates(&token), [handed_back(StaleReason::Fin)], "at once");
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    let waited = Fate::NotApplied(Proof::NotConnected(ConnectFailure::PoolWait));
    assert_eq!(fates(&token), [handed_back(StaleReason::Fin), waited]);
    assert_eq!(origin.finish(), ["/before"]);
}

async fn until_taken_up(origin: &Origin, requests: usize) {
    while origin.truth().dispatched().len() < requests {
        tokio::task::yield_now().await;
    }
}

// ===== calls that are given up =====

/// The call is answered and not polled: its connection could go to another request that
/// waits for one, and that would be lost with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connection_of_a_dropped_call_goes_to_no_other_request() {
    for _ in 0..ROUNDS {
        let (go, may_answer) = turnstile();
        let origin = Origin::start(2, move |nth, mut peer| match nth {
            0 => {
                peer.serve(1);
                assert!(peer.read_request().is_some());
                may_answer.recv().unwrap();
                peer.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
                assert_eq!(peer.read_request(), None);
            }
            _ => peer.serve(1),
        });
        let connector = Gated::new();
        let client = wrapped(&connector);
        serve_one(&client, &origin.url("/before")).await;
        let (request, given_up) = noted(&origin.url("/given-up"));
        let mut call = task::spawn(client.clone().oneshot(request));
        assert!(call.poll().is_pending());
        go.send(()).unwrap();
        while !call.is_woken() {
            tokio::task::yield_now().await;
        }
        until_idle().await;

        connector.close();
        let (request, other) = noted(&origin.url("/other"));
        let keeping = Keeping::default();
        let waiting = tokio::spawn(keeping.clone().run(client.oneshot(request)));
        connector.until_waiting(1).await;
        until_idle().await;
        let (read, may_go_on) = connector.stop_after_read();
        keeping.until(read);
        drop(call);
        connector.cancel_stop();
        drop(may_go_on);
        connector.open();
        assert_eq!(waiting.await.unwrap().unwrap().status(), StatusCode::OK);
        assert_eq!(fates(&other), [Fate::Completed]);
        assert!(matches!(fates(&given_up)[..], [fate] if fate.is_unknown()), "{given_up:?}");
        assert_eq!(origin.finish(), ["/before", "/given-up", "/other"]);
    }
}

fn fates(token: &AttemptToken) -> Vec<Fate> {
    token.attempts().iter().map(Attempt::fate).collect()
}

//! The texts of errors, one of each cause, compared with the checked-in `error_texts.txt`.
//!
//! A changed text shows as a changed line in review. `UPDATE=1 cargo test -p
//! tower-resend-tests --test resend error_texts` writes the file anew.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "this is a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use http::{Request, Response};
use tower::{BoxError, Layer, ServiceExt, service_fn};
use tower_resend::resend::Idempotent;
use tower_resend::{Attempt, AttemptError, AttemptToken, Error, Policy, ResendLayer};
use tower_resend_core::variants::{bad_requests, connect_failures, stale_reasons};
use tower_resend_core::{
    Acked, Alert, Answer, Contract, Counts, Doubt, Early, EndedBy, Errno, Evidence, Fate, HandOff,
    Limits, NoResend, Opinion, PromiseSource, Proof, RequestFacts, Role, Segments, Settled,
    StaleReason, TcpEvidence, Unavailable,
};

const FILE: &str = "resend/error_texts.txt";
const MAX_TEXT: usize = 400;
const MAX_DEBUG: usize = 600;

// ===== evidence of each kind =====

fn written() -> Evidence {
    Evidence::new(HandOff::Written).with_counts(Counts::new(3_919_467, Some(127_973), 0))
}

fn tcp(kernel: TcpEvidence) -> Evidence {
    written().with_tcp(kernel)
}

fn fin(acked: Acked, settled: Settled) -> Evidence {
    tcp(TcpEvidence::Fin(acked, settled))
}

fn answered(answer: Answer) -> Evidence {
    written().with_answer(answer)
}

fn stray() -> Evidence {
    fin(Acked::None, Settled::Reset(Segments::One))
        .with_answer(Answer::Stray(Early::ClosingResponse))
}

/// Evidence of one attempt and the contract of its connection.
type Case = (Evidence, Contract);

fn under(promise: fn(&mut Contract), evidence: Evidence) -> Case {
    let mut contract = Contract::none();
    promise(&mut contract);
    (evidence.with_limits(Limits::Kept), contract)
}

/// One case for each proof.
fn proofs() -> Vec<Case> {
    let mut bare: Vec<_> = bad_requests().into_iter().map(HandOff::NotSendable).collect();
    bare.extend(connect_failures().into_iter().map(HandOff::NotConnected));
    bare.extend(stale_reasons().into_iter().map(HandOff::HandedBack));
    bare.push(HandOff::NothingWritten);
    let mut all: Vec<_> = bare.into_iter().map(Evidence::new).collect();
    all.extend([
        Evidence::new(HandOff::NothingWritten).with_alert(Some(Alert(116))),
        Evidence::new(HandOff::NothingWritten).with_ended_by(EndedBy::RequestBody),
        fin(Acked::None, Settled::Reset(Segments::One)),
        stray(),
        answered(Answer::Refused),
        answered(Answer::RefusedStream),
        answered(Answer::Misdirected),
        answered(Answer::NotForwarded),
    ]);
    let mut all: Vec<_> = all.into_iter().map(|evidence| (evidence, Contract::none())).collect();

    all.extend([
        under(
            |contract| contract.closed_after_fin = Some(PromiseSource::Configured),
            fin(Acked::None, Settled::Unsettled),
        ),
        under(
            |contract| contract.complete_messages_only = Some(PromiseSource::Configured),
            fin(Acked::Part, Settled::Reset(Segments::One)),
        ),
        under(
            |contract| contract.complete_messages_only = Some(PromiseSource::Announced),
            fin(Acked::Part, Settled::Reset(Segments::One)),
        ),
        under(
            |contract| contract.reset_before_dispatch = Some(PromiseSource::Announced),
            tcp(TcpEvidence::Reset(Acked::All)),
        ),
        under(
            |contract| contract.fin_before_dispatch = Some(PromiseSource::Announced),
            fin(Acked::All, Settled::NotAwaited),
        ),
    ]);
    all
}

/// One case for each doubt and for a lost response.
fn doubts() -> Vec<Case> {
    let kernel = TcpEvidence::Unavailable(Unavailable::ShortInfo(104));
    let all = vec![
        fin(Acked::All, Settled::NotAwaited),
        fin(Acked::Part, Settled::NotAwaited),
        fin(Acked::None, Settled::AckedAfterFin),
        fin(Acked::None, Settled::Unsettled),
        fin(Acked::None, Settled::Reset(Segments::Several)),
        fin(Acked::None, Settled::Reset(Segments::Uncounted)),
        fin(Acked::None, Settled::Local(None)),
        fin(Acked::None, Settled::Local(Some(Errno::ETIMEDOUT))),
        tcp(TcpEvidence::Reset(Acked::All)),
        tcp(TcpEvidence::NoFin(Acked::Part, None)),
        tcp(TcpEvidence::NoFin(Acked::Part, Some(Errno::ETIMEDOUT))),
        tcp(TcpEvidence::Bypassed),
        tcp(TcpEvidence::StillOpen),
        tcp(TcpEvidence::NoBoundary),
        tcp(kernel),
        tcp(TcpEvidence::Reset(Acked::All)).with_answer(Answer::Stray(Early::Other)),
        answered(Answer::Begun),
        answered(Answer::Malformed),
        answered(Answer::FinalHead),
        answered(Answer::Complete),
        written().with_ended_by(EndedBy::Caller),
        written().with_ended_by(EndedBy::Deadline),
        written().with_ended_by(EndedBy::Runtime),
        Evidence::new(HandOff::Unrecorded),
    ];
    all.into_iter().map(|evidence| (evidence, Contract::none())).collect()
}

// ===== calls =====

fn post() -> Request<String> {
    Request::post("http://shop.test/orders?secret=1").body("pay".into()).unwrap()
}

/// A policy that repeats no connect, because how many there are is random.
fn policy() -> Policy {
    Policy::new().connect_patience(Duration::ZERO)
}

/// Fails every attempt of a call as `cases` say in turn, the last of them from then on.
async fn fail(policy: Policy, request: Request<String>, cases: &[Case]) -> Error {
    let mut calls = 0;
    let cases = cases.to_vec();
    let inner = service_fn(move |request: Request<String>| {
        let (evidence, contract) = cases[calls.min(cases.len() - 1)];
        calls += 1;
        let peer: SocketAddr = "[2001:db8:85a3:8d3:1319:8a2e:370:7348]:65535".parse().unwrap();
        let attempt = Attempt::new(evidence, &contract).with_peer(Some(peer)).told_by_error();
        if let Some(token) = request.extensions().get::<AttemptToken>() {
            token.record(attempt.clone());
        }
        let error = AttemptError::new(attempt).with_source("the connection closed");
        std::future::ready(Err::<Response<()>, BoxError>(error.into()))
    });
    ResendLayer::new(policy).layer(inner).oneshot(request).await.unwrap_err()
}

/// Every error that the layer can make of one case, by what it shows.
async fn errors() -> Vec<(String, Error)> {
    let mut all = Vec::new();
    // A 421 comes as a response, so an error that tells of it is not believed.
    let misdirected = |case: &Case| case.0.answer == Answer::Misdirected;
    for case in proofs().into_iter().filter(|case| !misdirected(case)).chain(doubts()) {
        let error = fail(policy().max_attempts(1), post(), &[case]).await;
        all.push((format!("{:?}", error.fate()), error));
    }
    for case in proofs() {
        let authenticated = policy().require_authenticated_refusal().max_attempts(1);
        let error = fail(authenticated, post(), &[case]).await;
        if error.fate().is_unknown() {
            all.push((format!("{:?}", error.fate()), error));
        }
    }
    all.extend(more_reasons().await);
    all
}

/// Errors with the reasons that a single attempt does not give.
async fn more_reasons() -> Vec<(String, Error)> {
    let case = |evidence| (evidence, Contract::none());
    let (reset, refused) = (
        case(tcp(TcpEvidence::Reset(Acked::All))),
        case(fin(Acked::None, Settled::Reset(Segments::One))),
    );
    let mut idempotent = post();
    idempotent.extensions_mut().insert(Idempotent);
    let mut keyed = post();
    keyed.headers_mut().insert("idempotency-key", "\"a1\"".parse().unwrap());
    let long = format!("http://{}.test/{}", "h".repeat(250), "p".repeat(5_000));
    let long = Request::post(long).body(String::new()).unwrap();
    let forbids = |_: &Fate, _: &RequestFacts| Opinion::Forbidden("payments are never repeated");
    let stale = case(Evidence::new(HandOff::HandedBack(StaleReason::Fin)));
    let connect = HandOff::NotConnected(tower_resend_core::ConnectFailure::Connect(Some(
        Errno::ECONNREFUSED,
    )));
    let down = case(Evidence::new(connect));
    let calls = [
        ("idempotent", policy(), idempotent, vec![reset]),
        ("keyed", policy(), keyed, vec![reset]),
        ("a long host and path", policy(), long, vec![reset]),
        ("forbidden", policy().classifier(forbids), post(), vec![refused]),
        ("a proxy", policy().role(Role::Proxy), post(), vec![refused]),
        ("stale, then down", policy(), post(), vec![stale, down]),
        ("no time", policy().deadline(Duration::from_millis(1)), post(), vec![down]),
    ];
    let mut all = Vec::new();
    for (name, policy, request, cases) in calls {
        all.push((name.to_owned(), fail(policy, request, &cases).await));
    }
    let unready = tower::util::MapErr::new(NotReady, BoxError::from);
    let error = ResendLayer::default().layer(unready).oneshot(post()).await.unwrap_err();
    all.push(("not ready".to_owned(), error));
    all
}

/// A service that is never ready.
#[derive(Clone)]
struct NotReady;

impl tower::Service<Request<String>> for NotReady {
    type Response = Response<()>;
    type Error = &'static str;
    type Future = std::future::Ready<Result<Response<()>, &'static str>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), &'static str>> {
        std::task::Poll::Ready(Err("the balancer has no endpoint"))
    }

    fn call(&mut self, _: Request<String>) -> Self::Future {
        std::future::ready(Err("not reached"))
    }
}

// ===== tests =====

#[tokio::test(start_paused = true)]
async fn error_texts_are_those_that_were_reviewed() {
    let mut now = "Made by tests/resend/error_texts.rs; UPDATE=1 writes it anew.\n".to_owned();
    for (what, error) in errors().await {
        let name = error.name();
        write!(now, "\n# {what}: {name}\n{error}\n{error:#}\n{error:?}\n").unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        std::fs::write(&path, now).unwrap();
        return;
    }
    let then = std::fs::read_to_string(&path).expect("the file is checked in");
    for (number, (now, then)) in now.lines().zip(then.lines()).enumerate() {
        assert_eq!(now, then, "{FILE}:{}; UPDATE=1 accepts it", number + 1);
    }
    assert_eq!(now.lines().count(), then.lines().count(), "{FILE}; UPDATE=1 accepts it");
}

#[tokio::test(start_paused = true)]
async fn no_text_is_longer_than_its_limit_and_only_a_long_target_is_cut() {
    for (what, error) in errors().await {
        let (text, debug) = (error.to_string(), format!("{error:?}"));
        assert!(text.chars().count() <= MAX_TEXT, "{what}: {text}");
        assert!(debug.chars().count() <= MAX_DEBUG, "{what}: {debug}");
        assert!(!text.contains('\n') && !debug.contains('\n'), "{what}: {debug}");
        assert_eq!(text.contains('\u{2026}'), what.contains("long"), "{what}: {text}");
        assert!(!text.contains("secret"), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn debug_of_a_hundred_attempts_is_one_line_and_the_alternate_lists_them() {
    let down = Evidence::new(HandOff::HandedBack(StaleReason::Fin));
    let policy = Policy::new().connect_patience(Duration::from_secs(3_600));
    let connect = HandOff::NotConnected(tower_resend_core::ConnectFailure::Connect(None));
    let cases = [(down, Contract::none()), (Evidence::new(connect), Contract::none())];
    let policy = policy.deadline(Duration::from_secs(3_600));
    let error = fail(policy, post(), &cases).await;
    assert!(error.attempts().len() > 100, "{error}");
    let debug = format!("{error:?}");
    assert!(debug.chars().count() <= MAX_DEBUG && !debug.contains('\n'), "{debug}");
    assert!(debug.contains(&format!("attempts: {}", error.attempts().len())), "{debug}");
    let listed = format!("{error:#?}").matches("NotConnected(\n").count();
    assert!(listed > 100, "control: the alternate lists {listed}");
}

/// The attempt's error says in its own order what the call's text said already.
#[tokio::test(start_paused = true)]
async fn the_long_text_adds_the_sources_and_repeats_nothing() {
    for (what, error) in errors().await {
        let (text, long) = (error.to_string(), format!("{error:#}"));
        let rest = long.strip_prefix(&text).expect("the text comes first");
        if what.contains("long") {
            continue;
        }
        let is_unready = error.no_resend() == NoResend::NotReady;
        let added =
            if is_unready { "the balancer has no endpoint" } else { "the connection closed" };
        assert_eq!(rest, format!(": {added}"), "{what}: {long}");
    }
}

/// Counts that the call's text does not have are no repeat.
#[test]
fn attempt_error_says_its_source_in_the_long_text_only() {
    let attempt = Attempt::new(tcp(TcpEvidence::Reset(Acked::All)), &Contract::none());
    let error = AttemptError::new(attempt).with_source("Connection reset by peer");
    assert_eq!(format!("{error:#}"), format!("{error}: Connection reset by peer"));
    let debug = format!("{error:?}");
    assert!(debug.chars().count() <= MAX_DEBUG && !debug.contains('\n'), "{debug}");
    assert!(debug.ends_with("source: \"Connection reset by peer\" }"), "{debug}");
    assert!(format!("{error:#?}").contains("Counts"), "the alternate shows the evidence");
}

/// Other causes ask for other remedies; the causes of one remedy share a name.
#[tokio::test(start_paused = true)]
async fn names_tell_the_causes_of_not_applied_apart() {
    let mut names = BTreeMap::<_, BTreeSet<_>>::new();
    for (what, error) in errors().await {
        if error.fate().is_not_applied() {
            names.entry(error.name()).or_default().insert(what);
        }
    }
    assert!(names.keys().all(|name| name.starts_with("not_applied_")), "{names:?}");
    assert!(names.len() >= 18, "{names:?}");
    assert!(!names.contains_key("not_applied"));
}

#[tokio::test(start_paused = true)]
async fn name_is_that_of_the_last_of_several_causes() {
    let stale = Evidence::new(HandOff::HandedBack(StaleReason::Fin));
    let why = tower_resend_core::ConnectFailure::Connect(Some(Errno::ECONNREFUSED));
    let cases = [stale, Evidence::new(HandOff::NotConnected(why))];
    let error = fail(Policy::new(), post(), &cases.map(|it| (it, Contract::none()))).await;
    assert!(error.attempts().len() > 1);
    assert_eq!(error.name(), "not_applied_refused");
    assert!(matches!(error.fate(), Fate::NotApplied(Proof::HandedBack(_))), "control: the first");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_asks_to_look_unless_a_repeat_does_no_harm() {
    let look = "look for it at the server before you send it again";
    for (what, error) in errors().await {
        let asks = error.fate().is_unknown() && !["idempotent"].contains(&what.as_str());
        let is_cut = what.contains("long");
        assert!(is_cut || error.to_string().contains(look) == asks, "{what}: {error}");
        assert!(!matches!(error.fate(), Fate::Unknown(Doubt::NoEvidence)) || asks);
    }
}

//! A call of several hops: the request was executed on one of them, and then
//! another fails in a way that by itself would prove that nothing was sent.
//!
//! Real origins on loopback, this crate's transport below, and the application
//! says what it executed.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test panics when something is in its way")]

use crate::hops;

use std::error::Error as StdError;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{fmt, io};

use http::{Extensions, Request, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use tower::timeout::TimeoutLayer;
use tower::{BoxError, Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_http::follow_redirect::FollowRedirectLayer;
use tower_http::follow_redirect::policy::{FilterCredentials, Limited, PolicyExt, clone_body_fn};
use tower_resend::pool::{Pool, PoolOptions};
use tower_resend::{Attempt, AttemptError, AttemptToken, ResendLayer};
use tower_resend_core::{ConnectFailure, Contract, Doubt, Evidence, Fate, HandOff, NoResend};

use self::hops::*;

const PAID: [&str; 1] = ["POST /pay"];

/// Asserts that the request was executed and that the layer says so.
fn assert_answered(failed: &Failed, recorded: usize) {
    assert_eq!(failed.fate, Fate::Completed, "{failed:?}");
    assert_eq!(failed.no_resend, NoResend::Answered);
    assert_eq!(failed.attempts.len(), recorded, "{failed:?}");
}

fn assert_no_evidence(failed: &Failed) {
    assert_eq!(failed.fate, Fate::Unknown(Doubt::NoEvidence), "{failed:?}");
    assert_eq!(failed.no_resend, NoResend::Doubt(Doubt::NoEvidence));
}

// ===== redirects =====

/// Which hops of a redirect carry the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Redirect {
    /// The same origin, which stopped listening when it answered.
    SameOrigin,
    /// Another origin; the token goes no further, as is usual.
    CrossOrigin,
    /// Another origin; all extensions are kept.
    CrossOriginKept,
    /// Another origin; the token is allowed by name.
    CrossOriginAllowed,
}

const REDIRECTS: [Redirect; 4] = [
    Redirect::SameOrigin,
    Redirect::CrossOrigin,
    Redirect::CrossOriginKept,
    Redirect::CrossOriginAllowed,
];

/// POST -> 303 -> a port that refuses. The origin listens again before the
/// error is seen, so that a resend would be executed.
fn redirecting(how: Redirect) -> (Site, Inner) {
    let dead = Site::dead();
    let done = match how {
        Redirect::SameOrigin => "/done".to_owned(),
        _ => dead.url("/done"),
    };
    let answer = format!(
        "HTTP/1.1 303 See Other\r\nlocation: {done}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    );
    let site = Site::start(move |_| match how {
        Redirect::SameOrigin => Reply::SayAndStop(answer.clone()),
        _ => Reply::Say(answer.clone()),
    });
    let filter = match how {
        Redirect::SameOrigin | Redirect::CrossOrigin => FilterCredentials::new(),
        Redirect::CrossOriginKept => FilterCredentials::new().keep_all_extensions(),
        Redirect::CrossOriginAllowed => FilterCredentials::new().allow_extension::<AttemptToken>(),
    };
    let policy = Limited::default().and::<_, Octets, BoxError>(filter);
    let followed =
        ServiceBuilder::new().layer(FollowRedirectLayer::with_policy(policy)).service(pool());
    let (back, _held) = (site.clone(), dead);
    let inner = followed.map_err(move |error: BoxError| {
        let _dead = &_held;
        if how == Redirect::SameOrigin {
            back.listen();
        }
        error
    });
    (site, boxed(inner))
}

#[tokio::test]
async fn a_post_that_was_redirected_to_a_dead_port_was_executed_once() {
    for how in REDIRECTS {
        let (site, inner) = redirecting(how);
        let failed = fails(inner, post(&site.url("/pay"))).await;
        assert_eq!(site.executed(), PAID, "{how:?}");
        assert_answered(&failed, if how == Redirect::CrossOrigin { 1 } else { 2 });
    }
}

#[tokio::test]
async fn control_trusting_the_last_hop_doubles_a_redirected_post() {
    for how in REDIRECTS {
        for (name, rule) in CARELESS {
            let (site, inner) = redirecting(how);
            by_rule(inner, post(&site.url("/pay")), rule).await;
            // Where the token was dropped the last recorded hop is the first.
            let once = how == Redirect::CrossOrigin && name == "last hop";
            let times = if once { 1 } else { 2 };
            assert_eq!(site.executed().len(), times, "{how:?}, {name}");
        }
    }
}

/// A 307 keeps the method: the second origin is sent the POST.
#[tokio::test]
async fn post_passed_on_without_its_token_is_not_resent() {
    for keeps in [false, true] {
        let second = Site::start(|_| Reply::Close);
        let target = second.url("/pay");
        let first =
            Site::start(move |_| say("307 Temporary Redirect", &format!("location: {target}\r\n")));
        let filter = match keeps {
            true => FilterCredentials::new().keep_all_extensions(),
            false => FilterCredentials::new(),
        };
        let policy =
            filter.and::<_, Octets, BoxError>(clone_body_fn(|body: &Octets| Some(body.clone())));
        let inner =
            ServiceBuilder::new().layer(FollowRedirectLayer::with_policy(policy)).service(pool());
        let failed = fails(boxed(inner), post(&first.url("/pay"))).await;
        assert_eq!((first.executed(), second.executed()), (strings(&PAID), strings(&PAID)));
        match keeps {
            true => assert!(failed.fate.is_unknown(), "{failed:?}"),
            false => assert_answered(&failed, 1),
        }
    }
}

fn strings(all: &[&str]) -> Vec<String> {
    all.iter().map(|&it| it.to_owned()).collect()
}

// ===== a layer that asks elsewhere =====

/// Sends the request to `first`, and then what `second` makes of it.
fn and_then(
    second: impl Fn(StatusCode, Request<Octets>) -> Option<Request<Octets>> + Send + Sync + 'static,
) -> Inner {
    let (pool, second) = (pool(), Arc::new(second));
    boxed(service_fn(move |request: Request<Octets>| {
        let (pool, second, kept) = (pool.clone(), Arc::clone(&second), request.clone());
        async move {
            let response = pool.clone().oneshot(request).await?;
            match second(response.status(), kept) {
                Some(next) => pool.oneshot(next).await,
                None => Ok::<_, BoxError>(response),
            }
        }
    }))
}

fn to(mut request: Request<Octets>, url: &str) -> Request<Octets> {
    *request.uri_mut() = url.parse::<Uri>().unwrap();
    request
}

fn without_token(mut request: Request<Octets>) -> Request<Octets> {
    *request.extensions_mut() = Extensions::new();
    request
}

/// A layer that got a 401 asks for a new token at a closed port.
fn refreshing(keeps: bool) -> (Site, Inner) {
    let dead = Site::dead();
    let site = Site::start(|_| say("401 Unauthorized", ""));
    let inner = and_then(move |status, request| {
        assert_eq!(status, 401);
        let next = to(request, &dead.url("/token"));
        Some(if keeps { next } else { without_token(next) })
    });
    (site, inner)
}

#[tokio::test]
async fn a_post_after_which_a_refresh_failed_was_executed_once() {
    for keeps in [true, false] {
        let (site, inner) = refreshing(keeps);
        let failed = fails(inner, post(&site.url("/pay"))).await;
        assert_eq!(site.executed(), PAID);
        assert_answered(&failed, if keeps { 2 } else { 1 });
    }
}

#[tokio::test]
async fn control_trusting_the_last_hop_doubles_a_refreshed_post() {
    for (name, rule) in CARELESS {
        let (site, inner) = refreshing(true);
        by_rule(inner, post(&site.url("/pay")), rule).await;
        assert_eq!(site.executed().len(), 2, "{name}");
    }
}

#[tokio::test]
async fn call_whose_hops_all_lost_the_token_is_unknown() {
    let (site, inner) = refreshing(true);
    let inner = ServiceBuilder::new().map_request(without_token).service(inner);
    let failed = fails(boxed(inner), post(&site.url("/pay"))).await;
    assert_eq!(site.executed(), PAID);
    assert_no_evidence(&failed);
}

/// A 421 proves that its own origin did not act. It says nothing of where a
/// layer turned then.
#[tokio::test]
async fn a_post_that_was_sent_elsewhere_after_a_421_is_not_sent_again() {
    for keeps in [true, false] {
        let second = Site::start(|_| Reply::Close);
        let first = Site::start(|_| say("421 Misdirected Request", ""));
        let target = second.url("/pay");
        let inner = and_then(move |status, request| {
            assert_eq!(status, 421);
            let next = to(request, &target);
            Some(if keeps { next } else { without_token(next) })
        });
        let failed = fails(inner, post(&first.url("/pay"))).await;
        assert_eq!(second.executed(), PAID, "keeps {keeps}");
        assert!(failed.fate.is_unknown(), "{failed:?}");
    }
}

#[tokio::test]
async fn control_trusting_a_421_doubles_what_was_sent_elsewhere() {
    let second = Site::start(|_| Reply::Close);
    let first = Site::start(|_| say("421 Misdirected Request", ""));
    let target = second.url("/pay");
    let inner = and_then(move |_, request| Some(without_token(to(request, &target))));
    let (_, last_hop) = CARELESS[0];
    by_rule(inner, post(&first.url("/pay")), last_hop).await;
    assert_eq!(second.executed().len(), 2);
}

// ===== a refresh before the request =====

/// A refresh that is sent first, and then the request itself to a dead port.
async fn refreshed_first(keeps: bool) -> (Site, Failed) {
    let (site, dead) = (Site::start(|_| say("200 OK", "")), Site::dead());
    let (token_url, target) = (site.url("/token"), dead.url("/pay"));
    let inner = and_then(move |_, request| Some(to(request, &target)));
    let first = ServiceBuilder::new()
        .map_request(move |request: Request<Octets>| to(request, &token_url))
        .service(inner);
    match keeps {
        true => {
            let failed = fails(boxed(first), post("http://shop.test/pay")).await;
            (site, failed)
        }
        false => {
            let (pool, token_url, target) = (pool(), site.url("/token"), dead.url("/pay"));
            let inner = service_fn(move |request: Request<Octets>| {
                let (pool, target) = (pool.clone(), target.clone());
                let refresh = without_token(to(request.clone(), &token_url));
                async move {
                    pool.clone().oneshot(refresh).await?;
                    pool.oneshot(to(request, &target)).await
                }
            });
            let failed = fails(boxed(inner), post("http://shop.test/pay")).await;
            (site, failed)
        }
    }
}

/// The layer cannot know that the answered hop was not the request.
#[tokio::test]
async fn refresh_with_the_calls_token_takes_the_proof_away() {
    let (site, failed) = refreshed_first(true).await;
    assert_eq!(site.executed(), ["POST /token"]);
    assert_answered(&failed, 2);
}

#[tokio::test]
async fn a_refresh_without_the_token_leaves_the_proof_alone() {
    let (site, failed) = refreshed_first(false).await;
    assert!(failed.fate.is_not_applied(), "{failed:?}");
    assert_eq!(site.executed().len(), failed.attempts.len(), "a refresh for each attempt");
}

// ===== fan-out =====

/// How the copies of a request are sent.
#[derive(Clone, Copy, Debug)]
enum FanOut {
    /// One after another.
    InTurn,
    /// The second when the first was dispatched, which is dropped if it fails.
    AtOnce,
}

/// Sends the request where it is addressed to, and a copy to a dead port.
fn fanning_out(how: FanOut, keeps: bool) -> (Site, Inner) {
    let dead = Site::dead();
    let site = Site::start(move |_| match how {
        FanOut::InTurn => say("200 OK", ""),
        FanOut::AtOnce => Reply::Hold,
    });
    let (pool, origin) = (pool(), site.clone());
    let inner = service_fn(move |request: Request<Octets>| {
        let (pool, origin) = (pool.clone(), origin.clone());
        let copy = to(request.clone(), &dead.url("/pay"));
        let copy = if keeps { copy } else { without_token(copy) };
        async move {
            let first = pool.clone().oneshot(request);
            let second = async {
                if matches!(how, FanOut::AtOnce) {
                    origin.taken_up().await;
                }
                pool.oneshot(copy).await
            };
            match how {
                FanOut::InTurn => {
                    first.await?;
                    second.await
                }
                FanOut::AtOnce => tokio::try_join!(first, second).map(|both| both.0),
            }
        }
    });
    (site, boxed(inner))
}

#[tokio::test]
async fn fanned_out_post_is_executed_once_where_it_arrives() {
    for keeps in [true, false] {
        let (site, inner) = fanning_out(FanOut::InTurn, keeps);
        let failed = fails(inner, post(&site.url("/pay"))).await;
        assert_eq!(site.executed(), PAID);
        assert_answered(&failed, if keeps { 2 } else { 1 });

        let (site, inner) = fanning_out(FanOut::AtOnce, keeps);
        let failed = fails(inner, post(&site.url("/pay"))).await;
        assert_eq!(site.executed(), PAID);
        assert_eq!(failed.fate, Fate::Unknown(Doubt::Cancelled), "{failed:?}");
    }
}

#[tokio::test]
async fn control_seeing_one_hop_doubles_a_fanned_out_post() {
    for how in [FanOut::InTurn, FanOut::AtOnce] {
        let (_, is_connect) = CARELESS[1];
        let (site, inner) = fanning_out(how, true);
        by_rule(inner, post(&site.url("/pay")), is_connect).await;
        assert_eq!(site.executed().len(), 2, "{how:?}");
    }
    let (_, last_hop) = CARELESS[0];
    let (site, inner) = fanning_out(FanOut::InTurn, true);
    by_rule(inner, post(&site.url("/pay")), last_hop).await;
    assert_eq!(site.executed().len(), 2);
}

// ===== copies without the token =====

/// Sends the request to a dead port, and a new one without its extensions to
/// an origin that takes it up and closes, through `transport`.
fn failing_over(transport: impl Fn() -> Inner) -> (Site, Inner) {
    let (dead, site) = (Site::dead(), Site::start(|_| Reply::Close));
    let (first, target, transport) = (dead.url("/pay"), site.url("/pay"), transport());
    let inner = service_fn(move |request: Request<Octets>| {
        let (transport, _held) = (transport.clone(), dead.clone());
        let copy = without_token(to(request.clone(), &target));
        let request = to(request, &first);
        async move {
            match transport.clone().oneshot(request).await {
                Ok(response) => Ok(response),
                Err(_) => transport.oneshot(copy).await,
            }
        }
    });
    (site, boxed(inner))
}

/// A transport with a resending layer of its own.
fn resending() -> Inner {
    boxed(ResendLayer::default().layer(pool()))
}

/// Its error goes through an I/O error, whose `source` skips what it wraps.
fn wrapping() -> Inner {
    boxed(pool().map_err(io::Error::other))
}

#[tokio::test]
async fn copy_without_token_that_fails_last_is_seen_by_its_error() {
    for transport in [pool, resending, wrapping] {
        let (site, inner) = failing_over(transport);
        let failed = fails(inner, post(&site.url("/pay"))).await;
        assert_eq!(site.executed(), PAID);
        assert_eq!(failed.fate, Fate::Unknown(Doubt::Acknowledged), "{failed:?}");
        assert_eq!(failed.attempts.len(), 2);
    }
}

#[tokio::test]
async fn control_trusting_the_record_doubles_a_copy_without_token() {
    for transport in [pool, resending] {
        let (site, inner) = failing_over(transport);
        let (_, last_hop) = CARELESS[0];
        by_rule(inner, post(&site.url("/pay")), last_hop).await;
        assert_eq!(site.executed().len(), 2);
    }
}

/// A transport of a user: a client of its own, whose failures are told by our error.
fn of_ones_own() -> Inner {
    let client = legacy::Client::builder(TokioExecutor::new()).build_http::<Octets>();
    boxed(service_fn(move |mut request: Request<Octets>| {
        let client = client.clone();
        async move {
            let token = request.extensions_mut().remove::<AttemptToken>();
            let error = match client.request(request).await {
                Ok(response) => panic!("no origin of this test answers: {response:?}"),
                Err(error) => error,
            };
            let evidence = Evidence::new(match error.is_connect() {
                true => HandOff::NotConnected(ConnectFailure::Connect(None)),
                false => HandOff::Written,
            });
            let attempt = Attempt::new(evidence, &Contract::none()).told_by_error();
            if let Some(token) = token {
                token.record(attempt.clone());
            }
            Err::<Answered, BoxError>(AttemptError::new(attempt).with_source(error).into())
        }
    }))
}

#[tokio::test]
async fn transport_of_ones_own_takes_part_in_the_check_of_errors() {
    let (site, inner) = failing_over(of_ones_own);
    let failed = fails(inner, post(&site.url("/pay"))).await;
    assert_eq!(site.executed(), PAID);
    assert!(failed.fate.is_unknown(), "{failed:?}");
    assert_eq!(failed.attempts.len(), 2);

    let dead = Site::dead();
    let failed = fails(of_ones_own(), post(&dead.url("/pay"))).await;
    assert!(failed.fate.is_not_applied(), "control: record and error agree: {failed:?}");
    let hides = boxed(of_ones_own().map_err(|error| BoxError::from(error.to_string())));
    assert_no_evidence(&fails(hides, post(&dead.url("/pay"))).await);

    let (site, inner) = failing_over(of_ones_own);
    let (_, last_hop) = CARELESS[0];
    by_rule(inner, post(&site.url("/pay")), last_hop).await;
    assert_eq!(site.executed().len(), 2, "control: a rule that trusts the record doubles");
}

/// A resending layer below, to which the copy comes with a token that is not
/// the call's.
fn under_another_token() -> Inner {
    let inner = ServiceBuilder::new()
        .map_request(|mut request: Request<Octets>| {
            if request.extensions().get::<AttemptToken>().is_none() {
                request.extensions_mut().insert(AttemptToken::new());
            }
            request
        })
        .layer(ResendLayer::default())
        .service(pool());
    boxed(inner)
}

#[tokio::test]
async fn a_copy_with_another_token_is_seen_by_its_error() {
    let (site, inner) = failing_over(under_another_token);
    let failed = fails(inner, post(&site.url("/pay"))).await;
    assert_eq!(site.executed(), PAID);
    assert_eq!(failed.fate, Fate::Unknown(Doubt::Acknowledged), "{failed:?}");
}

/// The copy was answered, and its response's body was cut.
#[tokio::test]
async fn lost_response_of_a_copy_without_token_is_seen_by_its_error() {
    let dead = Site::dead();
    let site = Site::start(|_| {
        Reply::Say("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 9\r\n\r\n".to_owned())
    });
    let (transport, target) = (pool(), site.url("/pay"));
    let inner = service_fn(move |request: Request<Octets>| {
        let (transport, _held) = (transport.clone(), dead.clone());
        let copy = without_token(to(request.clone(), &target));
        let request = to(request, &dead.url("/pay"));
        async move {
            let _ = transport.clone().oneshot(request).await;
            let response = transport.oneshot(copy).await?;
            let cut = response.into_body().collect().await;
            Err::<Answered, BoxError>(
                cut.err().map_or_else(|| "it was whole".into(), BoxError::from),
            )
        }
    });
    let failed = fails(boxed(inner), post(&site.url("/pay"))).await;
    assert_eq!(site.executed(), PAID);
    assert_no_evidence(&failed);
}

/// A transport that records nothing, whose errors it takes from `told`.
fn silent<E: Into<BoxError> + 'static>(told: fn(legacy::Error) -> E) -> (Site, Inner) {
    let (dead, site) = (Site::dead(), Site::start(|_| Reply::Close));
    let (recording, target) = (pool(), site.url("/pay"));
    let silent = legacy::Client::builder(TokioExecutor::new()).build_http::<Octets>();
    let inner = service_fn(move |request: Request<Octets>| {
        let (recording, silent, _held) = (recording.clone(), silent.clone(), dead.clone());
        let copy = to(request.clone(), &target);
        let request = to(request, &dead.url("/pay"));
        async move {
            match recording.oneshot(request).await {
                Ok(response) => Ok::<_, BoxError>(response),
                Err(_) => Err(told(silent.request(copy).await.unwrap_err()).into()),
            }
        }
    });
    (site, boxed(inner))
}

#[tokio::test]
async fn silent_transport_after_a_recording_one_is_seen_by_its_error() {
    let told = [silent(|error| error), silent(io::Error::other), silent(|error| error.to_string())];
    for (site, inner) in told {
        let failed = fails(inner, post(&site.url("/pay"))).await;
        assert_eq!(site.executed(), PAID);
        assert_no_evidence(&failed);
    }
}

/// The same errors are those of the transport that recorded.
#[tokio::test]
async fn transport_of_ones_own_may_fail_with_its_clients_error() {
    let dead = Site::dead();
    let client = legacy::Client::builder(TokioExecutor::new()).build_http::<Octets>();
    let inner = service_fn(move |request: Request<Octets>| {
        let client = client.clone();
        async move {
            let token = request.extensions().get::<AttemptToken>().unwrap().clone();
            let error = client.request(request).await.unwrap_err();
            let evidence = Evidence::new(HandOff::NotConnected(ConnectFailure::Connect(None)));
            token.record(Attempt::new(evidence, &Contract::none()));
            Err::<Answered, BoxError>(error.into())
        }
    });
    let failed = fails(boxed(inner), post(&dead.url("/pay"))).await;
    assert!(failed.fate.is_not_applied(), "{failed:?}");
}

/// An error that has the sources of another one in the place of that one.
#[derive(Debug)]
struct Transparent(AttemptError);

impl fmt::Display for Transparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Transparent {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

/// docs/limits.md: a layer between that hides the error costs the proof.
#[tokio::test]
async fn error_without_a_hand_off_counts_as_that_of_another() {
    let dead = Site::dead();
    let hidden = boxed(pool().map_err(|error| BoxError::from(error.to_string())));
    assert_no_evidence(&fails(hidden, post(&dead.url("/pay"))).await);
    let replaced = boxed(Pool::new(PoolOptions::new()).map_err(Transparent));
    assert_no_evidence(&fails(replaced, post(&dead.url("/pay"))).await);
    let kept = boxed(pool().map_err(|error| BoxError::from(io::Error::other(error))));
    let failed = fails(kept, post(&dead.url("/pay"))).await;
    assert!(failed.fate.is_not_applied(), "control: the error is kept: {failed:?}");
}

/// What was given up has no error of its own; why it was is told by the timeout's.
#[tokio::test]
async fn timeout_between_keeps_the_proof_that_nothing_was_sent() {
    let site = Site::start(|_| Reply::Hold);
    let one = boxed(Pool::new(PoolOptions::new().max_per_origin(1)));
    let timed = boxed(TimeoutLayer::new(Duration::from_millis(200)).layer(one.clone()));
    let holds = tokio::spawn(one.oneshot(post(&site.url("/pay"))));
    site.taken_up().await;
    let failed = fails(timed.clone(), post(&site.url("/pay"))).await;
    assert!(failed.fate.is_not_applied(), "the only place is taken: {failed:?}");
    let of_its_own = boxed(timed.map_err(|_| BoxError::from("too late")));
    assert_no_evidence(&fails(of_its_own, post(&site.url("/pay"))).await);
    assert_eq!(site.executed(), PAID);
    holds.abort();
}

/// A timeout ends a wait for the only connection, and a transport that records
/// nothing is turned to.
#[tokio::test]
async fn silent_transport_after_a_timeout_is_seen_by_its_error() {
    let told: [fn(legacy::Error) -> BoxError; 3] = [
        |error| error.into(),
        |error| io::Error::other(error).into(),
        |error| error.to_string().into(),
    ];
    for told in told {
        let (busy, site) = (Site::start(|_| Reply::Hold), Site::start(|_| Reply::Close));
        let one = boxed(Pool::new(PoolOptions::new().max_per_origin(1)));
        let timed = boxed(TimeoutLayer::new(Duration::from_millis(200)).layer(one.clone()));
        let holds = tokio::spawn(one.oneshot(post(&busy.url("/pay"))));
        busy.taken_up().await;
        let client = legacy::Client::builder(TokioExecutor::new()).build_http::<Octets>();
        let target = site.url("/pay");
        let inner = service_fn(move |request: Request<Octets>| {
            let (timed, client) = (timed.clone(), client.clone());
            let copy = to(request.clone(), &target);
            async move {
                match timed.oneshot(request).await {
                    Ok(response) => Ok::<_, BoxError>(response),
                    Err(_) => Err(told(client.request(copy).await.unwrap_err())),
                }
            }
        });
        let failed = fails(boxed(inner), post(&busy.url("/pay"))).await;
        assert_eq!(site.executed(), PAID);
        assert_no_evidence(&failed);
        holds.abort();
    }
}

/// A copy that was never sent says nothing of others that may have been.
#[tokio::test]
async fn copy_without_the_token_proves_nothing() {
    let dead = Site::dead();
    let transport = pool();
    let inner = service_fn(move |request: Request<Octets>| {
        let (transport, _held) = (transport.clone(), dead.clone());
        let request = to(request, &dead.url("/pay"));
        async move {
            let _ = transport.clone().oneshot(request.clone()).await;
            transport.oneshot(without_token(request)).await
        }
    });
    let failed = fails(boxed(inner), post("http://shop.test/pay")).await;
    assert_no_evidence(&failed);
}

// ===== copies that outlive the call, and what is not seen =====

/// How a layer between hides a copy of the request.
#[derive(Clone, Copy, Debug)]
enum Hidden {
    /// It outlives its call.
    Detached,
    /// The same, and it is a 421 that answers the other copy.
    DetachedMisdirected,
    /// It was sent without the token and answered, and only another copy has
    /// it.
    Tokenless,
}

/// Hides one copy, and the first time sends another to a dead port.
fn hiding(how: Hidden) -> (Site, Inner) {
    let (dead, calls) = (Site::dead(), Arc::new(AtomicUsize::new(0)));
    let elsewhere = Site::start(|_| say("421 Misdirected Request", ""));
    let site = Site::start(move |line| match (how, line) {
        (Hidden::Detached | Hidden::DetachedMisdirected, "POST /pay") => Reply::Hold,
        _ => say("200 OK", ""),
    });
    let (pool, origin) = (pool(), site.clone());
    let inner = service_fn(move |request: Request<Octets>| {
        let (pool, origin) = (pool.clone(), origin.clone());
        let first = match how {
            Hidden::DetachedMisdirected => &elsewhere,
            Hidden::Detached | Hidden::Tokenless => &dead,
        };
        let copy = match calls.fetch_add(1, Ordering::Relaxed) {
            0 => to(request.clone(), &first.url("/pay")),
            _ => to(request.clone(), &origin.url("/copy")),
        };
        async move {
            match how {
                Hidden::Detached | Hidden::DetachedMisdirected => {
                    drop(tokio::spawn(pool.clone().oneshot(request)));
                }
                Hidden::Tokenless => drop(pool.clone().oneshot(without_token(request)).await?),
            }
            origin.taken_up().await;
            pool.oneshot(copy).await
        }
    });
    (site, boxed(inner))
}

#[tokio::test]
async fn a_copy_that_outlives_its_call_may_have_been_sent() {
    let (site, inner) = hiding(Hidden::Detached);
    let failed = fails(inner, post(&site.url("/pay"))).await;
    assert_eq!(site.executed(), PAID);
    assert_no_evidence(&failed);
}

#[tokio::test]
async fn a_421_is_delivered_while_a_copy_outlives_its_call() {
    let (site, inner) = hiding(Hidden::DetachedMisdirected);
    let response = ResendLayer::default().layer(inner).oneshot(post(&site.url("/pay"))).await;
    assert_eq!(response.unwrap().status(), 421);
    assert_eq!(site.executed(), PAID);
}

#[tokio::test]
async fn control_trusting_the_record_doubles_a_detached_copy() {
    let (site, inner) = hiding(Hidden::Detached);
    let (_, last_hop) = CARELESS[0];
    by_rule(inner, post(&site.url("/pay")), last_hop).await;
    assert_eq!(site.executed(), ["POST /pay", "POST /pay", "POST /copy"]);
}

/// docs/limits.md: what a layer between hides altogether is doubled. It is the
/// layer itself, not a careless rule, that this harness catches here.
#[tokio::test]
async fn limit_answered_copy_without_the_token_is_not_seen() {
    let (site, inner) = hiding(Hidden::Tokenless);
    let response = ResendLayer::default().layer(inner).oneshot(post(&site.url("/pay"))).await;
    assert_eq!(response.unwrap().status(), 200);
    assert_eq!(site.executed(), ["POST /pay", "POST /pay", "POST /copy"]);
}

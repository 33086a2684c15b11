//! reqwest's requests and responses over this crate's client.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "this is a test")]

use testkit::origin;

use std::error::Error as StdError;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Error, RequestBuilder};
use tokio::time::Instant;
use tower::{BoxError, Layer, ServiceBuilder, service_fn};
use tower_http::follow_redirect::policy::{FilterCredentials, Limited, PolicyExt, clone_body_fn};
use tower_http::follow_redirect::{FollowRedirectLayer, RequestUri};
use tower_resend::body::Replayable;
use tower_resend::pool::{Pool, PoolOptions};
use tower_resend::resend::{Deadline, Idempotent};
use tower_resend::{Attempt, AttemptToken, Body, Client, ResendLayer};
use tower_resend_core::{ConnectFailure, Contract, Evidence, Fate, Ground, HandOff, NoResend};
use tower_resend_reqwest::{self as adapter, NotHttp, ResendMiddleware, TimedOut};

use self::origin::closed_port::ClosedPort;
use self::origin::{Origin, turnstile};

fn client() -> ClientWithMiddleware {
    let send_through = ResendMiddleware::new(Client::new());
    ClientBuilder::new(reqwest::Client::new()).with(send_through).build()
}

/// The type of a middleware's error.
fn downcast<E: StdError + Send + Sync + 'static>(error: &Error) -> Option<&E> {
    match error {
        Error::Middleware(error) => error.downcast_ref(),
        Error::Reqwest(_) => None,
    }
}

/// An error and its sources.
fn sources<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

#[tokio::test]
async fn requests_and_responses_stay_those_of_reqwest() {
    let origin = Origin::start(1, |_, mut peer| peer.serve(1));
    let client = client();
    let url = origin.url("/orders?id=1");
    let response = client.post(&url).body("pay").send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.url().as_str()), (200, url.as_str()));
    assert!(adapter::attempts(&response).is_empty());
    assert_eq!(response.text().await.unwrap(), "ok");
    assert_eq!(origin.finish(), ["/orders?id=1"]);
}

#[tokio::test]
async fn post_that_the_server_dispatched_is_unknown_and_sent_once() {
    let origin = Origin::start(1, |_, mut peer| {
        peer.read_request();
    });
    let error = client().post(origin.url("/orders")).body("pay").send().await.unwrap_err();
    let mut failure = downcast::<tower_resend::Error>(&error);
    assert!(failure.take().unwrap().fate().is_unknown());
    assert!(adapter::error(&error).unwrap().fate().is_unknown());
    assert_eq!(origin.finish(), ["/orders"]);
}

#[tokio::test]
async fn a_mark_on_reqwests_request_reaches_the_resending_layer() {
    let origin = Origin::start(2, |nth, mut peer| match nth {
        0 => drop(peer.read_request()),
        _ => peer.serve(1),
    });
    let client = client();
    let request = client.post(origin.url("/reindex")).body("all").with_extension(Idempotent);
    let response = request.send().await.unwrap();
    let attempts = adapter::attempts(&response);
    assert_eq!(attempts.len(), 2);
    assert_eq!(attempts[0].ground(), Some(Ground::Idempotent));
    assert_eq!(response.text().await.unwrap(), "ok");
    assert_eq!(origin.finish(), ["/reindex", "/reindex"]);
}

#[tokio::test]
async fn stream_is_sent_once_and_its_bytes_arrive() {
    let origin = Origin::start(1, |_, mut peer| {
        peer.read_request();
    });
    let stream = reqwest::Body::wrap(http_body_util::Full::new(bytes::Bytes::from("pay")));
    let request = client().post(origin.url("/orders")).body(stream);
    let error = request.with_extension(Idempotent).send().await.unwrap_err();
    let error = adapter::error(&error).unwrap();
    assert_eq!(error.no_resend(), NoResend::BodyNotReplayable);
    assert_eq!(origin.finish(), ["/orders"]);
}

#[tokio::test]
async fn a_url_of_another_scheme_is_an_error_of_its_own() {
    let error = client().post("ftp://127.0.0.1/").body("pay").send().await.unwrap_err();
    assert_eq!(downcast::<NotHttp>(&error).unwrap().scheme(), "ftp");
}

#[cfg(feature = "https")]
#[tokio::test]
async fn an_https_url_is_sent_over_tls() {
    let authority = origin::tls::Authority::new();
    let origin = Origin::start_tls(1, &authority.server(), |_, mut peer| peer.serve(1));
    let tls = authority.client().build().unwrap();
    let pool = PoolOptions::new().tls(tls);
    let through = ResendMiddleware::new(Client::builder().pool(pool).build());
    let client = ClientBuilder::new(reqwest::Client::new()).with(through).build();
    let response = client.post(origin.url("/orders")).body("pay").send().await.unwrap();
    assert_eq!(response.url().scheme(), "https");
    assert_eq!(response.text().await.unwrap(), "ok");
    assert_eq!(origin.finish(), ["/orders"]);
}

#[cfg(not(feature = "tls"))]
#[tokio::test]
async fn https_url_without_the_feature_reaches_no_server() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let error = client().post(url).body("pay").send().await.unwrap_err();
    let error = adapter::error(&error).unwrap();
    assert!(error.fate().is_not_applied());
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn timeout_of_the_request_ends_the_wait_for_its_response() {
    let (end, ended) = turnstile();
    let origin = Origin::start(1, move |_, mut peer| {
        peer.read_request();
        let _ = ended.recv();
    });
    let timeout = Duration::from_secs(1);
    let request = client().post(origin.url("/slow")).body("pay").timeout(timeout);
    let error = request.send().await.unwrap_err();
    let timed_out = downcast::<TimedOut>(&error).unwrap();
    assert_eq!(timed_out.timeout(), timeout);
    assert!(timed_out.fate().is_unknown(), "it was sent");
    drop(end);
}

/// The second request waits for the only connection, which the first one has.
#[tokio::test]
async fn a_timeout_leaves_the_proof_that_a_request_was_never_sent() {
    let (end, ended) = turnstile();
    let (taken, is_taken) = turnstile();
    let origin = Origin::start(1, move |_, mut peer| {
        peer.read_request();
        let _ = taken.send(());
        let _ = ended.recv();
    });
    let pool = PoolOptions::new().max_per_origin(1);
    let through = ResendMiddleware::new(Client::builder().pool(pool).build());
    let client = ClientBuilder::new(reqwest::Client::new()).with(through).build();
    let request = || client.post(origin.url("/orders")).body("pay");
    let first = tokio::spawn(request().send());
    tokio::task::spawn_blocking(move || is_taken.recv()).await.unwrap().unwrap();

    let error = request().timeout(seconds(1)).send().await.unwrap_err();
    let timed_out = downcast::<TimedOut>(&error).unwrap();
    assert!(timed_out.fate().is_not_applied(), "{error}");
    assert_eq!(adapter::error(&error).unwrap().fate(), timed_out.fate());
    assert!(error.to_string().contains("not applied"), "{error}");
    let mut error = adapter::into_error(error).expect("the error behind it");
    let unsent = error.take_request::<Body>().expect("the request is given back");
    assert_eq!((unsent.method(), unsent.uri().path()), (&Method::POST, "/orders"));

    drop(end);
    assert!(first.await.unwrap().is_err());
    assert_eq!(origin.finish(), ["/orders"]);
}

/// The service fails as late as the timeout passes, with an error of its own.
#[tokio::test(start_paused = true)]
async fn a_timeout_keeps_what_another_service_failed_with() {
    let late = service_fn(|_: Request<Body>| async {
        tokio::time::sleep(seconds(1)).await;
        Err::<Response<Body>, _>(std::io::Error::other("too late"))
    });
    let through = ResendMiddleware::new(late);
    let client = ClientBuilder::new(reqwest::Client::new()).with(through).build();
    let request = client.post("http://shop.test/orders").timeout(seconds(1));
    let error = request.send().await.unwrap_err();
    assert!(adapter::error(&error).is_none());
    let error = adapter::into_error(error).unwrap_err();
    let timed_out = downcast::<TimedOut>(&error).unwrap();
    assert!(timed_out.fate().is_unknown());
    assert!(sources(timed_out).any(|source| source.to_string() == "too late"));
}

#[tokio::test]
async fn an_error_of_another_kind_is_given_back() {
    let error = client().post("ftp://127.0.0.1/").body("pay").send().await.unwrap_err();
    let error = adapter::into_error(error).unwrap_err();
    assert!(downcast::<NotHttp>(&error).is_some());
}

#[tokio::test]
async fn the_timeout_of_reqwests_request_covers_its_responses_body() {
    let (end, ended) = turnstile();
    let origin = Origin::start(1, move |_, mut peer| {
        peer.read_request();
        peer.write("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nok");
        let _ = ended.recv();
    });
    let request = client().get(origin.url("/slow")).timeout(Duration::from_secs(3));
    let error = match request.send().await {
        Ok(response) => response.bytes().await.unwrap_err(),
        Err(error) => panic!("the head was late: {error}"),
    };
    let timed_out = sources(&error).find_map(<dyn StdError>::downcast_ref::<TimedOut>);
    assert_eq!(timed_out.expect("it timed out").fate(), Fate::ResponseLost);
    drop(end);
}

// ===== the timeout of reqwest's request and the deadline of the call =====

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// What is sent through a resending layer whose service answers after `delay`.
async fn outcome(
    delay: Duration,
    set: impl FnOnce(RequestBuilder) -> RequestBuilder,
) -> (Result<reqwest::Response, Error>, Duration) {
    let origin = service_fn(move |_: Request<Body>| async move {
        tokio::time::sleep(delay).await;
        Ok::<_, BoxError>(Response::new(http_body_util::Full::<bytes::Bytes>::from("late")))
    });
    let through = ResendMiddleware::new(ResendLayer::default().layer(origin));
    let client = ClientBuilder::new(reqwest::Client::new()).with(through).build();
    let began = Instant::now();
    let request = set(client.post("http://shop.test/orders").body("pay"));
    (request.send().await, began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_timeout_longer_than_the_policys_deadline_is_kept() {
    for timeout in [seconds(60), Duration::MAX] {
        let (answered, elapsed) = outcome(seconds(32), |it| it.timeout(timeout)).await;
        assert_eq!(elapsed, seconds(32));
        assert_eq!(answered.unwrap().text().await.unwrap(), "late");
    }
}

#[tokio::test(start_paused = true)]
async fn control_a_request_without_a_timeout_has_the_policys_deadline() {
    let (answered, elapsed) = outcome(seconds(32), |it| it).await;
    let error = answered.unwrap_err();
    assert!(adapter::error(&error).unwrap().fate().is_unknown());
    assert_eq!(elapsed, seconds(30));
}

#[tokio::test(start_paused = true)]
async fn timeout_of_the_request_ends_it_before_a_longer_deadline() {
    for timeout in [Duration::ZERO, seconds(2), seconds(30), seconds(60)] {
        let (answered, elapsed) = outcome(seconds(100), |it| it.timeout(timeout)).await;
        let error = answered.unwrap_err();
        assert_eq!(downcast::<TimedOut>(&error).unwrap().timeout(), timeout);
        assert_eq!(elapsed, timeout);
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_the_caller_set_goes_before_the_timeout() {
    let set =
        |it: RequestBuilder| it.timeout(seconds(60)).with_extension(Deadline::new(seconds(5)));
    let (answered, elapsed) = outcome(seconds(32), set).await;
    let error = answered.unwrap_err();
    assert!(adapter::error(&error).unwrap().fate().is_unknown());
    assert_eq!(elapsed, seconds(5));
}

#[tokio::test(start_paused = true)]
async fn no_resend_is_begun_that_the_timeout_would_cut_off() {
    let refused = service_fn(|request: Request<Body>| async move {
        let evidence = Evidence::new(HandOff::NotConnected(ConnectFailure::Connect(None)));
        let token = request.extensions().get::<AttemptToken>().unwrap();
        token.record(Attempt::new(evidence, &Contract::none()));
        Err::<Response<http_body_util::Full<bytes::Bytes>>, _>(BoxError::from("refused"))
    });
    let through = ResendMiddleware::new(ResendLayer::default().layer(refused));
    let client = ClientBuilder::new(reqwest::Client::new()).with(through).build();
    // The pauses are random: the last may end next to the timeout.
    for _ in 0..1000 {
        let began = Instant::now();
        let request = client.post("http://shop.test/orders").body("pay").timeout(seconds(3));
        let error = request.send().await.unwrap_err();
        let error = adapter::error(&error).expect("the fate is known before the timeout passes");
        assert_eq!(error.no_resend(), NoResend::Deadline);
        assert!(error.fate().is_not_applied());
        assert!(began.elapsed() < seconds(3));
    }
}

// ===== redirects =====

/// Redirects are followed between the resending layer and the pool.
fn redirecting() -> ClientWithMiddleware {
    let stack = ServiceBuilder::new()
        .layer(ResendLayer::default())
        .layer(FollowRedirectLayer::new())
        .service(Pool::<Body>::new(PoolOptions::new()));
    ClientBuilder::new(reqwest::Client::new()).with(ResendMiddleware::new(stack)).build()
}

#[tokio::test]
async fn redirects_are_given_back_by_a_layer() {
    let origin = Origin::start(1, |_, mut peer| {
        peer.read_request();
        peer.write("HTTP/1.1 303 See Other\r\nlocation: /done\r\ncontent-length: 0\r\n\r\n");
        peer.serve(1);
    });
    let client = redirecting();
    let response = client.post(origin.url("/orders")).body("pay").send().await.unwrap();
    assert_eq!(response.extensions().get::<RequestUri>().unwrap().0.path(), "/done");
    assert_eq!(response.text().await.unwrap(), "ok");
    assert_eq!(origin.finish(), ["/orders", "/done"]);
}

#[tokio::test]
async fn post_with_a_dead_redirect_is_not_called_unapplied() {
    let closed = ClosedPort::new();
    for target in [closed.url(), "/gone".into()] {
        let origin = Origin::start(1, move |_, mut peer| {
            peer.read_request();
            peer.write(&format!(
                "HTTP/1.1 303 See Other\r\nlocation: {target}\r\ncontent-length: 0\r\n\r\n"
            ));
            // What is redirected to this origin is dispatched and lost.
            if target.starts_with('/') {
                peer.read_request();
            }
        });
        let error = redirecting().post(origin.url("/orders")).body("pay").send().await.unwrap_err();
        let error = adapter::error(&error).unwrap();
        assert!(!error.fate().is_not_applied(), "{error}");
        let orders = origin.finish().into_iter().filter(|target| target == "/orders").count();
        assert_eq!(orders, 1);
    }
}

/// What an origin's application executed: `METHOD path body`.
type Executed = Arc<Mutex<Vec<String>>>;

/// Starts an origin that redirects everything by 307, or answers it. Returns
/// its address.
async fn application(moved_to: Option<String>) -> (String, Executed) {
    let executed = Executed::default();
    let seen = Arc::clone(&executed);
    let answer = async move |method: Method, uri: Uri, fields: HeaderMap, body: String| {
        let secret = fields.contains_key(header::AUTHORIZATION);
        let with = if secret { " with a secret" } else { "" };
        seen.lock().unwrap().push(format!("{method} {uri} {body}{with}"));
        match moved_to {
            Some(url) => (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, url)]),
            None => (StatusCode::OK, [(header::LOCATION, "/orders/1".to_owned())]),
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = axum::Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, app).await });
    (format!("http://{address}"), executed)
}

/// Redirects are followed with their bodies too, where these can be sent again.
fn passing_on() -> ClientWithMiddleware {
    let credentials = FilterCredentials::new().allow_extension::<AttemptToken>();
    let redirects = Limited::default()
        .and::<_, Body, ()>(credentials)
        .and::<_, Body, ()>(clone_body_fn(|body: &Body| body.replay().ok()));
    let stack = ServiceBuilder::new()
        .layer(ResendLayer::default())
        .layer(FollowRedirectLayer::with_policy(redirects))
        .service(Pool::<Body>::new(PoolOptions::new()));
    ClientBuilder::new(reqwest::Client::new()).with(ResendMiddleware::new(stack)).build()
}

#[tokio::test]
async fn followed_307_is_executed_once_at_each_origin() {
    let (second, paid) = application(None).await;
    let (first, moved) = application(Some(format!("{second}/paid"))).await;
    let order = passing_on().post(format!("{first}/orders")).bearer_auth("hush").body("pay");
    let response = order.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(*moved.lock().unwrap(), ["POST /orders pay with a secret"]);
    assert_eq!(*paid.lock().unwrap(), ["POST /paid pay"]);
}

#[tokio::test]
async fn response_307_without_a_replayable_body_goes_to_the_caller() {
    let (second, paid) = application(None).await;
    let (first, moved) = application(Some(format!("{second}/paid"))).await;
    let stream = || reqwest::Body::wrap(http_body_util::Full::new(bytes::Bytes::from("pay")));
    for (client, body) in [(passing_on(), stream()), (redirecting(), "pay".into())] {
        let response = client.post(format!("{first}/orders")).body(body).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);
    }
    assert_eq!(*moved.lock().unwrap(), ["POST /orders pay"; 2]);
    assert!(paid.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_post_that_was_passed_on_and_lost_is_unknown_and_sent_once() {
    let second = Origin::start(1, |_, mut peer| {
        peer.read_request();
    });
    let (first, moved) = application(Some(second.url("/paid"))).await;
    let order = passing_on().post(format!("{first}/orders")).body("pay");
    let error = order.send().await.unwrap_err();
    let error = adapter::error(&error).unwrap();
    assert!(error.fate().is_unknown(), "{error}");
    assert_eq!(error.attempts().len(), 2);
    assert_eq!(*moved.lock().unwrap(), ["POST /orders pay"]);
    assert_eq!(second.finish(), ["/paid"]);
}

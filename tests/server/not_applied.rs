//! Which request a server refuses: a statement about one hop, or about one
//! exchange, is believed of no other.

#![allow(clippy::unwrap_used, reason = "a test panics when it is in the way")]

use crate::site;
use testkit::closed_port;

use std::convert::Infallible;
use std::future::{Future, pending};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use http_body_util::Empty;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer, ServiceExt};
use tower_resend::gateway::{Gateway, GatewayBody, GatewayLayer, NextHop, RefuseUnforwardedLayer};
use tower_resend::pool::PoolOptions;
use tower_resend::server::{Listener, NotApplied, serve};
use tower_resend::{Attempt, AttemptToken, Body, BoxError, Client, Policy, ResendLayer, attempts};
use tower_resend_core::{Contract, Evidence, HandOff, StaleReason};

use self::closed_port::ClosedPort;
use self::site::{Body as Received, Client as Raw, OFFER};

type Answer = Response<GatewayBody<tower_resend::pool::ResponseBody>>;

/// A client stack below a gateway, whose connects time out at once.
fn upstream() -> Gateway<Client> {
    let policy = Policy::new().connect_patience(Duration::from_millis(1));
    let pool = PoolOptions::new().hedged_connects(false);
    GatewayLayer::new().layer(Client::builder().pool(pool).policy(policy).build())
}

/// The received request, for another server.
fn passed_on(request: Request<Received>, next: SocketAddr) -> Request<Body> {
    let (mut head, body) = request.into_parts();
    head.uri = format!("http://{next}{}", head.uri.path()).parse().unwrap();
    Request::from_parts(head, Body::new(body))
}

/// A request of its own that a handler makes.
fn made_anew(next: SocketAddr) -> Request<Body> {
    Request::post(format!("http://{next}/ledger")).body(Body::from("booked")).unwrap()
}

/// Serves `app`, inside [`RefuseUnforwardedLayer`] if it `refuses`.
async fn site<F, R>(app: F, refuses: bool) -> SocketAddr
where
    F: FnMut(Request<Received>) -> R + Clone + Send + 'static,
    R: Future<Output = Result<Answer, Infallible>> + Send + 'static,
{
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = tower::service_fn(app);
    if refuses {
        let app = RefuseUnforwardedLayer::new().layer(app);
        tokio::spawn(serve(listener, app).into_future());
    } else {
        tokio::spawn(serve(listener, app).into_future());
    }
    address
}

/// Makes one call with a client that knows the contract. Returns its outcome as text.
async fn charge(address: SocketAddr) -> String {
    let policy = Policy::new().deadline(Duration::from_secs(20)).max_proven_resends(3);
    let client = Client::builder().policy(policy).build();
    let order = Request::post(format!("http://{address}/pay")).body(Body::from("pay")).unwrap();
    match client.request(order).await {
        Ok(response) => format!("{}", response.status()),
        Err(error) => format!("{:?}", error.fate()),
    }
}

/// Returns what a client reads that offers the contract and sends nothing twice.
async fn read(address: SocketAddr) -> String {
    let mut client = Raw(TcpStream::connect(address).await.unwrap());
    client.get("/pay", OFFER).await;
    client.response().await
}

fn counter() -> (Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    (Arc::clone(&count), count)
}

/// A handler that charges and then calls the next service, which is down.
async fn charging_handler(refuses: bool) -> (String, usize) {
    let closed = ClosedPort::new();
    let next = closed.address();
    let (charged, seen) = counter();
    let upstream = upstream();
    let app = move |_request| {
        seen.fetch_add(1, Ordering::SeqCst);
        upstream.clone().oneshot(made_anew(next))
    };
    let outcome = charge(site(app, refuses).await).await;
    (outcome, charged.load(Ordering::SeqCst))
}

#[tokio::test]
async fn attack_next_hop_does_not_refuse_for_a_handler_that_acted() {
    let (outcome, charged) = charging_handler(false).await;
    assert_eq!((outcome.as_str(), charged), ("503 Service Unavailable", 1));
}

/// The layer is misplaced, and the handler's own request is not the dispatched one.
#[tokio::test]
async fn attack_request_made_by_a_handler_does_not_refuse_its_own() {
    let (outcome, charged) = charging_handler(true).await;
    assert_eq!((outcome.as_str(), charged), ("503 Service Unavailable", 1));
}

/// Control: an application that is nothing but a gateway does refuse.
#[tokio::test]
async fn application_that_is_only_a_gateway_refuses() {
    let closed = ClosedPort::new();
    let next = closed.address();
    let (handled, seen) = counter();
    let upstream = upstream();
    let app = move |request| {
        seen.fetch_add(1, Ordering::SeqCst);
        upstream.clone().oneshot(passed_on(request, next))
    };
    let outcome = charge(site(app, true).await).await;
    assert_eq!(outcome, "NotApplied(Refused)");
    assert_eq!(handled.load(Ordering::SeqCst), 4, "one attempt and three resends");
}

/// The response says what happened at the hop, and nothing about this request.
#[tokio::test]
async fn gateway_alone_refuses_nothing_and_reports_the_next_hop() {
    let closed = ClosedPort::new();
    let next = closed.address();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let said = Arc::clone(&heard);
    let upstream = upstream();
    let app = move |request| {
        let (upstream, said) = (upstream.clone(), Arc::clone(&said));
        async move {
            let answer = upstream.oneshot(passed_on(request, next)).await?;
            let hop = answer.extensions().get::<NextHop>().map(NextHop::fate);
            said.lock().unwrap().push(hop.is_some_and(|fate| fate.is_not_applied()));
            Ok(answer)
        }
    };
    let answer = read(site(app, false).await).await;
    assert!(answer.starts_with("http/1.1 503") && !answer.contains("refused"), "{answer}");
    assert_eq!(*heard.lock().unwrap(), [true]);
}

/// A server that reads a request and closes: what it did with it is unknown.
async fn closes_after_reading() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
        }
    });
    address
}

/// Asks one upstream and, if that fails, another: the fate of the whole is the
/// weaker of both.
async fn falls_back(first: SocketAddr, second: SocketAddr) -> String {
    let upstream = upstream();
    let app = move |request: Request<Received>| {
        let upstream = upstream.clone();
        async move {
            let (head, _) = request.into_parts();
            let to = |next: SocketAddr| {
                let mut head = head.clone();
                head.method = Method::POST;
                head.uri = format!("http://{next}/").parse().unwrap();
                upstream.clone().oneshot(Request::from_parts(head, Body::from("order")))
            };
            let answer = to(first).await?;
            if answer.status().is_success() {
                return Ok(answer);
            }
            to(second).await
        }
    };
    read(site(app, true).await).await
}

#[tokio::test]
async fn attack_last_of_several_hops_does_not_speak_for_all() {
    let (closed, unknown) = (ClosedPort::new(), closes_after_reading().await);
    let answer = falls_back(unknown, closed.address()).await;
    assert!(answer.starts_with("http/1.1 503") && !answer.contains("refused"), "{answer}");
    // Control: neither was applied.
    let answer = falls_back(closed.address(), closed.address()).await;
    assert!(answer.starts_with("http/1.1 503") && answer.contains(", refused"), "{answer}");
}

/// A response of the application's own, with its statement about `request`.
fn stated(request: &Request<Received>) -> Answer {
    let mut answer = Response::new(GatewayBody::Right(Empty::new()));
    *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    answer.extensions_mut().insert(NotApplied::of(request.extensions()));
    answer
}

/// A store that keeps the first response and gives it to every later request, after
/// the inner handler has acted on that.
#[tokio::test]
async fn attack_stored_statement_speaks_of_no_later_request() {
    let kept = Arc::new(Mutex::new(None));
    let app = move |request: Request<Received>| {
        let mut kept = kept.lock().unwrap();
        let stated: &NotApplied = kept.get_or_insert_with(|| NotApplied::of(request.extensions()));
        let mut answer = Response::new(GatewayBody::Right(Empty::new()));
        *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        answer.extensions_mut().insert(stated.clone());
        async { Ok(answer) }
    };
    let address = site(app, false).await;
    for _ in 0..3 {
        let answer = read(address).await;
        assert!(answer.starts_with("http/1.1 503") && !answer.contains("refused"), "{answer}");
    }
}

#[tokio::test]
async fn attack_statement_fails_while_a_copy_of_the_request_lives() {
    let app = |request: Request<Received>| {
        let answer = stated(&request);
        let head = request.into_parts().0;
        tokio::spawn(async move {
            pending::<()>().await;
            drop(head)
        });
        async { Ok(answer) }
    };
    let answer = read(site(app, false).await).await;
    assert!(answer.starts_with("http/1.1 503") && !answer.contains("refused"), "{answer}");
    // Control: no copy is left.
    let app = |request: Request<Received>| {
        let answer = stated(&request);
        async { Ok(answer) }
    };
    let answer = read(site(app, false).await).await;
    assert!(answer.starts_with("http/1.1 503") && answer.contains(", refused"), "{answer}");
}

#[tokio::test]
async fn attack_ruled_out_statement_is_not_made_by_inner_services() {
    let app = |mut request: Request<Received>| {
        NotApplied::rule_out(request.extensions_mut());
        let answer = stated(&request);
        async { Ok(answer) }
    };
    let answer = read(site(app, true).await).await;
    assert!(answer.starts_with("http/1.1 503") && !answer.contains("refused"), "{answer}");
}

/// A transport that hands the first request of a call back.
async fn hands_back(request: Request<String>) -> Result<Response<()>, BoxError> {
    let token = request.extensions().get::<AttemptToken>().cloned().ok_or("no token")?;
    match token.is_empty() {
        true => {
            let evidence = Evidence::new(HandOff::HandedBack(StaleReason::Fin));
            token.record(Attempt::new(evidence, &Contract::none()));
            Err("the connection was closed".into())
        }
        false => Ok(Response::new(())),
    }
}

/// A service that answers by a call of its own: the attempts of that call are not
/// those of the call that it answers.
#[tokio::test]
async fn attack_attempts_of_an_inner_call_are_not_those_of_the_outer() {
    let inner = ResendLayer::default().layer(tower::service_fn(hands_back));
    let call = || inner.clone().oneshot(Request::new("booked".to_owned()));
    assert_eq!(attempts(&call().await.unwrap()).len(), 2, "the control");
    let handler = tower::service_fn(|_request: Request<String>| call());
    let outer = ResendLayer::default().layer(handler);
    let response = outer.oneshot(Request::new("pay".to_owned())).await.unwrap();
    assert!(attempts(&response).is_empty(), "{:?}", attempts(&response));
}

//! Requests through proxies: what the proxy gets, what the origin gets, and what
//! follows when the proxy refuses.

#![allow(clippy::unwrap_used, reason = "a test panics when something is in its way")]

use testkit::origin;
use testkit::proxy;

use std::time::Duration;

use http::{HeaderMap, Request, header};
use http_body_util::BodyExt;
use tower_resend::pool::{PoolOptions, Proxies, ProxiesBuilder};
use tower_resend::{Attempt, Body, Client, Error, Policy, attempts};
use tower_resend_core::{ConnectFailure, Fate, Proof};

use self::origin::Origin;
use self::origin::closed_port::ClosedPort;
use self::proxy::{Asked, Guest, Proxy};

const BASIC: &str = "Basic bWU6cHc=";

fn client(proxies: ProxiesBuilder) -> Client {
    Client::builder().pool(options(proxies)).build()
}

/// Not hedged, because the proxy counts the connects.
fn options(proxies: ProxiesBuilder) -> PoolOptions {
    PoolOptions::new().hedged_connects(false).proxies(proxies.build().unwrap())
}

fn request(target: &str) -> Request<Body> {
    Request::post(target).body("pay".into()).unwrap()
}

async fn post(client: &Client, target: &str) -> Result<Vec<Fate>, Error> {
    let response = client.request(request(target)).await?;
    let fates = attempts(&response).iter().map(Attempt::fate).collect();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
    Ok(fates)
}

fn asked(target: &str, credentials: Option<&str>) -> Asked {
    Asked { target: target.to_owned(), credentials: credentials.map(str::to_owned) }
}

/// An origin that answers every request.
fn origin(connections: usize) -> Origin {
    Origin::start(connections, |_, peer| peer.serve_all())
}

// ===== what the proxy gets, and what the origin gets =====

#[tokio::test]
async fn a_forwarding_proxy_gets_the_target_in_absolute_form() {
    let origin = origin(1);
    let proxy = Proxy::to(origin.address());
    let client = client(Proxies::builder().http(proxy.uri("http")));
    post(&client, "http://me:secret@shop.example:8080/orders?a=b").await.unwrap();
    post(&client, "http://me:secret@shop.example:8080").await.unwrap();
    let seen = proxy.seen();
    assert_eq!((seen.connections, seen.tunnels.len()), (1, 0), "kept and used again");
    assert!(seen.heads[0].starts_with("POST http://shop.example:8080/orders?a=b HTTP/1.1\r\n"));
    assert!(seen.heads[1].starts_with("POST http://shop.example:8080/ HTTP/1.1\r\n"));
    for head in &seen.heads {
        assert!(head.contains("\r\nhost: shop.example:8080\r\n"), "{head}");
        assert!(!head.contains("retry-contract") && !head.contains("proxy-"), "{head}");
    }
    assert_eq!(origin.truth().dispatched(), ["/orders?a=b", "/"]);
}

#[tokio::test]
async fn socks_scheme_decides_which_side_resolves_the_target() {
    for (scheme, name, target) in [
        ("socks5h", "shop.example", "shop.example:80"),
        ("socks4a", "shop.example", "shop.example:80"),
        ("socks5h", "127.0.0.1:8080", "127.0.0.1:8080"),
        ("socks4", "127.0.0.1", "127.0.0.1:80"),
        ("socks4", "localhost:81", "127.0.0.1:81"),
        ("socks5", "[::1]:81", "[::1]:81"),
    ] {
        let origin = origin(1);
        let proxy = Proxy::to(origin.address());
        let client = client(Proxies::builder().all(proxy.uri(scheme)));
        for _ in 0..2 {
            post(&client, &format!("http://{name}/orders")).await.unwrap();
        }
        assert_eq!(proxy.seen().tunnels, [asked(target, None)], "{scheme}");
        assert_eq!(origin.truth().dispatched(), ["/orders", "/orders"], "{scheme}");
    }
}

#[tokio::test]
async fn a_local_resolution_failure_is_not_the_proxys() {
    let proxy = Proxy::start(|_, _| {});
    let policy = Policy::new().connect_patience(Duration::ZERO);
    let options = options(Proxies::builder().http(proxy.uri("socks5")));
    let client = Client::builder().pool(options).policy(policy).build();
    // Too long for a name, so that no resolver is asked.
    let target = format!("http://{}.example/", "x".repeat(64));
    let error = post(&client, &target).await.unwrap_err();
    assert_eq!(why(&error), Some(ConnectFailure::Resolve), "{error}");
}

#[tokio::test]
async fn credentials_are_for_the_proxy_only() {
    for (scheme, credentials) in
        [("http", Some(BASIC)), ("socks5h", Some("me:pw")), ("socks5", Some("me:pw"))]
    {
        let origin = Proxy::and_target();
        let proxy = Proxy::to(origin.address());
        let client = client(Proxies::builder().all(proxy.uri_with(scheme, "me:pw")));
        post(&client, "http://127.0.0.1/").await.unwrap();
        let seen = proxy.seen();
        let told = match scheme {
            "http" => field(&seen.heads[0], "proxy-authorization"),
            _ => seen.tunnels[0].credentials.as_deref(),
        };
        assert_eq!(told, credentials, "{scheme}");
        let head = &origin.seen().heads[0];
        assert!(!head.contains("authorization") && !head.contains("bWU6cHc"), "{head}");
    }
}

#[tokio::test]
async fn direct_requests_carry_no_proxy_credentials() {
    let (origin, proxy) = (Proxy::and_target(), Proxy::and_target());
    let proxies = Proxies::builder().all(proxy.uri_with("http", "me:pw")).no("127.0.0.1");
    post(&client(proxies), &origin.uri("http")).await.unwrap();
    let head = &origin.seen().heads[0];
    assert!(head.starts_with("POST / HTTP/1.1\r\n"), "{head}");
    assert!(!head.contains("authorization"), "{head}");
    assert_eq!(proxy.seen().connections, 0);
}

#[tokio::test]
async fn the_requests_own_proxy_credentials_are_kept() {
    let proxy = Proxy::and_target();
    let client = client(Proxies::builder().all(proxy.uri_with("http", "me:pw")));
    let mut request = request("http://shop.example/");
    let own = "Basic b3duOm93bg==".parse().unwrap();
    request.headers_mut().insert(header::PROXY_AUTHORIZATION, own);
    client.request(request).await.unwrap();
    let head = &proxy.seen().heads[0];
    assert_eq!(field(head, "proxy-authorization"), Some("Basic b3duOm93bg=="), "{head}");
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let fields = head.lines().filter_map(|line| line.split_once(": "));
    fields.into_iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

// ===== which proxy =====

#[tokio::test]
async fn excluded_hosts_are_reached_directly() {
    for (target, no, tunnels) in [
        ("http://127.0.0.1", "127.0.0.0/8", 0),
        ("http://localhost", "*", 0),
        ("http://127.0.0.1", "10.0.0.0/8, shop.example", 1),
        ("http://localhost", "localhost", 0),
        ("http://localhost", "host", 1),
    ] {
        let origin = origin(1);
        let proxy = Proxy::to(origin.address());
        let client = client(Proxies::builder().all(proxy.uri("socks5h")).no(no));
        post(&client, &format!("{target}:{}/", origin.address().port())).await.unwrap();
        assert_eq!(proxy.seen().tunnels.len(), tunnels, "{target} {no}");
        assert_eq!(origin.truth().dispatched(), ["/"]);
    }
}

#[tokio::test]
async fn connections_through_a_proxy_are_not_shared_by_targets() {
    for scheme in ["http", "socks5h"] {
        let proxy = Proxy::and_target();
        let client = client(Proxies::builder().all(proxy.uri(scheme)));
        for target in ["http://a.example/", "http://b.example/", "http://a.example/"] {
            post(&client, target).await.unwrap();
        }
        assert_eq!(proxy.seen().connections, 2, "{scheme}");
    }
}

/// A caller that sends a CONNECT talks to the proxy itself.
#[tokio::test]
async fn the_users_own_connect_goes_directly() {
    let proxy = Proxy::and_target();
    let own = Origin::start(1, |_, mut peer| {
        peer.read_request();
        peer.write("HTTP/1.1 200 OK\r\n\r\n");
    });
    let client = client(Proxies::builder().all(proxy.uri("http")));
    let connect = Request::connect(own.address().to_string()).body(Body::empty()).unwrap();
    assert_eq!(client.request(connect).await.unwrap().status(), 200);
    assert_eq!(proxy.seen().connections, 0);
}

#[test]
fn an_unusable_proxy_is_an_error_when_it_is_set() {
    for uri in ["", "no proxy", "https://p.example", "ftp://p.example", "socks4://me@p.example"] {
        for builder in [
            Proxies::builder().http(uri),
            Proxies::builder().https(uri),
            Proxies::builder().all(uri).http("http://p.example"),
        ] {
            assert!(builder.build().is_err(), "{uri}");
        }
    }
    assert!(Proxies::builder().all("p.example:3128").build().is_ok(), "http is meant");
}

// ===== the environment =====

const TARGET: &str = "PROXIES_TEST_TARGET";

/// Run by the test below in a process of its own, whose environment is set.
#[tokio::test]
async fn in_an_environment() {
    let Ok(target) = std::env::var(TARGET) else { return };
    let options = PoolOptions::new().hedged_connects(false).proxies(Proxies::from_env());
    let policy = Policy::new().connect_patience(Duration::ZERO);
    let client = Client::builder().pool(options).policy(policy).build();
    match post(&client, &target).await {
        Ok(_) => {}
        Err(error) => panic!("{:?}: {error:#}", why(&error)),
    }
}

fn run_in(target: &str, environment: &[(&str, &str)]) -> std::process::Output {
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "proxies::in_an_environment", "--nocapture"]);
    for scheme in ["HTTP", "HTTPS", "ALL", "NO"] {
        let name = format!("{scheme}_PROXY");
        child.env_remove(&name).env_remove(name.to_lowercase());
    }
    child.env_remove("REQUEST_METHOD").env(TARGET, target);
    child.envs(environment.iter().copied()).output().unwrap()
}

#[test]
fn the_environment_names_the_proxies() {
    for (named, tunnels) in [
        (&["HTTP_PROXY"][..], 1),
        (&["http_proxy"], 1),
        (&["ALL_PROXY"], 1),
        (&["HTTPS_PROXY"], 0),
        (&[], 0),
        (&["HTTP_PROXY", "NO_PROXY"], 0),
        // What a CGI program finds is what a client sent.
        (&["HTTP_PROXY", "REQUEST_METHOD"], 0),
    ] {
        let origin = origin(1);
        let proxy = Proxy::to(origin.address());
        let value = |name| match name {
            "NO_PROXY" => "127.0.0.1".to_owned(),
            "REQUEST_METHOD" => "GET".to_owned(),
            _ => proxy.uri("socks5h"),
        };
        let values: Vec<_> = named.iter().map(|name| (*name, value(*name))).collect();
        let environment: Vec<_> = values.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let output = run_in(&origin.url("/"), &environment);
        assert!(output.status.success(), "{named:?}: {output:?}");
        assert_eq!(proxy.seen().tunnels.len(), tunnels, "{named:?}");
        assert_eq!(origin.truth().dispatched(), ["/"], "{named:?}");
    }
}

/// The environment is checked when a request needs it.
#[test]
fn an_unusable_proxy_of_the_environment_fails_the_request() {
    let output = run_in("http://127.0.0.1:9/", &[("HTTP_PROXY", "https://p.example")]);
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("ProxyDenied") && text.contains("TLS to a proxy"), "{text}");
}

// ===== a proxy that opens no tunnel =====

fn why(error: &Error) -> Option<ConnectFailure> {
    match error.fate() {
        Fate::NotApplied(Proof::NotConnected(why)) => Some(why),
        _ => None,
    }
}

/// The request as it was before it was sent.
async fn assert_handed_back(mut error: Error, target: &str) {
    let (head, body) = error.take_request::<Body>().unwrap().into_parts();
    assert_eq!(head.uri.to_string(), target);
    assert_eq!(head.headers, HeaderMap::new());
    assert!(head.extensions.is_empty());
    assert_eq!(body.collect().await.unwrap().to_bytes(), "pay");
}

#[tokio::test]
async fn a_proxys_denial_is_not_applied_and_not_tried_again() {
    for (scheme, said) in [
        ("socks5h", &[5, 255][..]),
        ("socks4a", &[0, 92, 0, 0, 0, 0, 0, 0]),
        ("socks4a", &[0, 93, 0, 0, 0, 0, 0, 0]),
    ] {
        let proxy = Proxy::start(|_, mut guest| {
            guest.answer(said);
            guest.wait_for_end();
        });
        let target = "http://shop.example/orders";
        let client = client(Proxies::builder().http(proxy.uri(scheme)));
        let error = post(&client, target).await.unwrap_err();
        assert_eq!(why(&error), Some(ConnectFailure::ProxyDenied), "{error}");
        let told = format!("{error:#}");
        assert!(told.contains("the proxy opened no tunnel"), "{told}");
        assert_eq!((proxy.seen().connections, error.attempts().len()), (1, 1), "{scheme}");
        assert_handed_back(error, target).await;
    }
}

/// What a proxy may say instead of opening a SOCKS tunnel, and its name here.
type NoTunnel = (&'static str, fn(Guest));

const NO_TUNNELS: [NoTunnel; 5] = [
    ("refused", |mut guest| {
        guest.answer(&[5, 0]);
        guest.answer(&[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]);
        guest.wait_for_end();
    }),
    ("not SOCKS", |mut guest| {
        guest.answer(b"HTTP/1.1 400 What\r\n\r\n");
        guest.wait_for_end();
    }),
    ("half an answer", |mut guest| guest.answer(&[5])),
    ("nothing", |mut guest| guest.answer(&[])),
    ("a name that is no text", |mut guest| {
        guest.answer(&[5, 0]);
        guest.answer(&[5, 0, 0, 3, 2, 0xff, 0xfe, 0, 80]);
        guest.wait_for_end();
    }),
];

#[tokio::test]
async fn a_refused_tunnel_is_tried_again_and_carries_the_request_once() {
    for (what, first) in NO_TUNNELS {
        let origin = origin(1);
        let address = origin.address();
        let proxy = Proxy::start(move |nth, mut guest| match nth {
            0 => first(guest),
            _ => {
                guest.open();
                guest.relay(address);
            }
        });
        let client = client(Proxies::builder().http(proxy.uri("socks5h")));
        let fates = post(&client, "http://shop.example/orders").await.unwrap();
        let first = Fate::NotApplied(Proof::NotConnected(ConnectFailure::Proxy));
        assert_eq!(fates, [first, Fate::Completed], "{what}");
        assert_eq!(origin.truth().dispatched(), ["/orders"], "{what}");
    }
}

#[tokio::test]
async fn a_tunnel_that_never_opens_returns_the_request_unchanged() {
    for (what, always) in NO_TUNNELS {
        let proxy = Proxy::start(move |_, guest| always(guest));
        let options = options(Proxies::builder().http(proxy.uri("socks5h")));
        let policy = Policy::new().connect_patience(Duration::ZERO);
        let client = Client::builder().pool(options).policy(policy).build();
        let error = post(&client, "http://shop.example/orders").await.unwrap_err();
        assert_eq!(why(&error), Some(ConnectFailure::Proxy), "{what}: {error}");
        assert_handed_back(error, "http://shop.example/orders").await;
    }
}

/// The connect timeout includes the proxy's answer.
#[tokio::test]
async fn a_silent_proxy_is_a_connect_timeout() {
    let proxy = Proxy::start(|_, mut guest| guest.wait_for_end());
    let options = options(Proxies::builder().http(proxy.uri("socks5h")));
    let options = options.connect_timeout(Duration::from_millis(50));
    let policy = Policy::new().connect_patience(Duration::ZERO);
    let client = Client::builder().pool(options).policy(policy).build();
    let error = post(&client, "http://shop.example/orders").await.unwrap_err();
    assert_eq!(why(&error), Some(ConnectFailure::TimedOut), "{error}");
    assert_handed_back(error, "http://shop.example/orders").await;
}

/// A proxy that is not there: the request goes back without the credentials.
#[tokio::test]
async fn a_proxy_that_cannot_be_reached_is_named() {
    let port = ClosedPort::new();
    let closed = port.address();
    for scheme in ["http", "socks5h"] {
        let proxies = Proxies::builder().http(format!("{scheme}://me:pw@{closed}"));
        let policy = Policy::new().connect_patience(Duration::ZERO);
        let client = Client::builder().pool(options(proxies)).policy(policy).build();
        let error = post(&client, "http://shop.example/orders").await.unwrap_err();
        assert!(matches!(why(&error), Some(ConnectFailure::Connect(Some(_)))), "{error}");
        let told = format!("{error:#}");
        assert!(told.contains(&format!("the proxy {scheme}://{closed}/ cannot be")), "{told}");
        assert!(!told.contains("pw"), "{told}");
        assert_handed_back(error, "http://shop.example/orders").await;
    }
}

/// The matcher takes the first `@` for the end of the credentials: the rest of them
/// would be in a host name, and in logs.
#[test]
fn credentials_with_an_unescaped_at_sign_are_rejected() {
    let proxies = Proxies::builder().all("http://me:se@cret:x@proxy.example:3128").build();
    assert!(proxies.is_err());
    let proxies = Proxies::builder().all("http://me:secret@proxy.example:3128").build().unwrap();
    assert!(!format!("{proxies:?}").contains("secret"));
}

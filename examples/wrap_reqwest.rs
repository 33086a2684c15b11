//! reqwest's requests and responses, sent by this crate's stack.
//!
//! `cargo run --example wrap_reqwest --features reqwest`
//!
//! The server here closes each connection after one response without saying so,
//! as one that restarts does. What reqwest would do besides on sending is done by
//! layers of tower-http: redirects, decompression, default header fields.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use http::HeaderValue;
use http::header::USER_AGENT;
use reqwest_middleware::ClientBuilder;
use tower::ServiceBuilder;
use tower_http::decompression::DecompressionLayer;
use tower_http::follow_redirect::FollowRedirectLayer;
use tower_http::follow_redirect::policy::{FilterCredentials, Limited, PolicyExt, clone_body_fn};
use tower_http::set_header::SetRequestHeaderLayer;
use tower_resend::body::Replayable;
use tower_resend::pool::{Pool, PoolOptions};
use tower_resend::{AttemptToken, Body, ResendLayer};
use tower_resend_reqwest as adapter;
use tower_resend_reqwest::ResendMiddleware;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let origin = start_server()?;

    let through = ResendMiddleware::new(tower_resend::Client::new());
    let client = ClientBuilder::new(reqwest::Client::new()).with(through).build();
    let response = client.post(format!("{origin}/orders")).body("pay").send().await?;
    assert_eq!(response.text().await?, "paid");
    println!("/orders: paid");
    let error =
        client.post(format!("{origin}/lost")).body("pay").send().await.expect_err("no answer");
    let failure = adapter::error(&error).ok_or("not sent through this crate")?;
    assert!(failure.fate().is_unknown());
    println!("/lost: {failure}");

    // What sends several requests for one goes under the resending layer, so
    // that an error is about all of them. A body is sent along where a second one
    // with the same bytes can be had, credentials to the same origin only.
    let redirects = Limited::default()
        .and::<_, Body, ()>(FilterCredentials::new().allow_extension::<AttemptToken>())
        .and::<_, Body, ()>(clone_body_fn(|body: &Body| body.replay().ok()));
    let stack = ServiceBuilder::new()
        .layer(SetRequestHeaderLayer::if_not_present(USER_AGENT, HeaderValue::from_static("shop")))
        .layer(DecompressionLayer::new())
        .layer(ResendLayer::default())
        .layer(FollowRedirectLayer::with_policy(redirects))
        .service(Pool::<Body>::new(PoolOptions::new()));
    let client =
        ClientBuilder::new(reqwest::Client::new()).with(ResendMiddleware::new(stack)).build();
    let response = client.post(format!("{origin}/moved")).body("pay").send().await?;
    let hops = adapter::attempts(&response).len();
    assert_eq!(response.headers()["for"], "shop");
    assert_eq!(response.text().await?, "paid");
    println!("/moved: paid, for shop, in {hops} requests, from a compressed response");
    Ok(())
}

/// Starts a server that answers one request on each connection and closes it,
/// and returns its origin.
fn start_server() -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let origin = format!("http://{}", listener.local_addr()?);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(|| answer(stream));
        }
    });
    Ok(origin)
}

/// `/lost` gets no answer, and `/moved` is at `/orders`.
fn answer(mut stream: TcpStream) -> Option<()> {
    let request = read(&mut stream)?;
    let has = |field: &str| request.lines().any(|line| line.starts_with(field));
    let agent = if has("user-agent: shop") { "shop" } else { "unknown" };
    let (status, body) = match request.split(' ').nth(1)? {
        "/lost" => return None,
        "/moved" => ("307 Moved\r\nlocation: /orders\r\nconnection: close", &b""[..]),
        _ if has("accept-encoding: gzip") => ("200 OK\r\ncontent-encoding: gzip", PAID),
        _ => ("200 OK", &b"paid"[..]),
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nfor: {agent}\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(&[head.as_bytes(), body].concat()).ok()
}

/// Reads a request, whose body is `pay`.
fn read(stream: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\npay") {
        let mut some = [0; 4096];
        match stream.read(&mut some) {
            Ok(0) | Err(_) => return None,
            Ok(read) => request.extend_from_slice(&some[..read]),
        }
    }
    String::from_utf8(request).ok()
}

/// `paid`, compressed by gzip.
const PAID: &[u8] =
    b"\x1f\x8b\x08\0\0\0\0\0\x02\xff\x2b\x48\xcc\x4c\x01\0\x38\xab\x8e\xfd\x04\0\0\0";

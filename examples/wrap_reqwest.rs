//! reqwest's requests and responses, sent by this crate's stack.
//!
//! `cargo run --example wrap_reqwest --features reqwest`
//!
//! A server here closes each connection after one response, as a server that
//! restarts does. Redirects and decompression, which reqwest would do, are done by
//! layers of tower-http.

use std::io::{Read, Write};
use std::net::TcpListener;

use reqwest_middleware::ClientBuilder;
use tower::ServiceBuilder;
use tower_http::decompression::DecompressionLayer;
use tower_http::follow_redirect::FollowRedirectLayer;
use tower_resend::adapter::reqwest::{self as adapter, SendThrough};
use tower_resend::pool::{Pool, PoolOptions};
use tower_resend::{Body, ResendLayer};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let origin = start_server()?;

    // What sends several requests for one goes under the resending layer, so
    // that an error is about all of them.
    let stack = ServiceBuilder::new()
        .layer(DecompressionLayer::new())
        .layer(ResendLayer::default())
        .layer(FollowRedirectLayer::new())
        .service(Pool::<Body>::new(PoolOptions::new()));
    let client = ClientBuilder::new(reqwest::Client::new()).with(SendThrough::new(stack)).build();

    for path in ["/orders", "/orders", "/moved", "/lost"] {
        match client.post(format!("{origin}{path}")).body("pay").send().await {
            Ok(response) => {
                let attempts = adapter::attempts(&response).len().max(1);
                println!("{path}: {} after {attempts} attempt(s)", response.status());
            }
            Err(error) => match adapter::error(&error) {
                Some(failure) if failure.fate().is_not_applied() => {
                    println!("{path}: safe to redo: {failure}");
                }
                Some(failure) => println!("{path}: {failure}"),
                None => println!("{path}: {error}"),
            },
        }
    }
    Ok(())
}

/// Starts a server that answers one request on each connection and closes it,
/// and returns its origin. `/lost` gets no answer.
fn start_server() -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let origin = format!("http://{}", listener.local_addr()?);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let Ok(read) = stream.read(&mut request) else { continue };
            let response = match String::from_utf8_lossy(&request[..read]).split(' ').nth(1) {
                Some("/lost") => continue,
                Some("/moved") => "303 See Other\r\nlocation: /orders",
                _ => "200 OK",
            };
            let _ = write!(stream, "HTTP/1.1 {response}\r\ncontent-length: 0\r\n\r\n");
        }
    });
    Ok(origin)
}

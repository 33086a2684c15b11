//! A whole stack of tower layers over hyper-util's legacy client.
//!
//! `cargo run --example layer [url]`; without a url the connect is refused.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};
use tower_resend::hyper_util::{Connector, with_evidence};
use tower_resend::{Error, Policy, ResendLayer};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let client = with_evidence(Client::builder(TokioExecutor::new()).build(Connector::new()));
    // Deadlines belong in the policy: its errors say what became of the
    // request. A timeout above the layer drops the call, and with it all that
    // is known; it is the last resort. One below the layer ends an attempt.
    let policy = Policy::default()
        .attempt_timeout(Duration::from_secs(5))
        .connect_patience(Duration::from_secs(1));
    let mut service = ServiceBuilder::new()
        .buffer(64)
        .load_shed()
        .concurrency_limit(32)
        .timeout(Duration::from_secs(60))
        .layer(ResendLayer::new(policy))
        .concurrency_limit(16)
        .service(client);

    let url = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:1/".to_owned());
    let order = Request::post(url).body(Full::<Bytes>::from("pay"))?;
    match service.ready().await?.call(order).await {
        Ok(response) => println!("{}", response.status()),
        Err(error) => match in_chain(&*error) {
            Some(error) if error.fate().is_not_applied() => println!("safe to redo: {error}"),
            Some(error) => println!("{error}"),
            None => println!("unknown: {error}"),
        },
    }
    Ok(())
}

/// Finds our error below what the layers above made of it.
fn in_chain<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Error> {
    std::iter::successors(Some(error), |error| error.source())
        .find_map(|error| error.downcast_ref())
}

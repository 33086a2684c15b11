//! hyper-util's legacy client, three times: as it is, over our connector, and
//! wrapped under the resending layer.
//!
//! The server closes each connection after one response without saying so, as
//! it does when it is restarted. `cargo run --example wrap_hyper_util`

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread::sleep;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower::{BoxError, Service};
use tower::{Layer, ServiceExt};
use tower_resend::hyper_util::{Connector, with_evidence};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let url = server()?;

    let client = Client::builder(TokioExecutor::new()).build_http();
    twice("as it is", &client, &url).await;

    // One line differs. What is handed back the client sends again by itself.
    let client = Client::builder(TokioExecutor::new()).build(Connector::new());
    twice("over our connector", &client, &url).await;

    // And what was handed back is listed; every failure says what became of the
    // request.
    let client = with_evidence(Client::builder(TokioExecutor::new()).build(Connector::new()));
    let client = tower_resend::ResendLayer::default().layer(client);
    twice("under the layer", &client, &url).await;
    Ok(())
}

/// Pays twice; the second time the connection is closed already.
async fn twice<S>(name: &str, client: &S, url: &str)
where
    S: Service<Request<Full<Bytes>>, Response = Response<Incoming>> + Clone,
    BoxError: From<S::Error>,
{
    for _ in 0..2 {
        match pay(client, url).await {
            Ok(paid) => println!("{name}: {paid}"),
            Err(error) => println!("{name}: {error}"),
        }
        // The runtime is busy with something else while the close arrives.
        sleep(Duration::from_millis(60));
    }
}

async fn pay<S>(client: &S, url: &str) -> Result<String, BoxError>
where
    S: Service<Request<Full<Bytes>>, Response = Response<Incoming>> + Clone,
    BoxError: From<S::Error>,
{
    let request = Request::post(url).body(Full::from("pay"))?;
    let response = client.clone().oneshot(request).await?;
    let attempts = tower_resend::attempts(&response).len().max(1);
    let status = response.status();
    response.into_body().collect().await?;
    tokio::task::yield_now().await;
    Ok(format!("{status}, {attempts} attempt(s) known"))
}

/// Answers one request on each connection, and closes it.
fn server() -> Result<String, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/orders", listener.local_addr()?);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\npaid");
            sleep(Duration::from_millis(20));
        }
    });
    Ok(url)
}

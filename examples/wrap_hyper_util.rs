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
use tower::{BoxError, Layer, Service, ServiceExt};
use tower_resend::adapter::hyper_util::{Connector, wrap};
use tower_resend::{ResendLayer, attempts};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let url = server()?;
    let mut builder = Client::builder(TokioExecutor::new());

    twice("as it is", builder.build_http(), &url).await;

    // One line differs.
    twice("over our connector", builder.build(Connector::new()), &url).await;

    // And two more: every failure now says what became of the request. The
    // legacy client would also resend what is handed back to it by itself;
    // switched off, the layer does, and lists the attempt.
    builder.retry_canceled_requests(false);
    let client = wrap(builder.build(Connector::new()));
    twice("under the layer", ResendLayer::default().layer(client), &url).await;
    Ok(())
}

/// Pays twice; the second time the connection is closed already.
async fn twice<S>(name: &str, client: S, url: &str)
where
    S: Service<Request<Full<Bytes>>, Response = Response<Incoming>> + Clone,
    S::Error: std::fmt::Display,
{
    for _ in 0..2 {
        let order = Request::post(url).body(Full::from("pay")).expect("a request");
        match client.clone().oneshot(order).await {
            Ok(response) => {
                let attempts = attempts(&response).len().max(1);
                println!("{name}: {}, {attempts} attempt(s) known", response.status());
                let _ = response.into_body().collect().await;
                tokio::task::yield_now().await;
            }
            Err(error) => println!("{name}: {error}"),
        }
        // The runtime is busy with something else while the close arrives.
        sleep(Duration::from_millis(60));
    }
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

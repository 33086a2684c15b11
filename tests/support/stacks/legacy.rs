//! hyper-util's legacy client over our connector.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tower::{Layer, Service};
use tower_resend::adapter::hyper_util::{ConnectError, Connector, Metered, Wrapped, wrap};
use tower_resend::{Body, ResendLayer};

use super::payload::Payload;
use super::{Called, Class, Level, Settings, Stack, once, whole};

/// Wrapped under the layer. What is handed back goes to the layer.
#[derive(Clone)]
pub struct HyperUtil {
    client: Wrapped<Late, Body>,
    level: Level,
}

impl Stack for HyperUtil {
    const CLASS: Class = Class::FULL;

    fn new(settings: &Settings) -> Self {
        let mut builder = Client::builder(TokioExecutor::new());
        let client = builder.retry_canceled_requests(false).build(Late::new(settings));
        Self { client: wrap(client), level: settings.level }
    }

    async fn call(&self, request: Request<Payload>) -> Called {
        call(self.client.clone(), self.level, request).await
    }
}

/// The same with the legacy client's own retries, which is its default.
#[derive(Clone)]
pub struct Retrying {
    client: Wrapped<Late, Body>,
    level: Level,
}

impl Stack for Retrying {
    const CLASS: Class = Class { lists_hand_backs: false, ..Class::FULL };

    fn new(settings: &Settings) -> Self {
        let client = Client::builder(TokioExecutor::new()).build(Late::new(settings));
        Self { client: wrap(client), level: settings.level }
    }

    async fn call(&self, request: Request<Payload>) -> Called {
        call(self.client.clone(), self.level, request).await
    }
}

async fn call(client: Wrapped<Late, Body>, level: Level, request: Request<Payload>) -> Called {
    match level {
        Level::Once => once(client, request).await,
        Level::Whole => whole(ResendLayer::default().layer(client), request).await,
    }
}

/// The client as it was, with our connector and nothing else.
#[derive(Clone)]
pub struct Unmodified(Client<Late, Body>);

impl Stack for Unmodified {
    const CLASS: Class = Class::LOOK;

    fn new(settings: &Settings) -> Self {
        Self(Client::builder(TokioExecutor::new()).build(Late::new(settings)))
    }

    async fn call(&self, request: Request<Payload>) -> Called {
        match self.0.request(request.map(Payload::into_body)).await {
            Ok(response) => Called::answered(response).await,
            Err(error) => Called::failed(None, error),
        }
    }
}

/// Our connector, whose first connection is there for a while before the
/// client gets it. Nothing else is above it.
#[derive(Clone)]
pub struct Late {
    inner: Connector,
    pause: Duration,
    is_over: Arc<AtomicBool>,
}

impl Late {
    pub fn new(settings: &Settings) -> Self {
        let inner = match settings.keepalive {
            None => Connector::new(),
            Some(_) => {
                let mut http = HttpConnector::new();
                http.set_nodelay(true);
                http.set_keepalive(settings.keepalive);
                http.set_keepalive_interval(settings.keepalive);
                http.set_keepalive_retries(Some(5));
                Connector::around(http)
            }
        };
        Self { inner, pause: settings.pause, is_over: Arc::default() }
    }
}

impl Service<Uri> for Late {
    type Response = Metered;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Metered, ConnectError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let connecting = self.inner.call(target);
        let is_first = !self.is_over.swap(true, Ordering::Relaxed);
        let pause = if is_first { self.pause } else { Duration::ZERO };
        Box::pin(async move {
            let connected = connecting.await;
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            connected
        })
    }
}

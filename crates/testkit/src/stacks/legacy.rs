//! hyper-util's legacy client over our connector.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::TokioExecutor;
use tower::{Service, ServiceExt};
use tower_resend::Body;
use tower_resend::hyper_util::{
    ConnectError, Connector, EvidenceClient, TrackedStream, with_evidence,
};

#[cfg(feature = "https")]
use super::origin::tls::trusting;
use super::payload::Payload;
use super::{Called, Class, Level, Scheme, Settings, Stack, redirecting, through};

/// What makes the legacy client's connections.
pub trait Connects: Connect + Clone + Send + Sync + 'static {
    /// What a client that is wrapped promises over it.
    const CLASS: Class;
    const SCHEME: Scheme = Scheme::Http;

    fn of(settings: &Settings) -> Self;
}

impl Connects for Late {
    const CLASS: Class = Class::FULL;

    fn of(settings: &Settings) -> Self {
        Self::new(settings)
    }
}

/// The client with evidence, under the layer. What is handed back goes to the layer.
pub struct HyperUtil<C = Late> {
    client: EvidenceClient<C, Body>,
    level: Level,
}

impl<C: Connects> Stack for HyperUtil<C> {
    const CLASS: Class = C::CLASS;
    const SCHEME: Scheme = C::SCHEME;

    fn new(settings: &Settings) -> Self {
        let mut builder = Client::builder(TokioExecutor::new());
        let client = builder.retry_canceled_requests(false).build(C::of(settings));
        Self { client: with_evidence(client), level: settings.level }
    }

    async fn call(&self, request: Request<Payload>) -> Called {
        through(self.client.clone(), self.level, request).await
    }
}

impl<C: Clone> Clone for HyperUtil<C> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), level: self.level }
    }
}

/// The same with the legacy client's own retries, which is its default.
#[derive(Clone)]
pub struct Retrying {
    client: EvidenceClient<Late, Body>,
    level: Level,
}

impl Stack for Retrying {
    const CLASS: Class = Class::FULL;

    fn new(settings: &Settings) -> Self {
        let client = Client::builder(TokioExecutor::new()).build(Late::new(settings));
        Self { client: with_evidence(client), level: settings.level }
    }

    async fn call(&self, request: Request<Payload>) -> Called {
        through(self.client.clone(), self.level, request).await
    }
}

/// The client as it was, with our connector and nothing else.
#[derive(Clone)]
pub struct Unmodified<C = Late> {
    client: Client<C, Body>,
    level: Level,
}

impl<C: Connects> Stack for Unmodified<C> {
    const CLASS: Class = Class::LOOK;
    const SCHEME: Scheme = C::SCHEME;

    fn new(settings: &Settings) -> Self {
        let client = Client::builder(TokioExecutor::new()).build(C::of(settings));
        Self { client, level: settings.level }
    }

    async fn call(&self, request: Request<Payload>) -> Called {
        let (client, request) = (self.client.clone(), request.map(Payload::into_body));
        let answered = match self.level {
            Level::Once | Level::Whole => client.oneshot(request).await,
            Level::Redirects(tokens) => redirecting(client, tokens).oneshot(request).await,
        };
        match answered {
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
    /// Makes TLS connections itself where an authority is trusted.
    pub fn new(settings: &Settings) -> Self {
        let late = Self::without_tls(settings);
        #[cfg(feature = "https")]
        if let Some(root) = &settings.root {
            let tls = trusting(root.clone()).build().unwrap();
            return Self { inner: late.inner.tls(tls), ..late };
        }
        late
    }

    /// Leaves TLS to the layer above.
    pub fn below_tls(settings: &Settings) -> Self {
        let late = Self::without_tls(settings);
        Self { inner: late.inner.enforce_http(false), ..late }
    }

    fn without_tls(settings: &Settings) -> Self {
        let inner = match settings.keepalive {
            None => Connector::new(),
            Some(_) => {
                let mut http = HttpConnector::new();
                http.enforce_http(false);
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
    type Response = TrackedStream;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<TrackedStream, ConnectError>> + Send>>;

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

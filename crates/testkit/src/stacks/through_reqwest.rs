//! reqwest: through our stack, and with its own client.

use std::sync::LazyLock;

use http::Request;
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, RequestBuilder};
use tower::Layer;
use tower_resend::pool::Pool;
use tower_resend::{AttemptToken, Body, Client, ResendLayer};
use tower_resend_reqwest::{self as adapter, ResendMiddleware};

use super::payload::Payload;
use super::{Called, Class, Level, Settings, Stack, of_token, redirecting, through};

/// reqwest-middleware that sends through our client; once, through its pool.
#[derive(Clone)]
pub enum Through {
    Once(ClientWithMiddleware),
    Whole(ClientWithMiddleware),
}

impl Stack for Through {
    const CLASS: Class = Class::FULL;
    const IS_OVER_POOL: bool = true;

    fn new(settings: &Settings) -> Self {
        let pool = settings.pool.clone();
        let builder = ClientBuilder::new(idle_client());
        match settings.level {
            Level::Once => {
                Self::Once(builder.with(ResendMiddleware::new(Pool::<Body>::new(pool))).build())
            }
            Level::Whole => {
                let client = Client::builder().pool(pool).build();
                Self::Whole(builder.with(ResendMiddleware::new(client)).build())
            }
            Level::Redirects(tokens) => {
                let stack = redirecting(Pool::<Body>::new(pool), tokens);
                let stack = ResendLayer::default().layer(stack);
                Self::Whole(builder.with(ResendMiddleware::new(stack)).build())
            }
        }
    }

    async fn call(&self, request: Request<Payload>) -> Called {
        match self {
            Self::Once(client) => {
                let token = AttemptToken::new();
                let request = of(client, request).with_extension(token.clone());
                of_token(send(request).await, &token)
            }
            Self::Whole(client) => send(of(client, request)).await,
        }
    }
}

/// Returns a client of reqwest's own, which nothing is sent through: it takes long to
/// make, for it reads the roots of the system.
fn idle_client() -> reqwest::Client {
    static IDLE: LazyLock<reqwest::Client> = LazyLock::new(reqwest::Client::new);
    IDLE.clone()
}

/// Makes reqwest's request of ours.
fn of(client: &ClientWithMiddleware, request: Request<Payload>) -> RequestBuilder {
    let (parts, payload) = request.into_parts();
    let body = match payload {
        Payload::Bytes(bytes) => reqwest::Body::from(bytes),
        Payload::Stream(pieces) => reqwest::Body::wrap(pieces),
    };
    client.request(parts.method, parts.uri.to_string()).body(body)
}

async fn send(request: RequestBuilder) -> Called {
    match request.send().await {
        Ok(response) => {
            let attempts = adapter::attempts(&response).to_vec();
            Called { attempts, ..Called::answered(http::Response::from(response)).await }
        }
        Err(error) => match adapter::error(&error) {
            Some(ours) => {
                let attempts = ours.attempts().to_vec();
                Called { attempts, ..Called::failed(Some(ours.fate()), ours) }
            }
            None => Called::failed(None, error),
        },
    }
}

/// reqwest's own client, with what its errors prove.
#[derive(Clone)]
pub struct Wrapped {
    client: adapter::ReqwestTransport,
    level: Level,
}

impl Stack for Wrapped {
    const CLASS: Class = Class::WEAK;

    fn new(settings: &Settings) -> Self {
        let builder = reqwest::Client::builder()
            .no_proxy()
            .tcp_keepalive(settings.keepalive)
            .tcp_keepalive_interval(settings.keepalive)
            .tcp_keepalive_retries(5);
        #[cfg(all(feature = "https", feature = "reqwest-rustls"))]
        let builder = match &settings.root {
            // The origins speak HTTP/1.1, whatever they agree to.
            Some(root) => {
                builder.http1_only().tls_certs_only([reqwest::Certificate::from_der(root).unwrap()])
            }
            // Roots of the system take long to read.
            None => builder.tls_certs_only([]),
        };
        Self { client: adapter::with_evidence(builder).unwrap(), level: settings.level }
    }

    async fn call(&self, request: Request<Payload>) -> Called {
        through(self.client.clone(), self.level, request).await
    }
}

//! The stacks that are ours altogether.

use http::Request;
use tower::Layer;
use tower_resend::pool::Pool;
use tower_resend::resend::Resend;
use tower_resend::{Body, Client, ResendLayer};

use super::payload::Payload;
use super::{Called, Class, Level, Settings, Stack, Tokens, once, through, whole};

/// `Client`; once, its pool.
#[derive(Clone)]
pub enum Ours {
    Once(Pool<Body>),
    Whole(Client),
    /// The client has no place for a layer under the resending one.
    Redirects(Pooled),
}

impl Stack for Ours {
    const CLASS: Class = Class::FULL;
    const IS_OVER_POOL: bool = true;

    fn new(settings: &Settings) -> Self {
        let pool = settings.pool.clone();
        match settings.level {
            Level::Once => Self::Once(Pool::new(pool)),
            Level::Whole => Self::Whole(Client::builder().pool(pool).build()),
            Level::Redirects(_) => Self::Redirects(Pooled::new(settings)),
        }
    }

    async fn call(&self, request: Request<Payload>) -> Called {
        match self.clone() {
            Self::Once(pool) => once(pool, request).await,
            Self::Whole(client) => whole(client, request).await,
            Self::Redirects(pooled) => pooled.call(request).await,
        }
    }
}

/// A plain `ResendLayer` over the pool, as tower stacks have it.
#[derive(Clone)]
pub enum Pooled {
    Once(Pool<Body>),
    Whole(Resend<Pool<Body>>),
    Redirects(Pool<Body>, Tokens),
}

impl Stack for Pooled {
    const CLASS: Class = Class::FULL;
    const IS_OVER_POOL: bool = true;

    fn new(settings: &Settings) -> Self {
        let pool = Pool::new(settings.pool.clone());
        match settings.level {
            Level::Once => Self::Once(pool),
            Level::Whole => Self::Whole(ResendLayer::default().layer(pool)),
            Level::Redirects(tokens) => Self::Redirects(pool, tokens),
        }
    }

    async fn call(&self, request: Request<Payload>) -> Called {
        match self.clone() {
            Self::Once(pool) => once(pool, request).await,
            Self::Whole(service) => whole(service, request).await,
            Self::Redirects(pool, tokens) => through(pool, Level::Redirects(tokens), request).await,
        }
    }
}

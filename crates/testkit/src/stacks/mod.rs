//! Client stacks behind one trait, so that one suite can be run through each.
//!
//! A stack says by its [`Class`] what it promises. What a row of a suite
//! expects follows from that ([`judge`]), never from the stack itself.
//!
//! To add a stack: implement [`Stack`], and name it in the [`list`]. Those over
//! TLS have a [`Scheme`] of their own, which `Site::of` starts an origin for, and
//! a list of their own: some servers of these tests speak plain HTTP only.

#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    unreachable_pub,
    reason = "each test uses some of it"
)]
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test helper measures in real time, and panics when it is in the way"
)]

pub mod acts;
pub mod careless;
pub mod heard;
pub mod judge;
pub mod legacy;
pub mod list;
pub use crate::origin;
pub mod own;
pub mod payload;
#[cfg(feature = "https")]
pub mod secure;
pub mod site;
pub mod still;
#[cfg(feature = "reqwest")]
pub mod through_reqwest;

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use tower::{BoxError, Layer, Service, ServiceExt};
use tower_http::follow_redirect::FollowRedirect;
use tower_http::follow_redirect::policy::{FilterCredentials, Limited, Policy, PolicyExt};
use tower_resend::pool::PoolOptions;
#[cfg(feature = "https")]
use tower_resend::tls::rustls::pki_types::CertificateDer;
use tower_resend::{Attempt, AttemptToken, Body, ResendLayer, attempts};
use tower_resend_core::{Doubt, Fate};

pub use self::list::for_each_stack;
#[cfg(feature = "https")]
pub use self::list::for_each_tls_stack;
use self::payload::Payload;

/// A client stack, as its user would put it together.
///
/// A clone shares connections.
pub trait Stack: Clone + Send + Sync + 'static {
    /// What the stack promises.
    const CLASS: Class;
    /// What it speaks below HTTP.
    const SCHEME: Scheme = Scheme::Http;

    /// Whether its connections are those of our own pool. Then it asks servers for
    /// promises and its user can state some, and a request that is dropped while it
    /// waits for its connection leaves that behind.
    const IS_OVER_POOL: bool = false;

    /// Makes one.
    fn new(settings: &Settings) -> Self;

    /// Sends a request and reads its response to the end.
    fn call(&self, request: Request<Payload>) -> impl Future<Output = Called> + Send;
}

/// What a stack promises.
#[derive(Clone, Copy, Debug)]
pub struct Class {
    /// A connection that ended or spoke while it was idle is found before a
    /// request is written to it.
    pub looks: bool,
    /// A request that a connection handed back is listed among the attempts.
    pub lists_hand_backs: bool,
    pub evidence: Knows,
}

/// What a stack knows of a request that failed after it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knows {
    /// All that our own client knows.
    All,
    /// That it was sent, and no more; the doubt says what is missing.
    Nothing(Doubt),
    /// Its errors have no fate at all.
    Silent,
}

impl Class {
    /// The same fates as our own client.
    pub const FULL: Self = Self { looks: true, lists_hand_backs: true, evidence: Knows::All };
    /// Idle connections are survived, and errors say nothing.
    pub const LOOK: Self = Self { looks: true, lists_hand_backs: false, evidence: Knows::Silent };
    /// Nothing is known of what was sent.
    pub const WEAK: Self =
        Self { looks: false, lists_hand_backs: false, evidence: Knows::Nothing(Doubt::NoEvidence) };
}

/// What an origin speaks below HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    /// TLS below it.
    #[cfg(feature = "https")]
    Https,
}

/// How much of a stack is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// What is under the resending layer: a request that was written is not
    /// sent again, whatever is known of it.
    Once,
    /// All of it.
    Whole,
    /// The same, with redirects followed under the resending layer.
    Redirects(Tokens),
}

/// What a hop to another origin has of its call's extensions, and with them of
/// its attempt token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// Nothing, as is usual.
    Dropped,
    Kept,
}

/// How a stack is put together.
#[derive(Clone, Debug)]
pub struct Settings {
    pub level: Level,
    /// For stacks over our own pool.
    pub pool: PoolOptions,
    /// After how long a silent connection is probed, where the pool is not ours.
    pub keepalive: Option<Duration>,
    /// How long the first connection of a stack whose pool is not ours waits
    /// for its request, since such a pool does not connect ahead.
    pub pause: Duration,
    /// The root certificate of the origin, if it speaks TLS.
    #[cfg(feature = "https")]
    pub root: Option<CertificateDer<'static>>,
}

impl Settings {
    pub fn new(level: Level) -> Self {
        Self {
            level,
            pool: PoolOptions::new(),
            keepalive: None,
            pause: Duration::ZERO,
            #[cfg(feature = "https")]
            root: None,
        }
    }

    /// Trusts an authority, and that one only.
    #[cfg(feature = "https")]
    pub fn trusting(self, root: CertificateDer<'static>) -> Self {
        let tls = origin::tls::trusting(root.clone()).build().unwrap();
        // A handshake takes longer than a connect, and an origin that serves
        // one connection after another would take a second one for used.
        let pool = self.pool.tls(tls).hedged_connects(false);
        Self { pool, root: Some(root), ..self }
    }
}

/// What came of one request.
#[derive(Debug)]
pub struct Called {
    pub end: End,
    /// Those that the stack tells of; none where the first was answered.
    pub attempts: Vec<Attempt>,
}

#[derive(Debug)]
pub enum End {
    /// With this response, whose body may have failed.
    Answered(StatusCode, Result<Bytes, String>),
    /// With an error, and the fate that it has.
    Failed(Option<Fate>, String),
}

impl Called {
    pub fn fates(&self) -> Vec<Fate> {
        self.attempts.iter().map(Attempt::fate).collect()
    }

    pub fn failed(fate: Option<Fate>, error: impl std::fmt::Debug) -> Self {
        Self { end: End::Failed(fate, format!("{error:?}")), attempts: Vec::new() }
    }

    /// Reads a response to its end.
    pub async fn answered<RB>(response: Response<RB>) -> Self
    where
        RB: http_body::Body<Data = Bytes>,
        RB::Error: std::fmt::Debug,
    {
        let status = response.status();
        let attempts = attempts(&response).to_vec();
        let body = response.into_body().collect().await;
        let body = body.map(|body| body.to_bytes()).map_err(|error| format!("{error:?}"));
        Self { end: End::Answered(status, body), attempts }
    }
}

/// Sends through a service that leaves evidence, with what its level puts on top.
pub async fn through<S, RB>(service: S, level: Level, request: Request<Payload>) -> Called
where
    S: Service<Request<Body>, Response = Response<RB>, Error: Into<BoxError> + std::fmt::Debug>
        + Clone,
    RB: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let resend = ResendLayer::default();
    match level {
        Level::Once => once(service, request).await,
        Level::Whole => whole(resend.layer(service), request).await,
        Level::Redirects(tokens) => {
            whole(resend.layer(redirecting(service, tokens)), request).await
        }
    }
}

/// What follows redirects.
pub fn redirecting<S>(
    service: S,
    tokens: Tokens,
) -> FollowRedirect<S, impl Policy<Body, S::Error> + Clone>
where
    S: Service<Request<Body>>,
{
    let filter = match tokens {
        Tokens::Dropped => FilterCredentials::new(),
        Tokens::Kept => FilterCredentials::new().keep_all_extensions(),
    };
    FollowRedirect::with_policy(service, Limited::default().and::<_, Body, S::Error>(filter))
}

/// Sends through a service that has no resending layer; a token tells what it did.
pub async fn once<S, RB>(service: S, request: Request<Payload>) -> Called
where
    S: Service<Request<Body>, Response = Response<RB>, Error: std::fmt::Debug>,
    RB: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let token = AttemptToken::new();
    let mut request = request.map(Payload::into_body);
    request.extensions_mut().insert(token.clone());
    let called = match service.oneshot(request).await {
        Ok(response) => Called::answered(response).await,
        Err(error) => Called::failed(None, error),
    };
    of_token(called, &token)
}

/// Completes what came of a request by what its token recorded.
fn of_token(mut called: Called, token: &AttemptToken) -> Called {
    called.attempts = token.attempts();
    if let End::Failed(fate, _) = &mut called.end {
        *fate = called.attempts.iter().map(Attempt::fate).reduce(Fate::weaker);
    }
    called
}

/// Sends through a service with a resending layer on top.
pub async fn whole<S, RB>(service: S, request: Request<Payload>) -> Called
where
    S: Service<Request<Body>, Response = Response<RB>, Error: Into<BoxError>>,
    RB: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
{
    match service.oneshot(request.map(Payload::into_body)).await {
        Ok(response) => Called::answered(response).await,
        Err(error) => match error.into().downcast::<tower_resend::Error>() {
            Ok(ours) => {
                let attempts = ours.attempts().to_vec();
                Called { attempts, ..Called::failed(Some(ours.fate()), ours) }
            }
            Err(other) => Called::failed(None, other),
        },
    }
}

//! An HTTP client stack that knows whether a failed request reached the server.
//!
//! ```text
//! async fn(Request) -> Result<Response, (what became of it, why it was not resent)>
//! ```
//!
//! A keep-alive connection that dies under a `POST` leaves most
//! clients with an error that says nothing; this crate keeps the evidence of
//! each exchange, resends what provably was not applied, and otherwise says
//! exactly why not.
//!
//! **Within one call, no request is sent twice unless a [`Ground`] for every
//! earlier attempt says why that is safe.**
//!
//! # A client
//!
//! [`Client`] is the assembled stack: pooled HTTP/1.1, evidence on, a safe policy.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = tower_resend::Client::new();
//! let order = http::Request::post("http://127.0.0.1:8080/orders").body("pay")?;
//! match client.request(order).await {
//!     Ok(response) => println!("{}", response.into_body().text(64 * 1024).await?),
//!     Err(error) if error.fate().is_not_applied() => println!("safe to redo: {error:#}"),
//!     Err(error) => println!("{error:#}"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What goes around or inside it: [`client::ClientBuilder`], [`pool`] (limits, proxies, TLS,
//! what you state of an origin), [`body`] (what can be sent again).
//!
//! # A layer
//!
//! `Client` is [`ResendLayer`] over [`pool::Pool`], both plain tower parts. Your own
//! layers go above, between and below; [`resend`] says what each one of tower and
//! tower-http does there.
//!
//! ```no_run
//! # use http::{Request, Response};
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_resend::pool::{Pool, PoolOptions};
//! use tower_resend::{Body, Policy, ResendLayer};
//!
//! # async fn example() -> Result<(), tower_resend::BoxError> {
//! let service = ServiceBuilder::new()
//!     .layer(ResendLayer::new(Policy::default()))
//!     .service(Pool::<Body>::new(PoolOptions::new()));
//! let order = Request::post("http://127.0.0.1:8080/orders").body("pay".into())?;
//! println!("{}", service.oneshot(order).await?.status());
//! # Ok(())
//! # }
//! ```
//!
//! # Keep your client
//!
//! Over any other `Service<http::Request<B>>` the layer resends what is idempotent or
//! deduplicated, and says `no evidence` of the rest. These leave evidence:
//!
//! | your client | what to do |
//! |---|---|
//! | hyper-util's legacy client | [`hyper_util::with_evidence`] over its [`Connector`](hyper_util::Connector) |
//! | reqwest | the crate `tower-resend-reqwest` |
//! | a transport of your own | record each hand-off in the [`AttemptToken`], and fail with an [`AttemptError`] |
//!
//! ```no_run
//! use ::hyper_util::client::legacy::Client;
//! use ::hyper_util::rt::TokioExecutor;
//! use tower::{Layer, ServiceExt};
//! use tower_resend::ResendLayer;
//! use tower_resend::hyper_util::{Connector, with_evidence};
//!
//! # async fn example(order: http::Request<http_body_util::Full<bytes::Bytes>>)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! let client = with_evidence(Client::builder(TokioExecutor::new()).build(Connector::new()));
//! let response = ResendLayer::default().layer(client).oneshot(order).await?;
//! # drop(response);
//! # Ok(())
//! # }
//! ```
//!
//! # Errors
//!
//! An [`Error`] is one line that a person can act on, and carries what it rests on:
//!
//! | question | answer |
//! |---|---|
//! | What became of the request? | [`Error::fate`]: not applied, unknown, response lost or completed |
//! | Why was it not sent again? | [`Error::no_resend`] |
//! | What did each attempt see? | [`Error::attempts`]; of a response, [`attempts`] |
//! | May I send it again myself? | `error.fate().is_not_applied()`, and [`Error::take_request`] gives it back |
//!
//! [`fate`] has the words: each [`Ground`] and [`Doubt`](fate::Doubt) explains itself.
//! [`contract`] is what a server may promise, and [`gateway`] turns an error into the
//! response of a server of your own.
//!
//! | word | meaning |
//! |---|---|
//! | attempt | one hand-off of one request to one connection |
//! | dispatched | some part of the request was passed to the server's application |
//! | evidence | what one attempt's connection saw: counters, flags, errno |
//! | fate | what became of the request at the server, as far as the evidence proves |
//! | proof, doubt | why a fate is *not applied*; what is missing for a proof |
//! | ground, `NoResend` | why a resend is safe; why there was none |
//! | stale check | the check of an idle connection just before a request is written to it |
//! | settle | the wait after a FIN for the peer TCP's answer to our bytes |
//!
//! # A server
//!
//! The feature `server` has the other half, `server::serve`: it says by how it closes a
//! connection whether it dispatched a request. A client that knows the contract then resends
//! what a restart left undispatched, and only that.
//!
//! # Features
//!
//! `client` is on by default. Each half builds without the other; [`fate`] and [`contract`]
//! belong to both.
//!
//! | feature | for |
//! |---|---|
//! | `client` | the client half: all modules but `server`, `fate` and `contract` |
//! | `server` | the server half: `server` |
//! | `https` | https targets: `ring` and `platform-verifier` |
//! | `ring`, `aws-lc` | https targets with this cryptography; aws-lc where both are on |
//! | `platform-verifier`, `webpki-roots` | servers trusted as the system does, or by Mozilla's roots; the system where both are on |
//! | `tls` | https targets by a configuration of rustls of your own |
//! | `axum` | `axum::serve` over `server::Listener`, with `server` |
//!
//! [`Ground`]: fate::Ground

// Each item says which feature it needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "client")]
#[doc(hidden)]
pub mod __adapter;
#[cfg(feature = "client")]
mod attempt;
#[cfg(feature = "client")]
pub mod body;
#[cfg(feature = "client")]
mod chain;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "client")]
mod conn;
#[cfg(feature = "client")]
mod connect;
#[cfg(feature = "client")]
mod error;
#[cfg(feature = "client")]
pub mod gateway;
#[cfg(feature = "client")]
pub mod hyper_util;
#[cfg(feature = "client")]
pub mod pool;
#[cfg(feature = "client")]
pub mod resend;
#[cfg(feature = "server")]
pub mod server;
#[cfg(any(feature = "client", feature = "server"))]
mod statement;
#[cfg(any(feature = "client", feature = "server"))]
#[cfg_attr(
    not(all(feature = "client", feature = "server")),
    allow(dead_code, unused_imports, reason = "each half needs some of it")
)]
mod sys;
#[cfg(any(feature = "client", feature = "server"))]
#[cfg_attr(
    not(all(feature = "client", feature = "server")),
    allow(dead_code, reason = "each half needs some of it")
)]
mod time;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(feature = "client")]
mod trace;

#[cfg(feature = "client")]
pub use attempt::{Attempt, AttemptError, AttemptToken, attempts};
#[cfg(feature = "client")]
pub use body::Body;
#[cfg(feature = "client")]
pub use chain::BoxError;
#[cfg(feature = "client")]
pub use client::Client;
#[cfg(feature = "client")]
pub use error::Error;
#[cfg(feature = "client")]
pub use resend::{Policy, Resend, ResendLayer};
pub use tower_resend_core::Fate;

pub mod fate {
    //! What an [`Attempt`](crate::Attempt) and an [`Error`](crate::Error) carry:
    //! evidence, the fate that it proves, and the ground of a resend or the reason
    //! why there was none. Each value explains itself.
    //!
    //! | to find out | read |
    //! |---|---|
    //! | what became of a request | [`Fate`], and its [`Proof`] or [`Doubt`] |
    //! | why it was sent again, or not | [`Ground`], [`NoResend`] |
    //! | what a connection saw | [`Evidence`] |
    //! | what its server had promised | [`Contract`] |
    //! | what a policy takes | [`Role`], [`Classifier`] |
    //!
    //! The functions that conclude one from the other are in the crate
    //! `tower-resend-core`.

    #[doc(no_inline)]
    pub use tower_resend_core::{
        Acked, Alert, Answer, BadRequest, BodyState, Classifier, ConnectFailure, Contract, Counts,
        Deduplication, Doubt, Early, EndedBy, Errno, Evidence, Fate, Ground, HandOff, Limits,
        NoResend, Opinion, Outlook, PromiseSource, Proof, RequestFacts, Role, Rung, Segments,
        Semantics, Settled, StaleReason, TcpEvidence, Time, Unavailable,
    };
}

pub mod contract {
    //! What a server promises of one connection, in the field `Retry-Contract`:
    //! `docs/contract.md`.
    //!
    //! [`ContractStatus`] says under which promise an attempt was sent, or why
    //! under none. What reads and writes the field is in the crate
    //! `tower-resend-core`.

    #[cfg(feature = "server")]
    #[doc(no_inline)]
    pub use tower_resend_core::contract::{Announcement, ClosingStatus, Offer};
    #[doc(no_inline)]
    pub use tower_resend_core::contract::{
        ContractStatus, Hop, Ignored, Max, OutOfLimits, Promise, TrustedGateway,
    };
}

/// The README's examples are tested with the others, and need both halves.
#[cfg(all(doctest, feature = "client", feature = "server"))]
#[doc = include_str!("../README.md")]
struct Readme;

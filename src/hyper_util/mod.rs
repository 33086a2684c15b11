//! hyper-util's legacy [`Client`](::hyper_util::client::legacy::Client).
//!
//! # The connector alone
//!
//! One line, and nothing else changes:
//!
//! ```diff
//! -let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
//! +let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(Connector::new());
//! ```
//!
//! A request that is handed to a pooled connection of which the kernel knows
//! already that it ended, or on which something unsolicited arrived, then
//! survives: the [`Connector`]'s connections find it before the request is
//! taken, hyper hands the request back untouched, and the legacy client sends
//! it on another connection by itself (its `retry_canceled_requests`, which is
//! on by default). Without it such a request fails, or is given the
//! unsolicited response as its own.
//!
//! # With evidence
//!
//! [`with_evidence`] makes the client a service whose failures carry evidence, for a
//! [`ResendLayer`](crate::ResendLayer) to decide on:
//!
//! ```diff
//! +use tower::{Layer, ServiceExt};
//! +use tower_resend::hyper_util::{Connector, with_evidence};
//! -let client = Client::builder(TokioExecutor::new()).build_http();
//! -let response = client.request(request).await?;
//! +let client = with_evidence(Client::builder(TokioExecutor::new()).build(Connector::new()));
//! +let client = tower_resend::ResendLayer::default().layer(client);
//! +let response = client.clone().oneshot(request).await?;
//! ```
//!
//! A call's deadline is then the [`Policy`](crate::Policy)'s, 30 seconds by default;
//! [`Policy::deadline`](crate::Policy::deadline) changes it, or a
//! [`Deadline`](crate::resend::Deadline) among a request's extensions.
//!
//! ```no_run
//! use bytes::Bytes;
//! use http::Request;
//! use http_body_util::Full;
//! use hyper_util::client::legacy::Client;
//! use hyper_util::rt::TokioExecutor;
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_resend::ResendLayer;
//! use tower_resend::hyper_util::{Connector, with_evidence};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder(TokioExecutor::new()).build(Connector::new());
//! let client = ServiceBuilder::new().layer(ResendLayer::default()).service(with_evidence(client));
//!
//! let order = Request::post("http://127.0.0.1:8080/orders").body(Full::<Bytes>::from("pay"))?;
//! let response = client.oneshot(order).await?;
//! # drop(response);
//! # Ok(())
//! # }
//! ```
//!
//! # What is proven, and what is not
//!
//! | what happens | HTTP/1.1, plain or over the [`Connector`]'s TLS | other TLS, a tunnel or HTTP/2 above the [`Connector`] | no [`Connector`] |
//! |---|---|---|---|
//! | no connection | not applied (G1) | not applied (G1) | not applied (G1) |
//! | hyper hands the request back | not applied (G1) | not applied (G1) | not applied (G1) |
//! | the kernel accepted none of it | not applied (G1) | unknown: [`NoRequestBoundary`] | unknown: [`NoEvidence`] |
//! | FIN with none acknowledged, then refused | not applied (G2) | unknown: [`NoRequestBoundary`] | unknown: [`NoEvidence`] |
//! | the same after a 599 or 408 with close | not applied (G3) | unknown: [`NoRequestBoundary`] | unknown: [`NoEvidence`] |
//! | an unsolicited response after the write | withheld | as hyper has it | as hyper has it |
//! | anything else | unknown | unknown | unknown |
//!
//! Nobody announces a request to a connection of the legacy client. But hyper
//! asks a request's body whether it is empty when it takes the request from
//! its channel, before it writes any of it; the body that [`with_evidence`] gives it, a
//! [`TrackedBody`], starts the exchange then. A connection on which anything was
//! written before that for the first time (TLS and tunnels greet, HTTP/2 has a
//! preface) is not trusted to have such boundaries at all, ever.
//!
//! # Limits
//!
//! - The connector alone has the stale check and nothing else: what ends or speaks
//!   after the stale check fails as before, or is delivered as before. A wrapped
//!   client looks again before the first byte is written.
//! - An unsolicited response that crosses a request which the server's kernel
//!   acknowledges before the response is read here is taken for its answer.
//! - Half a TLS record that arrives while a connection is idle is found by a
//!   [wrapped](with_evidence) client over the connector's own TLS only; elsewhere the next
//!   request waits behind it.
//! - No server's promises are asked for or believed (G4, and G3 by the
//!   contract's `refused`), and an origin cannot be stated to close fully.
//! - What the legacy client sends again by itself was handed back to it, so it
//!   was never sent. Each such hand-off is listed among the
//!   [`attempts`](crate::attempts) too, before the one that followed, with what
//!   was found on its connection; and in the [`AttemptToken`] as soon as the
//!   client looks for another connection. Not listed is a connection that the
//!   [`Connector`] did not make, and one that refused the request in the very
//!   moment of the hand-over, by an end on another thread, if the client had
//!   another idle connection to hand it to at once.
//! - A body that is not [replayable](crate::body::Replayable) cannot be sent
//!   again after it was handed back, since the legacy client's error does not
//!   return it.
//! - hyper can leave a request in a connection's channel for ever if that ends
//!   at the moment of sending. A wrapped client gives it up a second after that
//!   end, and takes it for handed back if it then comes out of the channel
//!   untouched; the legacy client alone waits for ever, with any connector. A
//!   request that did come back is not given up, however long the client then
//!   takes to connect: only a deadline of the caller's own ends that wait.
//! - The extension of `capture_connection` is used here: one that the caller
//!   put in the request is replaced.
//! - The response's body is hyper's. If it fails the response is lost.
//!
//! [`AttemptToken`]: crate::AttemptToken
//! [`NoRequestBoundary`]: tower_resend_core::Doubt::NoRequestBoundary
//! [`NoEvidence`]: tower_resend_core::Doubt::NoEvidence

mod connector;
mod future;
mod handle;
mod marked;
mod service;

pub use connector::{ConnectError, Connecting, Connector, IntoTcpStream, TrackedStream};
pub use future::ResponseFuture;
pub use marked::TrackedBody;
pub use service::{EvidenceClient, with_evidence};

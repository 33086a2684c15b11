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
//! A pooled connection may have ended, or may hold bytes that answer nothing, without the
//! client's knowledge. The kernel knows. The [`Connector`]'s connections ask it before hyper
//! takes a request from its channel; hyper then hands the request back untouched, and the
//! legacy client sends it on another connection by itself (its
//! `retry_canceled_requests`, on by default). Without that the request fails, or gets the
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
//! | FIN with none acknowledged, then reset | not applied (G2) | unknown: [`NoRequestBoundary`] | unknown: [`NoEvidence`] |
//! | the same after a 599 or 408 with close | not applied (G3) | unknown: [`NoRequestBoundary`] | unknown: [`NoEvidence`] |
//! | an unsolicited response after the write | withheld | as hyper has it | as hyper has it |
//! | anything else | unknown | unknown | unknown |
//!
//! A connection of the legacy client is not told that a request comes. But when hyper takes
//! a request from its channel, it asks the body whether it is empty before it writes any of
//! the request. The body that [`with_evidence`] gives it, a [`TrackedBody`], begins the
//! exchange at that moment. A connection on which anything was written before its first
//! request (a TLS or tunnel handshake, the preface of HTTP/2) never counts as one with such
//! boundaries.
//!
//! # Limits
//!
//! - The connector alone has the stale check and nothing else: what ends the connection or
//!   arrives on it after the stale check fails as before, or is delivered as before. A
//!   wrapped client checks once more before the first byte is written.
//! - An unsolicited response that crosses a request is taken for its answer, if the server's
//!   kernel acknowledges the request before the response is read here.
//! - Half a TLS record that arrives on an idle connection is found only by a
//!   [wrapped](with_evidence) client over the connector's own TLS. Elsewhere the next request
//!   waits behind it.
//! - No server's promises are asked for or believed (no G4, and no G3 by the contract's
//!   `refused`), and no statements about an origin can be made.
//! - What the legacy client sends again by itself was handed back to it, so it was never
//!   sent. Each such hand-back is listed among the [`attempts`](crate::attempts) before the
//!   attempt that followed, with what was found on its connection; the [`AttemptToken`] has
//!   it as soon as the client looks for another connection. Two are not listed: a hand-back
//!   by a connection that the [`Connector`] did not make; and one by a connection that ended
//!   on another thread at the moment of the hand-over, if the client had another idle
//!   connection at once.
//! - A body that is not [replayable](crate::body::Replayable) cannot be sent again after it
//!   was handed back, since the legacy client's error does not return it.
//! - hyper can leave a request in a connection's channel forever, if the connection ends at
//!   the moment of sending. A wrapped client ends that wait one second after the connection
//!   ended; if the request then comes out of the channel untouched, it counts as handed
//!   back. The legacy client alone waits forever, with any connector. This limit does not
//!   apply to a request that did come back, however long the client then takes to connect:
//!   only a deadline of the caller's own ends that wait.
//! - The extension of `capture_connection` is used here. One that the caller put in the
//!   request is replaced.
//! - The response's body is hyper's. If it fails, the response is lost.
//!
//! [`AttemptToken`]: crate::AttemptToken
//! [`NoRequestBoundary`]: tower_resend_core::Doubt::NoRequestBoundary
//! [`NoEvidence`]: tower_resend_core::Doubt::NoEvidence

mod connector;
mod future;
mod service;
mod tracked_body;
mod tracker_handle;

pub use connector::{ConnectError, Connecting, Connector, IntoTcpStream, TrackedStream};
pub use future::ResponseFuture;
pub use service::{EvidenceClient, with_evidence};
pub use tracked_body::TrackedBody;

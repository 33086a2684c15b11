//! tower-resend for the HTTP client reqwest, in two ways.
//!
//! # Over tower-resend's stack: full evidence
//!
//! [`ResendMiddleware`] is a middleware of reqwest-middleware. Requests and responses stay
//! reqwest's, and a [`Client`](tower_resend::Client) sends them:
//!
//! ```diff
//! +use reqwest_middleware::ClientBuilder;
//! +use tower_resend_reqwest::ResendMiddleware;
//! -let client = reqwest::Client::new();
//! +let through = ResendMiddleware::new(tower_resend::Client::new());
//! +let client = ClientBuilder::new(reqwest::Client::new()).with(through).build();
//! ```
//!
//! ```no_run
//! use reqwest_middleware::ClientBuilder;
//! use tower_resend_reqwest::{self as adapter, ResendMiddleware};
//!
//! # async fn example() {
//! let through = ResendMiddleware::new(tower_resend::Client::new());
//! let client = ClientBuilder::new(reqwest::Client::new()).with(through).build();
//! match client.post("http://127.0.0.1:8080/orders").body("pay").send().await {
//!     Ok(response) => println!("{} from {}", response.status(), response.url()),
//!     Err(error) => match adapter::error(&error) {
//!         Some(error) => println!("{error}"), // it has the fate and the request
//!         None => println!("{error}"),
//!     },
//! }
//! # }
//! ```
//!
//! A call's deadline is the request's own timeout, whether longer or shorter than the
//! [`Policy`](tower_resend::Policy)'s. For a request without a timeout it is the policy's,
//! 30 seconds by default; [`Policy::deadline`](tower_resend::Policy::deadline) changes it.
//!
//! reqwest's own client still builds the requests, but does nothing any more when they are
//! sent:
//!
//! | lost | replaced by |
//! |---|---|
//! | redirects | tower-http's `FollowRedirectLayer`, **under** the [`ResendLayer`]; those that keep the body (307, 308) by a policy that can replay it |
//! | decompression | tower-http's `DecompressionLayer` |
//! | default header fields, `User-Agent` | tower-http's `SetRequestHeaderLayer`; or on each request |
//! | the client's own timeout | the request's own timeout; the [`Policy`](tower_resend::Policy)'s deadline, which ends with the response's head |
//! | proxies | [`PoolOptions::proxies`](tower_resend::pool::PoolOptions::proxies) |
//! | TLS settings | `PoolOptions::tls` (feature `https`) |
//! | cookies, DNS settings, HTTP/2, `Response::remote_addr` | nothing yet |
//! | retries of reqwest | the [`Policy`](tower_resend::Policy) |
//!
//! A failure is tower-resend's error, in a `reqwest_middleware::Error::Middleware`, whose
//! `is_timeout`, `is_connect` and the like are always `false`. Code that asks them has to
//! ask [`error`] instead, or downcast to a type listed at [`ResendMiddleware`]. A failed
//! connect is repeated for up to 10 seconds, by the policy's
//! [`connect_patience`](tower_resend::Policy::connect_patience), where reqwest fails at once.
//!
//! `https` URLs work where the service supports them: a [`Client`](tower_resend::Client)
//! with the feature `https` of tower-resend, by its own TLS settings and not reqwest's. Any
//! other scheme is an error, [`NotHttp`], and is not sent by reqwest either.
//!
//! A layer that sends several requests for one, such as one that follows
//! redirects, belongs between the [`ResendLayer`] and the
//! [`Pool`](tower_resend::pool::Pool). The error of a `POST` that was answered and
//! whose next request failed is then about the `POST` too; above the resending
//! layer it would be about the last request alone.
//!
//! After a 307 or 308 the request is sent again with its body. The layer's own policies
//! cannot copy a [`Body`](tower_resend::Body), and return such a response to the caller;
//! [`replay`](tower_resend::body::Replayable::replay) can copy it, unless it is a stream. The
//! policies also drop the [`AttemptToken`](tower_resend::AttemptToken), with all extensions,
//! where a redirect leaves the origin; without it the last request is not recorded.
//!
//! ```
//! # use http::HeaderValue;
//! # use http::header::USER_AGENT;
//! # use tower::ServiceBuilder;
//! # use tower_http::decompression::DecompressionLayer;
//! # use tower_http::follow_redirect::FollowRedirectLayer;
//! # use tower_http::set_header::SetRequestHeaderLayer;
//! # use tower_resend_reqwest::ResendMiddleware;
//! # use tower_resend::pool::{Pool, PoolOptions};
//! use tower_http::follow_redirect::policy::{FilterCredentials, Limited, PolicyExt, clone_body_fn};
//! use tower_resend::body::Replayable;
//! use tower_resend::{AttemptToken, Body, ResendLayer};
//!
//! let redirects = Limited::default()
//!     .and::<_, Body, ()>(FilterCredentials::new().allow_extension::<AttemptToken>())
//!     .and::<_, Body, ()>(clone_body_fn(|body: &Body| body.replay().ok()));
//! let stack = ServiceBuilder::new()
//!     .layer(SetRequestHeaderLayer::if_not_present(USER_AGENT, HeaderValue::from_static("shop")))
//!     .layer(DecompressionLayer::new())
//!     .layer(ResendLayer::default())
//!     .layer(FollowRedirectLayer::with_policy(redirects))
//!     .service(Pool::<Body>::new(PoolOptions::new()));
//! let send_through = ResendMiddleware::new(stack);
//! # let _: reqwest_middleware::ClientWithMiddleware =
//! #     reqwest_middleware::ClientBuilder::new(reqwest::Client::new()).with(send_through).build();
//! ```
//!
//! A response's `url()` is then still that of the request that was made;
//! tower-http's `RequestUri`, among the response's extensions, has the last.
//!
//! # reqwest's own client, with what its errors prove
//!
//! [`with_evidence`] takes a `reqwest::ClientBuilder` and returns a service whose failures
//! carry evidence, for a [`ResendLayer`] to decide on. TLS, proxies, DNS, HTTP/2 and
//! decompression stay reqwest's.
//!
//! reqwest has TLS where your own `Cargo.toml` enables a TLS feature of it, or with the
//! feature `rustls` of this crate. If you enable reqwest's rustls yourself, enable this
//! crate's feature `tls` too: it recognizes what a handshake ended with.
//!
//! ```diff
//! -let client = reqwest::Client::builder().build()?;
//! -let response = client.execute(request.try_into()?).await?;
//! +let client = ResendLayer::default().layer(with_evidence(reqwest::Client::builder())?);
//! +let response = client.clone().oneshot(request).await?;
//! ```
//!
//! The request is an [`http::Request`] whose body is
//! [`Replayable`](tower_resend::body::Replayable). The call's deadline is the
//! [`Policy`](tower_resend::Policy)'s, 30 seconds by default, even where the builder was
//! given a longer timeout; `Policy::deadline` changes it, or a
//! [`Deadline`](tower_resend::resend::Deadline) among the request's extensions.
//!
//! | reqwest's error | fate |
//! |---|---|
//! | no connection: connection refused, no such name, TLS handshake failed, not an HTTP URL | not applied (G1) |
//! | hyper handed the request back | not applied (G1) |
//! | the peer reset its HTTP/2 stream with `REFUSED_STREAM` | not applied (G3) |
//! | the peer's GOAWAY excludes its HTTP/2 stream, and its body was polled | not applied (G3) |
//! | anything else: FIN, reset, timeout, garbage, another GOAWAY | unknown: [`NoEvidence`] |
//!
//! Redirects and reqwest's retries are off. With a redirect, the error of a later request
//! would look like that of the first: a `POST` that was answered by a 303, after which the
//! next connect failed, was executed. A layer that follows redirects belongs under the
//! [`ResendLayer`] here too.
//!
//! - An unsolicited response, such as a 408 of a server that closes, becomes the answer of the
//!   next request, as it does in reqwest.
//! - An `http` URL that `https_only` forbids is *unknown*: reqwest's error could also follow
//!   an answer.
//! - What reqwest's pool sends again by itself was handed back to it, so it was never sent.
//!   Those hand-offs are not listed among the [`attempts`](tower_resend::attempts()).
//! - A resend cannot ask reqwest's pool for a fresh connection. So a 421 is delivered and the
//!   request is not sent again.
//! - hyper can leave a request in a connection's channel forever, if the connection ends at
//!   the moment of sending. That cannot be seen from outside of reqwest; a timeout of the
//!   request's own, or of the [`Policy`](tower_resend::Policy), ends the wait as *unknown*.
//! - A stream cannot be sent again after it was handed back, unless it is
//!   [recorded](tower_resend::ResendLayer::replay_streams).
//!
//! [`ResendLayer`]: tower_resend::ResendLayer
//! [`NoEvidence`]: tower_resend_core::Doubt::NoEvidence

// Each item says which feature it needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod chain;
mod errors;
mod middleware;
mod timeout;
mod transport;

pub use errors::{NotHttp, TimedOut, error, into_error};
pub use middleware::{ResendMiddleware, attempts};
pub use transport::{ReqwestTransport, ResponseFuture, with_evidence};

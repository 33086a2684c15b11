//! The HTTP client reqwest, in two ways.
//!
//! # Through this crate's stack: full evidence
//!
//! [`ResendMiddleware`] is a middleware of reqwest-middleware. Requests and
//! responses stay reqwest's, and are sent by a [`Client`](tower_resend::Client):
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
//!         Some(error) => println!("{error}"), // it has a fate, a verdict, the request
//!         None => println!("{error}"),
//!     },
//! }
//! # }
//! ```
//!
//! A call's deadline is the request's own timeout, longer or shorter than the
//! [`Policy`](tower_resend::Policy)'s, which is 30 seconds by default and is that of
//! requests without a timeout; [`Policy::deadline`](tower_resend::Policy::deadline)
//! changes it.
//!
//! reqwest's own client, which is still there to build requests, does none of
//! what it does on sending any more:
//!
//! | lost | given back by |
//! |---|---|
//! | redirects | tower-http's `FollowRedirectLayer`, **under** the [`ResendLayer`]; those that keep the body (307, 308) by a policy that can have it again |
//! | decompression | tower-http's `DecompressionLayer` |
//! | default header fields, `User-Agent` | tower-http's `SetRequestHeaderLayer`; or on each request |
//! | the client's own timeout | the request's own timeout; the [`Policy`](tower_resend::Policy)'s deadline, which ends with the response's head |
//! | proxies | [`PoolOptions::proxies`](tower_resend::pool::PoolOptions::proxies) |
//! | TLS settings | `PoolOptions::tls` (feature `https`) |
//! | cookies, DNS settings, HTTP/2, `Response::remote_addr` | nothing yet |
//! | retries of reqwest | the [`Policy`](tower_resend::Policy) |
//!
//! A failure is this crate's, in a `reqwest_middleware::Error::Middleware`, whose
//! `is_timeout`, `is_connect` and the like are always false: code that asks them
//! has to ask [`error`], or the type that is named at [`ResendMiddleware`]. A connect that
//! fails is repeated for up to 10 seconds, as the policy's
//! [`connect_patience`](tower_resend::Policy::connect_patience) says, where reqwest fails
//! at once.
//!
//! `https` URLs are sent too where the service can; a [`Client`](tower_resend::Client)
//! can with the feature `https`, by its own TLS settings and not reqwest's. Any
//! other scheme is an error, [`NotHttp`], and not
//! sent by reqwest either.
//!
//! A layer that sends several requests for one, such as one that follows
//! redirects, belongs between the [`ResendLayer`] and the
//! [`Pool`](tower_resend::pool::Pool). The error of a `POST` that was answered and
//! whose next request failed is then about the `POST` too; above the resending
//! layer it would be about the last request alone.
//!
//! A 307 or 308 has the request sent with its body once more. The layer's own
//! policies cannot have a second [`Body`](tower_resend::Body), and give such a response to
//! the caller; [`replay`](tower_resend::body::Replayable::replay) can, but for streams.
//! And they drop the [`AttemptToken`](tower_resend::AttemptToken) where a redirect leaves
//! the origin, with all extensions; without it the last request is not recorded.
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
//! [`with_evidence`] takes a `reqwest::ClientBuilder` and gives a service whose failures
//! carry evidence, for a [`ResendLayer`] to decide on. TLS, proxies, DNS,
//! HTTP/2 and decompression stay reqwest's. (It has TLS where your own
//! `Cargo.toml` gives it some, or with the feature `rustls`; turn on `tls` where it is
//! rustls that your own `Cargo.toml` gives it.)
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
//! | there was no connection: refused, no such name, TLS handshake, no HTTP URL | not applied (G1) |
//! | hyper handed the request back | not applied (G1) |
//! | the peer reset its HTTP/2 stream with `REFUSED_STREAM` | not applied (G3) |
//! | the peer's GOAWAY leaves its HTTP/2 stream out, and its body was asked for | not applied (G3) |
//! | anything else: FIN, reset, timeout, garbage, another GOAWAY | unknown: [`NoEvidence`] |
//!
//! Redirects and reqwest's retries are off. A redirect would make a later
//! request fail in the name of the first: a `POST` that was answered
//! 303, and whose next request was refused a connection, was executed. A layer
//! that follows redirects belongs under the [`ResendLayer`] here too.
//!
//! - An unsolicited response, such as a 408 of a server that closes, is given to the
//!   next request as its answer, as reqwest has it.
//! - Of an `http` URL that `https_only` forbids reqwest says nothing that could
//!   not follow an answer too: *unknown*.
//! - What reqwest's pool sends again by itself was handed back to it, so it
//!   was never sent; those hand-offs are not listed among the
//!   [`attempts`](tower_resend::attempts()).
//! - A resend cannot ask reqwest's pool for a fresh connection. So a 421 is
//!   delivered and not sent again.
//! - hyper can leave a request in a connection's channel for ever if that ends
//!   at the moment of sending. Nobody outside reqwest can tell; a timeout of the
//!   request's own, or of the [`Policy`](tower_resend::Policy), ends the wait as
//!   *unknown*.
//! - A streamed body cannot be sent again after it was handed back, unless it
//!   is [recorded](tower_resend::ResendLayer::replay_streams).
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

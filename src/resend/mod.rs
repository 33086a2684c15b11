//! A layer that resends failed requests where that is safe.
//!
//! When a connection fails under a request, "retry it" may apply the request
//! twice, and "report it" fails requests that the server never saw. This layer
//! sends a request again if, and only if, there is a
//! [`Ground`](tower_resend_core::Ground) for every attempt before: a proof that
//! the server did not act on it, deduplication at the server, or idempotence.
//! Otherwise its [`Error`](crate::Error) says what became of the request and
//! which ground was missing.
//!
//! # Why not `tower::retry`?
//!
//! `tower::retry` asks a policy that sees an error, and an error does not say
//! whether the server had the request. Here each attempt leaves a record of
//! what its connection saw:
//!
//! | | `tower::retry` | this layer |
//! |---|---|---|
//! | decides by | the error, as the policy understands it | evidence of every attempt |
//! | a POST whose connection failed | resent or not, both wrong at times | resent if it was not applied |
//! | an unclonable request | not retried, silently | resent if given back, else the error says so |
//! | readiness | polled before each attempt | the same |
//! | two such layers | multiply their attempts | the inner one stands down |
//! | the wait | in the policy | full jitter, and none after a first proof |
//! | failure | the last error | the weakest fate of all attempts, and the request |
//!
//! # How it knows
//!
//! The layer puts an [`AttemptToken`](crate::AttemptToken) into the extensions
//! of each request, and this crate's transport records every hand-off in it. A
//! service of another kind may do so too. Where nothing is recorded the fate
//! is *unknown*, and only deduplication, idempotence or the caller's own word
//! allow a resend. A request that carries a token already is under a resending
//! layer further out: this layer then stands down and passes it on once.
//!
//! A layer between this one and the transport should not detach a hand-off
//! from the future of its call: while a copy of the request outlives that,
//! nothing is taken for proven. Nor should it drop a request's extensions and
//! then send it: such a hop is seen only if the call fails with its error. And it
//! should keep an error among the sources of its own: one that tells of no recorded
//! hand-off is taken for that of another hop, but for the `Elapsed` of tower or Tokio
//! where it gave a hand-off up.
//!
//! # Examples
//!
//! ```
//! use std::sync::atomic::{AtomicBool, Ordering};
//!
//! use http::{Request, Response};
//! use tower::{BoxError, ServiceBuilder, ServiceExt};
//! use tower_resend::fate::{Contract, Evidence, StaleReason, HandOff};
//! use tower_resend::{Attempt, AttemptToken, Policy, ResendLayer};
//!
//! // A transport whose first connection turns out to be closed.
//! static WAS_CLOSED: AtomicBool = AtomicBool::new(false);
//!
//! async fn transport(request: Request<String>) -> Result<Response<String>, BoxError> {
//!     if WAS_CLOSED.swap(true, Ordering::Relaxed) {
//!         return Ok(Response::new("paid".to_owned()));
//!     }
//!     if let Some(token) = request.extensions().get::<AttemptToken>() {
//!         let evidence = Evidence::new(HandOff::HandedBack(StaleReason::Fin));
//!         token.record(Attempt::new(evidence, &Contract::none()));
//!     }
//!     Err("the connection was closed".into())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let service = ServiceBuilder::new()
//!     .layer(ResendLayer::new(Policy::default()))
//!     .service_fn(transport);
//! let response = service.oneshot(Request::post("/orders").body("pay".to_owned())?).await?;
//!
//! assert_eq!(response.body(), "paid");
//! assert_eq!(tower_resend::attempts(&response).len(), 2);
//! # Ok(())
//! # }
//! ```

mod backoff;
mod call;
mod future;
mod layer;
mod limits;
mod policy;
mod request;
mod service;
mod streams;

pub use crate::deadline::Deadline;
pub use future::ResponseFuture;
pub use layer::ResendLayer;
pub use policy::Policy;
pub use request::Idempotent;
pub use service::Resend;
pub use streams::{ReplayStreams, ReplayStreamsLayer};

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use tower::{BoxError, Layer, ServiceExt};

    use super::*;
    use crate::attempt::Freshness;
    use crate::{Attempt, AttemptToken};
    use tower_resend_core::{ConnectFailure, Contract, Evidence, HandOff, StaleReason};

    /// Whether a resend after this hand-off asks for a fresh connection.
    async fn wants_fresh(hand_off: HandOff) -> bool {
        let transport = move |request: Request<String>| async move {
            let token = request.extensions().get::<AttemptToken>().cloned().unwrap_or_default();
            if token.is_empty() {
                token.record(Attempt::new(Evidence::new(hand_off), &Contract::none()));
                return Err(BoxError::from("failed"));
            }
            Ok(Response::new(token.freshness() != Freshness::Any))
        };
        let service = ResendLayer::default().layer(tower::service_fn(transport));
        let response = service.oneshot(Request::new(String::new())).await;
        response.unwrap().into_body()
    }

    #[tokio::test(start_paused = true)]
    async fn a_resend_goes_to_a_fresh_connection_unless_none_was_made() {
        assert!(wants_fresh(HandOff::HandedBack(StaleReason::Fin)).await);
        assert!(wants_fresh(HandOff::NothingWritten).await);
        assert!(!wants_fresh(HandOff::NotConnected(ConnectFailure::Resolve)).await);
    }
}

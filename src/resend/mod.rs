//! A layer that resends failed requests where that is safe.
//!
//! When a connection fails under a request, "retry it" may apply the request twice, and
//! "report it" fails requests that the server never saw. This layer sends a request again
//! if, and only if, there is a [`Ground`](crate::fate::Ground) for every earlier attempt: a
//! proof that the server did not act on it, deduplication at the server, or idempotence.
//! Otherwise its [`Error`](crate::Error) has the request's fate, and names the grounds that
//! were missing.
//!
//! # Why not `tower::retry`?
//!
//! `tower::retry` asks a policy that sees an error, and an error does not say whether the
//! server had the request. Here each attempt leaves a record of what its connection saw:
//!
//! | | `tower::retry` | this layer |
//! |---|---|---|
//! | decides by | the error, as the policy understands it | evidence of every attempt |
//! | a POST whose connection failed | resent or not; each is sometimes wrong | resent if it was not applied |
//! | a request that is not `Clone` | not retried, silently | resent if given back; else the error says so |
//! | readiness | polled before each attempt | the same |
//! | two such layers | multiply their attempts | the inner one stands down |
//! | the wait | in the policy | full jitter, and none after a first proof |
//! | failure | the last error | the weakest fate of all attempts, and the request |
//!
//! # How it knows
//!
//! The layer puts an [`AttemptToken`](crate::AttemptToken) into the extensions of each
//! request, and this crate's transports record every hand-off in it. A transport of your own
//! can do so too ([`AttemptError`](crate::AttemptError) has an example). Where nothing is
//! recorded the fate is *unknown*, and only deduplication, idempotence or the caller's own
//! word allow a resend. A request that carries a token already is under an outer resending
//! layer: this layer then stands down and passes it on once.
//!
//! Any layer may stand between this one and the transport. To keep proofs usable, it should
//!
//! - not detach a hand-off from the future of its call: while a copy of the request outlives
//!   that future, no proof counts;
//! - not drop a request's extensions and then send it: such a hand-off is noticed only if the
//!   call fails with its error;
//! - keep the transport's error among the sources of its own. Otherwise the error is taken
//!   for that of a hand-off that is not recorded. The `Elapsed` of tower or Tokio, after the
//!   layer dropped a hand-off, is an exception.
//!
//! # Examples
//!
//! ```
//! use std::sync::atomic::{AtomicBool, Ordering};
//!
//! use http::{Request, Response};
//! use tower::{BoxError, ServiceBuilder, ServiceExt};
//! use tower_resend::fate::{Contract, Evidence, HandOff, StaleReason};
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
mod deadline;
mod future;
mod idempotent;
mod layer;
mod policy;
mod replay_streams;
mod saved_request;
mod service;
mod time_limits;

pub use deadline::Deadline;
pub use future::ResponseFuture;
pub use idempotent::Idempotent;
pub use layer::{ReplayStreamsLayer, ResendLayer};
pub use policy::Policy;
pub use replay_streams::ReplayStreams;
pub use service::Resend;

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use tower::{BoxError, Layer, ServiceExt};

    use super::*;
    use crate::attempt::Freshness;
    use crate::{Attempt, AttemptToken};
    use tower_resend_core::{ConnectFailure, Contract, Evidence, HandOff, StaleReason};

    /// Returns `true` if a resend after this hand-off requires a fresh connection.
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
    async fn resend_wants_a_fresh_connection_unless_connecting_failed() {
        assert!(wants_fresh(HandOff::HandedBack(StaleReason::Fin)).await);
        assert!(wants_fresh(HandOff::NothingWritten).await);
        assert!(!wants_fresh(HandOff::NotConnected(ConnectFailure::Resolve)).await);
    }
}

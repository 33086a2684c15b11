//! Which request was dispatched, and what may be said of it.
//!
//! The server half puts a [`DispatchToken`] into the extensions of each request
//! that it passes to the application. A statement is made from a token, so it
//! speaks of that one exchange: a response that was passed on from elsewhere,
//! stored, or given again carries no statement about this one.
//!
//! Both halves use this module, and neither knows the other: the server makes
//! tokens and checks statements, a gateway records its hops in the token.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Extensions;

/// States, as an extension of a response, that nothing acted on the request that
/// it answers, and that nothing will: sending that request again is safe.
///
/// To a client that offered to understand it, the response then carries
/// `refused`, and the connection is closed (S4); to others it means only
/// `Connection: close`. It counts only if the status is neither a success nor
/// 101.
///
/// **A wrong statement doubles requests.** It is made for the whole application:
/// for the service that makes it *and for every layer above it*. A layer with
/// effects of its own (an audit, a quota, a store of responses) calls
/// [`rule_out`](Self::rule_out) before it passes a request on.
///
/// A statement speaks of the one request whose extensions it was made from. It is
/// believed for that exchange alone, so a response that was stored and is given
/// again carries no statement. It is not believed either
///
/// - while anything else still holds those extensions or a copy of them: a
///   request that was cloned and spawned may yet be acted on;
/// - if the request was passed on with these extensions through a
///   [`Gateway`](crate::gateway::Gateway), and the next hop does not prove it
///   unapplied.
///
/// The response of a gateway carries no statement; see
/// [`RefuseUnforwardedLayer`](crate::gateway::RefuseUnforwardedLayer).
///
/// # Examples
///
/// ```
/// use http::{Request, Response, StatusCode};
/// use tower_resend::server::NotApplied;
///
/// async fn app<B>(request: Request<B>, has_room: bool) -> Response<&'static str> {
///     let mut response = Response::new("done");
///     if !has_room {
///         *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
///         response.extensions_mut().insert(NotApplied::of(request.extensions()));
///     }
///     response
/// }
/// ```
#[cfg(feature = "server")]
#[derive(Clone, Debug)]
pub struct NotApplied {
    request: Option<DispatchToken>,
}

#[cfg(feature = "server")]
impl NotApplied {
    /// Returns the statement about the request that has these extensions.
    ///
    /// It speaks of no request, and is not believed, if these are not the
    /// extensions of a request that came through
    /// [`Dispatch`](crate::server::Dispatch).
    pub fn of(request: &Extensions) -> Self {
        Self { request: DispatchToken::find(request) }
    }

    /// Makes sure that no inner service can state it about this request: for a
    /// layer that acts on a request before, or while, it passes it on.
    pub fn rule_out(request: &mut Extensions) {
        request.remove::<DispatchToken>();
    }

    #[cfg(feature = "client")]
    pub(crate) fn of_dispatched(request: DispatchToken) -> Self {
        Self { request: Some(request) }
    }

    /// Returns `true` if it speaks of this exchange, and nothing that is known
    /// of the exchange contradicts it.
    pub(crate) fn holds_for(&self, exchange: &DispatchToken) -> bool {
        self.request.as_ref().is_some_and(|request| request.is(exchange))
            // Two holders: the exchange and this statement. A third is a copy of
            // the request that may yet be acted on.
            && Arc::strong_count(&exchange.unproven_hops) == 2
            && exchange.unproven_hops.load(Ordering::Acquire) == 0
    }
}

/// Names one dispatched request, among its extensions. Clones name the same
/// request.
#[derive(Clone, Debug, Default)]
pub(crate) struct DispatchToken {
    /// How many gateways passed the request on without a proof, so far, that the
    /// next hop did not apply it.
    unproven_hops: Arc<AtomicUsize>,
}

impl DispatchToken {
    /// Returns the token of the request that has these extensions; none if no
    /// server of this crate dispatched it.
    pub(crate) fn find(request: &Extensions) -> Option<Self> {
        request.get::<Self>().cloned()
    }

    #[cfg(feature = "server")]
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.unproven_hops, &other.unproven_hops)
    }

    /// A gateway passes the request on. It may be applied until the opposite is
    /// proven: a dropped future proves nothing.
    #[cfg(feature = "client")]
    pub(crate) fn pass_on(&self) {
        self.unproven_hops.fetch_add(1, Ordering::AcqRel);
    }

    /// The next hop did not apply what one gateway passed on.
    #[cfg(feature = "client")]
    pub(crate) fn was_not_applied(&self) {
        self.unproven_hops.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(all(test, feature = "client", feature = "server"))]
mod tests {
    use super::*;

    fn dispatched() -> (DispatchToken, Extensions) {
        let exchange = DispatchToken::default();
        let mut extensions = Extensions::new();
        extensions.insert(exchange.clone());
        (exchange, extensions)
    }

    #[test]
    fn statement_holds_for_its_own_exchange_only() {
        let (exchange, extensions) = dispatched();
        let (other, other_extensions) = dispatched();
        let stated = NotApplied::of(&extensions);
        drop((extensions, other_extensions));
        assert!(stated.holds_for(&exchange));
        assert!(!stated.holds_for(&other));
        assert!(!NotApplied::of(&Extensions::new()).holds_for(&exchange));
    }

    #[test]
    fn statement_does_not_hold_while_a_copy_of_the_request_lives() {
        let (exchange, extensions) = dispatched();
        let stated = NotApplied::of(&extensions);
        assert!(!stated.holds_for(&exchange));
        drop(extensions);
        assert!(stated.holds_for(&exchange));
    }

    #[test]
    fn statement_does_not_hold_while_a_hop_is_unproven() {
        let (exchange, extensions) = dispatched();
        let stated = NotApplied::of(&extensions);
        drop(extensions);
        exchange.pass_on();
        exchange.pass_on();
        exchange.was_not_applied();
        assert!(!stated.holds_for(&exchange));
        exchange.was_not_applied();
        assert!(stated.holds_for(&exchange));
    }

    #[test]
    fn layer_with_effects_rules_the_statement_out() {
        let (exchange, mut extensions) = dispatched();
        NotApplied::rule_out(&mut extensions);
        let stated = NotApplied::of(&extensions);
        assert!(!stated.holds_for(&exchange));
    }
}

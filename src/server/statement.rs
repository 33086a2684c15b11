//! What may be said of a request that was dispatched, and of which one.
//!
//! [`Dispatch`](super::Dispatch) puts a [`Dispatched`] into the extensions of each
//! request that it gives to the application. A statement is made of one, so that
//! it speaks of that exchange and of no other: a response that is passed on from
//! elsewhere, remembered, or answered again brings none with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Extensions;

use tower_resend_core::Fate;

/// States, as an extension of a response, that nothing acted on the request that
/// it answers, and that nothing will: sending that request again is safe.
///
/// To a client that offered to understand it the answer then carries
/// `refused`, and the connection is closed (S4); to others it means nothing
/// but `Connection: close`. It counts only where the status is neither a
/// success nor 101.
///
/// **A wrong statement doubles requests.** It is made of the whole application:
/// of the service that says it *and of every layer above it*. A layer that has
/// effects of its own (an audit, a quota, a store of answers) calls
/// [`rule_out`](Self::rule_out) before it passes a request on.
///
/// A statement speaks of the one request whose extensions it was made of. It is
/// believed of that exchange alone, so a response that was kept and is answered
/// again has none. It is not believed either
///
/// - while anything else still holds those extensions or a copy of them: a
///   request that was cloned and spawned may yet be acted on;
/// - where the request was passed on through a [`Gateway`](super::Gateway), with
///   these extensions, and the next hop does not prove it unapplied.
///
/// A gateway's answer does not carry it; see
/// [`RefuseUnforwardedLayer`](super::RefuseUnforwardedLayer).
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
#[derive(Clone, Debug)]
pub struct NotApplied {
    request: Option<Dispatched>,
}

impl NotApplied {
    /// Returns the statement about the request that has these extensions.
    ///
    /// It speaks of no request, and is not believed, if these are not the
    /// extensions of a request that came through [`Dispatch`](super::Dispatch).
    pub fn of(request: &Extensions) -> Self {
        Self { request: request.get::<Dispatched>().cloned() }
    }

    /// Makes sure that nothing below can state it of this request: for a layer
    /// that acts on a request before, or while, it passes it on.
    pub fn rule_out(request: &mut Extensions) {
        request.remove::<Dispatched>();
    }

    pub(super) fn of_taken_up(request: Dispatched) -> Self {
        Self { request: Some(request) }
    }

    /// Returns `true` if it speaks of this exchange, and nothing that is known
    /// of the exchange contradicts it.
    pub(super) fn holds_for(&self, exchange: &Dispatched) -> bool {
        self.request.as_ref().is_some_and(|request| request.is(exchange))
            // The exchange's own and the statement's.
            && Arc::strong_count(&exchange.0) == 2
            && exchange.0.unproven_hops.load(Ordering::Acquire) == 0
    }
}

/// What became of a request at the next hop of a gateway, as an extension of the
/// answer that a [`Gateway`](super::Gateway) gives in that hop's place.
///
/// It says nothing of the request that the gateway's own server dispatched: that
/// one may have been acted on before it was passed on.
#[derive(Clone, Debug)]
pub struct NextHop {
    fate: Fate,
    request: Option<Dispatched>,
}

impl NextHop {
    pub(super) fn new(fate: Fate, request: Option<Dispatched>) -> Self {
        Self { fate, request }
    }

    /// Returns the fate of the request at the next hop.
    pub fn fate(&self) -> Fate {
        self.fate
    }

    /// Returns `true` if the very request that was dispatched was passed on, and
    /// not applied. The statement lets go of the request: whoever asks makes
    /// another of it.
    pub(super) fn left_unapplied(&mut self, exchange: &Dispatched) -> bool {
        let request = self.request.take();
        self.fate.is_not_applied() && request.is_some_and(|request| request.is(exchange))
    }
}

/// One request that was dispatched, among its extensions. Clones are of the same
/// request.
#[derive(Clone, Debug, Default)]
pub(super) struct Dispatched(Arc<Exchange>);

#[derive(Debug, Default)]
struct Exchange {
    /// How often a gateway passed the request on without a proof, so far, that
    /// the next hop did not apply it.
    unproven_hops: AtomicUsize,
}

impl Dispatched {
    /// Returns the request that has these extensions, if it was dispatched.
    pub(super) fn find(request: &Extensions) -> Option<Self> {
        request.get::<Self>().cloned()
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// A gateway passes the request on. Until the end is proven it may be
    /// applied: a future that is dropped proves nothing.
    pub(super) fn pass_on(&self) {
        self.0.unproven_hops.fetch_add(1, Ordering::AcqRel);
    }

    /// What was passed on was not applied.
    pub(super) fn was_not_applied(&self) {
        self.0.unproven_hops.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken_up() -> (Dispatched, Extensions) {
        let exchange = Dispatched::default();
        let mut extensions = Extensions::new();
        extensions.insert(exchange.clone());
        (exchange, extensions)
    }

    #[test]
    fn it_holds_for_the_one_exchange_it_was_made_of() {
        let (exchange, extensions) = taken_up();
        let (other, other_extensions) = taken_up();
        let stated = NotApplied::of(&extensions);
        drop((extensions, other_extensions));
        assert!(stated.holds_for(&exchange));
        assert!(!stated.holds_for(&other));
        assert!(!NotApplied::of(&Extensions::new()).holds_for(&exchange));
    }

    #[test]
    fn it_does_not_hold_while_a_copy_of_the_request_lives() {
        let (exchange, extensions) = taken_up();
        let stated = NotApplied::of(&extensions);
        assert!(!stated.holds_for(&exchange));
        drop(extensions);
        assert!(stated.holds_for(&exchange));
    }

    #[test]
    fn it_does_not_hold_where_a_hop_is_unproven() {
        let (exchange, extensions) = taken_up();
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
    fn a_layer_that_acts_rules_it_out() {
        let (exchange, mut extensions) = taken_up();
        NotApplied::rule_out(&mut extensions);
        let stated = NotApplied::of(&extensions);
        assert!(!stated.holds_for(&exchange));
    }
}

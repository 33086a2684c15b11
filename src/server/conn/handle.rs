//! What the service knows of its connection, and tells it.

use std::fmt;
use std::sync::Arc;

use http::{Request, StatusCode};

use super::exchange::Exchange;
use super::tracker::{CloseTracker, Counters};
use tower_resend_core::close::{CloseMachine, Event, Phase};
use tower_resend_core::contract::{Announcement, Hop, Max, Offer};

/// A connection as its service sees it. Clones refer to the same connection.
#[derive(Clone)]
pub struct Handle(Arc<CloseTracker>);

impl Handle {
    pub(super) fn new(tracker: Arc<CloseTracker>) -> Self {
        Self(tracker)
    }

    pub(super) fn tracker(&self) -> &Arc<CloseTracker> {
        &self.0
    }

    /// Begins the exchange of a request that reached the service, before
    /// any of its body is read. `offer` is what [`offer`](Self::offer) returns
    /// for the request.
    pub fn begin(&self, offer: Offer) -> Exchange {
        self.0.begin(offer);
        Exchange::new(Arc::clone(&self.0))
    }

    /// Returns what the client of this connection offers by a request (S6): an
    /// offer that names another connection is none (S11), unless
    /// [`ListenerOptions::trust_nat`](crate::server::ListenerOptions::trust_nat)
    /// is set.
    pub fn offer<B>(&self, request: &Request<B>) -> Offer {
        self.0.offer(request)
    }

    /// Tells the connection that the server leaves.
    ///
    /// An idle connection, and one with part of a request's head, ends at once:
    /// after a closing response if the client offered `gone`, with a FIN
    /// otherwise (S6). If the kernel holds unread bytes of an idle connection
    /// whose client did not offer `gone`, the server serves them first. A request
    /// that the service has and that is not dispatched is refused if its client
    /// offered `gone`: [`Exchange::dispatch`] fails from now on. One that is
    /// dispatched is answered.
    ///
    /// Start hyper's own graceful shutdown too, before or after.
    pub fn go_away(&self) {
        self.0.go_away();
    }

    /// Refuses everything that is not yet answered: nothing is dispatched from
    /// now on (S4). Returns what the response announces.
    pub(in crate::server) fn refuse(&self) -> Announcement {
        self.0.note(Event::Refused);
        Announcement::new(self.hop()).with_refused()
    }

    /// Returns `true` if the server leaves.
    pub fn is_going_away(&self) -> bool {
        self.0.ask(CloseMachine::is_leaving)
    }

    /// Returns `true` if a request has begun to arrive that is served although the
    /// server leaves.
    pub(in crate::server) fn is_arriving(&self) -> bool {
        self.0.is_arriving()
    }

    /// Returns `true` if the client offered something at least once.
    pub(in crate::server) fn has_offered(&self) -> bool {
        self.0.has_offered()
    }

    /// Returns `true` if the requests of the connection can be told apart, so that
    /// a refusal speaks of one of them only.
    pub(in crate::server) fn is_certain(&self) -> bool {
        self.0.ask(CloseMachine::is_certain)
    }

    /// Returns the status of the connection's closing responses.
    pub(in crate::server) fn closing_status(&self) -> StatusCode {
        self.0.settings.closing_status.code()
    }

    /// Waits until the server leaves.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future has no effect.
    pub async fn gone(&self) {
        self.0.gone().await;
    }

    /// Ends all signaling on the connection for good: it becomes a tunnel, or
    /// speaks another protocol.
    ///
    /// Call it before the response that says so is written. An HTTP/2 preface
    /// and a 101 are noticed without it; a 2xx to CONNECT is not. If the
    /// connection is already closing, it still ends, without the rest of its
    /// closing response.
    pub fn disarm(&self) {
        self.0.note(Event::Disarm);
    }

    /// Returns the two ends of the connection as the server's own socket sees
    /// them (S7).
    pub fn hop(&self) -> Hop {
        self.0.hop
    }

    /// Returns the largest request that must be received whole before it is
    /// dispatched (S1).
    pub fn max(&self) -> Max {
        self.0.settings.max
    }

    /// Returns where the connection stands. It may have moved on since.
    pub fn phase(&self) -> Phase {
        self.0.ask(CloseMachine::phase)
    }

    /// Returns what happened on the connection so far.
    pub fn counters(&self) -> Counters {
        self.0.counters()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("hop", &self.hop())
            .field("phase", &self.phase())
            .finish_non_exhaustive()
    }
}

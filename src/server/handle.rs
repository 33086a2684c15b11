//! What the service side knows of its connection: [`Handle`], and the
//! [`Exchange`] of one request.

use std::fmt;
use std::sync::Arc;

use http::header::MaxSizeReached;
use http::{HeaderMap, Request};

use tower_resend_core::contract::{Announcement, Hop, Max, Offer, RETRY_CONTRACT};

use super::answered::TrackedResponseBody;
use super::shared::Shared;
use tower_resend_core::close::{Event, Phase};

/// A connection as its service sees it. Clones are of the same connection.
#[derive(Clone)]
pub struct Handle(pub(super) Arc<Shared>);

impl Handle {
    /// Begins the exchange of a request that reached the service, before
    /// anything of its body is read. `offer` is what [`offer`](Self::offer) says
    /// of the request.
    pub fn begin(&self, offer: Offer) -> Exchange {
        self.0.begin(offer);
        Exchange { shared: Arc::clone(&self.0), is_open: true }
    }

    /// Returns what the client of this connection offers by a request (S6): an
    /// offer that names another connection is none (S11), unless
    /// [`ListenerOptions::trust_nat`](super::ListenerOptions::trust_nat) says so.
    pub fn offer<B>(&self, request: &Request<B>) -> Offer {
        self.0.offer(request)
    }

    /// Tells the connection that the server leaves.
    ///
    /// An idle connection, and one with part of a request's head, says so
    /// itself: with the closing response where the client offered `gone`, with
    /// a FIN otherwise (S6). Where the kernel holds unread bytes of an idle
    /// connection whose client did not offer `gone`, the server serves them
    /// first. A request that the service has and that is not
    /// dispatched is refused if its client offered `gone`: [`Exchange::dispatch`]
    /// fails from now on. One that is dispatched is answered.
    ///
    /// Hyper's own graceful shutdown is to be started too; in which order does
    /// not matter.
    pub fn go_away(&self) {
        self.0.go_away();
    }

    /// Returns what refuses all that is not yet answered. Nothing is dispatched
    /// from now on (S4).
    pub(super) fn refuse(&self) -> Announcement {
        self.0.note(Event::Refused);
        Announcement::new(self.hop()).with_refused()
    }

    /// Returns `true` if the server leaves.
    pub fn is_going_away(&self) -> bool {
        self.0.lock().machine.is_leaving()
    }

    /// Returns `true` if a request has begun to arrive that is served although the
    /// server leaves.
    pub(super) fn is_arriving(&self) -> bool {
        self.0.lock().is_arriving()
    }

    /// Waits until the server leaves. Cancel safe.
    pub async fn gone(&self) {
        self.0.gone().await;
    }

    /// Ends all signaling on the connection for good: it becomes a tunnel, or
    /// speaks another protocol. An HTTP/2 preface and a 101 are noticed without
    /// it; a 2xx to CONNECT is not.
    pub fn disarm(&self) {
        self.0.note(Event::Disarm);
    }

    /// Returns the ends of the connection as the server's own socket sees them
    /// (S7).
    pub fn hop(&self) -> Hop {
        self.0.hop
    }

    /// Returns how many bytes of a request must be received whole before it
    /// is dispatched (S1).
    pub fn max(&self) -> Max {
        self.0.settings.max
    }

    /// Returns where the connection stands. It may have gone on since.
    pub fn phase(&self) -> Phase {
        self.0.lock().machine.phase()
    }

    /// Returns what happened on the connection so far.
    pub fn counters(&self) -> Counters {
        self.0.lock().counters
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

/// One request and its response on a connection.
///
/// In this order: [`received`](Self::received), [`dispatch`](Self::dispatch),
/// [`announcement`](Self::announcement), [`answer`](Self::answer). A request
/// that is larger than [`Handle::max`] is dispatched without the first, one that
/// the service answers without the application without the first two.
///
/// Dropping one that was dispatched and not answered ends all signaling with
/// resets on the connection: the server cannot tell when the request ends.
#[must_use = "an exchange that is dropped was abandoned"]
pub struct Exchange {
    shared: Arc<Shared>,
    is_open: bool,
}

impl Exchange {
    /// Says that the whole of the request was received.
    pub fn received(&mut self) {
        self.shared.note(Event::Received);
    }

    /// Takes the request up: only after this may any part of it reach the
    /// application. The socket was set accordingly strictly before this
    /// returns (S3).
    ///
    /// # Errors
    ///
    /// If the request was refused, or its connection ended (S4): nothing of it
    /// may reach the application, now or later.
    pub fn dispatch(&mut self) -> Result<(), Refused> {
        self.shared.dispatch()
    }

    /// Returns what the response to this request announces (S9), to be written
    /// into its head; nothing if the client offered nothing or no promise can
    /// be kept. To be called once for each final response, also for one that
    /// is made without the application.
    pub fn announcement(&mut self) -> Option<Announcement> {
        self.shared.announcement()
    }

    /// Writes what [`announcement`](Self::announcement) returns into the head of
    /// the response, in the place of any that is there, and removes that where
    /// nothing is announced. In place of `announcement`, once for each final
    /// response; the text is made once for a connection.
    ///
    /// # Errors
    ///
    /// If the head can take no further header. It has no announcement then,
    /// which withdraws all promises and is safe.
    pub fn announce(&mut self, headers: &mut HeaderMap) -> Result<(), MaxSizeReached> {
        let written = match self.shared.announcement_made() {
            Some((announcement, made)) => announcement.write_made(made, headers),
            None => {
                headers.remove(RETRY_CONTRACT);
                return Ok(());
            }
        };
        written.inspect_err(|_| drop(headers.remove(RETRY_CONTRACT)))
    }

    /// Says that the response tells the client that the connection ends with it
    /// (`Connection: close`), so that no closing response follows when the
    /// server leaves before the connection has ended. Before
    /// [`answer`](Self::answer); not needed for what [`refusal`](Self::refusal)
    /// says.
    pub fn closes(&mut self) {
        self.shared.note(Event::ConnectionCloseSent);
    }

    /// Returns what a closing response says, if the request was refused: the
    /// response needs `Connection: close` too, which
    /// [`Announcement::write`] writes.
    pub fn refusal(&mut self) -> Option<Announcement> {
        self.shared.refusal()
    }

    /// Ends the exchange with a response of this body: the request counts as
    /// dispatched until the body has ended or was dropped, and all of the
    /// response has reached the kernel.
    ///
    /// The body must be what HTTP gets: a layer above that collects it would
    /// end the exchange early.
    pub fn answer<B>(mut self, body: B) -> TrackedResponseBody<B> {
        self.is_open = false;
        TrackedResponseBody::new(body, Arc::clone(&self.shared))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.is_open {
            self.shared.note(Event::Abandoned);
        }
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("hop", &self.shared.hop).finish_non_exhaustive()
    }
}

/// The request must not be dispatched: the server leaves, and its client was
/// told so or will be; or the connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request was refused before it was dispatched")
    }
}

impl std::error::Error for Refused {}

/// What happened on one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Counters {
    /// Requests that reached the service.
    pub requests: u64,
    /// Requests that were dispatched.
    pub taken_up: u64,
    /// Requests that were not, because the server leaves.
    pub refused: u64,
    /// Closing responses that the connection wrote by itself.
    pub closing_responses: u64,
    /// How often the socket was set to be reset.
    pub armed: u64,
    /// How often it was set back.
    pub cleared: u64,
    /// How often the kernel was asked what is unacknowledged.
    pub rechecks: u64,
}

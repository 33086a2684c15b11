//! One request and its response, as the service tells its connection of them.

use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use http::header::MaxSizeReached;

use super::tracked_body::TrackedResponseBody;
use super::tracker::{CloseTracker, DispatchRefused};
use tower_resend_core::close::Event;
use tower_resend_core::contract::{Announcement, RETRY_CONTRACT};

/// One request and its response on a connection.
///
/// Call [`received`](Self::received), [`dispatch`](Self::dispatch),
/// [`announcement`](Self::announcement) and [`answer`](Self::answer), in this
/// order. For a request that is larger than [`Handle::max`](super::Handle::max)
/// leave out the first; for one that is answered without the application leave
/// out the first two.
///
/// If it is dropped after the dispatch and before the answer, all signaling with
/// resets ends on the connection: the server cannot tell when the request ends.
#[must_use = "an exchange that is dropped was abandoned"]
pub struct Exchange {
    tracker: Arc<CloseTracker>,
    is_open: bool,
}

impl Exchange {
    pub(super) fn new(tracker: Arc<CloseTracker>) -> Self {
        Self { tracker, is_open: true }
    }

    /// Says that the whole request was received.
    pub fn received(&mut self) {
        self.tracker.note(Event::Received);
    }

    /// Dispatches the request: only after this may any part of it reach the
    /// application. The socket is set accordingly strictly before this
    /// returns (S3).
    ///
    /// # Errors
    ///
    /// If the request was refused, or its connection ended (S4): nothing of it
    /// may reach the application, now or later.
    pub fn dispatch(&mut self) -> Result<(), DispatchRefused> {
        self.tracker.dispatch()
    }

    /// Returns what the response to this request announces (S9), to be written
    /// into its head; `None` if the client offered nothing or no promise can
    /// be kept.
    ///
    /// Call it once for each final response, also for one that is made without
    /// the application.
    pub fn announcement(&mut self) -> Option<Announcement> {
        self.tracker.announcement()
    }

    /// Writes what [`announcement`](Self::announcement) returns into the head of
    /// the response, replacing any that is there, and removes that if nothing is
    /// announced.
    ///
    /// Call it instead of `announcement`, once for each final response. It writes
    /// the value once for all responses of a connection that say the same.
    ///
    /// # Errors
    ///
    /// If the head can take no further header. It has no announcement then,
    /// which withdraws all promises and is safe.
    pub fn announce(&mut self, headers: &mut HeaderMap) -> Result<(), MaxSizeReached> {
        let written = match self.tracker.written_announcement() {
            Some((announcement, value)) => announcement.write_made(value, headers),
            None => {
                headers.remove(RETRY_CONTRACT);
                return Ok(());
            }
        };
        written.inspect_err(|_| drop(headers.remove(RETRY_CONTRACT)))
    }

    /// Says that the response tells the client that the connection ends with it
    /// (`Connection: close`), so that no closing response follows if the server
    /// leaves before the connection has ended.
    ///
    /// Call it before [`answer`](Self::answer). What [`refusal`](Self::refusal)
    /// says does not need it.
    pub fn closes(&mut self) {
        self.tracker.note(Event::ConnectionCloseSent);
    }

    /// Returns what a closing response announces, if the request was refused. The
    /// response needs `Connection: close` too, which [`Announcement::write`]
    /// writes.
    pub fn refusal(&mut self) -> Option<Announcement> {
        self.tracker.refusal()
    }

    /// Ends the exchange with a response of this body: the request counts as
    /// dispatched until the body has ended or was dropped, and the whole
    /// response has reached the kernel.
    ///
    /// Give this body to HTTP itself: a layer above that collects it would end
    /// the exchange early.
    pub fn answer<B>(mut self, body: B) -> TrackedResponseBody<B> {
        self.is_open = false;
        TrackedResponseBody::new(body, Arc::clone(&self.tracker))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.is_open {
            self.tracker.note(Event::Abandoned);
        }
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("hop", &self.tracker.hop).finish_non_exhaustive()
    }
}

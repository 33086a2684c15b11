//! How a connection's tracker travels through the legacy client, and what that shows:
//! which connection the client selected for a request, and whether it still holds it.
//!
//! The client keeps a connector's extras with the pooled connection. It copies them into
//! the request's capture whenever it hands the request over, and drops its own copy when
//! it lets the connection go. So each copy knows the copy that it was made from. Other
//! copies do not matter: errors, responses and the pool of an HTTP/2 connection have some.

use std::sync::{Arc, Weak};
use std::task::Waker;

use ::hyper_util::client::legacy::connect::{CaptureConnection, Connected};
use http::Extensions;

use crate::conn::ConnTracker;

/// A connection's tracker among the extras of a connector.
pub(super) struct TrackerHandle {
    tracker: Arc<ConnTracker>,
    copy: Arc<CopyId>,
}

/// The identity of one copy of a handle: its address.
struct CopyId {
    of: Weak<Self>,
}

impl TrackerHandle {
    /// Returns the first copy, for a connection that was just made.
    pub(super) fn new(tracker: Arc<ConnTracker>) -> Self {
        Self { tracker, copy: Arc::new(CopyId { of: Weak::new() }) }
    }

    /// Returns the tracker of a connection, if one of our connectors made it.
    pub(super) fn of(connected: &Connected) -> Option<Arc<ConnTracker>> {
        Self::copied(connected).map(|handle| handle.tracker)
    }

    /// Removes the handle from the extensions of a response.
    pub(super) fn remove(extensions: &mut Extensions) {
        extensions.remove::<Self>();
    }

    fn copied(connected: &Connected) -> Option<Self> {
        let mut extras = Extensions::new();
        connected.get_extras(&mut extras);
        extras.remove::<Self>()
    }
}

impl Clone for TrackerHandle {
    fn clone(&self) -> Self {
        let copy = Arc::new(CopyId { of: Arc::downgrade(&self.copy) });
        Self { tracker: Arc::clone(&self.tracker), copy }
    }
}

/// A connection of ours that the client selected for a request.
pub(super) struct SelectedConn {
    pub(super) tracker: Arc<ConnTracker>,
    /// The request's own copy. The next selection replaces it.
    captured: Weak<CopyId>,
    /// The client's copy, from which the request's was made.
    held: Weak<CopyId>,
    /// Whether a hand-back by this connection is recorded.
    pub(super) is_listed: bool,
}

impl SelectedConn {
    /// Returns the connection that the client selected last, if it is one of ours.
    pub(super) fn last(capture: &CaptureConnection) -> Option<Self> {
        let connected = capture.connection_metadata();
        let handle = connected.as_ref().and_then(TrackerHandle::copied)?;
        let captured = handle.copy.of.upgrade()?;
        let held = captured.of.clone();
        let captured = Arc::downgrade(&captured);
        Some(Self { tracker: handle.tracker, captured, held, is_listed: false })
    }

    /// Returns `true` if the client has selected no other connection since.
    pub(super) fn is_last(&self) -> bool {
        self.captured.strong_count() > 0
    }

    /// Returns `true` if the client still holds the connection.
    ///
    /// While the client's future is pending, the client holds it exactly as long as it
    /// waits for hyper's outcome there. Once it holds it no longer, hyper has returned the
    /// request and the client looks for another connection.
    pub(super) fn is_held(&self) -> bool {
        self.held.strong_count() > 0
    }

    /// Returns `true` if the connection has ended. If not, `waker` is woken when it ends,
    /// unless `self` is dropped before. Over HTTP/2 several requests can wait.
    pub(super) fn poll_gone(&self, waker: &Waker) -> bool {
        self.tracker.poll_gone(self.id(), waker)
    }

    /// Returns the address of the request's own copy. It is unique while `self` exists.
    fn id(&self) -> usize {
        self.captured.as_ptr().addr()
    }
}

impl Drop for SelectedConn {
    fn drop(&mut self) {
        self.tracker.leave(self.id());
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use ::hyper_util::client::legacy::connect::capture_connection;
    use http::Request;
    use tokio::net::{TcpListener, TcpStream};
    use tokio_test::task;

    use super::*;

    #[test]
    fn nothing_is_selected_before_the_client_selects() {
        let capture = capture_connection(&mut Request::new(()));
        assert!(SelectedConn::last(&capture).is_none());
    }

    /// `get_extras` yields a copy of the copy that is asked.
    #[tokio::test]
    async fn copy_knows_the_copy_it_was_made_from() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_, tracker) = crate::conn::Connected::external(stream).into_parts();
        let connected = Connected::new().extra(TrackerHandle::new(tracker));
        let of_it = TrackerHandle::copied(&connected).unwrap();
        let original = of_it.copy.of.clone();
        let of_the_copy = of_it.clone();
        assert_eq!(original.strong_count(), 1);
        assert!(std::ptr::eq(of_the_copy.copy.of.as_ptr(), Arc::as_ptr(&of_it.copy)));
        drop(connected);
        assert_eq!(original.strong_count(), 0, "other copies do not keep it");
    }

    /// Over HTTP/2 many requests can wait on one connection.
    #[tokio::test]
    async fn end_of_a_connection_wakes_all_that_still_wait() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (io, tracker) = crate::conn::Connected::external(stream).into_parts();
        let connected = Connected::new().extra(TrackerHandle::new(tracker));
        let [(mut one, first), (mut gone, given_up), (mut two, last)] = [(); 3].map(|()| {
            let handle = TrackerHandle::copied(&connected).unwrap();
            let captured = Arc::downgrade(&handle.copy);
            let chosen = SelectedConn {
                tracker: handle.tracker,
                captured,
                held: Weak::new(),
                is_listed: false,
            };
            (task::spawn(()), chosen)
        });
        for (task, chosen) in [(&mut one, &first), (&mut gone, &given_up), (&mut two, &last)] {
            assert!(!task.enter(|cx, _| chosen.poll_gone(cx.waker())));
        }
        drop(given_up);
        drop(io);
        assert!(one.is_woken() && two.is_woken());
        assert!(!gone.is_woken());
        assert!(one.enter(|cx, _| first.poll_gone(cx.waker())));
        drop(last);
    }

    /// A waker may own another request on the same connection.
    #[tokio::test]
    async fn waker_is_dropped_while_the_connection_is_unlocked() {
        struct Nosy(Arc<ConnTracker>);
        impl Wake for Nosy {
            fn wake(self: Arc<Self>) {}
        }
        impl Drop for Nosy {
            fn drop(&mut self) {
                assert!(!self.0.is_written());
            }
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (io, tracker) = crate::conn::Connected::external(stream).into_parts();
        for _ in 0..2 {
            let waker = Waker::from(Arc::new(Nosy(Arc::clone(&tracker))));
            assert!(!tracker.poll_gone(0, &waker));
        }
        tracker.leave(0);
        drop(io);
    }
}

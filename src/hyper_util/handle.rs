//! A connection's record on its way through the legacy client, and what its
//! way tells: which connection the client chose for a request, and whether it
//! still holds it.
//!
//! The client keeps what a connector says of a connection with its pooled
//! connection, copies it into the request's capture whenever it hands the
//! request over, and drops its own copy once it lets the connection go. So
//! each copy knows the one that it was made of. It does not matter who else has
//! copies: errors, responses and the pool of an HTTP/2 connection do.

use std::sync::{Arc, Weak};
use std::task::Waker;

use ::hyper_util::client::legacy::connect::{CaptureConnection, Connected};
use http::Extensions;

use crate::conn::ConnTracker;

/// A connection's record among what a connector says of it.
pub(super) struct Handle {
    record: Arc<ConnTracker>,
    copy: Arc<CopyId>,
}

/// One copy of a handle, by its address.
struct CopyId {
    of: Weak<Self>,
}

impl Handle {
    /// Returns the first copy, of a connection that was just made.
    pub(super) fn new(record: Arc<ConnTracker>) -> Self {
        Self { record, copy: Arc::new(CopyId { of: Weak::new() }) }
    }

    /// Returns the record of a connection that one of our connectors made.
    pub(super) fn of(connected: &Connected) -> Option<Arc<ConnTracker>> {
        Self::copied(connected).map(|handle| handle.record)
    }

    /// Removes it from where the legacy client leaves it.
    pub(super) fn remove(extensions: &mut Extensions) {
        extensions.remove::<Self>();
    }

    fn copied(connected: &Connected) -> Option<Self> {
        let mut extras = Extensions::new();
        connected.get_extras(&mut extras);
        extras.remove::<Self>()
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        let copy = Arc::new(CopyId { of: Arc::downgrade(&self.copy) });
        Self { record: Arc::clone(&self.record), copy }
    }
}

/// A connection of ours that the client chose for a request.
pub(super) struct SelectedConn {
    pub(super) record: Arc<ConnTracker>,
    /// The request's own copy, which the next choice replaces.
    captured: Weak<CopyId>,
    /// The client's copy, which that was made of.
    held: Weak<CopyId>,
    /// That it handed the request back is recorded.
    pub(super) is_listed: bool,
}

impl SelectedConn {
    /// Returns the client's last choice for a request, if it is one of ours.
    pub(super) fn last(capture: &CaptureConnection) -> Option<Self> {
        let connected = capture.connection_metadata();
        let handle = connected.as_ref().and_then(Handle::copied)?;
        let captured = handle.copy.of.upgrade()?;
        let held = captured.of.clone();
        let captured = Arc::downgrade(&captured);
        Some(Self { record: handle.record, captured, held, is_listed: false })
    }

    /// Returns `true` if the client has chosen no other since.
    pub(super) fn is_last(&self) -> bool {
        self.captured.strong_count() > 0
    }

    /// Returns `true` if the client still holds it. As long as the client's
    /// future has not ended it does so exactly while it waits for what hyper
    /// makes of the request there; once it does not, hyper has given the
    /// request back and the client looks for another connection.
    pub(super) fn is_held(&self) -> bool {
        self.held.strong_count() > 0
    }

    /// Returns `true` if the connection has ended; if not, `waker` is woken when
    /// it does, unless this is dropped before. Over HTTP/2 several wait.
    pub(super) fn poll_gone(&self, waker: &Waker) -> bool {
        self.record.poll_gone(self.id(), waker)
    }

    /// The address of the request's own copy, unique for as long as this
    /// exists.
    fn id(&self) -> usize {
        self.captured.as_ptr().addr()
    }
}

impl Drop for SelectedConn {
    fn drop(&mut self) {
        self.record.leave(self.id());
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
    fn nothing_is_chosen_before_the_client_chose() {
        let capture = capture_connection(&mut Request::new(()));
        assert!(SelectedConn::last(&capture).is_none());
    }

    /// What `get_extras` gives is a copy of the copy that is asked.
    #[tokio::test]
    async fn a_copy_knows_the_one_that_it_was_made_of() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_, record) = crate::conn::Connected::external(stream).into_parts();
        let connected = Connected::new().extra(Handle::new(record));
        let of_it = Handle::copied(&connected).unwrap();
        let original = of_it.copy.of.clone();
        let of_the_copy = of_it.clone();
        assert_eq!(original.strong_count(), 1);
        assert!(std::ptr::eq(of_the_copy.copy.of.as_ptr(), Arc::as_ptr(&of_it.copy)));
        drop(connected);
        assert_eq!(original.strong_count(), 0, "whoever else has copies");
    }

    /// Over HTTP/2 many requests wait on one connection.
    #[tokio::test]
    async fn everybody_who_still_waits_on_a_connection_hears_of_its_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (meter, record) = crate::conn::Connected::external(stream).into_parts();
        let connected = Connected::new().extra(Handle::new(record));
        let [(mut one, first), (mut gone, given_up), (mut two, last)] = [(); 3].map(|()| {
            let handle = Handle::copied(&connected).unwrap();
            let captured = Arc::downgrade(&handle.copy);
            let chosen = SelectedConn {
                record: handle.record,
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
        drop(meter);
        assert!(one.is_woken() && two.is_woken());
        assert!(!gone.is_woken());
        assert!(one.enter(|cx, _| first.poll_gone(cx.waker())));
        drop(last);
    }

    /// What a waker keeps alive may be another request on the same connection.
    #[tokio::test]
    async fn a_waker_that_asks_the_connection_as_it_is_dropped_finds_it_unlocked() {
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
        let (meter, record) = crate::conn::Connected::external(stream).into_parts();
        for _ in 0..2 {
            let waker = Waker::from(Arc::new(Nosy(Arc::clone(&record))));
            assert!(!record.poll_gone(0, &waker));
        }
        record.leave(0);
        drop(meter);
    }
}

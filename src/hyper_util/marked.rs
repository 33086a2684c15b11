//! A request's body that tells when hyper takes the request.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use ::hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use http::Request;
use http_body::{Body, Frame, SizeHint};

use super::handle::{Handle, SelectedConn};
use crate::body::{Framed, Framing, SendableBody, Trailers, to_any_http};
use crate::chain::BoxError;
use crate::conn::{ConnTracker, ExchangeId};

/// A request's body on its way through a [wrapped](super::with_evidence) client.
///
/// It is the inner body, and it tells when hyper takes the request: hyper asks
/// it whether it is empty before it writes any of the request, on the thread
/// that drives the connection. It fails, before the message is whole, where the
/// inner body has another length than the request says. Made by the wrapped client
/// only, so that its type can be inferred: `Client<_, TrackedBody<Full<Bytes>>>` where it
/// must be written out.
pub struct TrackedBody<B> {
    inner: Framed<B>,
    mark: Arc<RequestTracker>,
}

impl<B: SendableBody> TrackedBody<B> {
    /// Marks a request that is framed so.
    pub(super) fn request(
        mut request: Request<B>,
        framing: Framing,
    ) -> (Request<Self>, Arc<RequestTracker>) {
        to_any_http(&mut request, framing);
        let mark = Arc::new(RequestTracker {
            capture: capture_connection(&mut request),
            is_taken: AtomicBool::new(false),
            is_failed: AtomicBool::new(false),
            is_unasked: AtomicBool::new(false),
            has_frames: AtomicBool::new(false),
            place: Mutex::new(RequestState::Waiting),
        });
        let body = |inner| Self { inner, mark: Arc::clone(&mark) };
        (Framed::wrap(request, framing, body), mark)
    }
}

impl<B: SendableBody + Unpin> Body for TrackedBody<B> {
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        self.mark.on_taken();
        let trailers = match self.mark.has_frames.load(Ordering::Acquire) {
            true => Trailers::Any,
            false => Trailers::Named,
        };
        let frame = Pin::new(&mut self.inner).poll_framed(cx, trailers);
        if let Poll::Ready(Some(Err(_))) = &frame {
            self.mark.is_failed.store(true, Ordering::Release);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.mark.on_taken();
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.mark.on_taken();
        self.inner.size_hint()
    }
}

impl<B> Drop for TrackedBody<B> {
    fn drop(&mut self) {
        if self.inner.is_unpolled() {
            self.mark.is_unasked.store(true, Ordering::Release);
        }
        self.mark.on_drop();
    }
}

impl<B> fmt::Debug for TrackedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackedBody").finish_non_exhaustive()
    }
}

/// Where one request is, shared by its body and its call.
pub(super) struct RequestTracker {
    capture: CaptureConnection,
    is_taken: AtomicBool,
    is_failed: AtomicBool,
    /// The body was dropped, and its content was never polled.
    is_unasked: AtomicBool,
    /// The connection that took it is known to speak HTTP/2.
    has_frames: AtomicBool,
    place: Mutex<RequestState>,
}

/// Where a request is.
#[derive(Clone, Debug)]
pub(super) enum RequestState {
    /// No connection has taken it.
    Waiting,
    /// It was dropped before a connection took it.
    Dropped,
    /// Its call was given up before a connection took it.
    Revoked,
    /// On a connection where it is known where the request begins.
    On(Arc<ConnTracker>, ExchangeId),
    /// On a connection of ours where that is not known.
    Somewhere(Arc<ConnTracker>),
    /// On a connection that has no record.
    Elsewhere,
}

impl RequestTracker {
    /// Returns where the request is.
    pub(super) fn place(&self) -> RequestState {
        self.lock().clone()
    }

    /// Returns `true` if the request's own body failed.
    pub(super) fn is_failed(&self) -> bool {
        self.is_failed.load(Ordering::Acquire)
    }

    /// Returns `true` if a request that was sent was sent without its content.
    pub(super) fn is_unasked(&self) -> bool {
        self.is_unasked.load(Ordering::Acquire)
    }

    /// Returns `true` if the client chose a connection for the request.
    pub(super) fn has_connection(&self) -> bool {
        self.capture.connection_metadata().is_some()
    }

    /// Returns the connection that the client chose last, if it is one of ours.
    pub(super) fn chosen(&self) -> Option<SelectedConn> {
        SelectedConn::last(&self.capture)
    }

    /// Returns `true` if this connection took the request.
    pub(super) fn is_taken_by(&self, record: &Arc<ConnTracker>) -> bool {
        match &*self.lock() {
            RequestState::On(taker, _) | RequestState::Somewhere(taker) => {
                Arc::ptr_eq(taker, record)
            }
            RequestState::Waiting
            | RequestState::Dropped
            | RequestState::Revoked
            | RequestState::Elsewhere => false,
        }
    }

    /// Returns `true` if the request waits for a connection to take it that has
    /// ended; if not, `waker` is woken when it ends.
    pub(super) fn is_left_with(&self, chosen: &SelectedConn, waker: &Waker) -> bool {
        let is_taken = self.is_taken.load(Ordering::Acquire);
        !is_taken && chosen.is_held() && chosen.poll_gone(waker)
    }

    /// Keeps the client from using the request's connection again.
    pub(super) fn poison(&self) {
        if let Some(connected) = &*self.capture.connection_metadata() {
            connected.poison();
        }
    }

    /// Keeps connections of ours from sending the request from here on.
    /// Returns where it was until now.
    pub(super) fn revoke(&self) -> RequestState {
        let mut place = self.lock();
        let before = place.clone();
        if matches!(before, RequestState::Waiting) {
            *place = RequestState::Revoked;
        }
        before
    }

    /// A connection takes the request, of which nothing is written yet.
    fn on_taken(&self) {
        if !self.is_taken.swap(true, Ordering::AcqRel) {
            self.take();
        }
    }

    fn take(&self) {
        let mut place = self.lock();
        let is_revoked = matches!(*place, RequestState::Revoked);
        let connected = self.capture.connection_metadata();
        let has_frames = connected.as_ref().is_some_and(|it| it.is_negotiated_h2());
        self.has_frames.store(has_frames, Ordering::Release);
        let record = connected.as_ref().and_then(Handle::of);
        drop(connected);
        *place = match record {
            None => RequestState::Elsewhere,
            Some(record) if has_frames => RequestState::Somewhere(record),
            Some(record) => match record.arm_taken() {
                // Nobody waits for it any more.
                Some(exchange) if is_revoked => {
                    if record.take_over_if(exchange) {
                        record.abort();
                    }
                    RequestState::On(record, exchange)
                }
                Some(exchange) => RequestState::On(record, exchange),
                None => RequestState::Somewhere(record),
            },
        };
    }

    fn on_drop(&self) {
        let mut place = self.lock();
        if matches!(*place, RequestState::Waiting | RequestState::Revoked) {
            *place = RequestState::Dropped;
        }
    }

    fn lock(&self) -> MutexGuard<'_, RequestState> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

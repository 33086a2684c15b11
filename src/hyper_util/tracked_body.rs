//! A request body that notices when hyper takes the request.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use ::hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use http::Request;
use http_body::{Body, Frame, SizeHint};

use super::tracker_handle::{SelectedConn, TrackerHandle};
use crate::body::{Framed, Framing, SendableBody, Trailers, to_any_http};
use crate::chain::BoxError;
use crate::conn::{ConnTracker, ExchangeId};

/// The body of a request that goes through a [wrapped](super::with_evidence) client.
///
/// It yields the frames of the inner body, and notices when hyper takes the request: hyper
/// asks a body whether it is empty before it writes any of the request, on the task that
/// drives the connection. It fails before the message is whole if the inner body has
/// another length than the request declares.
///
/// Only the wrapped client makes it, so that its type can be inferred. Write
/// `Client<_, TrackedBody<Full<Bytes>>>` where it must be spelled out.
pub struct TrackedBody<B> {
    inner: Framed<B>,
    tracker: Arc<RequestTracker>,
}

impl<B: SendableBody> TrackedBody<B> {
    /// Tracks a request that has this framing.
    pub(super) fn track(
        mut request: Request<B>,
        framing: Framing,
    ) -> (Request<Self>, Arc<RequestTracker>) {
        to_any_http(&mut request, framing);
        let tracker = Arc::new(RequestTracker {
            capture: capture_connection(&mut request),
            is_taken: AtomicBool::new(false),
            is_failed: AtomicBool::new(false),
            is_unasked: AtomicBool::new(false),
            has_frames: AtomicBool::new(false),
            state: Mutex::new(RequestState::Waiting),
        });
        let body = |inner| Self { inner, tracker: Arc::clone(&tracker) };
        (Framed::wrap(request, framing, body), tracker)
    }
}

impl<B: SendableBody + Unpin> Body for TrackedBody<B> {
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        self.tracker.on_taken();
        let trailers = match self.tracker.has_frames.load(Ordering::Acquire) {
            true => Trailers::Any,
            false => Trailers::Named,
        };
        let frame = Pin::new(&mut self.inner).poll_framed(cx, trailers);
        if let Poll::Ready(Some(Err(_))) = &frame {
            self.tracker.is_failed.store(true, Ordering::Release);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.tracker.on_taken();
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.tracker.on_taken();
        self.inner.size_hint()
    }
}

impl<B> Drop for TrackedBody<B> {
    fn drop(&mut self) {
        if self.inner.is_unpolled() {
            self.tracker.is_unasked.store(true, Ordering::Release);
        }
        self.tracker.on_drop();
    }
}

impl<B> fmt::Debug for TrackedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackedBody").finish_non_exhaustive()
    }
}

/// Where one request is. Its body and its call share this.
pub(super) struct RequestTracker {
    capture: CaptureConnection,
    is_taken: AtomicBool,
    is_failed: AtomicBool,
    /// The body was dropped, and its content had never been polled.
    is_unasked: AtomicBool,
    /// The connection that took the request is known to speak HTTP/2.
    has_frames: AtomicBool,
    state: Mutex<RequestState>,
}

/// Where a request is.
#[derive(Clone, Debug)]
pub(super) enum RequestState {
    /// No connection has taken it.
    Waiting,
    /// It was dropped before a connection took it.
    Dropped,
    /// Its call was dropped before a connection took it.
    Revoked,
    /// On a connection of ours on which we know where the request begins.
    On(Arc<ConnTracker>, ExchangeId),
    /// On a connection of ours on which we do not.
    Somewhere(Arc<ConnTracker>),
    /// On a connection without a tracker.
    Elsewhere,
}

impl RequestTracker {
    /// Returns where the request is.
    pub(super) fn state(&self) -> RequestState {
        self.lock().clone()
    }

    /// Returns `true` if the request's own body failed.
    pub(super) fn is_failed(&self) -> bool {
        self.is_failed.load(Ordering::Acquire)
    }

    /// Returns `true` if the request was sent without its content.
    pub(super) fn is_unasked(&self) -> bool {
        self.is_unasked.load(Ordering::Acquire)
    }

    /// Returns `true` if the client selected a connection for the request.
    pub(super) fn has_connection(&self) -> bool {
        self.capture.connection_metadata().is_some()
    }

    /// Returns the connection that the client selected last, if it is one of ours.
    pub(super) fn selected(&self) -> Option<SelectedConn> {
        SelectedConn::last(&self.capture)
    }

    /// Returns `true` if this connection took the request.
    pub(super) fn is_taken_by(&self, tracker: &Arc<ConnTracker>) -> bool {
        match &*self.lock() {
            RequestState::On(taker, _) | RequestState::Somewhere(taker) => {
                Arc::ptr_eq(taker, tracker)
            }
            RequestState::Waiting
            | RequestState::Dropped
            | RequestState::Revoked
            | RequestState::Elsewhere => false,
        }
    }

    /// Returns `true` if the request still waits in the channel of a connection that has
    /// ended. If not, `waker` is woken when the connection ends.
    pub(super) fn is_left_with(&self, selected: &SelectedConn, waker: &Waker) -> bool {
        let is_taken = self.is_taken.load(Ordering::Acquire);
        !is_taken && selected.is_held() && selected.poll_gone(waker)
    }

    /// Keeps the client from using the request's connection again.
    pub(super) fn poison(&self) {
        if let Some(connected) = &*self.capture.connection_metadata() {
            connected.poison();
        }
    }

    /// Keeps connections of ours from sending the request from now on. Returns where the
    /// request was before.
    pub(super) fn revoke(&self) -> RequestState {
        let mut state = self.lock();
        let before = state.clone();
        if matches!(before, RequestState::Waiting) {
            *state = RequestState::Revoked;
        }
        before
    }

    /// Notes that a connection takes the request. None of it is written yet.
    fn on_taken(&self) {
        if !self.is_taken.swap(true, Ordering::AcqRel) {
            self.take();
        }
    }

    fn take(&self) {
        let mut state = self.lock();
        let is_revoked = matches!(*state, RequestState::Revoked);
        let connected = self.capture.connection_metadata();
        let has_frames = connected.as_ref().is_some_and(|it| it.is_negotiated_h2());
        self.has_frames.store(has_frames, Ordering::Release);
        let tracker = connected.as_ref().and_then(TrackerHandle::of);
        drop(connected);
        *state = match tracker {
            None => RequestState::Elsewhere,
            Some(tracker) if has_frames => RequestState::Somewhere(tracker),
            Some(tracker) => match tracker.arm_taken() {
                // Its call was dropped. Nothing of it may be written.
                Some(exchange) if is_revoked => {
                    if tracker.take_over_if(exchange) {
                        tracker.abort();
                    }
                    RequestState::On(tracker, exchange)
                }
                Some(exchange) => RequestState::On(tracker, exchange),
                None => RequestState::Somewhere(tracker),
            },
        };
    }

    fn on_drop(&self) {
        let mut state = self.lock();
        if matches!(*state, RequestState::Waiting | RequestState::Revoked) {
            *state = RequestState::Dropped;
        }
    }

    fn lock(&self) -> MutexGuard<'_, RequestState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

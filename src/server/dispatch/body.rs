//! The bodies of responses.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::server::conn::TrackedResponseBody;
use crate::server::connection_table::RequestGuard;

pin_project! {
    /// The body of a response of [`Dispatch`](super::Dispatch): the service's, or
    /// none. The request is over when it ends or is dropped.
    pub struct DispatchBody<B> {
        #[pin]
        inner: TrackedResponseBody<RecordedBody<B>>,
    }
}

impl<B> DispatchBody<B> {
    pub(super) fn new(inner: TrackedResponseBody<RecordedBody<B>>) -> Self {
        Self { inner }
    }
}

impl<B: Body> Body for DispatchBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.project().inner.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B> fmt::Debug for DispatchBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DispatchBody").finish_non_exhaustive()
    }
}

pin_project! {
    /// A body, or none, whose end is recorded for the drain's report.
    pub(super) struct RecordedBody<B> {
        #[pin]
        inner: Option<B>,
        recorded: RequestGuard,
    }
}

impl<B: Body> RecordedBody<B> {
    pub(super) fn new(inner: Option<B>, mut recorded: RequestGuard) -> Self {
        if inner.as_ref().is_none_or(Body::is_end_stream) {
            recorded.set_answered();
        }
        Self { inner, recorded }
    }
}

impl<B: Body> Body for RecordedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let Some(mut inner) = this.inner.as_pin_mut() else {
            return Poll::Ready(None);
        };
        let frame = ready!(inner.as_mut().poll_frame(cx));
        // HTTP does not poll again once the body says that it has ended.
        if frame.is_none() || inner.is_end_stream() {
            this.recorded.set_answered();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

//! The bodies of responses.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::server::answered::TrackedResponseBody;
use crate::server::report::Running;

pin_project! {
    /// The body of a response: the service's, or none. The request is over when
    /// it ends or is dropped.
    pub struct ResponseBody<B> {
        #[pin]
        inner: TrackedResponseBody<Noted<B>>,
    }
}

impl<B> ResponseBody<B> {
    pub(super) fn new(inner: TrackedResponseBody<Noted<B>>) -> Self {
        Self { inner }
    }
}

impl<B: Body> Body for ResponseBody<B> {
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

impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}

pin_project! {
    /// A body, or none, whose end is written down.
    pub(in crate::server) struct Noted<B> {
        #[pin]
        inner: Option<B>,
        running: Running,
    }
}

impl<B: Body> Noted<B> {
    pub(super) fn new(inner: Option<B>, mut running: Running) -> Self {
        if inner.as_ref().is_none_or(Body::is_end_stream) {
            running.is_answered();
        }
        Self { inner, running }
    }
}

impl<B: Body> Body for Noted<B> {
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
        // A body that says that it ended is not polled again.
        if frame.is_none() || inner.is_end_stream() {
            this.running.is_answered();
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

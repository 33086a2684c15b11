//! The body of a response, whose end ends the exchange.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::tracker::CloseTracker;
use tower_resend_core::close::Event;

pin_project! {
    /// A response body whose end, or drop, ends its [`Exchange`](super::Exchange).
    ///
    /// Data, trailers, errors and the size hint pass through.
    pub struct TrackedResponseBody<B> {
        #[pin]
        body: B,
        end: AnsweredOnDrop,
    }
}

impl<B> TrackedResponseBody<B> {
    pub(super) fn new(body: B, tracker: Arc<CloseTracker>) -> Self {
        Self { body, end: AnsweredOnDrop(Some(tracker)) }
    }
}

impl<B: Body> Body for TrackedResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        let frame = ready!(this.body.poll_frame(cx));
        if frame.is_none() {
            this.end.note();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> fmt::Debug for TrackedResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackedResponseBody")
            .field("is_open", &self.end.0.is_some())
            .finish_non_exhaustive()
    }
}

/// Notes once that the whole response was made: when told so, or when dropped.
struct AnsweredOnDrop(Option<Arc<CloseTracker>>);

impl AnsweredOnDrop {
    fn note(&mut self) {
        if let Some(tracker) = self.0.take() {
            tracker.note(Event::Answered);
        }
    }
}

impl Drop for AnsweredOnDrop {
    fn drop(&mut self) {
        self.note();
    }
}

//! The body of a response, whose end ends the exchange.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::shared::Shared;
use tower_resend_core::close::Event;

pin_project! {
    /// A response body whose end, or drop, ends its [`Exchange`](super::Exchange).
    ///
    /// It passes on everything, the size and the early end too.
    pub struct TrackedResponseBody<B> {
        #[pin]
        body: B,
        end: End,
    }
}

/// Ends the exchange when dropped.
struct End(Option<Arc<Shared>>);

impl End {
    fn reach(&mut self) {
        if let Some(shared) = self.0.take() {
            shared.note(Event::Answered);
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.reach();
    }
}

impl<B> TrackedResponseBody<B> {
    pub(super) fn new(body: B, shared: Arc<Shared>) -> Self {
        Self { body, end: End(Some(shared)) }
    }

    /// Returns the body.
    pub fn get_ref(&self) -> &B {
        &self.body
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
            this.end.reach();
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

//! A request's body on its way out.

use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::tracker::ConnTracker;
use crate::body::{Framed, RequestBody, Trailers};
use crate::chain::BoxError;

pin_project! {
    /// A request's body on its way out, whose failure can be told by its type.
    pub(crate) struct Outgoing<B> {
        // There is none where nothing but a head is sent.
        #[pin]
        inner: Option<Framed<B>>,
        // There for a request under a promise, whose end matters.
        tracker: Option<Arc<ConnTracker>>,
    }
}

impl<B> Outgoing<B> {
    /// Returns the body of a request; `tracker` is told when it ends.
    pub(super) fn new(body: Framed<B>, tracker: Option<Arc<ConnTracker>>) -> Self {
        Self { inner: Some(body), tracker }
    }

    /// Returns the body of a request that has none.
    pub(super) fn none() -> Self {
        Self { inner: None, tracker: None }
    }

    /// Returns the body as it was given, if there was one.
    pub(super) fn into_inner(self) -> Option<B> {
        self.inner.map(Framed::into_inner)
    }

    fn note_end(tracker: Option<&Arc<ConnTracker>>) {
        if let Some(tracker) = tracker {
            tracker.on_body_end();
        }
    }
}

impl<B: RequestBody> Body for Outgoing<B> {
    type Data = B::Data;
    type Error = BodyFailed;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BodyFailed>>> {
        let this = self.project();
        let Some(inner) = this.inner.as_pin_mut() else {
            return Poll::Ready(None);
        };
        let frame = inner.poll_framed(cx, Trailers::Named);
        // After either no byte of the body follows.
        if let Poll::Ready(None) = &frame {
            Self::note_end(this.tracker.as_ref());
        } else if let Poll::Ready(Some(Ok(frame))) = &frame
            && frame.is_trailers()
        {
            Self::note_end(this.tracker.as_ref());
        }
        frame.map(|frame| frame.map(|frame| frame.map_err(BodyFailed)))
    }

    fn is_end_stream(&self) -> bool {
        let is_end = self.inner.as_ref().is_none_or(Body::is_end_stream);
        if is_end {
            Self::note_end(self.tracker.as_ref());
        }
        is_end
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// The request's own body failed; the source is its own error.
#[derive(Debug)]
pub(crate) struct BodyFailed(BoxError);

impl fmt::Display for BodyFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request's body failed")
    }
}

impl StdError for BodyFailed {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.0)
    }
}

//! A request's body on its way out.

use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::body::{Framed, SendableBody, Trailers};
use crate::chain::BoxError;

pin_project! {
    /// A request's body on its way out, whose failure can be told by its type.
    pub(crate) struct Outgoing<B> {
        #[pin]
        inner: Framed<B>,
    }
}

impl<B> Outgoing<B> {
    pub(super) fn new(inner: Framed<B>) -> Self {
        Self { inner }
    }

    /// Returns the body as it was given, if there was one.
    pub(super) fn into_inner(self) -> Option<B> {
        self.inner.into_inner()
    }
}

impl<B: SendableBody> Body for Outgoing<B> {
    type Data = B::Data;
    type Error = BodyFailed;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BodyFailed>>> {
        self.project().inner.poll_framed(cx, Trailers::Named).map_err(BodyFailed)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
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

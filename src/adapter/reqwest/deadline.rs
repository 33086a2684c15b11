//! The part of a request's timeout that is left for its response's body.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::errors::TimedOut;
use super::middleware::Limit;
use crate::chain::BoxError;
use crate::time::{Sleep, sleep_until};

pin_project! {
    /// A response's body that fails once the request's timeout has passed.
    pub(super) struct Deadlined<B> {
        #[pin]
        inner: B,
        limit: Option<Limit>,
        #[pin]
        timer: Option<Sleep>,
    }
}

impl<B> Deadlined<B> {
    pub(super) fn new(inner: B, limit: Option<Limit>) -> Self {
        let timer = limit.map(|limit| sleep_until(limit.at));
        Self { inner, limit, timer }
    }
}

impl<B> Body for Deadlined<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let this = self.project();
        if let (Some(timer), Some(limit)) = (this.timer.as_pin_mut(), this.limit)
            && timer.poll(cx).is_ready()
        {
            return Poll::Ready(Some(Err(TimedOut::reading(limit.timeout).into())));
        }
        this.inner.poll_frame(cx).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

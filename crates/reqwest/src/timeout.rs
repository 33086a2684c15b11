//! The timeout of one request of reqwest.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower_resend::__adapter::time::{after, now, woken_by};
use tower_resend::BoxError;

use crate::errors::TimedOut;

/// When a request has to be complete, with its response's body.
#[derive(Clone, Copy)]
pub(crate) struct RequestTimeout {
    pub(crate) at: Instant,
    pub(crate) timeout: Duration,
}

impl RequestTimeout {
    /// Returns `None` where no timer reaches that far.
    pub(crate) fn from_now(timeout: Duration) -> Option<Self> {
        after(now(), timeout).map(|at| Self { at, timeout })
    }

    /// Returns when to drop the service's future. Its own deadline has passed by then, so
    /// that it can tell the request's fate.
    pub(crate) fn cut_off(self) -> Instant {
        woken_by(self.at).and_then(woken_by).unwrap_or(self.at)
    }

    pub(crate) fn left(self) -> Duration {
        self.at.saturating_duration_since(now())
    }

    pub(crate) fn has_passed(self) -> bool {
        now() >= self.at
    }
}

pin_project! {
    /// A response's body that fails once the request's timeout has passed.
    pub(crate) struct TimeoutBody<B> {
        #[pin]
        inner: B,
        limit: Option<RequestTimeout>,
        #[pin]
        timer: Option<Sleep>,
    }
}

impl<B> TimeoutBody<B> {
    pub(crate) fn new(inner: B, limit: Option<RequestTimeout>) -> Self {
        let timer = limit.map(|limit| sleep_until(limit.at));
        Self { inner, limit, timer }
    }
}

impl<B> Body for TimeoutBody<B>
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

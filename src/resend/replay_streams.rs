//! A service that records streams while they are sent.

use std::task::{Context, Poll};

use http::{Request, Response};
use tower::Service;

use super::future::ResponseFuture;
use super::service::Resend;
use crate::attempt::AttemptToken;
use crate::body::{Replay, ReplayCaps};
use crate::chain::BoxError;
use crate::error::Error;

/// A [`Resend`] that records streams while they are sent.
///
/// The inner service gets requests with a [`Replay`] body, and an [`Error`] returns such a
/// request. Otherwise it does what [`Resend`] does.
#[derive(Clone, Debug)]
pub struct ReplayStreams<S> {
    inner: Resend<S>,
    caps: ReplayCaps,
    /// For calls that another layer decides about.
    nothing: ReplayCaps,
}

impl<S> ReplayStreams<S> {
    pub(super) fn new(inner: Resend<S>, caps: ReplayCaps) -> Self {
        Self { inner, caps, nothing: ReplayCaps::new(0, 0) }
    }
}

impl<S, B, RB> Service<Request<B>> for ReplayStreams<S>
where
    S: Service<Request<Replay<B>>, Response = Response<RB>> + Clone,
    S::Error: Into<BoxError>,
    B: http_body::Body + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<RB>;
    type Error = Error;
    type Future = ResponseFuture<S, Replay<B>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let caps = match request.extensions().get::<AttemptToken>() {
            Some(_) => &self.nothing,
            None => &self.caps,
        };
        self.inner.call(request.map(|body| Replay::new(body, caps)))
    }
}

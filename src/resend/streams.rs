//! Streams that are recorded while they are sent.

use std::task::{Context, Poll};

use http::{Request, Response};
use tower::{Layer, Service};

use super::future::ResponseFuture;
use super::layer::ResendLayer;
use super::service::Resend;
use crate::attempt::AttemptToken;
use crate::body::{Replay, ReplayCaps};
use crate::chain::BoxError;
use crate::error::Error;

/// A [`ResendLayer`] that records streams while they are sent; made by
/// [`ResendLayer::replay_streams`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ReplayStreamsLayer {
    resend: ResendLayer,
    caps: ReplayCaps,
}

impl ReplayStreamsLayer {
    pub(super) fn new(resend: ResendLayer, caps: ReplayCaps) -> Self {
        Self { resend, caps }
    }

    /// Sets how much is recorded.
    pub fn caps(mut self, caps: ReplayCaps) -> Self {
        self.caps = caps;
        self
    }
}

impl<S> Layer<S> for ReplayStreamsLayer {
    type Service = ReplayStreams<S>;

    fn layer(&self, inner: S) -> ReplayStreams<S> {
        ReplayStreams {
            inner: self.resend.layer(inner),
            caps: self.caps.clone(),
            nothing: ReplayCaps::new(0, 0),
        }
    }
}

/// A [`Resend`] that records streams while they are sent.
///
/// The inner service gets requests with a [`Replay`] body, and so does who
/// takes the request out of an [`Error`]. Otherwise it is as [`Resend`].
#[derive(Clone, Debug)]
pub struct ReplayStreams<S> {
    inner: Resend<S>,
    caps: ReplayCaps,
    /// For calls in which another layer decides.
    nothing: ReplayCaps,
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

//! The service.

use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use tower::Service;

use super::call::Call;
use super::future::ResponseFuture;
use super::policy::Policy;
use super::saved_request::mark;
use crate::attempt::AttemptToken;
use crate::body::Replayable;
use crate::chain::BoxError;
use crate::error::Error;

/// Resends failed requests where that is safe; made by
/// [`ResendLayer`](super::ResendLayer).
///
/// The inner service must be `Clone`: each call keeps a handle to it, which is
/// polled ready before every further attempt. Clones should be cheap and share
/// their connections. The request's body must be [`Replayable`].
///
/// # Errors
///
/// Every failure is an [`Error`]. It has the request's fate, and why the request was not
/// sent again.
///
/// # Cancel safety
///
/// Dropping the future drops the attempt under way, and starts no other. The request's
/// fate is then unknown if a byte of it had reached the kernel; see [`ResponseFuture`].
#[derive(Clone, Debug)]
#[doc(alias = "retry")]
pub struct Resend<S> {
    inner: S,
    policy: Arc<Policy>,
}

impl<S> Resend<S> {
    pub(super) fn new(inner: S, policy: Arc<Policy>) -> Self {
        Self { inner, policy }
    }

    /// Returns the service unchanged, if it takes requests with a body `B`. Otherwise the
    /// compiler says what is missing.
    ///
    /// Calling a method of [`Service`] on a type that is not a service yields only "trait
    /// bounds were not satisfied". This says which.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use tower::{BoxError, ServiceBuilder};
    /// use tower_resend::ResendLayer;
    ///
    /// async fn transport(request: Request<String>) -> Result<Response<()>, BoxError> {
    ///     # drop(request);
    ///     Ok(Response::new(()))
    /// }
    ///
    /// let service = ServiceBuilder::new().layer(ResendLayer::default()).service_fn(transport);
    /// # let _ =
    /// service.for_body::<String>();
    /// ```
    ///
    /// A stream can be sent only once, so this says that "a request body of
    /// type `Incoming` cannot be sent a second time", and what to do about it:
    ///
    /// ```compile_fail,E0277
    /// # use http::{Request, Response};
    /// # use tower::{BoxError, ServiceBuilder};
    /// # use tower_resend::ResendLayer;
    /// use hyper::body::Incoming;
    ///
    /// async fn transport(request: Request<Incoming>) -> Result<Response<()>, BoxError> {
    ///     # drop(request);
    ///     Ok(Response::new(()))
    /// }
    ///
    /// let service = ServiceBuilder::new().layer(ResendLayer::default()).service_fn(transport);
    /// service.for_body::<Incoming>();
    /// ```
    ///
    /// As it says, the stream can be recorded:
    ///
    /// ```
    /// # use http::{Request, Response};
    /// # use tower::{BoxError, Service, ServiceBuilder};
    /// # use tower_resend::ResendLayer;
    /// # use hyper::body::Incoming;
    /// use tower_resend::body::Replay;
    ///
    /// async fn transport(request: Request<Replay<Incoming>>) -> Result<Response<()>, BoxError> {
    ///     # drop(request);
    ///     Ok(Response::new(()))
    /// }
    ///
    /// let layer = ResendLayer::default().replay_streams();
    /// let service = ServiceBuilder::new().layer(layer).service_fn(transport);
    /// # fn is_service<S: Service<Request<Incoming>>>(_: S) {}
    /// # is_service(service);
    /// ```
    ///
    /// The inner service must be `Clone`. Buffer one that is not:
    ///
    /// ```compile_fail,E0277
    /// # use std::task::{Context, Poll};
    /// # use http::{Request, Response};
    /// # use tower::{BoxError, Layer, Service};
    /// # use tower_resend::ResendLayer;
    /// struct Only;
    /// # impl Service<Request<String>> for Only {
    /// #     type Response = Response<()>;
    /// #     type Error = BoxError;
    /// #     type Future = std::future::Ready<Result<Response<()>, BoxError>>;
    /// #     fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
    /// #         Poll::Ready(Ok(()))
    /// #     }
    /// #     fn call(&mut self, _: Request<String>) -> Self::Future {
    /// #         std::future::ready(Ok(Response::new(())))
    /// #     }
    /// # }
    ///
    /// ResendLayer::default().layer(Only).for_body::<String>();
    /// ```
    #[must_use = "this returns the service"]
    pub fn for_body<B>(self) -> Self
    where
        Self: Service<Request<B>>,
    {
        self
    }
}

impl<S, B, RB> Service<Request<B>> for Resend<S>
where
    S: Service<Request<B>, Response = Response<RB>> + Clone,
    S::Error: Into<BoxError>,
    B: Replayable + Send + 'static,
{
    type Response = Response<RB>;
    type Error = Error;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let readied = ready!(self.inner.poll_ready(cx));
        Poll::Ready(readied.map_err(|source| Error::unready(source.into())))
    }

    fn call(&mut self, mut request: Request<B>) -> ResponseFuture<S, B> {
        // This service was polled ready, its clone was not. The ready one goes with the call,
        // and the clone stays here.
        let clone = self.inner.clone();
        let ready = mem::replace(&mut self.inner, clone);
        let call = Call::new(ready, Arc::clone(&self.policy), &request);
        ResponseFuture::new(call, |service, token| {
            mark(&mut request, token);
            service.call(request)
        })
    }
}

impl<S> Resend<S> {
    /// Does what `call` does, for an inner service that is always ready and takes the token
    /// beside the request, which is cheaper than among its extensions. `send` must do with it
    /// what the service does with a token among the extensions.
    #[inline]
    pub(crate) fn call_by<B>(
        &self,
        request: Request<B>,
        send: impl FnOnce(&mut S, Request<B>, AttemptToken) -> S::Future,
    ) -> ResponseFuture<S, B>
    where
        S: Service<Request<B>> + Clone,
        B: Replayable + Send + 'static,
    {
        let call = Call::new(self.inner.clone(), Arc::clone(&self.policy), &request);
        ResponseFuture::new(call, |service, token| send(service, request, token.clone()))
    }
}

//! The statement that an application does nothing but pass requests on.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::NextHop;
use crate::statement::{DispatchToken, NotApplied};

/// Refuses requests that a gateway could not pass on; see
/// [`RefuseUnforwarded`].
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct RefuseUnforwardedLayer;

impl RefuseUnforwardedLayer {
    /// Returns the layer. Place it directly inside
    /// [`Dispatch`](crate::server::Dispatch), around the application that is
    /// given to [`serve`](crate::server::serve()).
    pub fn new() -> Self {
        Self
    }
}

impl<S> Layer<S> for RefuseUnforwardedLayer {
    type Service = RefuseUnforwarded<S>;

    fn layer(&self, inner: S) -> RefuseUnforwarded<S> {
        RefuseUnforwarded { inner }
    }
}

/// States that an application is nothing but a [`Gateway`](super::Gateway): if
/// the next hop did not apply a request, nothing did. Made by
/// [`RefuseUnforwardedLayer`].
///
/// The response of a gateway whose [`NextHop`] is *not applied* becomes
/// [`NotApplied`], so that a client under a contract reads `refused` and may send
/// the request again.
///
/// **A wrong statement doubles requests.** It is wrong for an application that
/// acts on a request before it passes it on (charges, writes, counts), and for
/// one with a layer that does, outside or inside this one. Such a layer calls
/// [`NotApplied::rule_out`]. What can be checked is checked: the request that the
/// gateway gets must carry the extensions of the dispatched one
/// (`Request::from_parts` with its parts), no copy of them may be left, and
/// *every* gateway that passed it on must prove it unapplied. A request that a
/// handler makes anew speaks for itself only.
///
/// # Examples
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// use http::{Request, Uri};
/// use tower::{Layer, ServiceExt};
/// use tower_resend::fate::Role;
/// use tower_resend::gateway::{GatewayLayer, RefuseUnforwardedLayer};
/// use tower_resend::server::{self, Listener, RequestBody};
/// use tower_resend::{Body, Client, Policy};
///
/// let policy = Policy::new().role(Role::Proxy);
/// let gateway = GatewayLayer::new().layer(Client::builder().policy(policy).build());
/// let forward = tower::service_fn(move |request: Request<RequestBody<_>>| {
///     let (mut head, body) = request.into_parts();
///     head.uri = Uri::from_static("http://10.0.0.2:8080/orders");
///     gateway.clone().oneshot(Request::from_parts(head, Body::new(body)))
/// });
/// let app = RefuseUnforwardedLayer::new().layer(forward);
/// server::serve(Listener::bind(([0, 0, 0, 0], 8080).into()).await?, app).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RefuseUnforwarded<S> {
    inner: S,
}

impl<S, B, RB> Service<Request<B>> for RefuseUnforwarded<S>
where
    S: Service<Request<B>, Response = Response<RB>>,
{
    type Response = Response<RB>;
    type Error = S::Error;
    type Future = RefuseUnforwardedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let dispatched = DispatchToken::find(request.extensions());
        RefuseUnforwardedFuture { inner: self.inner.call(request), dispatched }
    }
}

pin_project! {
    /// The future of [`RefuseUnforwarded`].
    ///
    /// # Cancel safety
    ///
    /// That of the inner service's future.
    #[derive(Debug)]
    pub struct RefuseUnforwardedFuture<F> {
        #[pin]
        inner: F,
        dispatched: Option<DispatchToken>,
    }
}

impl<F, RB, E> Future for RefuseUnforwardedFuture<F>
where
    F: Future<Output = Result<Response<RB>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        let extensions = response.extensions_mut();
        if let (Some(dispatched), Some(hop)) =
            (this.dispatched.take(), extensions.get_mut::<NextHop>())
            && hop.left_unapplied(&dispatched)
        {
            extensions.insert(NotApplied::of_dispatched(dispatched));
        }
        Poll::Ready(Ok(response))
    }
}

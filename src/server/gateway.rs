//! What a gateway answers when the request that it passed on failed.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response, StatusCode};
use http_body_util::{Either, Empty};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::statement::{Dispatched, NextHop, NotApplied};
use crate::error::Error;
use tower_resend_core::{Doubt, Fate};

/// Answers in the place of a client stack that failed; see [`Gateway`].
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct GatewayLayer;

impl GatewayLayer {
    /// Returns the layer.
    pub fn new() -> Self {
        Self
    }
}

impl<S> Layer<S> for GatewayLayer {
    type Service = Gateway<S>;

    fn layer(&self, inner: S) -> Gateway<S> {
        Gateway { inner, unready: None }
    }
}

/// Makes an answer of every [`Error`] of the client stack within it; never
/// fails itself. Made by [`GatewayLayer`].
///
/// A gateway is the application of its own server and a client of the next
/// one. It knows from the [`Error`] what became of the request there:
///
/// | fate of the request at the next hop | answer |
/// |---|---|
/// | not applied | 503 |
/// | unknown, because no answer came in time | 504 |
/// | unknown, for any other reason | 502 |
/// | response lost, or answered and not delivered | 502 |
///
/// The answer carries the fate as a [`NextHop`]. It never says of the gateway's
/// own request that it was not applied: a handler may have acted on that one
/// before it turned to the next service. An application that is nothing but the
/// gateway says so by [`RefuseUnforwardedLayer`].
///
/// A gateway is a proxy: its policy has
/// [`Role::Proxy`](tower_resend_core::Role::Proxy).
///
/// # Examples
///
/// ```
/// use tower::ServiceBuilder;
/// use tower_resend::Client;
/// use tower_resend::server::GatewayLayer;
///
/// let client = Client::new();
/// let gateway = ServiceBuilder::new().layer(GatewayLayer::new()).service(client);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Gateway<S> {
    inner: S,
    /// Why the inner service cannot take the next request, which is answered
    /// without it.
    unready: Option<Fate>,
}

impl<S, B, RB> Service<Request<B>> for Gateway<S>
where
    S: Service<Request<B>, Response = Response<RB>, Error = Error>,
    RB: http_body::Body,
{
    type Response = Response<GatewayBody<RB>>;
    type Error = Infallible;
    type Future = GatewayFuture<S::Future>;

    /// Never fails: where the inner service did, the next request is answered
    /// without it.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.unready = ready!(self.inner.poll_ready(cx)).err().map(|error| error.fate());
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let taken_up = Dispatched::find(request.extensions());
        if let Some(taken_up) = &taken_up {
            taken_up.pass_on();
        }
        match self.unready.take() {
            Some(fate) => GatewayFuture { unready: Some(fate), inner: None, taken_up },
            None => {
                GatewayFuture { unready: None, inner: Some(self.inner.call(request)), taken_up }
            }
        }
    }
}

/// The body of a gateway's answer: that of the next server, or none.
pub type GatewayBody<B> = Either<B, Empty<<B as http_body::Body>::Data>>;

pin_project! {
    /// The future of [`Gateway`].
    ///
    /// # Cancel safety
    ///
    /// That of the client stack's future.
    #[derive(Debug)]
    pub struct GatewayFuture<F> {
        unready: Option<Fate>,
        #[pin]
        inner: Option<F>,
        // The request that is passed on, if it is one that was dispatched.
        taken_up: Option<Dispatched>,
    }
}

impl<F, RB> Future for GatewayFuture<F>
where
    F: Future<Output = Result<Response<RB>, Error>>,
    RB: http_body::Body,
{
    type Output = Result<Response<GatewayBody<RB>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answered = match (this.unready.take(), this.inner.as_pin_mut()) {
            (None, Some(inner)) => ready!(inner.poll(cx)).map_err(|error| error.fate()),
            (Some(fate), _) => Err(fate),
            (None, None) => Err(Fate::Unknown(Doubt::NoEvidence)),
        };
        Poll::Ready(Ok(match answered {
            Ok(mut response) => {
                // What it says of another hop is not this one's.
                response.extensions_mut().remove::<NextHop>();
                response.map(Either::Left)
            }
            Err(fate) => answer(fate, this.taken_up.take()),
        }))
    }
}

/// The answer to a request with this fate at the next server.
fn answer<RB: http_body::Body>(
    fate: Fate,
    taken_up: Option<Dispatched>,
) -> Response<GatewayBody<RB>> {
    if let Some(taken_up) = taken_up.as_ref().filter(|_| fate.is_not_applied()) {
        taken_up.was_not_applied();
    }
    let mut response = Response::new(Either::Right(Empty::new()));
    *response.status_mut() = status(fate);
    response.extensions_mut().insert(NextHop::new(fate, taken_up));
    response
}

fn status(fate: Fate) -> StatusCode {
    match fate {
        Fate::NotApplied(_) => StatusCode::SERVICE_UNAVAILABLE,
        Fate::Unknown(Doubt::TimedOut) => StatusCode::GATEWAY_TIMEOUT,
        Fate::Unknown(_) | Fate::ResponseLost | Fate::Completed => StatusCode::BAD_GATEWAY,
    }
}

/// Refuses requests that a gateway could not pass on; see
/// [`RefuseUnforwarded`].
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct RefuseUnforwardedLayer;

impl RefuseUnforwardedLayer {
    /// Returns the layer. It stands right below [`Dispatch`](super::Dispatch), where
    /// the application that is given to [`serve`](super::serve()) stands.
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

/// States of an application that it is nothing but a [`Gateway`]: where the next
/// hop did not apply a request, nothing did. Made by [`RefuseUnforwardedLayer`].
///
/// The answer of a gateway whose [`NextHop`] is *not applied* becomes
/// [`NotApplied`], so that a client under a contract reads `refused` and may send
/// the request again.
///
/// **A wrong statement doubles requests.** It is wrong for an application that
/// acts on a request before it passes it on (charges, writes, counts), and for
/// one with a layer that does, above this one or below it. Such a layer calls
/// [`NotApplied::rule_out`]. As far as it can be seen it is checked too: the
/// request that the gateway is given must carry the extensions of the one that
/// was dispatched (`Request::from_parts` with its parts), no copy of which may be
/// left, and *every* gateway that it was passed on through must prove it
/// unapplied. A request that a handler makes anew speaks for itself only.
///
/// # Examples
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// use http::{Request, Uri};
/// use tower::{Layer, ServiceExt};
/// use tower_resend::fate::Role;
/// use tower_resend::server::{
///     self, GatewayLayer, Listener, RefuseUnforwardedLayer, RequestBody,
/// };
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
        let taken_up = Dispatched::find(request.extensions());
        RefuseUnforwardedFuture { inner: self.inner.call(request), taken_up }
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
        taken_up: Option<Dispatched>,
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
        if let (Some(taken_up), Some(hop)) = (this.taken_up.take(), extensions.get_mut::<NextHop>())
            && hop.left_unapplied(&taken_up)
        {
            extensions.insert(NotApplied::of_taken_up(taken_up));
        }
        Poll::Ready(Ok(response))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;

    use super::*;
    use tower_resend_core::Proof;

    #[test]
    fn a_failed_hop_speaks_of_itself_only() {
        for (fate, code) in [
            (Fate::NotApplied(Proof::NothingWritten), 503),
            (Fate::Unknown(Doubt::TimedOut), 504),
            (Fate::Unknown(Doubt::ResponseBegun), 502),
            (Fate::ResponseLost, 502),
            (Fate::Completed, 502),
        ] {
            let response = answer::<Full<Bytes>>(fate, Some(Dispatched::default()));
            assert_eq!(response.status(), code, "{fate}");
            assert_eq!(response.extensions().get::<NextHop>().map(NextHop::fate), Some(fate));
            assert!(response.extensions().get::<NotApplied>().is_none(), "{fate}");
        }
    }
}

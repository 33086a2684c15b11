//! A gateway: the application of its own server and a client of the next one.
//! Every failure of that client becomes a response.

#[cfg(feature = "server")]
mod refuse_unforwarded;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response, StatusCode};
use http_body_util::{Either, Empty};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

#[cfg(feature = "server")]
pub use self::refuse_unforwarded::{
    RefuseUnforwarded, RefuseUnforwardedFuture, RefuseUnforwardedLayer,
};
use crate::error::Error;
use crate::statement::DispatchToken;
use tower_resend_core::{Doubt, Fate};

/// Answers for a client stack that failed; see [`Gateway`].
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

/// Maps every [`Error`] of the inner client stack to a response; never fails
/// itself. Made by [`GatewayLayer`].
///
/// A gateway is the application of its own server and a client of the next
/// one. It knows from the [`Error`] what became of the request there:
///
/// | fate of the request at the next hop | response |
/// |---|---|
/// | not applied | 503 |
/// | unknown, because no response came in time | 504 |
/// | unknown, for any other reason | 502 |
/// | response lost, or answered and not delivered | 502 |
///
/// The response carries the fate as a [`NextHop`]. It never says that the
/// gateway's own request was not applied: a handler may have acted on that one
/// before it turned to the next service. An application that is nothing but a
/// gateway says so with `RefuseUnforwardedLayer` (feature `server`).
///
/// A gateway is a proxy: give its policy
/// [`Role::Proxy`](tower_resend_core::Role::Proxy).
///
/// # Examples
///
/// ```
/// use tower::ServiceBuilder;
/// use tower_resend::Client;
/// use tower_resend::gateway::GatewayLayer;
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

    /// Never fails: if the inner service does, the next request is answered
    /// without it.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.unready = ready!(self.inner.poll_ready(cx)).err().map(|error| error.fate());
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let dispatched = DispatchToken::find(request.extensions());
        if let Some(dispatched) = &dispatched {
            dispatched.pass_on();
        }
        match self.unready.take() {
            Some(fate) => GatewayFuture { unready: Some(fate), inner: None, dispatched },
            None => {
                GatewayFuture { unready: None, inner: Some(self.inner.call(request)), dispatched }
            }
        }
    }
}

/// The body of a gateway's response: the next server's, or none.
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
        // The request that is passed on, if a server of this crate dispatched it.
        dispatched: Option<DispatchToken>,
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
        let outcome = match (this.unready.take(), this.inner.as_pin_mut()) {
            (None, Some(inner)) => ready!(inner.poll(cx)).map_err(|error| error.fate()),
            (Some(fate), _) => Err(fate),
            (None, None) => Err(Fate::Unknown(Doubt::NoEvidence)),
        };
        Poll::Ready(Ok(match outcome {
            Ok(mut response) => {
                // What it says about another hop does not hold for this one.
                response.extensions_mut().remove::<NextHop>();
                response.map(Either::Left)
            }
            Err(fate) => failed(fate, this.dispatched.take()),
        }))
    }
}

/// Returns the response to a request that has this fate at the next server.
fn failed<RB: http_body::Body>(
    fate: Fate,
    dispatched: Option<DispatchToken>,
) -> Response<GatewayBody<RB>> {
    if let Some(dispatched) = dispatched.as_ref().filter(|_| fate.is_not_applied()) {
        dispatched.was_not_applied();
    }
    let mut response = Response::new(Either::Right(Empty::new()));
    *response.status_mut() = match fate {
        Fate::NotApplied(_) => StatusCode::SERVICE_UNAVAILABLE,
        Fate::Unknown(Doubt::TimedOut) => StatusCode::GATEWAY_TIMEOUT,
        Fate::Unknown(_) | Fate::ResponseLost | Fate::Completed => StatusCode::BAD_GATEWAY,
    };
    response.extensions_mut().insert(NextHop { fate, dispatched });
    response
}

/// The fate of a request at the next hop of a gateway, as an extension of the
/// response that a [`Gateway`] gives in place of that hop.
///
/// It says nothing about the request that the gateway's own server dispatched:
/// that one may have been acted on before it was passed on.
#[derive(Clone, Debug)]
pub struct NextHop {
    fate: Fate,
    /// The request that was passed on, if a server of this crate dispatched it.
    #[cfg_attr(not(feature = "server"), expect(dead_code, reason = "no server, no statement"))]
    dispatched: Option<DispatchToken>,
}

impl NextHop {
    /// Returns the fate of the request at the next hop.
    pub fn fate(&self) -> Fate {
        self.fate
    }

    /// Returns `true` if the gateway passed on the very request that was
    /// dispatched, and the next hop did not apply it.
    ///
    /// Lets go of the request: a statement about it counts only while nothing
    /// else holds it, so the caller makes its own.
    #[cfg(feature = "server")]
    fn left_unapplied(&mut self, exchange: &DispatchToken) -> bool {
        let dispatched = self.dispatched.take();
        self.fate.is_not_applied() && dispatched.is_some_and(|request| request.is(exchange))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;

    use super::*;
    use tower_resend_core::Proof;

    #[test]
    fn failed_hop_speaks_only_for_itself() {
        for (fate, code) in [
            (Fate::NotApplied(Proof::NothingWritten), 503),
            (Fate::Unknown(Doubt::TimedOut), 504),
            (Fate::Unknown(Doubt::ResponseBegun), 502),
            (Fate::ResponseLost, 502),
            (Fate::Completed, 502),
        ] {
            let response = failed::<Full<Bytes>>(fate, Some(DispatchToken::default()));
            assert_eq!(response.status(), code, "{fate}");
            let extensions = response.extensions();
            assert_eq!(extensions.get::<NextHop>().map(NextHop::fate), Some(fate));
            #[cfg(feature = "server")]
            assert!(extensions.get::<crate::statement::NotApplied>().is_none(), "{fate}");
        }
    }
}

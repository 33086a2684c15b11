//! What a gateway answers when the request that it passed on failed.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{Either, Empty};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::classify::{Doubt, Fate};
use crate::error::Error;

/// States, as an extension of a response, that the application did not act on
/// the request and will not: sending it again is safe.
///
/// To a client that offered to understand it the answer then carries
/// `refused`, and the connection is closed (S4); to others it means nothing
/// but `Connection: close`.
///
/// Only for an application that knows. [`Gateway`] sets it where the evidence
/// of the next hop proves it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotApplied;

impl NotApplied {
    /// Returns the statement.
    pub fn new() -> Self {
        Self
    }
}

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
/// one. It knows from the [`Error`] what became of the request there, and may
/// tell its own client no more than that:
///
/// | fate of the request | answer | |
/// |---|---|---|
/// | not applied | 503 | with [`NotApplied`]: a client under a contract reads `refused` and may send it again |
/// | unknown, because no answer came in time | 504 | never a refusal |
/// | unknown, for any other reason | 502 | never a refusal |
/// | response lost, or answered and not delivered | 502 | never a refusal |
///
/// A gateway is a proxy: its policy has
/// [`Role::Proxy`](crate::classify::Role::Proxy).
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
        match self.unready.take() {
            Some(fate) => GatewayFuture { unready: Some(fate), inner: None },
            None => GatewayFuture { unready: None, inner: Some(self.inner.call(request)) },
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
        Poll::Ready(Ok(answered.map_or_else(answer, |response| response.map(Either::Left))))
    }
}

/// The answer to a request with this fate at the next server.
fn answer<RB: http_body::Body>(fate: Fate) -> Response<GatewayBody<RB>> {
    let mut response = Response::new(Either::Right(Empty::new()));
    *response.status_mut() = status(fate);
    if fate.is_not_applied() {
        response.extensions_mut().insert(NotApplied);
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn status(fate: Fate) -> StatusCode {
    match fate {
        Fate::NotApplied(_) => StatusCode::SERVICE_UNAVAILABLE,
        Fate::Unknown(Doubt::TimedOut) => StatusCode::GATEWAY_TIMEOUT,
        Fate::Unknown(_) | Fate::ResponseLost | Fate::Completed => StatusCode::BAD_GATEWAY,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;

    use super::*;
    use crate::classify::Proof;

    #[test]
    fn only_what_was_not_applied_may_be_sent_again() {
        for (fate, code, is_refused) in [
            (Fate::NotApplied(Proof::NothingWritten), 503, true),
            (Fate::Unknown(Doubt::TimedOut), 504, false),
            (Fate::Unknown(Doubt::ResponseBegun), 502, false),
            (Fate::ResponseLost, 502, false),
            (Fate::Completed, 502, false),
        ] {
            let response = answer::<Full<Bytes>>(fate);
            assert_eq!(response.status(), code, "{fate}");
            assert_eq!(response.extensions().get::<NotApplied>().is_some(), is_refused, "{fate}");
        }
    }
}

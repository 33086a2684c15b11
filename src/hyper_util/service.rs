//! The legacy client as a service that leaves evidence.

use std::error::Error as StdError;
use std::fmt;
use std::task::{Context, Poll};

use ::hyper_util::client::legacy;
use ::hyper_util::client::legacy::connect::Connect;
use http::{Method, Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tower::Service;

use super::future::ResponseFuture;
use super::marked::TrackedBody;
use crate::attempt::{AttemptError, AttemptToken, Sent};
use crate::body::Framing;
use crate::connect::{DialError, has_connect_form};

/// Makes a legacy client leave evidence of what became of its requests.
///
/// Its connector should be a [`Connector`](super::Connector), or have one
/// under it; without it little is proven (see the [module](super)). The
/// client's own settings stay as they are.
///
/// The client sends [`TrackedBody`] bodies, which is inferred where it is built for
/// this; requests with any [`Body`] can be sent then.
pub fn with_evidence<C, B>(client: legacy::Client<C, TrackedBody<B>>) -> EvidenceClient<C, B> {
    EvidenceClient(client)
}

/// A legacy client that leaves evidence; made by [`with_evidence`].
///
/// Records each request in the [`AttemptToken`] among its extensions, which a
/// [`ResendLayer`](crate::ResendLayer) puts there, and in its [`AttemptError`]; in
/// the token what came back and was sent again by the client too.
/// Clones share their connections.
///
/// # Errors
///
/// [`AttemptError`], for every failure before the response's head. Its source is the
/// legacy client's own error, or why the client was not given the request; there is none
/// where the client answered a request that it had cut, or would never have ended (see
/// the [module](super)'s limits).
///
/// # Cancel safety
///
/// Dropping the future ends the attempt: its connection is reset where no
/// other request can be on it, and what is known is recorded.
pub struct EvidenceClient<C, B>(legacy::Client<C, TrackedBody<B>>);

impl<C, B> Service<Request<B>> for EvidenceClient<C, B>
where
    C: Connect + Clone + Send + Sync + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    type Response = Response<Incoming>;
    type Error = AttemptError;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), AttemptError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> ResponseFuture {
        let token = request.extensions_mut().remove::<AttemptToken>();
        let is_connect = request.method() == Method::CONNECT;
        let framing = match is_connect && !has_connect_form(request.uri()) {
            true => Err(DialError::connect_form().into()),
            false => Framing::of(&request).map_err(AttemptError::from),
        };
        let framing = match framing {
            Ok(framing) => framing,
            Err(error) => {
                if let Some(token) = token {
                    token.record(error.attempt().clone());
                    token.give_back(request);
                }
                return ResponseFuture::failed(error);
            }
        };
        let sent = Sent::of(&request);
        let (request, mark) = TrackedBody::request(request, framing);
        ResponseFuture::new(self.0.request(request), mark, token, is_connect, sent)
    }
}

impl<C: Clone, B> Clone for EvidenceClient<C, B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C, B> fmt::Debug for EvidenceClient<C, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EvidenceClient").field(&self.0).finish()
    }
}

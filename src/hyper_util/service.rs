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
use super::tracked_body::TrackedBody;
use crate::attempt::{AttemptError, AttemptToken, Sent};
use crate::body::Framing;
use crate::connect::{DialError, has_connect_form};

/// Makes a legacy client leave evidence of what became of its requests.
///
/// Its connector should be a [`Connector`](super::Connector), or have one
/// under it; without that, little is proven (see the [module](super)). The client's own
/// settings stay as they are.
///
/// The client sends [`TrackedBody`] bodies. The compiler infers that where the client is
/// built for this; requests with any [`Body`] can be sent then.
pub fn with_evidence<C, B>(client: legacy::Client<C, TrackedBody<B>>) -> EvidenceClient<C, B> {
    EvidenceClient(client)
}

/// A legacy client that leaves evidence; made by [`with_evidence`].
///
/// Records each attempt in the [`AttemptToken`] that a
/// [`ResendLayer`](crate::ResendLayer) put among the request's extensions, and fails with an
/// [`AttemptError`]. The token also gets the hand-backs after which the client sent the
/// request on another connection by itself. Clones share their connections.
///
/// # Errors
///
/// [`AttemptError`], for every failure before the response's head. Its source is the
/// legacy client's own error, or why the client was not given the request. There is no
/// source where the client cut the request and was answered, or would never have ended (see
/// the [module](super)'s limits).
///
/// # Cancel safety
///
/// Dropping the future ends the attempt and records what is known. The connection is reset
/// if no other request can be on it.
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
        let (request, tracker) = TrackedBody::track(request, framing);
        ResponseFuture::new(self.0.request(request), tracker, token, is_connect, sent)
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

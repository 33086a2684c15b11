//! What is kept of a request to make it again.

use std::mem;

use http::{Extensions, HeaderMap, Method, Request, Uri, Version};

use crate::attempt::AttemptToken;
use crate::body::{NotReplayable, Replayable};
use crate::classify::{BodyState, Semantics};

/// Marks a request as idempotent, put into its extensions by the caller.
///
/// It is the caller's word that sending the request twice has the effect of
/// sending it once, whatever its method. A wrong mark doubles requests.
///
/// ```
/// # fn main() -> Result<(), http::Error> {
/// let request = http::Request::post("/reindex")
///     .extension(tower_resend::resend::Idempotent)
///     .body(())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "a mark holds nothing")]
pub struct Idempotent;

/// What is kept of a request to make it again: all of it, its body as a spare
/// one with the same octets.
pub(super) struct Kept<B> {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
    /// The caller's own extensions: no token of ours is among them.
    extensions: Extensions,
    spare: Result<B, NotReplayable>,
}

impl<B: Replayable> Kept<B> {
    /// Keeps what is needed of a request that is about to be sent.
    ///
    /// The octets of its body are not copied.
    pub(super) fn new(request: &Request<B>) -> Self {
        let extensions = request.extensions();
        Self {
            headers: request.headers().clone(),
            extensions: match extensions.is_empty() {
                true => Extensions::new(),
                false => extensions.clone(),
            },
            spare: request.body().replay(),
            ..Self::line(request)
        }
    }

    /// Keeps what names a request, without the means to make it again.
    pub(super) fn line(request: &Request<B>) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: HeaderMap::new(),
            extensions: Extensions::new(),
            spare: Err(NotReplayable::OneShot),
        }
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Returns whether the caller sent an idempotency key, from the first
    /// attempt on: the copy was made before it.
    pub(super) fn has_key(&self) -> bool {
        self.headers.contains_key(IDEMPOTENCY_KEY)
    }

    pub(super) fn semantics(&self) -> Semantics {
        match Semantics::of(&self.method) {
            Semantics::NotIdempotent if self.extensions.get::<Idempotent>().is_some() => {
                Semantics::MarkedIdempotent
            }
            semantics => semantics,
        }
    }

    /// Returns whether the spare body can be sent.
    pub(super) fn body_state(&self) -> BodyState {
        let checked = match &self.spare {
            Ok(spare) => spare.check_replay(),
            Err(reason) => Err(*reason),
        };
        match checked {
            Ok(()) => BodyState::Replayable,
            Err(NotReplayable::Failed) => BodyState::Failed,
            Err(_) => BodyState::Gone,
        }
    }

    /// Revokes the body that was sent last, so that a connection which still
    /// polls it sees an error and not an end.
    pub(super) fn revoke(&self) {
        if let Ok(spare) = &self.spare {
            spare.revoke();
        }
    }

    /// Makes the request again and keeps another spare of its body.
    pub(super) fn again(&mut self) -> Result<Request<B>, NotReplayable> {
        let next = match &self.spare {
            Ok(spare) => spare.replay()?,
            Err(reason) => return Err(*reason),
        };
        let body = mem::replace(&mut self.spare, Ok(next))?;
        Ok(self.with_body(body))
    }

    /// Takes the request out, if it can be sent again.
    pub(super) fn take(&mut self) -> Option<Request<B>> {
        if self.body_state() != BodyState::Replayable {
            return None;
        }
        let body = mem::replace(&mut self.spare, Err(NotReplayable::Polled)).ok()?;
        Some(self.with_body(body))
    }

    /// Returns whether a request that was given back is the one that was sent:
    /// a layer between may have made another of it, such as a redirected one.
    pub(super) fn is_same(&self, request: &Request<B>) -> bool {
        *request.method() == self.method && *request.uri() == self.uri
    }

    fn with_body(&self, body: B) -> Request<B> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers.clone();
        *request.extensions_mut() = self.extensions.clone();
        request
    }
}

/// Puts the token of a call into a request.
pub(super) fn mark<B>(request: &mut Request<B>, token: &AttemptToken) {
    request.extensions_mut().insert(token.clone());
}

const IDEMPOTENCY_KEY: &str = "idempotency-key";

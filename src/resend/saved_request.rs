//! What is saved of a request to make it again.

use std::mem;

use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};

use super::idempotent::Idempotent;
use super::policy::Policy;
use crate::attempt::{Attempt, AttemptToken, IDEMPOTENCY_KEY, KeyPrint, Sent};
use crate::body::{NotReplayable, Replayable, StreamId, stream_id};
use crate::error::{KeyTrust, Missing};
use tower_resend_core::{BodyState, Deduplication, RequestFacts, Semantics};

/// What is saved of a request to make it again: its head, and a copy of its body that
/// yields the same bytes.
pub(super) struct SavedRequest<B> {
    method: Method,
    uri: Uri,
    version: Version,
    /// A list is cheaper to make than a map, and the map is rarely needed again.
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The caller's own extensions, without our token.
    extensions: Extensions,
    copy: Result<B, NotReplayable>,
    /// Which stream the body is, if it is a stream that cannot be copied.
    stream: Option<StreamId>,
    /// The request of the last attempt, if a connection gave it back untouched.
    given_back: Option<Box<Request<B>>>,
}

impl<B: Replayable + 'static> SavedRequest<B> {
    /// Saves what is needed of a request that is about to be sent. The bytes of its body
    /// are shared, not copied.
    #[inline]
    pub(super) fn new(request: &Request<B>) -> Self {
        let mut headers = Vec::with_capacity(request.headers().len());
        for (name, value) in request.headers() {
            headers.push((name.clone(), value.clone()));
        }
        let extensions = match request.extensions() {
            none if none.is_empty() => Extensions::new(),
            some => some.clone(),
        };
        Self::of(request, headers, extensions, request.body().replay())
    }

    /// Saves the request line only, without the means to make the request again.
    pub(super) fn line(request: &Request<B>) -> Self {
        Self::of(request, Vec::new(), Extensions::new(), Err(NotReplayable::OneShot))
    }

    #[inline]
    fn of(
        request: &Request<B>,
        headers: Vec<(HeaderName, HeaderValue)>,
        extensions: Extensions,
        copy: Result<B, NotReplayable>,
    ) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers,
            extensions,
            copy,
            stream: stream_id(request.body()),
            given_back: None,
        }
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Returns the facts of the request, and of what was sent for it, apart from its body
    /// and the time left.
    pub(super) fn facts(&self, policy: &Policy, attempts: &[Attempt]) -> RequestFacts {
        let semantics = self.semantics_of(attempts);
        RequestFacts::new(semantics).with_deduplication(match self.key(policy, attempts) {
            KeyTrust::Honored => Deduplication::Keyed,
            KeyTrust::Absent | KeyTrust::NotHonored => Deduplication::None,
        })
    }

    /// Returns which grounds are missing, for an error's text.
    pub(super) fn missing(&self, policy: &Policy, attempts: &[Attempt]) -> Missing {
        let semantics = Some(self.semantics_of(attempts));
        Missing { semantics, key: self.key(policy, attempts) }
    }

    /// Returns what a repeat would mean. What a layer between sent for this request goes
    /// out again with it, and a method speaks for its own request only.
    fn semantics_of(&self, attempts: &[Attempt]) -> Semantics {
        let mut sent = attempts.iter().filter_map(Attempt::maybe_applied);
        match self.semantics() {
            Semantics::IdempotentMethod if !sent.all(is_idempotent) => Semantics::NotIdempotent,
            semantics => semantics,
        }
    }

    /// Returns `true` if an attempt may have applied another request than this one, so that
    /// a ground for this request says nothing of it.
    pub(super) fn is_unlike(&self, attempt: &Attempt) -> bool {
        let key = self.key_print();
        let is_by_method = self.semantics() == Semantics::IdempotentMethod;
        attempt.maybe_applied().is_some_and(|sent| {
            let has_other_key = key.is_there() && sent.key != key;
            has_other_key || (is_by_method && !is_idempotent(sent))
        })
    }

    fn key_print(&self) -> KeyPrint {
        KeyPrint::of(self.headers.iter().map(|(name, value)| (name, value)))
    }

    pub(super) fn semantics(&self) -> Semantics {
        match Semantics::of(&self.method) {
            Semantics::NotIdempotent if self.extensions.get::<Idempotent>().is_some() => {
                Semantics::MarkedIdempotent
            }
            semantics => semantics,
        }
    }

    /// Returns what the caller's idempotency key is worth, if there is one. It counts if
    /// every attempt that may have been applied carried it, as far as that is known.
    ///
    /// An empty key counts as none, because an origin cannot tell two requests apart by it.
    /// Several keys do not count, because it is unknown which one an origin takes.
    fn key(&self, policy: &Policy, attempts: &[Attempt]) -> KeyTrust {
        let mut sent = attempts.iter().filter_map(Attempt::maybe_applied);
        let mut keys = self.headers.iter().filter(|(name, _)| *name == IDEMPOTENCY_KEY);
        match (keys.next(), keys.next()) {
            (None, _) => KeyTrust::Absent,
            (Some((_, key)), None) if is_empty(key) => KeyTrust::Absent,
            (Some(_), None)
                if policy.rules().deduplicates()
                    && sent.all(|sent| sent.key == self.key_print()) =>
            {
                KeyTrust::Honored
            }
            (Some(_), _) => KeyTrust::NotHonored,
        }
    }

    /// Saves a request that was given back, for the case that its body has no copy.
    ///
    /// A layer between may have changed the request, for example by more fields, and would
    /// do so again. So the head is the saved one, and the body is taken only if it is the
    /// one that was sent: recognized by its identity, or else by an unchanged head.
    pub(super) fn keep_given_back(&mut self, request: Option<Request<B>>) {
        self.given_back = request.and_then(|given| {
            let is_ours = match (self.stream, stream_id(given.body())) {
                (None, None) => self.has_head_of(&given),
                (sent, given) => sent == given,
            };
            is_ours.then(|| Box::new(self.with_body(given.into_body())))
        });
    }

    fn has_head_of(&self, given: &Request<B>) -> bool {
        *given.method() == self.method
            && *given.uri() == self.uri
            && given.version() == self.version
            && *given.headers() == self.headers.iter().cloned().collect::<HeaderMap>()
    }

    /// Returns in what state the body is for another attempt.
    pub(super) fn body_state(&self) -> BodyState {
        match self.check_copy() {
            Ok(()) => BodyState::Replayable,
            Err(_) if self.given_back.is_some() => BodyState::Replayable,
            Err(NotReplayable::Failed) => BodyState::Failed,
            Err(_) => BodyState::Gone,
        }
    }

    fn check_copy(&self) -> Result<(), NotReplayable> {
        match &self.copy {
            Ok(copy) => copy.check_replay(),
            Err(reason) => Err(*reason),
        }
    }

    /// Revokes the body that was sent last. A connection that still polls it gets an error,
    /// not the end, which would complete the message.
    pub(super) fn revoke(&self) {
        if let Ok(copy) = &self.copy {
            copy.revoke();
        }
    }

    /// Makes the request again, and saves another copy of its body if it can.
    pub(super) fn again(&mut self) -> Option<Request<B>> {
        let given_back = self.given_back.take();
        let next = self.copy.as_ref().ok().and_then(|copy| copy.replay().ok());
        match (next, &mut self.copy) {
            (Some(next), Ok(copy)) => {
                let body = mem::replace(copy, next);
                Some(self.with_body(body))
            }
            _ => given_back.map(|request| *request),
        }
    }

    /// Takes the request out, if it can be sent again.
    pub(super) fn take(&mut self) -> Option<Request<B>> {
        if self.check_copy().is_err() {
            return self.given_back.take().map(|request| *request);
        }
        let body = mem::replace(&mut self.copy, Err(NotReplayable::Polled)).ok()?;
        Some(self.with_body(body))
    }

    fn with_body(&self, body: B) -> Request<B> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = self.version;
        request.headers_mut().extend(self.headers.iter().cloned());
        *request.extensions_mut() = self.extensions.clone();
        request
    }
}

/// Puts a call's token into a request.
pub(super) fn mark<B>(request: &mut Request<B>, token: &AttemptToken) {
    request.extensions_mut().insert(token.clone());
}

/// Returns `true` if a field has no value, or a quoted one without a character.
fn is_empty(value: &HeaderValue) -> bool {
    matches!(value.as_bytes().trim_ascii(), b"" | b"\"\"")
}

fn is_idempotent(sent: Sent) -> bool {
    sent.semantics != Semantics::NotIdempotent
}

#[cfg(test)]
mod tests {
    use http_body_util::Empty;

    use super::*;

    #[test]
    fn request_made_again_has_all_fields_in_their_order() {
        let mut request = Request::new(Empty::<bytes::Bytes>::new());
        for (name, value) in [("a", "1"), ("b", "2"), ("a", "3"), ("c", "4"), ("a", "5")] {
            request.headers_mut().append(name, HeaderValue::from_static(value));
        }
        let fields = |headers: &HeaderMap| -> Vec<_> {
            headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
        };
        let again = SavedRequest::new(&request).again().unwrap();
        assert_eq!(fields(again.headers()), fields(request.headers()));
    }
}

//! A second request like the first.

use http::Request;

use super::{Body, NotReplayable, Replayable};
use crate::attempt::AttemptToken;

/// Returns a second request with the same method, target, version, header fields,
/// extensions and body.
///
/// It is what `clone_request` of a `tower::retry::Policy` needs, since a [`Body`] is not
/// `Clone`. The bytes of a body in memory are shared, not copied.
///
/// Take it before the first request is sent, as for
/// [`Replayable::replay`]; that it was taken revokes the bodies before the first.
///
/// # A policy above [`Client`](crate::Client)
///
/// Each request that the policy sends is a call of its own, with its own attempts and
/// deadline. The promise that no request is sent twice without a ground holds within one
/// call only, so **the policy is what keeps the second call from applying the request
/// twice**. It may send again where
/// [`fate().is_not_applied()`](crate::Fate::is_not_applied), after a response that says
/// that the server did not act, or if a repeat is harmless.
///
/// For the same reason the [`AttemptToken`] of the first request is left out: the record
/// of one call says nothing of another. A policy *below* a
/// [`ResendLayer`](crate::ResendLayer) thereby hides what it sends again. The layer
/// notices from the error and takes the outcome for unknown; what the policy swallows
/// it cannot notice. So the policy belongs above.
///
/// If the client itself resends a body that is made by a factory or recorded, that
/// revokes the policy's copy too: sent again, it fails and never ends short. Bytes in
/// memory can be sent again after that as well.
///
/// # Errors
///
/// Why the body has no replay. Nothing is revoked then.
///
/// # Examples
///
/// ```
/// use std::future::{Ready, ready};
///
/// use http::{Request, Response, StatusCode};
/// use tower::retry::Policy;
/// use tower_resend::body::{Body, replay_request};
///
/// /// Sends a request once more after a 503, with which this server says that it did
/// /// nothing.
/// #[derive(Clone)]
/// struct Once(bool);
///
/// impl<B> Policy<Request<Body>, Response<B>, tower_resend::Error> for Once {
///     type Future = Ready<()>;
///
///     fn retry(
///         &mut self,
///         _: &mut Request<Body>,
///         result: &mut Result<Response<B>, tower_resend::Error>,
///     ) -> Option<Ready<()>> {
///         let is_refused = matches!(
///             result,
///             Ok(response) if response.status() == StatusCode::SERVICE_UNAVAILABLE
///         );
///         (is_refused && std::mem::take(&mut self.0)).then(|| ready(()))
///     }
///
///     fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
///         replay_request(request).ok()
///     }
/// }
/// # fn is_policy<P: Policy<Request<Body>, Response<()>, tower_resend::Error>>(_: P) {}
/// # is_policy(Once(true));
/// ```
pub fn replay_request(request: &Request<Body>) -> Result<Request<Body>, NotReplayable> {
    let mut second = Request::new(request.body().replay()?);
    *second.method_mut() = request.method().clone();
    *second.uri_mut() = request.uri().clone();
    *second.version_mut() = request.version();
    *second.headers_mut() = request.headers().clone();
    *second.extensions_mut() = request.extensions().clone();
    second.extensions_mut().remove::<AttemptToken>();
    Ok(second)
}

//! Plumbing for `tower-resend-reqwest`, which is a crate of its own.
//!
//! **Not covered by semantic versioning.** That crate requires this exact version. For a
//! transport of your own use [`AttemptToken`](crate::AttemptToken) and
//! [`AttemptError`](crate::AttemptError).

use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::header::CONTENT_LENGTH;
use http::{Extensions, Method, Request};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::attempt::{Attempt, AttemptError, Attempts, Sent};
use crate::body::{Framed, Framing, SendableBody, to_any_http};
use crate::chain::{self, BoxError};
use crate::connect::{DialError, has_connect_form};
use tower_resend_core::{Contract, Evidence};

/// Checks that a request's head fits its body, and names the body's framing in the head.
/// The body fails before the message is whole if it turns out longer or shorter.
///
/// # Errors
///
/// Head and body contradict each other. The request comes back as it was.
pub fn guard<B: SendableBody>(
    mut request: Request<B>,
) -> Result<Request<GuardedBody<B>>, Box<Contradictory<B>>> {
    let framing = match sends_connect_form(&request) {
        true => Framing::of(&request).map_err(AttemptError::from),
        false => Err(DialError::connect_form().into()),
    };
    let framing = match framing {
        Ok(framing) => framing,
        Err(error) => return Err(Box::new(Contradictory { error, request })),
    };
    to_any_http(&mut request, framing);
    if let Framing::Length(length) = framing {
        // The client's default fields may have another.
        request.headers_mut().entry(CONTENT_LENGTH).or_insert(length.into());
    }
    Ok(Framed::wrap(request, framing, |inner| GuardedBody { inner }))
}

/// Returns `false` for a CONNECT that reqwest would send without a port: it drops the
/// scheme's own from every URL.
fn sends_connect_form<B>(request: &Request<B>) -> bool {
    if request.method() != Method::CONNECT {
        return true;
    }
    let uri = request.uri();
    let dropped = match uri.scheme_str() {
        Some("http") => Some(80),
        Some("https") => Some(443),
        _ => None,
    };
    has_connect_form(uri) && uri.port_u16() != dropped
}

/// A request whose head and body contradict each other. Nothing of it was sent.
#[derive(Debug)]
#[non_exhaustive]
pub struct Contradictory<B> {
    /// The attempt that was not made, and why.
    pub error: AttemptError,
    /// The request as it was.
    pub request: Request<B>,
}

pin_project! {
    /// A request's body that is held to its declared length.
    pub struct GuardedBody<B> {
        #[pin]
        inner: Framed<B>,
    }
}

impl<B> GuardedBody<B> {
    /// Returns `true` if the body has content that was never polled: a message that was
    /// sent all the same went out without it.
    pub fn is_unpolled(&self) -> bool {
        self.inner.is_unpolled()
    }
}

impl<B: SendableBody> Body for GuardedBody<B> {
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        self.project().inner.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B> fmt::Debug for GuardedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedBody").finish_non_exhaustive()
    }
}

/// What of a request matters for a repeat: its method and its idempotency key.
#[derive(Clone, Copy, Debug)]
pub struct SentRequest(Sent);

impl SentRequest {
    /// Returns what is about to be sent.
    pub fn of<B>(request: &Request<B>) -> Self {
        Self(Sent::of(request))
    }

    /// Returns an attempt that sent this, and whose failure is told by an
    /// [`AttemptError`].
    pub fn attempt(self, evidence: Evidence) -> Attempt {
        Attempt::new(evidence, &Contract::none()).told_by_error().sending(self.0)
    }
}

/// Returns the attempts among a response's extensions, as [`attempts`](crate::attempts)
/// does.
pub fn attempts_in(extensions: &Extensions) -> &[Attempt] {
    extensions.get::<Attempts>().map_or(&[], |attempts| &attempts.0)
}

/// Returns an error and its sources, outermost first, as many as are examined.
pub fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    chain::chain(error)
}

/// Returns `true` if a handshake that ended with this error would always do.
#[cfg(feature = "tls")]
pub fn ends_every_handshake(error: &rustls::Error) -> bool {
    crate::tls::ends_every_handshake(error)
}

pub mod time {
    //! The one clock.

    use std::time::Duration;

    use crate::time::{self, Instant};

    /// Returns the current time.
    pub fn now() -> Instant {
        time::now()
    }

    /// Returns the time `duration` after `start`, or `None` where no timer reaches it.
    pub fn after(start: Instant, duration: Duration) -> Option<Instant> {
        time::after(start, duration)
    }

    /// Returns a time by which what waits until `at` was woken, if nothing held it up.
    pub fn woken_by(at: Instant) -> Option<Instant> {
        time::woken_by(at)
    }
}

//! Request bodies that can be sent again.
//!
//! | body | sent again |
//! |---|---|
//! | bytes in memory ([`Body`] from text or bytes, any body that is `Clone`) | always |
//! | a factory ([`Body::from_factory`]) | always, by another stream |
//! | a recorded stream ([`Replay`], [`Body::recorded`]) | within the [caps](ReplayCaps) |
//! | any other stream ([`Body::new`]) | never |
//!
//! **A body that was revoked or has failed gives an error, never an end.** At an end the
//! connection would complete the message, and the server would act on part of its bytes.

use std::any::Any;
use std::pin::Pin;
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};
use std::{fmt, mem};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{Empty, Full};

mod body_source;
mod error;
mod factory_body;
mod framed;
mod framing;
mod generations;
mod length_checked;
mod replay;
mod replay_buffer;
mod replay_caps;
mod replay_request;
mod replayable;
mod sendable_body;

use self::body_source::BodySource;
use self::factory_body::FactoryBody;
use self::length_checked::LengthChecked;
use crate::chain::BoxError;

pub(crate) use self::body_source::StreamId;
pub use self::error::Error;
pub(crate) use self::framed::{Framed, OnEnd, Trailers};
pub(crate) use self::framing::{Framing, from_http1, to_any_http, to_http1};
pub use self::replay::Replay;
pub use self::replay_caps::ReplayCaps;
pub use self::replay_request::replay_request;
pub use self::replayable::{NotReplayable, Replayable};
pub use self::sendable_body::SendableBody;

/// A request body: bytes in memory, a stream, or a factory of streams.
///
/// It is `Send` and `Sync`, whatever stream it holds, and deliberately not `Clone`: see
/// [`Replayable`].
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use tower_resend::body::{Body, Replayable};
///
/// let text = Body::from("pay");
/// assert!(text.replay().is_ok());
///
/// let stream = Body::new(Full::new(Bytes::from("pay")));
/// assert!(stream.replay().is_err());
///
/// let factory = Body::from_factory(|| Full::new(Bytes::from("pay")));
/// assert!(factory.replay().is_ok());
/// ```
pub struct Body {
    kind: Kind,
}

/// A request is moved many times on its way, so this is no larger than its usual case,
/// bytes in memory.
enum Kind {
    /// Bytes in memory, until they are handed out in one frame.
    Held(Bytes),
    Rare(Rare),
}

enum Rare {
    /// Bytes in memory that have been handed out.
    HandedOut,
    Source(Box<BodySource>),
}

impl Kind {
    fn from_source(source: BodySource) -> Self {
        Self::Rare(Rare::Source(Box::new(source)))
    }
}

impl Body {
    /// Returns a body without bytes.
    pub const fn empty() -> Self {
        Self { kind: Kind::Held(Bytes::new()) }
    }

    /// Returns a body that sends a stream, once.
    ///
    /// A `Body` is returned as it is.
    pub fn new<B>(stream: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut stream = Some(stream);
        if let Some(ours) = (&mut stream as &mut dyn Any).downcast_mut::<Option<Self>>() {
            return ours.take().unwrap_or_default();
        }
        let kind = match stream {
            Some(stream) => Kind::from_source(BodySource::one_shot(LengthChecked::new(stream))),
            None => Kind::Held(Bytes::new()),
        };
        Self { kind }
    }

    /// Returns a body whose stream is made for each attempt.
    ///
    /// The factory is called once for each attempt, when the attempt needs the body, and
    /// must make a stream of the same bytes each time. The stream of an earlier attempt
    /// is not polled again.
    pub fn from_factory<F, B>(factory: F) -> Self
    where
        F: Fn() -> B + Send + Sync + 'static,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let body = FactoryBody::new(move || LengthChecked::new(factory()));
        Self { kind: Kind::from_source(BodySource::Factory(body)) }
    }

    /// Returns `true` for bytes in memory that were not handed out.
    fn is_held(&self) -> bool {
        matches!(self.kind, Kind::Held(_))
    }

    /// Returns this body; a stream that can be sent once is recorded while it is sent.
    ///
    /// Any other body can be sent again already, and is returned as it is.
    #[must_use]
    pub fn recorded(self, caps: &ReplayCaps) -> Self {
        let Kind::Rare(Rare::Source(source)) = self.kind else {
            return self;
        };
        let source = match *source {
            BodySource::OneShot(stream, _) => {
                let stream = stream.into_inner().unwrap_or_else(PoisonError::into_inner);
                BodySource::Recorded(Replay::new(stream, caps))
            }
            source @ (BodySource::Factory(_) | BodySource::Recorded(_)) => source,
        };
        Self { kind: Kind::from_source(source) }
    }
}

/// Returns the identity of a [`Body`] that can be sent once.
pub(crate) fn stream_id<B: 'static>(body: &B) -> Option<StreamId> {
    let body = (body as &dyn Any).downcast_ref::<Body>()?;
    match &body.kind {
        Kind::Rare(Rare::Source(source)) => source.id(),
        Kind::Held(_) | Kind::Rare(Rare::HandedOut) => None,
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let kind = &mut self.get_mut().kind;
        match kind {
            Kind::Held(bytes) => {
                if bytes.is_empty() {
                    return Poll::Ready(None);
                }
                let bytes = mem::take(bytes);
                *kind = Kind::Rare(Rare::HandedOut);
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Rare(Rare::HandedOut) => Poll::Ready(None),
            Kind::Rare(Rare::Source(source)) => source.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Held(bytes) => bytes.is_empty(),
            Kind::Rare(Rare::HandedOut) => true,
            Kind::Rare(Rare::Source(source)) => source.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Held(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Rare(Rare::HandedOut) => SizeHint::with_exact(0),
            Kind::Rare(Rare::Source(source)) => source.size_hint(),
        }
    }
}

impl Replayable for Body {
    fn replay(&self) -> Result<Self, NotReplayable> {
        let kind = match &self.kind {
            Kind::Held(bytes) => Kind::Held(bytes.clone()),
            Kind::Rare(Rare::HandedOut) => return Err(NotReplayable::Polled),
            Kind::Rare(Rare::Source(source)) => Kind::from_source(source.replay()?),
        };
        Ok(Self { kind })
    }

    fn check_replay(&self) -> Result<(), NotReplayable> {
        match &self.kind {
            Kind::Held(_) => Ok(()),
            Kind::Rare(Rare::HandedOut) => Err(NotReplayable::Polled),
            Kind::Rare(Rare::Source(source)) => source.check_replay(),
        }
    }

    /// Revokes the bodies before this one, if it is a factory's or a recorded stream.
    ///
    /// Bytes in memory are not revoked: they go out in one frame or not at all.
    fn revoke(&self) {
        if let Kind::Rare(Rare::Source(source)) = &self.kind {
            source.revoke();
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

/// Shows the kind of the body and its length, never its bytes.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Held(bytes) => return write!(f, "Body(held, {} bytes)", bytes.len()),
            Kind::Rare(Rare::HandedOut) => "handed out",
            Kind::Rare(Rare::Source(source)) => source.name(),
        };
        write!(f, "Body({kind})")
    }
}

impl From<()> for Body {
    fn from((): ()) -> Self {
        Self::empty()
    }
}

macro_rules! from_bytes {
    ($($bytes:ty),*) => {$(
        impl From<$bytes> for Body {
            fn from(bytes: $bytes) -> Self {
                Self { kind: Kind::Held(bytes.into()) }
            }
        }
    )*};
}

from_bytes!(&'static str, &'static [u8], String, Vec<u8>, Bytes);

impl From<Empty<Bytes>> for Body {
    fn from(_: Empty<Bytes>) -> Self {
        Self::empty()
    }
}

/// Takes the bytes out: unlike [`Body::new`] of the same, the body can be sent again.
impl From<Full<Bytes>> for Body {
    fn from(mut full: Full<Bytes>) -> Self {
        // A `Full` gives its bytes away in no other manner, and is always ready.
        let mut cx = Context::from_waker(Waker::noop());
        match Pin::new(&mut full).poll_frame(&mut cx) {
            Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default().into(),
            Poll::Ready(None) | Poll::Pending => Self::empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_no_larger_than_bytes_in_memory() {
        assert_eq!(size_of::<Body>(), size_of::<Bytes>());
    }
}

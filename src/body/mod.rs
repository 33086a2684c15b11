//! Request bodies that can be sent again.
//!
//! | body | sent again |
//! |---|---|
//! | bytes in memory ([`Body`] from text or bytes, any body that is `Clone`) | always |
//! | a factory ([`Body::from_factory`]) | always, made anew |
//! | a stream that is recorded ([`Replay`], [`Body::recorded`]) | within the [caps](ReplayCaps) |
//! | any other stream ([`Body::new`]) | never |
//!
//! **A body that was revoked or has failed gives an error, never an end.** A
//! connection that sees an end completes the message, and the server would
//! act on part of its bytes.

use std::any::Any;
use std::pin::Pin;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::{fmt, mem};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

mod caps;
mod error;
mod framed;
mod framing;
mod line;
mod made;
mod replay;
mod replayable;
mod request;
mod stream;
mod streamed;
mod tape;

use self::made::FactoryBody;
use self::stream::LengthChecked;
use self::streamed::BodySource;
use crate::chain::BoxError;

pub use self::caps::ReplayCaps;
pub use self::error::Error;
pub(crate) use self::framed::{Framed, OnEnd, Trailers};
pub(crate) use self::framing::{Framing, from_http1, to_any_http, to_http1};
pub use self::replay::Replay;
pub use self::replayable::{NotReplayable, Replayable};
pub use self::request::RequestBody;

/// A request body: bytes in memory, a stream, or a factory of streams.
///
/// It is `Send` and `Sync` whatever stream is in it, and deliberately not
/// `Clone`: see [`Replayable`].
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

/// The usual case, bytes in memory, decides the size: a request is moved many
/// times on its way.
enum Kind {
    /// Bytes in memory, until they are handed out in one frame.
    Held(Bytes),
    Other(Other),
}

enum Other {
    /// Bytes in memory that have been handed out.
    Emptied,
    BodySource(Box<BodySource>),
}

impl Kind {
    fn streamed(streamed: BodySource) -> Self {
        Self::Other(Other::BodySource(Box::new(streamed)))
    }
}

impl Body {
    /// Returns a body without bytes.
    pub const fn empty() -> Self {
        Self { kind: Kind::Held(Bytes::new()) }
    }

    /// Returns a body that sends a stream, which can be done once.
    ///
    /// A `Body` given to it is returned as it is.
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
            Some(stream) => Kind::streamed(BodySource::one_shot(LengthChecked::new(stream))),
            None => Kind::Held(Bytes::new()),
        };
        Self { kind }
    }

    /// Returns a body that is made anew for each attempt.
    ///
    /// The streams the factory makes must yield the same bytes each time; it
    /// is called once for each attempt, when the attempt needs the body.
    /// A stream from an earlier attempt is not polled again.
    pub fn from_factory<F, B>(factory: F) -> Self
    where
        F: Fn() -> B + Send + Sync + 'static,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let made = FactoryBody::new(move || LengthChecked::new(factory()));
        Self { kind: Kind::streamed(BodySource::FactoryBody(made)) }
    }

    /// Returns `true` for bytes in memory that were not handed out.
    fn is_held(&self) -> bool {
        matches!(self.kind, Kind::Held(_))
    }

    /// Returns this body, recorded while it is sent if it is a stream.
    ///
    /// Bodies that can be sent again as they are stay what they are.
    #[must_use]
    pub fn recorded(self, caps: &ReplayCaps) -> Self {
        let Kind::Other(Other::BodySource(streamed)) = self.kind else {
            return self;
        };
        let streamed = match *streamed {
            BodySource::OneShot(stream, _) => {
                let stream = stream.into_inner().unwrap_or_else(PoisonError::into_inner);
                BodySource::Recorded(Replay::new(stream, caps))
            }
            streamed @ (BodySource::FactoryBody(_) | BodySource::Recorded(_)) => streamed,
        };
        Self { kind: Kind::streamed(streamed) }
    }
}

/// Tells a stream that can be sent once from every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamId(u64);

impl StreamId {
    fn new() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns that of a body, if it is a [`Body`] of this kind.
    pub(crate) fn of<B: 'static>(body: &B) -> Option<Self> {
        let body = (body as &dyn Any).downcast_ref::<Body>()?;
        match &body.kind {
            Kind::Other(Other::BodySource(streamed)) => streamed.id(),
            Kind::Held(_) | Kind::Other(Other::Emptied) => None,
        }
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
            Kind::Held(octets) => {
                if octets.is_empty() {
                    return Poll::Ready(None);
                }
                let octets = mem::take(octets);
                *kind = Kind::Other(Other::Emptied);
                Poll::Ready(Some(Ok(Frame::data(octets))))
            }
            Kind::Other(Other::Emptied) => Poll::Ready(None),
            Kind::Other(Other::BodySource(streamed)) => streamed.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Held(octets) => octets.is_empty(),
            Kind::Other(Other::Emptied) => true,
            Kind::Other(Other::BodySource(streamed)) => streamed.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Held(octets) => SizeHint::with_exact(octets.len() as u64),
            Kind::Other(Other::Emptied) => SizeHint::with_exact(0),
            Kind::Other(Other::BodySource(streamed)) => streamed.size_hint(),
        }
    }
}

impl Replayable for Body {
    fn replay(&self) -> Result<Self, NotReplayable> {
        let kind = match &self.kind {
            Kind::Held(octets) => Kind::Held(octets.clone()),
            Kind::Other(Other::Emptied) => return Err(NotReplayable::Polled),
            Kind::Other(Other::BodySource(streamed)) => Kind::streamed(streamed.replay()?),
        };
        Ok(Self { kind })
    }

    fn check_replay(&self) -> Result<(), NotReplayable> {
        match &self.kind {
            Kind::Held(_) => Ok(()),
            Kind::Other(Other::Emptied) => Err(NotReplayable::Polled),
            Kind::Other(Other::BodySource(streamed)) => streamed.check_replay(),
        }
    }

    /// Revokes the bodies before this one, if it comes from a stream.
    ///
    /// Bytes in memory are not revoked: they go out in one frame or not at all.
    fn revoke(&self) {
        if let Kind::Other(Other::BodySource(streamed)) = &self.kind {
            streamed.revoke();
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

/// Shows what kind of body it is and how long, never its bytes.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Held(octets) => return write!(f, "Body(held, {} octets)", octets.len()),
            Kind::Other(Other::Emptied) => "handed out",
            Kind::Other(Other::BodySource(streamed)) => streamed.name(),
        };
        write!(f, "Body({kind})")
    }
}

impl From<()> for Body {
    fn from((): ()) -> Self {
        Self::empty()
    }
}

macro_rules! from_octets {
    ($($octets:ty),*) => {$(
        impl From<$octets> for Body {
            fn from(octets: $octets) -> Self {
                Self { kind: Kind::Held(octets.into()) }
            }
        }
    )*};
}

from_octets!(&'static str, &'static [u8], String, Vec<u8>, Bytes);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_no_larger_than_the_octets_in_memory() {
        assert_eq!(size_of::<Body>(), size_of::<Bytes>());
    }
}

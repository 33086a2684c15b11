//! The body of a request under test.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tower_resend::{Body, BoxError};

/// What a request carries.
#[derive(Clone, Debug)]
pub enum Payload {
    /// Octets in memory.
    Octets(Bytes),
    /// A stream, which can be made again.
    Stream(Pieces),
}

impl Payload {
    /// Octets in memory.
    pub fn small() -> Self {
        Self::Octets(Bytes::from_static(b"pay"))
    }

    /// A stream whose length is known, so that it has a `Content-Length`.
    pub fn streamed() -> Self {
        Self::Stream(Pieces::new(3, true))
    }

    /// A stream of unknown length all of which is there at once.
    pub fn chunked() -> Self {
        Self::Stream(Pieces { is_there: true, ..Pieces::new(3, false) })
    }

    /// Returns it as a body that can be sent again.
    pub fn into_body(self) -> Body {
        match self {
            Self::Octets(octets) => Body::from(octets),
            Self::Stream(pieces) => Body::from_factory(move || pieces.clone()),
        }
    }
}

/// A body that comes in pieces, with a pause before each if it is not there at
/// once.
#[derive(Clone, Debug)]
pub struct Pieces {
    left: usize,
    is_sized: bool,
    has_paused: bool,
    is_there: bool,
}

impl Pieces {
    pub fn new(octets: usize, is_sized: bool) -> Self {
        Self { left: octets, is_sized, has_paused: false, is_there: false }
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.has_paused = !self.has_paused;
        if self.has_paused && !self.is_there {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let piece = self.left.min(4000);
        self.left -= piece;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'R'; piece])))))
    }

    fn size_hint(&self) -> SizeHint {
        match self.is_sized {
            true => SizeHint::with_exact(self.left as u64),
            false => SizeHint::new(),
        }
    }
}

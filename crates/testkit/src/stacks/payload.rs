//! The body of a request under test.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tower_resend::{Body, BoxError};

/// What a request carries.
#[derive(Clone, Debug)]
pub enum Payload {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A stream, which can be made again.
    Stream(Pieces),
}

impl Payload {
    /// Bytes in memory.
    pub fn small() -> Self {
        Self::Bytes(Bytes::from_static(b"pay"))
    }

    /// A stream whose length is known, so that it has a `Content-Length`.
    pub fn streamed() -> Self {
        Self::Stream(Pieces::new(3, true))
    }

    /// A stream of unknown length that is complete at once.
    pub fn chunked() -> Self {
        Self::Stream(Pieces { pause: Pause::Nothing, ..Pieces::new(3, false) })
    }

    /// Returns it as a body that can be sent again.
    pub fn into_body(self) -> Body {
        match self {
            Self::Bytes(bytes) => Body::from(bytes),
            Self::Stream(pieces) => Body::from_factory(move || pieces.clone()),
        }
    }
}

/// A body that comes in pieces, with a pause before each.
#[derive(Debug)]
pub struct Pieces {
    left: usize,
    piece: usize,
    is_sized: bool,
    pause: Pause,
    has_paused: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

/// What is before a piece.
#[derive(Clone, Copy, Debug)]
enum Pause {
    Nothing,
    /// One turn of the runtime.
    Turn,
    Time(Duration),
}

impl Pieces {
    pub fn new(bytes: usize, is_sized: bool) -> Self {
        let pause = Pause::Turn;
        Self { left: bytes, piece: 4000, is_sized, pause, has_paused: false, timer: None }
    }

    /// Returns so many pieces, and one time before each.
    pub fn apart(bytes: usize, pieces: usize, time: Duration) -> Self {
        let piece = bytes.div_ceil(pieces.max(1)).max(1);
        Self { piece, pause: Pause::Time(time), ..Self::new(bytes, false) }
    }

    /// Leaves the pause before the first out.
    pub fn prompt(self) -> Self {
        Self { has_paused: true, ..self }
    }

    /// Waits for the pause before a piece to end.
    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.pause {
            Pause::Nothing => {}
            Pause::Turn if !self.has_paused => {
                self.has_paused = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Pause::Time(time) if !self.has_paused => {
                let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(time)));
                ready!(timer.as_mut().poll(cx));
                self.timer = None;
            }
            Pause::Turn | Pause::Time(_) => {}
        }
        self.has_paused = false;
        Poll::Ready(())
    }
}

/// A clone begins its pause anew.
impl Clone for Pieces {
    fn clone(&self) -> Self {
        let Self { left, piece, is_sized, pause, has_paused, .. } = *self;
        Self { left, piece, is_sized, pause, has_paused, timer: None }
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
        ready!(self.poll_pause(cx));
        let piece = self.left.min(self.piece);
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

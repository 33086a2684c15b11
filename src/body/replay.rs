//! A body that records a stream while it is sent.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::line::Generations;
use super::tape::ReplayBuffer;
use super::{Error, NotReplayable, ReplayCaps, Replayable};
use crate::chain::BoxError;

/// Records a stream as it is polled, so that it can be sent again.
///
/// A [replay](Replayable::replay) of it yields what was recorded and then
/// goes on with the same stream. Only the newest body polled is live; the
/// ones before it give [`Error::Revoked`]. What does not fit the
/// [caps](ReplayCaps) is sent all the same, unrecorded, and cannot be
/// replayed.
///
/// It is deliberately not `Clone`: see [`Replayable`].
pub struct Replay<B> {
    shared: Arc<Mutex<Shared<B>>>,
    place: u64,
    phase: Phase,
    polled: Polled,
    /// Bytes handed out by this body.
    yielded: u64,
}

/// Where the next frame comes from.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// From the recording, at this chunk.
    Recording(usize),
    /// From the stream.
    LengthChecked,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Polled {
    Never,
    Yes,
}

/// What all bodies of one stream have in common.
struct Shared<B> {
    line: Generations,
    source: Source<B>,
    tape: Result<ReplayBuffer, NotReplayable>,
    /// The stream's size hint before it was polled.
    hint: SizeHint,
    /// Whether the stream said before it was polled that nothing will come.
    /// All copies say the same, so that all are framed alike.
    ended_at_first: bool,
}

enum Source<B> {
    Ended,
    Failed,
    Open(Pin<Box<B>>),
}

type PollFrame = Poll<Option<Result<Frame<Bytes>, Error>>>;

// ===== impl Replay =====

impl<B> Replay<B>
where
    B: HttpBody,
    B::Error: Into<BoxError>,
{
    /// Returns a body that sends `stream` and records it within `caps`.
    pub fn new(stream: B, caps: &ReplayCaps) -> Self {
        let shared = Shared {
            line: Generations::default(),
            tape: Ok(ReplayBuffer::new(caps.clone())),
            hint: stream.size_hint(),
            ended_at_first: stream.is_end_stream(),
            source: Source::Open(Box::pin(stream)),
        };
        Self {
            shared: Arc::new(Mutex::new(shared)),
            place: Generations::FIRST,
            phase: Phase::LengthChecked,
            polled: Polled::Never,
            yielded: 0,
        }
    }
}

impl<B> Replay<B> {
    /// Locks the shared part. The stream panicked if the lock is poisoned;
    /// what it would yield then is not the body any more.
    fn lock(&self) -> MutexGuard<'_, Shared<B>> {
        self.shared.lock().unwrap_or_else(|poisoned| {
            let mut shared = poisoned.into_inner();
            shared.fail();
            shared
        })
    }

    fn replayable(&self, shared: &Shared<B>) -> Result<(), NotReplayable> {
        if shared.line.is_revoked(self.place) {
            return Err(NotReplayable::Revoked);
        }
        shared.tape.as_ref().map(drop).map_err(|reason| *reason)
    }
}

impl<B> HttpBody for Replay<B>
where
    B: HttpBody,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollFrame {
        let this = self.get_mut();
        let mut shared = this.lock();
        if shared.line.is_revoked(this.place) {
            return Poll::Ready(Some(Err(Error::Revoked)));
        }
        if let (Phase::Recording(_), Err(reason)) = (this.phase, &shared.tape) {
            return Poll::Ready(Some(Err(Error::Gone(*reason))));
        }
        let revoked = shared.line.advance_to(this.place);
        let mut phase = this.phase;
        let poll = shared.poll(&mut phase, cx);
        drop(shared);
        this.phase = phase;
        this.polled = Polled::Yes;
        if let Poll::Ready(Some(Ok(frame))) = &poll {
            this.yielded += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        if let Some(waker) = revoked {
            waker.wake();
        }
        poll
    }

    fn is_end_stream(&self) -> bool {
        let shared = self.lock();
        if shared.line.is_revoked(self.place) {
            return false;
        }
        match (self.polled, self.phase, &shared.source) {
            (_, _, Source::Failed) => false,
            (Polled::Never, ..) => shared.ended_at_first,
            (Polled::Yes, Phase::LengthChecked, Source::Ended) => true,
            (Polled::Yes, Phase::Recording(_) | Phase::LengthChecked, _) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        let first = &self.lock().hint;
        let mut rest = SizeHint::new();
        if let Some(upper) = first.upper() {
            rest.set_upper(upper.saturating_sub(self.yielded));
        }
        rest.set_lower(first.lower().saturating_sub(self.yielded));
        rest
    }
}

impl<B> Replayable for Replay<B>
where
    B: HttpBody,
    B::Error: Into<BoxError>,
{
    fn replay(&self) -> Result<Self, NotReplayable> {
        let mut shared = self.lock();
        self.replayable(&shared)?;
        let revoked = shared.line.advance_to(self.place);
        let place = shared.line.append();
        drop(shared);
        if let Some(waker) = revoked {
            waker.wake();
        }
        Ok(Self {
            shared: Arc::clone(&self.shared),
            place,
            phase: Phase::Recording(0),
            polled: Polled::Never,
            yielded: 0,
        })
    }

    fn check_replay(&self) -> Result<(), NotReplayable> {
        self.replayable(&self.lock())
    }

    fn revoke(&self) {
        let revoked = self.lock().line.advance_to(self.place);
        if let Some(waker) = revoked {
            waker.wake();
        }
    }
}

impl<B> fmt::Debug for Replay<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay")
            .field("place", &self.place)
            .field("phase", &self.phase)
            .field("yielded", &self.yielded)
            .finish_non_exhaustive()
    }
}

// ===== impl Shared =====

impl<B> Shared<B> {
    fn fail(&mut self) {
        self.source = Source::Failed;
        self.tape = Err(NotReplayable::Failed);
    }
}

impl<B> Shared<B>
where
    B: HttpBody,
    B::Error: Into<BoxError>,
{
    /// Polls for the holder of the line, which stands at `phase`.
    fn poll(&mut self, phase: &mut Phase, cx: &mut Context<'_>) -> PollFrame {
        match self.next_recorded(phase) {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None => self.poll_stream(cx),
        }
    }

    /// Returns the next recorded frame and moves `phase` behind it.
    fn next_recorded(&mut self, phase: &mut Phase) -> Option<Frame<Bytes>> {
        let (Phase::Recording(index), Ok(tape)) = (*phase, &mut self.tape) else {
            return None;
        };
        let Some(chunk) = tape.chunk(index) else {
            *phase = Phase::LengthChecked;
            return tape.trailers().cloned().map(Frame::trailers);
        };
        let next = index + 1;
        *phase = match tape.is_at_end(next) && tape.trailers().is_none() {
            true => Phase::LengthChecked,
            false => Phase::Recording(next),
        };
        Some(Frame::data(chunk))
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>) -> PollFrame {
        let stream = match &mut self.source {
            Source::Ended => return Poll::Ready(None),
            Source::Failed => return Poll::Ready(Some(Err(Error::Gone(NotReplayable::Failed)))),
            Source::Open(stream) => stream.as_mut(),
        };
        let Poll::Ready(next) = stream.poll_frame(cx) else {
            self.line.wait(cx.waker());
            return Poll::Pending;
        };
        Poll::Ready(match next {
            Some(Ok(frame)) => Some(Ok(self.take_in(frame.map_data(into_bytes)))),
            Some(Err(error)) => {
                self.fail();
                Some(Err(Error::from_caller(error)))
            }
            None => {
                self.source = Source::Ended;
                None
            }
        })
    }

    /// Records a frame if it still can, and passes it on in any case.
    fn take_in(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        if let Ok(tape) = &mut self.tape
            && let Err(reason) = tape.record(&frame, self.hint.lower())
        {
            self.tape = Err(reason);
        }
        if let Source::Open(stream) = &self.source
            && stream.is_end_stream()
        {
            self.source = Source::Ended;
        }
        frame
    }
}

/// Takes the bytes out of a buffer; those of `Bytes` are not copied.
fn into_bytes(mut data: impl Buf) -> Bytes {
    data.copy_to_bytes(data.remaining())
}

//! A body that records a stream while it is sent.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::generations::Generations;
use super::replay_buffer::ReplayBuffer;
use super::{Error, NotReplayable, ReplayCaps, Replayable};
use crate::BoxError;

/// Records a stream as it is polled, so that it can be sent again.
///
/// A [replay](Replayable::replay) of it yields what was recorded and then goes on with
/// the same stream. Of the bodies that were polled only the newest is live; the older
/// ones give [`Error::Revoked`]. What does not fit the [caps](ReplayCaps) is sent all the
/// same, unrecorded, and cannot be replayed.
///
/// It is deliberately not `Clone`: see [`Replayable`].
pub struct Replay<B> {
    recording: Arc<Mutex<Recording<B>>>,
    generation: u64,
    position: Position,
    is_polled: bool,
    /// Bytes handed out by this body.
    yielded: u64,
}

type PollFrame = Poll<Option<Result<Frame<Bytes>, Error>>>;

impl<B> Replay<B>
where
    B: HttpBody,
    B::Error: Into<BoxError>,
{
    /// Returns a body that sends `stream` and records it within `caps`.
    pub fn new(stream: B, caps: &ReplayCaps) -> Self {
        let recording = Recording {
            generations: Generations::default(),
            buffer: Ok(ReplayBuffer::new(caps.clone())),
            hint: stream.size_hint(),
            is_end_at_first: stream.is_end_stream(),
            stream: StreamState::Open(Box::pin(stream)),
        };
        Self {
            recording: Arc::new(Mutex::new(recording)),
            generation: Generations::FIRST,
            position: Position::Stream,
            is_polled: false,
            yielded: 0,
        }
    }

    /// Polls the stream, which the recording has lent.
    fn poll_stream(&self, stream: Pin<Box<B>>, cx: &mut Context<'_>) -> PollFrame {
        let mut lent = Lent { recording: &self.recording, stream: Some(stream) };
        let Some(stream) = &mut lent.stream else { return Poll::Pending };
        // All that runs the stream's code, before anything is locked.
        let polled = stream.as_mut().poll_frame(cx).map(|next| {
            next.map(|frame| frame.map(|it| it.map_data(into_bytes)).map_err(Error::from_caller))
        });
        let is_end = match &polled {
            Poll::Pending | Poll::Ready(Some(Err(_))) => false,
            Poll::Ready(Some(Ok(_))) => stream.is_end_stream(),
            Poll::Ready(None) => true,
        };
        lent.give_back(self.generation, polled, is_end, cx.waker().clone())
    }
}

impl<B> Replay<B> {
    fn lock(&self) -> MutexGuard<'_, Recording<B>> {
        lock(&self.recording)
    }

    fn check(&self, recording: &Recording<B>) -> Result<(), NotReplayable> {
        if recording.generations.is_revoked(self.generation) {
            return Err(NotReplayable::Revoked);
        }
        recording.buffer.as_ref().map(drop).map_err(|reason| *reason)
    }

    /// Takes the next turn, and becomes the live body. Waits with `waker` if an older
    /// body polls the stream at this moment.
    fn take_turn(&mut self, waker: Option<Waker>) -> Turn<B> {
        let mut recording = lock(&self.recording);
        if recording.generations.is_revoked(self.generation) {
            return Turn::Failed(Error::Revoked);
        }
        if let (Position::Buffer(_), Err(reason)) = (self.position, &recording.buffer) {
            return Turn::Failed(Error::Gone(*reason));
        }
        let revoked = recording.generations.advance_to(self.generation);
        let turn = recording.turn(&mut self.position);
        let replaced = match (&turn, waker) {
            (Turn::Wait, Some(waker)) => recording.generations.wait(waker),
            (_, waker) => waker,
        };
        drop(recording);
        drop(replaced);
        if let Some(waker) = revoked {
            waker.wake();
        }
        turn
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
        let mut turn = this.take_turn(None);
        if let Turn::Wait = turn {
            // Rare: cloned only now, since a waker's code must not run under the lock.
            turn = this.take_turn(Some(cx.waker().clone()));
        }
        let poll = match turn {
            Turn::Frame(frame) => Poll::Ready(Some(Ok(frame))),
            Turn::Stream(stream) => this.poll_stream(stream, cx),
            Turn::Wait => Poll::Pending,
            Turn::End => Poll::Ready(None),
            // It was not polled as far as the others are concerned.
            Turn::Failed(error) => return Poll::Ready(Some(Err(error))),
        };
        this.is_polled = true;
        if let Poll::Ready(Some(Ok(frame))) = &poll {
            this.yielded += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        poll
    }

    fn is_end_stream(&self) -> bool {
        let recording = self.lock();
        if recording.generations.is_revoked(self.generation) {
            return false;
        }
        match (&recording.stream, &recording.buffer, self.position) {
            (StreamState::Failed, ..) => false,
            _ if !self.is_polled => recording.is_end_at_first,
            (StreamState::Ended, _, Position::Stream) => true,
            (StreamState::Ended, Ok(buffer), Position::Buffer(index)) => {
                buffer.is_at_end(index) && buffer.trailers().is_none()
            }
            (StreamState::Ended | StreamState::Open(_) | StreamState::Lent, ..) => false,
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
        let mut recording = self.lock();
        self.check(&recording)?;
        let revoked = recording.generations.advance_to(self.generation);
        let generation = recording.generations.append();
        drop(recording);
        if let Some(waker) = revoked {
            waker.wake();
        }
        Ok(Self {
            recording: Arc::clone(&self.recording),
            generation,
            position: Position::Buffer(0),
            is_polled: false,
            yielded: 0,
        })
    }

    fn check_replay(&self) -> Result<(), NotReplayable> {
        self.check(&self.lock())
    }

    fn revoke(&self) {
        let revoked = self.lock().generations.advance_to(self.generation);
        if let Some(waker) = revoked {
            waker.wake();
        }
    }
}

impl<B> fmt::Debug for Replay<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay")
            .field("generation", &self.generation)
            .field("position", &self.position)
            .field("yielded", &self.yielded)
            .finish_non_exhaustive()
    }
}

/// Where a body's next frame comes from.
#[derive(Clone, Copy, Debug)]
enum Position {
    /// The buffer, from this chunk on.
    Buffer(usize),
    Stream,
}

/// What all bodies of one stream share.
///
/// No code of the stream or of a waker runs while it is locked: either may use another of
/// these bodies.
struct Recording<B> {
    generations: Generations,
    stream: StreamState<B>,
    buffer: Result<ReplayBuffer, NotReplayable>,
    /// The stream's size hint before it was polled.
    hint: SizeHint,
    /// Whether the stream was at its end before it was polled. All bodies say the same,
    /// so that all are framed alike.
    is_end_at_first: bool,
}

enum StreamState<B> {
    Open(Pin<Box<B>>),
    /// A body polls it at this moment.
    Lent,
    Ended,
    Failed,
}

/// What a body does when it is polled.
enum Turn<B> {
    Frame(Frame<Bytes>),
    /// It polls the stream, and gives it back.
    Stream(Pin<Box<B>>),
    /// It waits until an older body gives the stream back.
    Wait,
    End,
    Failed(Error),
}

impl<B> Recording<B> {
    /// Returns the live body's next turn, which stands at `position`.
    fn turn(&mut self, position: &mut Position) -> Turn<B> {
        if let (Position::Buffer(index), Ok(buffer)) = (*position, &mut self.buffer) {
            if let Some(chunk) = buffer.chunk(index) {
                *position = Position::Buffer(index + 1);
                return Turn::Frame(Frame::data(chunk));
            }
            if let Some(trailers) = buffer.trailers() {
                *position = Position::Stream;
                return Turn::Frame(Frame::trailers(trailers.clone()));
            }
        }
        match mem::replace(&mut self.stream, StreamState::Lent) {
            // Stays behind the last chunk, since the older body may yet record one.
            StreamState::Lent => Turn::Wait,
            StreamState::Open(stream) => {
                *position = Position::Stream;
                Turn::Stream(stream)
            }
            StreamState::Ended => {
                self.stream = StreamState::Ended;
                *position = Position::Stream;
                Turn::End
            }
            StreamState::Failed => {
                self.stream = StreamState::Failed;
                Turn::Failed(Error::Gone(NotReplayable::Failed))
            }
        }
    }
}

/// A stream on loan to the body that polls it. Dropped by a panic of the stream it fails
/// all bodies: what the stream would yield then is not the body any more.
struct Lent<'a, B> {
    recording: &'a Mutex<Recording<B>>,
    stream: Option<Pin<Box<B>>>,
}

impl<B> Lent<'_, B> {
    /// Gives the stream back with what it yielded, and returns what the body of
    /// `generation` yields: an error if a newer body took over meanwhile, which then finds
    /// the frame in the buffer.
    fn give_back(
        mut self,
        generation: u64,
        polled: PollFrame,
        is_end: bool,
        waker: Waker,
    ) -> PollFrame {
        let stream = self.stream.take();
        let mut recording = lock(self.recording);
        let foreseen = recording.hint.lower();
        let unrecordable = match (&polled, &mut recording.buffer) {
            (Poll::Ready(Some(Err(_))), _) => Some(NotReplayable::Failed),
            (Poll::Ready(Some(Ok(frame))), Ok(buffer)) => buffer.record(frame, foreseen).err(),
            (Poll::Ready(Some(Ok(_))), Err(_)) | (Poll::Pending | Poll::Ready(None), _) => None,
        };
        let spoiled = unrecordable.map(|why| mem::replace(&mut recording.buffer, Err(why)));
        let is_revoked = recording.generations.is_revoked(generation);
        let is_failed = match &polled {
            Poll::Ready(Some(Err(_))) => true,
            // The body that took over would miss this frame.
            Poll::Ready(Some(Ok(_))) => is_revoked && recording.buffer.is_err(),
            Poll::Pending | Poll::Ready(None) => false,
        };
        let (state, done) = match stream {
            stream if is_failed => (StreamState::Failed, stream),
            Some(stream) if !is_end => (StreamState::Open(stream), None),
            stream => (StreamState::Ended, stream),
        };
        recording.stream = state;
        let (woken, replaced) = match (is_revoked, &polled) {
            (true, _) => (recording.generations.take_waiting(), Some(waker)),
            (false, Poll::Pending) => (None, recording.generations.wait(waker)),
            (false, Poll::Ready(_)) => (None, Some(waker)),
        };
        drop(recording);
        drop((spoiled, done, replaced));
        if let Some(waker) = woken {
            waker.wake();
        }
        if is_revoked { Poll::Ready(Some(Err(Error::Revoked))) } else { polled }
    }
}

impl<B> Drop for Lent<'_, B> {
    fn drop(&mut self) {
        let Some(stream) = self.stream.take() else { return };
        let mut recording = lock(self.recording);
        recording.stream = StreamState::Failed;
        let spoiled = mem::replace(&mut recording.buffer, Err(NotReplayable::Failed));
        let woken = recording.generations.take_waiting();
        drop(recording);
        drop((spoiled, stream));
        if let Some(waker) = woken {
            waker.wake();
        }
    }
}

fn lock<B>(recording: &Mutex<Recording<B>>) -> MutexGuard<'_, Recording<B>> {
    recording.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the bytes out of a buffer; those of `Bytes` are not copied.
fn into_bytes(mut data: impl Buf) -> Bytes {
    data.copy_to_bytes(data.remaining())
}

//! Whole requests: the body is received before a service sees any of the
//! request (S1).
//!
//! The promise is *a request of at most `max` octets is received whole before
//! it is taken up*. What counts here is a lower bound of the request's octets,
//! those of its body alone, without its head and its chunked framing: a request
//! that is larger than `max` may be received whole all the same, but none that
//! is not larger may be taken up early.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::contract::Max;
use crate::time;

/// How requests are received whole before they are taken up (S1), up to the
/// `max` that their connection announces.
///
/// Clones share one bound on the memory of all their requests.
#[derive(Clone, Debug)]
#[must_use]
pub struct Buffering {
    arrival: Duration,
    in_all: u32,
    room: Arc<Semaphore>,
}

impl Buffering {
    /// The memory for all bodies together that is usual, in octets: 64 MiB.
    pub const IN_ALL: u32 = 64 << 20;

    /// The time for one request's body to arrive that is usual: 30 s.
    pub const ARRIVAL: Duration = Duration::from_secs(30);

    /// Returns the usual bounds.
    pub fn new() -> Self {
        let room = Arc::new(Semaphore::new(Self::IN_ALL as usize));
        Self { arrival: Self::ARRIVAL, in_all: Self::IN_ALL, room }
    }

    /// Sets how many octets the bodies of all requests may have together, of
    /// all connections that share this value.
    ///
    /// A request has its declared length of them from the start, one without a
    /// declared length `max`, and gives them back when the service has its
    /// body. Where there is no room a request waits for some, in order, with
    /// nothing of its body read: it cannot be taken up early instead, because
    /// that would break the promise. The wait counts towards
    /// [`with_arrival`](Self::with_arrival). Fewer octets than `max` have room
    /// for one request at a time.
    pub fn with_octets_in_all(mut self, octets: u32) -> Self {
        self.in_all = octets.max(1);
        self.room = Arc::new(Semaphore::new(self.in_all as usize));
        self
    }

    /// Sets how long a request's body may take to arrive. A request that takes
    /// longer is answered 408 and is not taken up.
    ///
    /// Not for requests that are larger than `max`, which are taken up early.
    pub fn with_arrival(mut self, time: Duration) -> Self {
        self.arrival = time;
        self
    }

    /// Receives a body up to the bound.
    ///
    /// # Errors
    ///
    /// Why the request cannot be taken up: nothing of it may reach a service.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops what was received.
    pub(crate) async fn gather<B>(
        &self,
        body: B,
        max: Max,
    ) -> Result<RequestBody<B>, NotWhole<B::Error>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        if body.is_end_stream() {
            return Ok(RequestBody::whole(Received::default(), None));
        }
        if body.size_hint().lower() > u64::from(max.octets()) {
            return Ok(RequestBody::streamed(body));
        }
        let arriving = self.receive(body, max.octets());
        match time::timeout_at(time::from_now(self.arrival), arriving).await {
            Ok(received) => received,
            Err(_) => Err(NotWhole::Late),
        }
    }

    async fn receive<B>(&self, mut body: B, max: u32) -> Result<RequestBody<B>, NotWhole<B::Error>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let declared = body.size_hint().upper().and_then(|upper| u32::try_from(upper).ok());
        let mut room = self.reserve(declared.map_or(max, |declared| declared.min(max))).await;
        let mut received = Received::default();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(NotWhole::Failed)?;
            match frame.into_data() {
                Ok(data) if received.octets() + data.len() as u64 > u64::from(max) => {
                    return Ok(RequestBody::grown(received.data(), data, body, room));
                }
                Ok(data) if body.is_end_stream() && received.octets() == 0 => {
                    received.only = data;
                }
                Ok(data) => received.data.extend_from_slice(&data),
                Err(other) => received.trailers = other.into_trailers().ok(),
            }
        }
        give_back(&mut room, received.octets());
        Ok(RequestBody::whole(received, room))
    }

    /// Waits for room. None is needed where the semaphore was closed, which
    /// nobody does.
    async fn reserve(&self, octets: u32) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.room).acquire_many_owned(octets.min(self.in_all)).await.ok()
    }
}

impl Default for Buffering {
    fn default() -> Self {
        Self::new()
    }
}

/// Gives back the room that the body did not need.
fn give_back(room: &mut Option<OwnedSemaphorePermit>, needed: u64) {
    if let Some(room) = room {
        let unused = (room.num_permits() as u64).saturating_sub(needed);
        drop(room.split(usize::try_from(unused).unwrap_or(0)));
    }
}

/// What was received of a body. Its parts are copied together, since each
/// would keep the buffer alive that it was read into.
#[derive(Debug, Default)]
struct Received {
    data: BytesMut,
    /// Instead of `data`: all of the body came in one part, which needs no copy.
    only: Bytes,
    trailers: Option<HeaderMap>,
}

impl Received {
    fn octets(&self) -> u64 {
        (self.data.len() + self.only.len()) as u64
    }

    fn data(self) -> Bytes {
        match self.only.is_empty() {
            true => self.data.freeze(),
            false => self.only,
        }
    }
}

/// Why nothing of a request may be taken up.
#[derive(Debug)]
pub(crate) enum NotWhole<E> {
    /// Its body failed: the connection ended, or its framing is wrong.
    Failed(E),
    /// It did not arrive in time, or there was no room for it.
    Late,
}

/// The body of a request that a service sees: received whole, or, where it is
/// larger than the bound, streamed from the start.
pub struct RequestBody<B> {
    /// What was received, in order; empty where it was handed out.
    ready: [Bytes; 2],
    trailers: Option<HeaderMap>,
    rest: Option<B>,
    end: Option<StreamEnd>,
    /// The memory of `ready`, given back when it was handed out.
    room: Option<OwnedSemaphorePermit>,
}

impl<B> RequestBody<B> {
    fn whole(mut received: Received, room: Option<OwnedSemaphorePermit>) -> Self {
        let trailers = received.trailers.take();
        Self { ready: [received.data(), Bytes::new()], trailers, rest: None, end: None, room }
    }

    fn grown(first: Bytes, next: Bytes, rest: B, room: Option<OwnedSemaphorePermit>) -> Self {
        Self { ready: [first, next], trailers: None, rest: Some(rest), end: None, room }
    }

    /// Takes a body as it is, nothing of it received.
    pub(crate) fn streamed(body: B) -> Self
    where
        B: Body,
    {
        let end = StreamEnd(Arc::new(AtomicBool::new(body.is_end_stream())));
        let ready = [Bytes::new(), Bytes::new()];
        Self { ready, trailers: None, rest: Some(body), end: Some(end), room: None }
    }

    /// Returns how to learn that the end of a streamed body was read.
    pub(super) fn end(&self) -> Option<StreamEnd> {
        self.end.clone()
    }

    /// Returns whether all of the body was received before the service saw the
    /// request.
    pub fn is_whole(&self) -> bool {
        self.rest.is_none()
    }

    fn ready_octets(&self) -> u64 {
        self.ready.iter().map(|part| part.len() as u64).sum()
    }

    fn next_ready(&mut self) -> Option<Bytes> {
        let next = self.ready.iter_mut().find(|part| part.has_remaining()).map(std::mem::take);
        if self.ready_octets() == 0 {
            self.room = None;
        }
        next
    }
}

impl<B> Body for RequestBody<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(data) = self.next_ready() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let this = &mut *self;
        match &mut this.rest {
            Some(rest) => {
                let frame = Pin::new(&mut *rest).poll_frame(cx);
                if let Some(end) = &this.end {
                    end.note(&frame, rest.is_end_stream());
                }
                frame
            }
            None => Poll::Ready(this.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ready_octets() == 0
            && self.trailers.is_none()
            && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let ready = self.ready_octets();
        let rest = self.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(ready));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(ready));
        }
        hint
    }
}

/// Whether the end of a streamed body was read.
#[derive(Clone, Debug)]
pub(super) struct StreamEnd(Arc<AtomicBool>);

impl StreamEnd {
    pub(super) fn was_read(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn note<D, E>(&self, frame: &Poll<Option<Result<Frame<D>, E>>>, is_end_stream: bool) {
        let is_end = match frame {
            Poll::Ready(Some(Ok(_))) => is_end_stream,
            Poll::Ready(None) => true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => false,
        };
        if is_end {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

impl<B> fmt::Debug for RequestBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody")
            .field("ready_octets", &self.ready_octets())
            .field("is_whole", &self.is_whole())
            .finish_non_exhaustive()
    }
}

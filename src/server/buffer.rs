//! Whole requests: the body is received before a service sees any of the
//! request (S1).
//!
//! The promise is *a request of at most `max` bytes is received whole before
//! it is dispatched*. Only the bytes of the body count here, without head and
//! chunked framing. That is a lower bound: a request that is larger than `max` may
//! be received whole all the same, but none that is not larger is dispatched early.

use std::fmt;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::memory::{BudgetLimits, MemoryBudget, OverBudget, Peer, Reservation, Size};
use crate::time::{self, Instant};
use tower_resend_core::contract::Max;

/// How requests are received whole before they are dispatched (S1), up to the
/// `max` that their connection announces.
///
/// Clients decide how much memory this takes, so it is bounded: all bodies share
/// one *budget*. A request is charged for what has arrived of its body, in steps
/// that at most double what it holds, and gives it back when its service has the
/// body. Bytes that are declared and do not come cost nothing. Outside of the budget
/// is what hyper has read of each connection and not passed on, one read of its
/// buffer.
///
/// If the budget is used up, a request waits, and no more of it is read: dispatching
/// it early would break the promise. A few peers cannot keep all others waiting:
///
/// - Part of the budget is for [small](Self::with_small) requests only.
/// - One peer, an IPv4 address or an IPv6 /64 network, has only
///   [its share](Self::with_bytes_per_peer) of it.
/// - While others wait, a request whose peer sends nothing for the
///   [stall limit](Self::with_stall_limit) gives way.
/// - The oldest request comes first. If every request that holds memory waits for
///   more, the youngest gives way, so that one always ends.
///
/// A request that gives way, or waits in vain, is answered 503 and not dispatched,
/// with `refused` if its client understands that. The connection is closed.
///
/// Clones share one budget. Set it up before cloning: a setting begins a new budget.
#[derive(Clone, Debug)]
#[must_use]
pub struct Buffering {
    arrival: Duration,
    small: u32,
    /// `None` for a quarter of the budget.
    for_small: Option<u32>,
    /// `None` for a quarter of the budget.
    per_peer: Option<u32>,
    total: u32,
    stall: Duration,
    budget: MemoryBudget,
}

impl Buffering {
    /// The default budget, in bytes: 64 MiB.
    pub const TOTAL_BYTES: u32 = 64 << 20;

    /// The default length of the largest small request, in bytes: 4 KiB.
    pub const SMALL: u32 = 4 << 10;

    /// The default time for one request's body to arrive: 30 s.
    pub const ARRIVAL: Duration = Duration::from_secs(30);

    /// The default time that a peer may be silent while others wait: 1 s, which is
    /// longer than most round trips and one retransmission.
    pub const STALL_LIMIT: Duration = Duration::from_secs(1);

    /// Returns the defaults.
    pub fn new() -> Self {
        let limits = BudgetLimits { all: 0, for_small: 0, per_peer: 0, stall: Duration::ZERO };
        Self {
            arrival: Self::ARRIVAL,
            small: Self::SMALL,
            for_small: None,
            per_peer: None,
            total: Self::TOTAL_BYTES,
            stall: Self::STALL_LIMIT,
            budget: MemoryBudget::new(limits),
        }
        .rebuilt()
    }

    /// Sets the budget: how many bytes the bodies of all requests may hold together,
    /// on all connections that share this value; at least 1, by default
    /// [`TOTAL_BYTES`](Self::TOTAL_BYTES).
    ///
    /// It should be many times `max`. A request that is larger than the whole
    /// budget is refused.
    pub fn with_total_bytes(mut self, bytes: u32) -> Self {
        self.total = bytes.max(1);
        self.rebuilt()
    }

    /// Sets which requests are small, those of at most `small` bytes, and how
    /// many bytes of the budget are for them only, so that a POST of a few bytes
    /// does not wait behind uploads. By default [`SMALL`](Self::SMALL), and a
    /// quarter of the budget.
    ///
    /// A request without a declared length is small as long as what has arrived of
    /// it is.
    pub fn with_small(mut self, small: u32, bytes: u32) -> Self {
        (self.small, self.for_small) = (small, Some(bytes));
        self.rebuilt()
    }

    /// Sets how many bytes of the budget the requests of one peer may hold; by
    /// default a quarter of it. The same part of that is for small requests as of
    /// the budget. A peer's only request may be larger.
    ///
    /// If all clients come through one relay or gateway, that is the one peer: set
    /// this to the whole budget.
    pub fn with_bytes_per_peer(mut self, bytes: u32) -> Self {
        self.per_peer = Some(bytes);
        self.rebuilt()
    }

    /// Sets how long a peer may send nothing of a request that holds some of the
    /// budget while others wait; by default [`STALL_LIMIT`](Self::STALL_LIMIT).
    /// While no request waits, only [`with_arrival`](Self::with_arrival) counts.
    pub fn with_stall_limit(mut self, time: Duration) -> Self {
        self.stall = time.min(time::LONGEST);
        self.rebuilt()
    }

    /// Sets how long a request's body may take to arrive, the wait for memory
    /// included; by default [`ARRIVAL`](Self::ARRIVAL). A request that takes
    /// longer is answered 408, or 503 if it waits for memory, and is not dispatched.
    ///
    /// It does not apply to requests that are larger than `max`, which are dispatched
    /// early.
    pub fn with_arrival(mut self, time: Duration) -> Self {
        self.arrival = time;
        self
    }

    /// Returns how many bytes of the budget are held now.
    pub fn held(&self) -> u64 {
        self.budget.held()
    }

    fn rebuilt(mut self) -> Self {
        let quarter = self.total / 4;
        self.budget = MemoryBudget::new(BudgetLimits {
            all: self.total.into(),
            for_small: self.for_small.unwrap_or(quarter).min(self.total).into(),
            per_peer: self.per_peer.unwrap_or(quarter).min(self.total).into(),
            stall: self.stall,
        });
        self
    }

    /// Receives a body of at most `max` bytes; a larger one streams.
    ///
    /// # Errors
    ///
    /// Why the request cannot be dispatched: nothing of it may reach a service.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops what was received.
    pub(crate) async fn gather<B>(
        &self,
        body: B,
        max: Max,
        peer: IpAddr,
    ) -> Result<RequestBody<B>, NotWhole<B::Error>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        if body.is_end_stream() {
            return Ok(RequestBody::whole(ReceivedBody::default(), None));
        }
        if body.size_hint().lower() > u64::from(max.bytes()) {
            return Ok(RequestBody::streamed(body));
        }
        let arriving = Arriving {
            declared: body.size_hint().upper(),
            buffering: self,
            max: max.bytes().into(),
            peer: Peer::of(peer),
            deadline: time::from_now(self.arrival),
            reservation: None,
            received: ReceivedBody::default(),
        };
        arriving.receive(body).await
    }
}

impl Default for Buffering {
    fn default() -> Self {
        Self::new()
    }
}

/// A request that is being received.
struct Arriving<'a> {
    buffering: &'a Buffering,
    declared: Option<u64>,
    max: u64,
    peer: Peer,
    deadline: Instant,
    /// `None` before anything has arrived.
    reservation: Option<Reservation>,
    received: ReceivedBody,
}

impl Arriving<'_> {
    async fn receive<B>(mut self, mut body: B) -> Result<RequestBody<B>, NotWhole<B::Error>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        while let Some(frame) = self.frame(&mut body).await? {
            match frame.into_data() {
                Ok(data) if self.received.len() + data.len() as u64 > self.max => {
                    self.complete();
                    return Ok(RequestBody::grown(
                        self.received.data(),
                        data,
                        body,
                        self.reservation,
                    ));
                }
                Ok(data) if body.is_end_stream() && self.received.len() == 0 => {
                    self.charge(data.len() as u64).await?;
                    self.received.only = data;
                }
                Ok(data) => {
                    let most = self.declared.map_or(self.max, |declared| declared.min(self.max));
                    let step = self.received.step(data.len(), most);
                    self.charge(step as u64).await?;
                    self.received.extend(&data, step);
                }
                Err(other) => self.received.trailers = other.into_trailers().ok(),
            }
        }
        self.complete();
        Ok(RequestBody::whole(self.received, self.reservation))
    }

    /// Returns the next frame.
    ///
    /// # Errors
    ///
    /// If the body fails or is late, or the request has to give way.
    async fn frame<B>(&self, body: &mut B) -> Result<Option<Frame<Bytes>>, NotWhole<B::Error>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let next = poll_fn(|cx| {
            if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) {
                return Poll::Ready(frame.transpose().map_err(NotWhole::Failed));
            }
            let reservation = self.reservation.as_ref();
            let refused = reservation.map_or(Poll::Pending, |held| held.poll_refused(cx));
            refused.map(|()| Err(NotWhole::OverBudget))
        });
        time::timeout_at(self.deadline, next).await.unwrap_or(Err(NotWhole::Late))
    }

    async fn charge<E>(&mut self, bytes: u64) -> Result<(), NotWhole<E>> {
        let whole = self.declared.unwrap_or_else(|| self.received.capacity() + bytes);
        let is_small = whole <= u64::from(self.buffering.small);
        let size = if is_small { Size::Small } else { Size::Large };
        let budget = &self.buffering.budget;
        let reservation = self.reservation.get_or_insert_with(|| budget.enter(self.peer));
        match time::timeout_at(self.deadline, reservation.charge(bytes, size)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(OverBudget)) | Err(_) => Err(NotWhole::OverBudget),
        }
    }

    fn complete(&self) {
        if let Some(reservation) = &self.reservation {
            reservation.complete();
        }
    }
}

/// What was received of a body. Its parts are copied together: each of them would
/// keep the whole buffer alive that it was read into.
#[derive(Debug, Default)]
struct ReceivedBody {
    data: Vec<u8>,
    /// Instead of `data`: the whole body came in one part, which needs no copy.
    only: Bytes,
    trailers: Option<HeaderMap>,
}

impl ReceivedBody {
    fn len(&self) -> u64 {
        (self.data.len() + self.only.len()) as u64
    }

    fn capacity(&self) -> u64 {
        self.data.capacity() as u64
    }

    /// Returns by how much the memory has to grow for so many bytes more, if there
    /// will be `most` in all. It doubles, so that copying costs at most twice what
    /// arrives.
    fn step(&self, bytes: usize, most: u64) -> usize {
        let needed = self.data.len() + bytes;
        let capacity = self.data.capacity();
        if needed <= capacity {
            return 0;
        }
        let doubled = u64::min(2 * capacity as u64, most);
        needed.max(usize::try_from(doubled).unwrap_or(needed)) - capacity
    }

    fn extend(&mut self, bytes: &[u8], step: usize) {
        let spare = self.data.capacity() - self.data.len();
        self.data.reserve_exact(if step == 0 { 0 } else { spare + step });
        self.data.extend_from_slice(bytes);
    }

    fn data(self) -> Bytes {
        match self.only.is_empty() {
            true => self.data.into(),
            false => self.only,
        }
    }
}

/// Why a request may not be dispatched.
#[derive(Debug)]
pub(crate) enum NotWhole<E> {
    /// Its body failed: the connection ended, or its framing is wrong.
    Failed(E),
    /// It did not arrive in time.
    Late,
    /// There was no memory for it in time, or it had to give way.
    OverBudget,
}

/// The body of a request as a service sees it: received whole, or, if it is larger
/// than `max`, streamed from the start.
pub struct RequestBody<B> {
    /// What was received, in order; empty once it was read.
    ready: [Bytes; 2],
    trailers: Option<HeaderMap>,
    rest: Option<B>,
    end: Option<StreamEnd>,
    /// The memory of `ready`, given back once it was read.
    reservation: Option<Reservation>,
}

impl<B> RequestBody<B> {
    fn whole(mut received: ReceivedBody, reservation: Option<Reservation>) -> Self {
        let trailers = received.trailers.take();
        let ready = [received.data(), Bytes::new()];
        Self { ready, trailers, rest: None, end: None, reservation }
    }

    fn grown(first: Bytes, next: Bytes, rest: B, reservation: Option<Reservation>) -> Self {
        Self { ready: [first, next], trailers: None, rest: Some(rest), end: None, reservation }
    }

    /// Passes a body on as it is, with none of it received.
    pub(crate) fn streamed(body: B) -> Self
    where
        B: Body,
    {
        let end = StreamEnd(Arc::new(AtomicBool::new(body.is_end_stream())));
        let ready = [Bytes::new(), Bytes::new()];
        Self { ready, trailers: None, rest: Some(body), end: Some(end), reservation: None }
    }

    /// Returns what tells that the end of a streamed body was read.
    pub(super) fn end(&self) -> Option<StreamEnd> {
        self.end.clone()
    }

    /// Returns `true` if the whole body was received before the service saw the
    /// request.
    pub fn is_whole(&self) -> bool {
        self.rest.is_none()
    }

    fn ready_len(&self) -> u64 {
        self.ready.iter().map(|part| part.len() as u64).sum()
    }

    fn next_ready(&mut self) -> Option<Bytes> {
        let next = self.ready.iter_mut().find(|part| part.has_remaining()).map(std::mem::take);
        if self.ready_len() == 0 {
            self.reservation = None;
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
        self.ready_len() == 0
            && self.trailers.is_none()
            && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let ready = self.ready_len();
        let rest = self.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(ready));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(ready));
        }
        hint
    }
}

/// Tells whether the end of a streamed body was read.
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
            .field("ready_len", &self.ready_len())
            .field("is_whole", &self.is_whole())
            .finish_non_exhaustive()
    }
}

//! What a drain did, and what it left.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http::{Method, Request, Uri};

use super::handle::Handle;
use tower_resend_core::close::Phase;

/// What a drain did, and which requests it cut off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Connections that waited in the accept queue, and were accepted.
    pub from_queue: u64,
    /// Requests that were dispatched and answered in full: the kernel has the
    /// whole answer.
    pub answered: u64,
    /// Requests that were refused: none of them was dispatched.
    pub refused: u64,
    /// Connections that were closed without a request that was answered or
    /// refused during the drain: idle ones, never used ones.
    pub closed: u64,
    /// Requests that were dispatched and not answered when the deadline came, or
    /// whose client had not read enough of the answer. They were cut off.
    pub running: Vec<RunningRequest>,
}

impl Report {
    /// Returns whether no request was cut off.
    pub fn is_clean(&self) -> bool {
        self.running.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from_queue, answered, refused, closed, running } = self;
        write!(
            f,
            "{answered} answered, {refused} refused, {closed} connections closed, \
             {from_queue} accepted from the queue, {} cut off",
            running.len()
        )?;
        let mut before = ": ";
        for request in running {
            write!(f, "{before}{} {}", request.method, request.path)?;
            before = ", ";
        }
        Ok(())
    }
}

/// A request that was running; its query and its headers are not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunningRequest {
    /// Its method.
    pub method: Method,
    /// The path of its target.
    pub path: String,
}

/// All connections of a server.
#[derive(Debug, Default)]
pub(super) struct ConnectionTable {
    seats: Mutex<HashMap<u64, Arc<ConnectionEntry>>>,
    next: AtomicU64,
    counts: Arc<Counts>,
}

/// What happened since the server started, or since the drain began.
#[derive(Debug, Default)]
struct Counts {
    answered: AtomicU64,
    refused: AtomicU64,
    closed: AtomicU64,
    /// The drain has begun.
    drains: AtomicBool,
}

impl ConnectionTable {
    /// Writes a new connection down.
    pub(super) fn seat(self: &Arc<Self>, connection: Handle) -> EntryGuard {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (counts, connection) = (Arc::clone(&self.counts), Some(connection));
        let seat = Arc::new(ConnectionEntry { counts, connection, ..ConnectionEntry::default() });
        self.seats().insert(id, Arc::clone(&seat));
        EntryGuard { board: Arc::clone(self), id, seat }
    }

    /// The drain begins: only what it does counts, and every answer from now on
    /// is its connection's last.
    pub(super) fn begin_drain(&self) {
        let Counts { answered, refused, closed, drains } = &*self.counts;
        drains.store(true, Ordering::Relaxed);
        for count in [answered, refused, closed] {
            count.store(0, Ordering::Relaxed);
        }
        for seat in self.seats().values() {
            seat.ends.store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn report(&self, from_queue: u64) -> Report {
        let Counts { answered, refused, closed, .. } = &*self.counts;
        let [mut answered, refused, closed] =
            [answered, refused, closed].map(|count| count.load(Ordering::Relaxed));
        let mut running = Vec::new();
        for seat in self.seats().values() {
            let Some(request) = seat.running() else { continue };
            // Its answer was made in full, and counted if the drain saw that.
            let is_counted = request.is_made && seat.ends.load(Ordering::Relaxed) > 0;
            answered = answered.saturating_sub(u64::from(is_counted));
            let path = request.target.path().to_owned();
            running.push(RunningRequest { method: request.method, path });
        }
        Report { from_queue, answered, refused, closed, running }
    }

    fn seats(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<ConnectionEntry>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection on the board, as long as it lives.
#[derive(Debug)]
pub(super) struct EntryGuard {
    board: Arc<ConnectionTable>,
    id: u64,
    seat: Arc<ConnectionEntry>,
}

impl EntryGuard {
    pub(super) fn seat(&self) -> &Arc<ConnectionEntry> {
        &self.seat
    }
}

impl Drop for EntryGuard {
    fn drop(&mut self) {
        self.board.seats().remove(&self.id);
        let is_unanswered = self.seat.ends.load(Ordering::Relaxed) == 0;
        if is_unanswered && self.seat.found_open.load(Ordering::Relaxed) {
            self.board.counts.closed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What is known of one connection's requests.
#[derive(Debug, Default)]
pub(crate) struct ConnectionEntry {
    running: Mutex<Option<Dispatched>>,
    connection: Option<Handle>,
    /// Requests that came, whatever became of them.
    begun: AtomicU64,
    /// The drain found the connection open.
    found_open: AtomicBool,
    /// Requests that were answered or refused.
    ends: AtomicU64,
    counts: Arc<Counts>,
}

impl ConnectionEntry {
    pub(super) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.slot().take_if(|before| before.is_made);
    }

    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed) > 0
    }

    /// Whether the next answer is the connection's last: the server drains.
    pub(super) fn is_last(&self) -> bool {
        self.counts.drains.load(Ordering::Relaxed)
    }

    /// The drain found the connection open: its end is one of the drain's.
    pub(super) fn find_open(&self) {
        self.found_open.store(true, Ordering::Relaxed);
    }

    /// A request was dispatched.
    pub(super) fn dispatch<B>(self: &Arc<Self>, request: &Request<B>) -> Running {
        let number = self.begun.load(Ordering::Relaxed);
        let (method, target) = (request.method().clone(), request.uri().clone());
        *self.slot() = Some(Dispatched { number, method, target, is_made: false });
        Running { seat: Arc::clone(self), number, end: End::Cut }
    }

    /// A request is answered without a dispatch.
    pub(super) fn not_taken_up(self: &Arc<Self>, end: End) -> Running {
        Running { seat: Arc::clone(self), number: 0, end }
    }

    /// The request that is dispatched, until the kernel has the whole of its
    /// answer.
    fn running(&self) -> Option<Dispatched> {
        let request = self.slot().clone()?;
        let is_held = || self.connection.as_ref().is_some_and(|c| c.phase() == Phase::Answered);
        (!request.is_made || is_held()).then_some(request)
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Dispatched>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The latest request of a connection that was dispatched.
#[derive(Clone, Debug)]
struct Dispatched {
    /// Its number, so that the end of an earlier one does not clear it.
    number: u64,
    method: Method,
    target: Uri,
    /// The service made the whole of its answer.
    is_made: bool,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its answer was made in full.
    Answered,
    /// It was refused: it was not dispatched, and will not be.
    Refused,
    /// It was neither when it was dropped.
    Cut,
}

/// A request that is under way; it is written down how it ended.
#[derive(Debug)]
pub(crate) struct Running {
    seat: Arc<ConnectionEntry>,
    /// None has the number 0: a request that was not dispatched.
    number: u64,
    end: End,
}

impl Running {
    /// The answer was made in full.
    pub(super) fn is_answered(&mut self) {
        if self.end == End::Cut {
            self.end = End::Answered;
        }
    }

    /// The application did not act on it.
    pub(super) fn is_refused(&mut self) {
        self.end = End::Refused;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut slot = self.seat.slot();
        match slot.as_mut().filter(|request| request.number == self.number) {
            Some(request) if self.end == End::Answered => request.is_made = true,
            Some(_) => *slot = None,
            None => {}
        }
        drop(slot);
        let count = match self.end {
            End::Answered => &self.seat.counts.answered,
            End::Refused => &self.seat.counts.refused,
            End::Cut => return,
        };
        self.seat.ends.fetch_add(1, Ordering::Relaxed);
        count.fetch_add(1, Ordering::Relaxed);
    }
}

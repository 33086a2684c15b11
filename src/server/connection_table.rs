//! All connections of a server, and how their requests ended: what the
//! [`Report`] of a drain is made from.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{Method, Request, Uri};

use super::conn::Handle;
use super::report::{Report, RunningRequest};
use tower_resend_core::close::Phase;

/// All connections of a server.
#[derive(Debug, Default)]
pub(super) struct ConnectionTable {
    entries: Mutex<HashMap<u64, Arc<ConnectionEntry>>>,
    next_id: AtomicU64,
    tally: Arc<DrainTally>,
}

impl ConnectionTable {
    /// Adds a new connection.
    pub(super) fn enter(self: &Arc<Self>, connection: Handle) -> EntryGuard {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (tally, connection) = (Arc::clone(&self.tally), Some(connection));
        let entry = Arc::new(ConnectionEntry { tally, connection, ..ConnectionEntry::default() });
        self.entries().insert(id, Arc::clone(&entry));
        EntryGuard { table: Arc::clone(self), id, entry }
    }

    /// Begins the drain: only what happens from now on counts, and every response
    /// from now on is the last of its connection.
    pub(super) fn begin_drain(&self) {
        let DrainTally { answered, refused, closed, is_draining } = &*self.tally;
        is_draining.store(true, Ordering::Relaxed);
        for count in [answered, refused, closed] {
            count.store(0, Ordering::Relaxed);
        }
        for entry in self.entries().values() {
            entry.ended.store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn report(&self, from_queue: u64) -> Report {
        let DrainTally { answered, refused, closed, .. } = &*self.tally;
        let [mut answered, refused, closed] =
            [answered, refused, closed].map(|count| count.load(Ordering::Relaxed));
        let mut running = Vec::new();
        for entry in self.entries().values() {
            let Some(request) = entry.running() else { continue };
            // The service made its whole response, which counted as answered if that
            // was during the drain; but the kernel does not have all of it.
            let is_counted = request.is_made && entry.ended.load(Ordering::Relaxed) > 0;
            answered = answered.saturating_sub(u64::from(is_counted));
            let path = request.target.path().to_owned();
            running.push(RunningRequest { method: request.method, path });
        }
        Report { from_queue, answered, refused, closed, running }
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<u64, Arc<ConnectionEntry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a connection in the table as long as it lives.
#[derive(Debug)]
pub(super) struct EntryGuard {
    table: Arc<ConnectionTable>,
    id: u64,
    entry: Arc<ConnectionEntry>,
}

impl EntryGuard {
    pub(super) fn entry(&self) -> &Arc<ConnectionEntry> {
        &self.entry
    }
}

impl Drop for EntryGuard {
    fn drop(&mut self) {
        self.table.entries().remove(&self.id);
        let has_ended_none = self.entry.ended.load(Ordering::Relaxed) == 0;
        if has_ended_none && self.entry.was_open.load(Ordering::Relaxed) {
            self.table.tally.closed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// One connection and its requests.
#[derive(Debug, Default)]
pub(super) struct ConnectionEntry {
    latest: Mutex<Option<LatestRequest>>,
    connection: Option<Handle>,
    /// Requests that reached the service, however they ended.
    begun: AtomicU64,
    /// The connection was open when the server left.
    was_open: AtomicBool,
    /// Requests that were answered or refused.
    ended: AtomicU64,
    tally: Arc<DrainTally>,
}

impl ConnectionEntry {
    /// A request reached the service.
    pub(super) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.latest().take_if(|before| before.is_made);
    }

    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed) > 0
    }

    /// Returns `true` if the server drains, so that the next response is the
    /// connection's last.
    pub(super) fn is_draining(&self) -> bool {
        self.tally.is_draining.load(Ordering::Relaxed)
    }

    /// The connection was open when the server left: the drain closes it.
    pub(super) fn set_open(&self) {
        self.was_open.store(true, Ordering::Relaxed);
    }

    /// A request was dispatched. The guard records how it ends.
    pub(super) fn dispatch<B>(self: &Arc<Self>, request: &Request<B>) -> RequestGuard {
        let number = self.begun.load(Ordering::Relaxed);
        let (method, target) = (request.method().clone(), request.uri().clone());
        *self.latest() = Some(LatestRequest { number, method, target, is_made: false });
        RequestGuard { entry: Arc::clone(self), number: Some(number), end: RequestEnd::Cut }
    }

    /// A request is answered without a dispatch, and ends so.
    pub(super) fn not_dispatched(self: &Arc<Self>, end: RequestEnd) -> RequestGuard {
        RequestGuard { entry: Arc::clone(self), number: None, end }
    }

    /// Returns the dispatched request, until the kernel has its whole response.
    fn running(&self) -> Option<LatestRequest> {
        let request = self.latest().clone()?;
        let is_unflushed = || {
            let connection = self.connection.as_ref();
            connection.is_some_and(|connection| connection.phase() == Phase::Answered)
        };
        (!request.is_made || is_unflushed()).then_some(request)
    }

    fn latest(&self) -> MutexGuard<'_, Option<LatestRequest>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The latest request of a connection that was dispatched.
#[derive(Clone, Debug)]
struct LatestRequest {
    /// Its number, so that the end of an earlier one does not clear it.
    number: u64,
    method: Method,
    target: Uri,
    /// The service made its whole response.
    is_made: bool,
}

/// Records how a request ended, when dropped.
#[derive(Debug)]
pub(super) struct RequestGuard {
    entry: Arc<ConnectionEntry>,
    /// `None` for a request that was not dispatched.
    number: Option<u64>,
    end: RequestEnd,
}

impl RequestGuard {
    /// The service made the whole response.
    pub(super) fn set_answered(&mut self) {
        if self.end == RequestEnd::Cut {
            self.end = RequestEnd::Answered;
        }
    }

    /// The application did not act on it.
    pub(super) fn set_refused(&mut self) {
        self.end = RequestEnd::Refused;
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let mut latest = self.entry.latest();
        match latest.as_mut().filter(|request| Some(request.number) == self.number) {
            Some(request) if self.end == RequestEnd::Answered => request.is_made = true,
            Some(_) => *latest = None,
            None => {}
        }
        drop(latest);
        let count = match self.end {
            RequestEnd::Answered => &self.entry.tally.answered,
            RequestEnd::Refused => &self.entry.tally.refused,
            RequestEnd::Cut => return,
        };
        self.entry.ended.fetch_add(1, Ordering::Relaxed);
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestEnd {
    /// The service made its whole response.
    Answered,
    /// It was refused: it was not dispatched, and never will be.
    Refused,
    /// Neither, when it was dropped.
    Cut,
}

/// What happened since the server started, or since the drain began.
#[derive(Debug, Default)]
struct DrainTally {
    answered: AtomicU64,
    refused: AtomicU64,
    closed: AtomicU64,
    is_draining: AtomicBool,
}

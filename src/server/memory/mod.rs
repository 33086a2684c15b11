//! The memory budget for requests that are received whole: which request gets how
//! much of it, and which waits.

mod admission;
mod usage;

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use self::admission::{AdmissionControl, ClaimId, ClaimStatus};
pub(super) use self::usage::{BudgetLimits, Peer, Size};
use crate::time::{Instant, Sleep, now, sleep_until};

/// The budget of all requests that share it. Clones are the same budget.
#[derive(Clone)]
pub(super) struct MemoryBudget(Arc<Mutex<Inner>>);

struct Inner {
    admission: AdmissionControl,
    /// The tasks of claims that wait, or would like to know that they are refused.
    wakers: HashMap<ClaimId, Waker>,
}

impl MemoryBudget {
    pub(super) fn new(limits: BudgetLimits) -> Self {
        let admission = AdmissionControl::new(limits);
        Self(Arc::new(Mutex::new(Inner { admission, wakers: HashMap::new() })))
    }

    /// Returns an empty reservation for a request of this peer.
    pub(super) fn enter(&self, peer: Peer) -> Reservation {
        let id = self.lock().admission.enter(peer, now());
        Reservation { budget: self.clone(), id }
    }

    /// Returns how many bytes are held.
    pub(super) fn held(&self) -> u64 {
        self.lock().admission.held()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a change, and wakes the requests that it concerns.
    fn change(&self, change: impl FnOnce(&mut AdmissionControl) -> Vec<ClaimId>) {
        let mut inner = self.lock();
        let woken = change(&mut inner.admission);
        if woken.is_empty() {
            return;
        }
        let woken: Vec<_> = woken.into_iter().filter_map(|id| inner.wakers.remove(&id)).collect();
        drop(inner);
        woken.into_iter().for_each(Waker::wake);
    }
}

impl fmt::Debug for MemoryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBudget").field("held", &self.held()).finish_non_exhaustive()
    }
}

/// What one request holds of the budget; given back when dropped.
pub(super) struct Reservation {
    budget: MemoryBudget,
    id: ClaimId,
}

impl Reservation {
    /// Asks for so many bytes more, for a request of this size, and waits for
    /// them.
    ///
    /// # Errors
    ///
    /// If the request has to give way.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the reservation asking; drop it too.
    pub(super) async fn charge(&mut self, bytes: u64, size: Size) -> Result<(), OverBudget> {
        self.budget.change(|admission| admission.ask(self.id, bytes, size, now()));
        let mut timer: Option<(Instant, Pin<Box<Sleep>>)> = None;
        poll_fn(|cx| {
            loop {
                let at = match self.status(cx, ClaimStatus::Waiting) {
                    (ClaimStatus::Granted, _) => return Poll::Ready(Ok(())),
                    (ClaimStatus::Refused, _) => return Poll::Ready(Err(OverBudget)),
                    (ClaimStatus::Waiting, None) => return Poll::Pending,
                    (ClaimStatus::Waiting, Some(at)) => at,
                };
                if timer.as_ref().is_none_or(|(set, _)| *set != at) {
                    timer = Some((at, Box::pin(sleep_until(at))));
                }
                if let Some((_, sleep)) = &mut timer {
                    ready!(sleep.as_mut().poll(cx));
                }
                timer = None;
                self.budget.change(|admission| admission.settle(now()));
            }
        })
        .await
    }

    /// Waits until the request has to give way. Cancel safe.
    pub(super) fn poll_refused(&self, cx: &Context<'_>) -> Poll<()> {
        match self.status(cx, ClaimStatus::Granted) {
            (ClaimStatus::Refused, _) => Poll::Ready(()),
            (ClaimStatus::Granted | ClaimStatus::Waiting, _) => Poll::Pending,
        }
    }

    /// The whole request has arrived: it will not be refused any more.
    pub(super) fn complete(&self) {
        self.budget.change(|admission| admission.complete(self.id, now()));
    }

    /// Returns where the claim stands. If that is `unless`, its task is woken when it
    /// changes.
    fn status(&self, cx: &Context<'_>, unless: ClaimStatus) -> (ClaimStatus, Option<Instant>) {
        let inner = self.budget.lock();
        let status = inner.admission.status(self.id);
        let is_known = inner.wakers.get(&self.id).is_some_and(|waker| waker.will_wake(cx.waker()));
        drop(inner);
        if status.0 != unless || is_known {
            return status;
        }
        // Cloning or dropping a waker runs foreign code: not under the lock.
        let waker = cx.waker().clone();
        let mut inner = self.budget.lock();
        let replaced = inner.wakers.insert(self.id, waker);
        // Anew: a change in between woke no task.
        let status = inner.admission.status(self.id);
        drop(inner);
        drop(replaced);
        status
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let waker = self.budget.lock().wakers.remove(&self.id);
        drop(waker);
        self.budget.change(|admission| admission.leave(self.id, now()));
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The request does not fit the budget, and has to give way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OverBudget;

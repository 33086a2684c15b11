//! The memory for requests that are received whole: who may have how much of
//! it, and who waits.

mod account;
mod part;

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use self::account::{Account, ContractStatus, Id};
pub(super) use self::part::{Bounds, Peer, Size};
use crate::time::{Instant, Sleep, now, sleep_until};

/// The room of all requests that share it. Clones are the same room.
#[derive(Clone)]
pub(super) struct Room(Arc<Mutex<Inner>>);

struct Inner {
    account: Account,
    /// Who waits for an answer, or would like to know that it is refused.
    wakers: HashMap<Id, Waker>,
}

impl Room {
    pub(super) fn new(bounds: Bounds) -> Self {
        let wakers = HashMap::new();
        Self(Arc::new(Mutex::new(Inner { account: Account::new(bounds), wakers })))
    }

    /// Returns a share of nothing, of a request of this peer.
    pub(super) fn enter(&self, peer: Peer) -> Share {
        let id = self.lock().account.enter(peer, now());
        Share { room: self.clone(), id }
    }

    /// Returns how many bytes are held.
    pub(super) fn held(&self) -> u64 {
        self.lock().account.held()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the account, and wakes the requests that the change concerns.
    fn change(&self, change: impl FnOnce(&mut Account) -> Vec<Id>) {
        let mut inner = self.lock();
        let woken = change(&mut inner.account);
        if woken.is_empty() {
            return;
        }
        let woken: Vec<_> = woken.into_iter().filter_map(|id| inner.wakers.remove(&id)).collect();
        drop(inner);
        woken.into_iter().for_each(Waker::wake);
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").field("held", &self.held()).finish_non_exhaustive()
    }
}

/// What one request has of the room; given back when dropped.
pub(super) struct Share {
    room: Room,
    id: Id,
}

/// There is no room for the request, and it has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

impl Share {
    /// Asks for so many bytes more, for a request of this size, and waits for
    /// them.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the share asking; drop it too.
    pub(super) async fn charge(&mut self, bytes: u64, size: Size) -> Result<(), NoRoom> {
        self.room.change(|account| account.ask(self.id, bytes, size, now()));
        let mut timer: Option<(Instant, Pin<Box<Sleep>>)> = None;
        poll_fn(|cx| {
            loop {
                let at = match self.standing(cx, ContractStatus::Waits) {
                    (ContractStatus::Granted, _) => return Poll::Ready(Ok(())),
                    (ContractStatus::Refused, _) => return Poll::Ready(Err(NoRoom)),
                    (ContractStatus::Waits, None) => return Poll::Pending,
                    (ContractStatus::Waits, Some(at)) => at,
                };
                if timer.as_ref().is_none_or(|(set, _)| *set != at) {
                    timer = Some((at, Box::pin(sleep_until(at))));
                }
                if let Some((_, sleep)) = &mut timer {
                    ready!(sleep.as_mut().poll(cx));
                }
                timer = None;
                self.room.change(|account| account.settle(now()));
            }
        })
        .await
    }

    /// Waits until the request has to go. Cancel safe.
    pub(super) fn poll_refused(&self, cx: &Context<'_>) -> Poll<()> {
        match self.standing(cx, ContractStatus::Granted) {
            (ContractStatus::Refused, _) => Poll::Ready(()),
            (ContractStatus::Granted | ContractStatus::Waits, _) => Poll::Pending,
        }
    }

    /// All of the request is there: it will not be refused any more.
    pub(super) fn complete(&self) {
        self.room.change(|account| account.complete(self.id, now()));
    }

    /// Returns where it stands; if it still stands there, its task is woken when
    /// that changes.
    fn standing(
        &self,
        cx: &Context<'_>,
        still: ContractStatus,
    ) -> (ContractStatus, Option<Instant>) {
        let mut replaced = None;
        let mut inner = self.room.lock();
        let standing = inner.account.standing(self.id);
        let known = inner.wakers.get(&self.id).is_some_and(|waker| waker.will_wake(cx.waker()));
        if standing.0 == still && !known {
            replaced = inner.wakers.insert(self.id, cx.waker().clone());
        }
        drop(inner);
        // A waker is somebody else's code.
        drop(replaced);
        standing
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let waker = self.room.lock().wakers.remove(&self.id);
        drop(waker);
        self.room.change(|account| account.leave(self.id, now()));
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share").field("id", &self.id).finish_non_exhaustive()
    }
}

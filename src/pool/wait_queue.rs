//! The calls that wait for a connection of one origin.

use std::collections::VecDeque;
use std::mem;

use tokio::sync::oneshot;

use super::idle::Pooled;
use crate::attempt::Freshness;
use crate::connect::DialError;
use crate::time::Instant;

/// The waiting calls, in the order in which they came.
///
/// What it returns runs foreign code when it is dropped or used: a waker. Do so
/// only after the lock around the queue is released.
#[derive(Debug)]
pub(super) struct WaitQueue<T> {
    waiters: VecDeque<Waiter<T>>,
    next_id: u64,
}

/// Tells the waiters of one queue apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WaiterId(u64);

/// One waiting call.
#[derive(Debug)]
pub(super) struct Waiter<T> {
    id: WaiterId,
    freshness: Freshness,
    sender: oneshot::Sender<Result<T, DialError>>,
}

impl<T> Waiter<T> {
    /// Wakes the call with a connection, or with the reason why there is none.
    ///
    /// # Errors
    ///
    /// Returns what was sent if the call was dropped.
    pub(super) fn send(self, outcome: Result<T, DialError>) -> Result<(), Result<T, DialError>> {
        self.sender.send(outcome)
    }

    fn is_gone(&self) -> bool {
        self.sender.is_closed()
    }
}

impl<T: Pooled> WaitQueue<T> {
    pub(super) fn new() -> Self {
        Self { waiters: VecDeque::new(), next_id: 0 }
    }

    /// Adds a call at the end.
    pub(super) fn push(
        &mut self,
        freshness: Freshness,
    ) -> (WaiterId, oneshot::Receiver<Result<T, DialError>>) {
        let (sender, receiver) = oneshot::channel();
        let id = WaiterId(self.next_id);
        self.next_id += 1;
        self.waiters.push_back(Waiter { id, freshness, sender });
        (id, receiver)
    }

    /// Takes out the first call that accepts a connection returned at `now`.
    pub(super) fn take_for(&mut self, item: &T, now: Instant) -> Option<Waiter<T>> {
        let at = self.waiters.iter().position(|waiter| item.satisfies(waiter.freshness, now))?;
        self.waiters.remove(at)
    }

    /// Takes out the call to tell of a failed connect: the one that started it, or
    /// the first one if fewer than all are served by the `connects` under way.
    pub(super) fn take_failed(
        &mut self,
        own: Option<WaiterId>,
        connects: usize,
    ) -> Option<Waiter<T>> {
        let own = self.waiters.iter().position(|waiter| Some(waiter.id) == own);
        let first = (self.waiters.len() > connects).then_some(0);
        self.waiters.remove(own.or(first)?)
    }

    /// Takes out the calls that were dropped.
    pub(super) fn take_gone(&mut self) -> VecDeque<Waiter<T>> {
        if !self.waiters.iter().any(Waiter::is_gone) {
            return VecDeque::new();
        }
        let (gone, waiting) = mem::take(&mut self.waiters).into_iter().partition(Waiter::is_gone);
        self.waiters = waiting;
        gone
    }

    /// Returns how many calls are in the queue, those that were dropped too.
    pub(super) fn len(&self) -> usize {
        self.waiters.len()
    }

    /// Returns `true` if no call is in the queue.
    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// Returns how many calls still wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiters.iter().filter(|waiter| !waiter.is_gone()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time;
    use tower_resend_core::ConnectFailure;

    #[derive(Debug, PartialEq)]
    struct Used(bool);

    impl Pooled for Used {
        fn born(&self) -> Instant {
            time::now()
        }
        fn is_used(&self) -> bool {
            self.0
        }
        fn is_closed(&self) -> bool {
            false
        }
    }

    #[test]
    fn connection_goes_to_the_first_waiter_that_accepts_it() {
        let mut queue = WaitQueue::new();
        let (_, mut unused) = queue.push(Freshness::Unused);
        let (_, mut first) = queue.push(Freshness::Any);
        let (_, mut second) = queue.push(Freshness::Any);
        let waiter = queue.take_for(&Used(true), time::now()).unwrap();
        assert!(waiter.send(Ok(Used(true))).is_ok());
        assert!(first.try_recv().unwrap().is_ok());
        assert!(unused.try_recv().is_err() && second.try_recv().is_err());
        assert_eq!(queue.len(), 2);
    }

    #[test]
    fn connection_comes_back_from_a_waiter_that_was_dropped() {
        let mut queue = WaitQueue::new();
        drop(queue.push(Freshness::Any));
        assert_eq!((queue.len(), queue.waiting()), (1, 0));
        let waiter = queue.take_for(&Used(true), time::now()).unwrap();
        assert!(matches!(waiter.send(Ok(Used(true))), Err(Ok(Used(true)))));
    }

    #[test]
    fn failure_goes_to_its_own_waiter_or_to_one_without_a_connect() {
        let mut queue = WaitQueue::<Used>::new();
        let (_, mut first) = queue.push(Freshness::Any);
        let (own, mut second) = queue.push(Freshness::Any);
        let failed = || Err(DialError::of(ConnectFailure::TimedOut));
        assert!(queue.take_failed(Some(own), 1).unwrap().send(failed()).is_ok());
        assert!(second.try_recv().unwrap().is_err());
        assert!(queue.take_failed(Some(own), 1).is_none(), "the other has a connect");
        assert!(queue.take_failed(Some(own), 0).unwrap().send(failed()).is_ok());
        assert!(first.try_recv().unwrap().is_err());
    }

    #[test]
    fn only_dropped_waiters_are_taken_out_as_gone() {
        let mut queue = WaitQueue::<Used>::new();
        let (_, waiting) = queue.push(Freshness::Any);
        drop(queue.push(Freshness::Any));
        assert_eq!(queue.take_gone().len(), 1);
        assert_eq!((queue.len(), queue.waiting()), (1, 1));
        drop(waiting);
    }
}

//! The tasks that wait for the end of a connection.

use std::mem;
use std::task::Waker;

/// The wakers of all waiters, each under its own number.
#[derive(Debug, Default)]
pub(super) struct Waiters(Vec<(usize, Waker)>);

impl Waiters {
    /// Registers `waker` under `who`. Returns the replaced waker; drop it after
    /// releasing the lock.
    pub(super) fn wait(&mut self, who: usize, waker: &Waker) -> Option<Waker> {
        match self.0.iter_mut().find(|(waiting, _)| *waiting == who) {
            Some((_, known)) if known.will_wake(waker) => None,
            Some((_, known)) => Some(mem::replace(known, waker.clone())),
            None => {
                self.0.push((who, waker.clone()));
                None
            }
        }
    }

    /// Removes a waiter. Returns its waker; drop it after releasing the lock.
    pub(super) fn leave(&mut self, who: usize) -> Option<Waker> {
        let at = self.0.iter().position(|(waiting, _)| *waiting == who)?;
        Some(self.0.swap_remove(at).1)
    }

    /// Wakes all waiters.
    pub(super) fn wake(self) {
        for (_, waker) in self.0 {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_test::task;

    use super::*;

    #[test]
    fn every_remaining_waiter_is_woken() {
        let [mut first, mut gone, mut last] = [(); 3].map(task::spawn);
        let mut waiters = Waiters::default();
        for (who, task) in [&mut first, &mut gone, &mut last].into_iter().enumerate() {
            assert!(task.enter(|cx, _| waiters.wait(who, cx.waker())).is_none());
        }
        assert!(waiters.leave(1).is_some());
        waiters.wake();
        assert!(first.is_woken() && last.is_woken());
        assert!(!gone.is_woken());
    }

    #[test]
    fn a_waiter_is_woken_by_its_latest_waker() {
        let [mut before, mut now] = [(); 2].map(task::spawn);
        let mut waiters = Waiters::default();
        for task in [&mut before, &mut now] {
            drop(task.enter(|cx, _| waiters.wait(7, cx.waker())));
        }
        waiters.wake();
        assert!(now.is_woken());
        assert!(!before.is_woken());
    }
}

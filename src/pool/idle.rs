//! The idle list of one origin. Pure: time comes in as an argument.

use std::time::Duration;

use crate::attempt::Freshness;
use crate::time::Instant;

/// Idle connections, the one that was used last on top: the others may expire.
#[derive(Debug)]
pub(super) struct Idle<T> {
    entries: Vec<Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    item: T,
    since: Instant,
}

/// How long connections may be kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetimes {
    pub(super) idle: Duration,
    pub(super) age: Option<Duration>,
    pub(super) most: usize,
}

/// What the idle list must know of a connection.
pub(super) trait Pooled {
    /// Returns when the connection was made.
    fn born(&self) -> Instant;
    /// Returns `true` if a request was ever sent on it.
    fn is_used(&self) -> bool;
    /// Returns `true` if it has ended.
    fn is_closed(&self) -> bool;

    /// Returns `true` if a connection that has been idle since `idle_since`
    /// satisfies this requirement.
    fn satisfies(&self, freshness: Freshness, idle_since: Instant) -> bool {
        freshness.accepts(self.is_used(), self.born(), idle_since)
    }
}

impl<T: Pooled> Idle<T> {
    pub(super) fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// Adds a connection on top. Returns the one at the bottom if there are now too
    /// many. Drop it after the lock is released.
    pub(super) fn push(&mut self, item: T, now: Instant, lifetimes: &Lifetimes) -> Option<T> {
        self.entries.push(Entry { item, since: now });
        (self.entries.len() > lifetimes.most).then(|| self.entries.remove(0).item)
    }

    /// Takes out the first connection from the top that satisfies the requirement and
    /// is still good.
    pub(super) fn pop(
        &mut self,
        freshness: Freshness,
        now: Instant,
        lifetimes: &Lifetimes,
    ) -> Option<T> {
        while let Some(at) =
            self.entries.iter().rposition(|entry| entry.item.satisfies(freshness, entry.since))
        {
            let entry = self.entries.remove(at);
            if entry.is_good(now, lifetimes) {
                return Some(entry.item);
            }
        }
        None
    }

    /// Takes out the connections that have ended or were kept too long.
    pub(super) fn expire(&mut self, now: Instant, lifetimes: &Lifetimes) -> Vec<T> {
        let (kept, expired) = std::mem::take(&mut self.entries)
            .into_iter()
            .partition(|entry| entry.is_good(now, lifetimes));
        self.entries = kept;
        expired.into_iter().map(|entry| entry.item).collect()
    }

    /// Takes out the connection at the bottom, which has been idle the longest.
    pub(super) fn evict(&mut self) -> Option<T> {
        (!self.entries.is_empty()).then(|| self.entries.remove(0).item)
    }

    /// Returns `true` if there is no connection.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<T: Pooled> Entry<T> {
    fn is_good(&self, now: Instant, lifetimes: &Lifetimes) -> bool {
        let is_young =
            lifetimes.age.is_none_or(|age| now.saturating_duration_since(self.item.born()) < age);
        is_young
            && now.saturating_duration_since(self.since) < lifetimes.idle
            && !self.item.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time;

    #[derive(Debug, PartialEq)]
    struct Fake(u32, Instant, bool, bool);

    impl Pooled for Fake {
        fn born(&self) -> Instant {
            self.1
        }
        fn is_used(&self) -> bool {
            self.2
        }
        fn is_closed(&self) -> bool {
            self.3
        }
    }

    const LIFETIMES: Lifetimes =
        Lifetimes { idle: Duration::from_secs(10), age: Some(Duration::from_secs(60)), most: 3 };

    fn ids(idle: &mut Idle<Fake>, want: Freshness, now: Instant) -> Vec<u32> {
        std::iter::from_fn(|| idle.pop(want, now, &LIFETIMES)).map(|fake| fake.0).collect()
    }

    #[test]
    fn last_in_is_first_out_and_the_bottom_is_dropped() {
        let (now, mut idle) = (time::now(), Idle::new());
        for id in 0..4 {
            let closed = idle.push(Fake(id, now, true, false), now, &LIFETIMES);
            assert_eq!(closed.map(|fake| fake.0), (id == 3).then_some(0));
        }
        assert_eq!(ids(&mut idle, Freshness::Any, now), [3, 2, 1]);
    }

    #[test]
    fn dead_idle_and_old_connections_are_not_handed_out() {
        let (now, mut idle) = (time::now(), Idle::new());
        let later = now + Duration::from_secs(9);
        idle.push(Fake(1, now, true, false), now, &LIFETIMES);
        idle.push(Fake(2, now, true, true), later, &LIFETIMES);
        idle.push(Fake(3, now, true, false), later, &LIFETIMES);
        assert_eq!(ids(&mut idle, Freshness::Any, now + Duration::from_secs(10)), [3]);
        idle.push(Fake(4, now, true, false), now + Duration::from_secs(59), &LIFETIMES);
        assert_eq!(idle.expire(now + Duration::from_secs(60), &LIFETIMES).len(), 1);
        assert!(idle.is_empty());
    }

    #[test]
    fn a_resend_gets_no_used_and_no_older_connection() {
        let (now, mut idle) = (time::now(), Idle::new());
        let later = now + Duration::from_secs(1);
        idle.push(Fake(1, later, false, false), later, &LIFETIMES);
        idle.push(Fake(2, now, false, false), later, &LIFETIMES);
        idle.push(Fake(3, later, true, false), later, &LIFETIMES);
        assert_eq!(ids(&mut idle, Freshness::UnusedSince(later), later), [1]);
        assert_eq!(ids(&mut idle, Freshness::Unused, later), [2]);
        assert_eq!(ids(&mut idle, Freshness::Any, later), [3]);
    }

    #[test]
    fn a_connection_returned_since_was_alive_since() {
        let (now, mut idle) = (time::now(), Idle::new());
        let later = now + Duration::from_secs(1);
        idle.push(Fake(1, now, true, false), now, &LIFETIMES);
        idle.push(Fake(2, now, true, false), later, &LIFETIMES);
        idle.push(Fake(3, now, false, false), later, &LIFETIMES);
        assert_eq!(ids(&mut idle, Freshness::AliveSince(later), later), [2]);
    }
}

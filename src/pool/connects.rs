//! How many connects of one origin are under way, and how many are needed.

/// Counts the connects under way.
///
/// Every waiter is served by a connect or by a connection that is returned. A
/// connect is not tied to the waiter that started it: the first connection, new
/// or returned, goes to the first waiter that accepts it. So there have to be as
/// many connects as waiters, and it does not matter whose they are.
#[derive(Debug, Default)]
pub(super) struct Connects {
    under_way: usize,
}

impl Connects {
    /// Counts a connect. The caller has to start it.
    pub(super) fn begin(&mut self) {
        self.under_way += 1;
    }

    /// Counts a connect if there are fewer than `waiters`. Returns `true` if the
    /// caller has to start it.
    pub(super) fn begin_if_needed(&mut self, waiters: usize) -> bool {
        let is_needed = self.under_way < waiters;
        self.under_way += usize::from(is_needed);
        is_needed
    }

    /// Notes that a connect has succeeded, failed, or was dropped.
    pub(super) fn end(&mut self) {
        self.under_way -= 1;
    }

    /// Returns how many are under way.
    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }

    /// Returns `true` if more are under way than `waiters` need.
    pub(super) fn are_surplus(&self, waiters: usize) -> bool {
        self.under_way > waiters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_connects_as_waiters() {
        let mut connects = Connects::default();
        assert!(connects.begin_if_needed(1));
        assert!(!connects.begin_if_needed(1));
        assert!(connects.begin_if_needed(2));
        assert!(!connects.are_surplus(2));
        assert!(connects.are_surplus(1));
        connects.end();
        assert!(connects.begin_if_needed(2));
    }

    #[test]
    fn a_connect_that_no_call_waits_for_serves_the_next_waiter() {
        let mut connects = Connects::default();
        connects.begin();
        assert!(!connects.begin_if_needed(1));
        connects.end();
        assert_eq!(connects.under_way(), 0);
    }
}

//! The figures of one client under one plan.

use std::ops::Deref;

use testkit::demo::calls::Call;
use testkit::demo::tally::Counts;
use testkit::truth::Record;

use super::args::Plan;
use super::load::Kind;

/// The figures of one client under one plan.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) kind: Kind,
    pub(super) plan: Plan,
    pub(super) deployed: u64,
    counts: Counts,
}

impl Tally {
    pub(super) fn new(
        kind: Kind,
        plan: Plan,
        deployed: u64,
        calls: &[(Kind, Call)],
        record: &Record,
    ) -> Self {
        let mut counts = Counts::default();
        for (_, call) in calls.iter().filter(|(of, _)| *of == kind) {
            counts.count(call, record.times(call.id));
        }
        Self { kind, plan, deployed, counts }
    }

    /// Returns the needless failures but for the first requests on their connections.
    pub(super) fn later(&self) -> u64 {
        self.needless - self.first
    }
}

impl Deref for Tally {
    type Target = Counts;

    fn deref(&self) -> &Counts {
        &self.counts
    }
}

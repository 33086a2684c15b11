//! The figures of one client in one mode.

use std::ops::Deref;
use std::time::Duration;

use testkit::demo::calls::Call;
use testkit::demo::clients::End;
use testkit::demo::tally::Counts;
use testkit::truth::Record;

use super::args::Mode;
use super::clients::Kind;
use super::restarts::Restarts;

/// The figures of one client in one mode.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) kind: Kind,
    pub(super) mode: Mode,
    pub(super) restarts: u64,
    /// Those of them that the host disturbed.
    pub(super) disturbed_restarts: u64,
    /// How many times a processor stood still, if that was watched.
    pub(super) stalls: Option<u64>,
    /// Needless failures that met no restart but such as the host disturbed.
    pub(super) disturbed: u64,
    pub(super) counts: Counts,
    /// The times that calls took that were answered with 200, in ascending order.
    pub(super) times: Vec<Duration>,
}

/// Needless failures in which the host had no part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Undisturbed {
    pub(super) failures: u64,
    /// The restarts that are left.
    pub(super) restarts: u64,
}

impl Undisturbed {
    /// Returns a `part`th of these, for as many restarts as there were for others.
    pub(super) fn part(self, part: u64, of: Self) -> f64 {
        let exposure = |restarts: u64| restarts.max(1) as f64; // none where nothing is restarted
        self.failures as f64 / part as f64 * exposure(of.restarts) / exposure(self.restarts)
    }
}

impl Tally {
    pub(super) fn new(
        kind: Kind,
        mode: Mode,
        restarts: &Restarts,
        stalls: Option<u64>,
        calls: &[Call],
        record: &Record,
    ) -> Self {
        let mut tally = Self::empty(kind, mode);
        tally.restarts = restarts.count();
        tally.disturbed_restarts = restarts.disturbed();
        tally.stalls = stalls;
        for call in calls {
            let needless = tally.needless;
            tally.counts.count(call, record.times(call.id));
            if restarts.all_disturbed(call.span) {
                tally.disturbed += tally.needless - needless;
            }
            if let End::Answer { status: 200, .. } = call.outcome.end {
                tally.times.push(call.span.to - call.span.from);
            }
        }
        tally.times.sort_unstable();
        tally
    }

    pub(super) fn empty(kind: Kind, mode: Mode) -> Self {
        Self {
            kind,
            mode,
            restarts: 0,
            disturbed_restarts: 0,
            stalls: None,
            disturbed: 0,
            counts: Counts::default(),
            times: Vec::new(),
        }
    }

    /// Returns the needless failures in which the host had no part.
    pub(super) fn undisturbed(&self) -> Undisturbed {
        let restarts = self.restarts - self.disturbed_restarts;
        Undisturbed { failures: self.needless - self.disturbed, restarts }
    }

    /// Returns the time within which this share of the successes ended, in milliseconds.
    pub(super) fn quantile(&self, share: f64) -> f64 {
        let last = self.times.len().saturating_sub(1);
        let at = (last as f64 * share).round() as usize;
        self.times.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    }
}

impl Deref for Tally {
    type Target = Counts;

    fn deref(&self) -> &Counts {
        &self.counts
    }
}

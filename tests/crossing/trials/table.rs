//! Counts trials and prints them, a row for each way of closing.

use std::collections::BTreeMap;
use std::fmt;

use tower_resend_core::Fate;

use super::client::Outcome;
use super::judge::{Control, Crossing, Trial};
use super::plan::{Mode, Shape, Through};

/// What became of the trials of one mode, or of several.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    pub(crate) trials: u32,
    pub(crate) looked: u32,
    pub(crate) answered: u32,
    pub(crate) failed: u32,
    pub(crate) unapplied: u32,
    pub(crate) claims: [u32; 4],
    pub(crate) recalled: u32,
    pub(crate) wrong: u32,
    pub(crate) spoilt: u32,
    pub(crate) doubts: BTreeMap<&'static str, u32>,
}

impl Row {
    pub(crate) fn add(&mut self, trial: &Trial) {
        self.trials += 1;
        self.wrong += u32::from(trial.wrong().is_some());
        match trial.crossing() {
            Crossing::Spoilt => self.spoilt += 1,
            Crossing::NotWritten => {
                self.looked += 1;
                self.claims[0] += 1;
            }
            Crossing::Answered => self.answered += 1,
            Crossing::Refused => self.failed(trial, ANSWERED),
            Crossing::Unended => self.failed(trial, UNENDED),
            Crossing::Failed(Fate::NotApplied(proof)) => {
                let is_right = !trial.is_dispatched();
                self.failed += 1;
                self.unapplied += u32::from(is_right);
                self.recalled += u32::from(is_right);
                match proof.id() {
                    "G2" => self.claims[1] += 1,
                    "G3" => self.claims[2] += 1,
                    "G4" => self.claims[3] += 1,
                    _ => self.claims[0] += 1,
                }
            }
            Crossing::Failed(Fate::Unknown(doubt)) => self.failed(trial, doubt.name()),
            Crossing::Failed(Fate::ResponseLost) => self.failed(trial, "response_lost"),
            Crossing::Failed(Fate::Completed) => self.failed(trial, "completed"),
        }
    }

    fn failed(&mut self, trial: &Trial, doubt: &'static str) {
        self.failed += 1;
        self.unapplied += u32::from(!trial.is_dispatched());
        *self.doubts.entry(doubt).or_default() += 1;
    }

    /// Adds another row to this one.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.trials += other.trials;
        self.looked += other.looked;
        self.answered += other.answered;
        self.failed += other.failed;
        self.unapplied += other.unapplied;
        self.recalled += other.recalled;
        self.wrong += other.wrong;
        self.spoilt += other.spoilt;
        for (mine, its) in self.claims.iter_mut().zip(other.claims) {
            *mine += its;
        }
        for (doubt, times) in &other.doubts {
            *self.doubts.entry(doubt).or_default() += times;
        }
    }

    /// Of those that failed after the write and were not dispatched: the share
    /// that is known to be so.
    pub(crate) fn recall(&self) -> Option<f64> {
        (self.unapplied > 0).then(|| f64::from(self.recalled) / f64::from(self.unapplied))
    }
}

/// The rows of one set of trials.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: BTreeMap<Mode, Row>,
    first_requests: Row,
    later_requests: Row,
    large_bodies: Row,
    shapes: BTreeMap<Shape, Row>,
    /// Of ordinary closers, and whether the user states that there is no relay.
    ordinary: BTreeMap<(Shape, bool), Row>,
    calls: Calls,
    controls: [(u32, u32); 5],
}

impl Table {
    pub(crate) fn add(&mut self, trial: &Trial) {
        let plan = &trial.seen.plan;
        self.rows.entry(plan.mode).or_default().add(trial);
        match plan.warm_ups {
            0 => self.first_requests.add(trial),
            _ => self.later_requests.add(trial),
        }
        self.shapes.entry(plan.shape()).or_default().add(trial);
        if plan.mode.is_ordinary() {
            self.ordinary.entry((plan.shape(), plan.is_vouched)).or_default().add(trial);
        }
        if plan.body >= LARGE {
            self.large_bodies.add(trial);
        }
        if plan.through == Through::Client {
            self.calls.add(trial);
        }
        for (control, (resent, doubled)) in Control::ALL.into_iter().zip(&mut self.controls) {
            if control.resends(trial) {
                *resent += 1;
                *doubled += u32::from(trial.is_dispatched());
            }
        }
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = (Mode, &Row)> {
        self.rows.iter().map(|(mode, row)| (*mode, row))
    }

    pub(crate) fn row(&self, mode: Mode) -> Row {
        self.rows.get(&mode).cloned().unwrap_or_default()
    }

    pub(crate) fn sum(&self, which: impl Fn(Mode) -> bool) -> Row {
        let mut sum = Row::default();
        self.rows.iter().filter(|(mode, _)| which(**mode)).for_each(|(_, row)| sum.merge(row));
        sum
    }

    /// Returns the row of requests that were not the first on their connection.
    pub(crate) fn later_requests(&self) -> &Row {
        &self.later_requests
    }

    /// Returns the row of ordinary closers whose requests went out so: their
    /// shape, and whether the user states that there is no relay.
    pub(crate) fn ordinary(&self, which: impl Fn(Shape, bool) -> bool) -> Row {
        let mut sum = Row::default();
        let rows =
            self.ordinary.iter().filter(|((shape, is_vouched), _)| which(*shape, *is_vouched));
        rows.for_each(|(_, row)| sum.merge(row));
        sum
    }

    /// Returns the row of all requests of such a shape.
    pub(crate) fn shape(&self, shape: Shape) -> Row {
        self.shapes.get(&shape).cloned().unwrap_or_default()
    }

    /// Returns how many times each control would have resent, and doubled.
    pub(crate) fn controls(&self) -> [(u32, u32); 5] {
        self.controls
    }
}

/// What became of the calls that may resend, as their callers see it.
#[derive(Debug, Default)]
struct Calls {
    calls: u32,
    answered: u32,
    after_resend: u32,
    not_applied: u32,
    doubled: u32,
}

impl Calls {
    fn add(&mut self, trial: &Trial) {
        let is_answered = matches!(trial.seen.end, Outcome::Answered);
        let is_resent = matches!(trial.crossing(), Crossing::Failed(_));
        self.calls += 1;
        self.answered += u32::from(is_answered);
        self.after_resend += u32::from(is_answered && is_resent);
        self.not_applied +=
            u32::from(matches!(trial.seen.end, Outcome::Failed { not_applied: true, .. }));
        self.doubled += u32::from(trial.truth.times() > 1);
    }
}

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls, answered, after_resend, not_applied, doubled } = self;
        writeln!(
            f,
            "{calls} calls that may resend: {answered} answered, {after_resend} of them after a \
             resend; {not_applied} failed as not applied; {doubled} dispatched twice"
        )
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<24} {:>6} {:>5} {:>5} {:>6} {:>6} {:>5} {:>5} {:>5} {:>5} {:>5} {:>6}  doubts",
            "the server's close",
            "trials",
            "look",
            "ok",
            "failed",
            "unread",
            "G1",
            "G2",
            "G3",
            "G4",
            "wrong",
            "recall"
        )?;
        for (mode, row) in &self.rows {
            write_row(f, &mode.name(), row)?;
        }
        write_row(f, "ordinary closers", &self.sum(Mode::is_ordinary))?;
        for ((shape, is_vouched), row) in &self.ordinary {
            let vouched = if *is_vouched { ", no_relay" } else { "" };
            write_row(f, &format!("  {}{vouched}", shape.name()), row)?;
        }
        write_row(f, "all", &self.sum(|_| true))?;
        for (shape, row) in &self.shapes {
            write_row(f, &format!("of them {}", shape.name()), row)?;
        }
        write_row(f, "of them first requests", &self.first_requests)?;
        write_row(f, "of them later requests", &self.later_requests)?;
        write_row(f, "of them 60 kB", &self.large_bodies)?;
        write!(f, "{}", self.calls)
    }
}

fn write_row(f: &mut fmt::Formatter<'_>, name: &str, row: &Row) -> fmt::Result {
    let [never_sent, never_received, refused, promised] = row.claims;
    let recall =
        row.recall().map_or_else(|| "-".into(), |recall| format!("{:.1}%", recall * 100.0));
    write!(
        f,
        "{name:<24} {:>6} {:>5} {:>5} {:>6} {:>6} {never_sent:>5} {never_received:>5} {refused:>5} {promised:>5} {:>5} {recall:>6} ",
        row.trials, row.looked, row.answered, row.failed, row.unapplied, row.wrong
    )?;
    for (doubt, times) in &row.doubts {
        write!(f, " {doubt} {times}")?;
    }
    match row.spoilt {
        0 => writeln!(f),
        spoilt => writeln!(f, " (spoilt {spoilt})"),
    }
}

/// In place of a doubt: an unsolicited response was taken for the answer.
pub(crate) const ANSWERED: &str = "answered with it";
/// The same: the call did not end.
pub(crate) const UNENDED: &str = "did not end";
/// From so many bytes on, a body is a large one.
const LARGE: usize = 60_000;

//! Counts of one case, and the truth about them.

use std::collections::BTreeMap;
use std::fmt;

use tower_resend::Attempt;
use tower_resend_core::{Acked, Fate, HandOff, TcpEvidence};

use super::load::{Call, End};
use super::truth::Record;

/// What became of one case's calls.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) sent: u32,
    pub(crate) served: u32,
    /// Answered by another status than 200.
    pub(crate) status: u32,
    /// Resends by ground: G1, G2, any other.
    pub(crate) resent: [u32; 3],
    /// Failed, and was not dispatched.
    pub(crate) needless: u32,
    /// The same, after something of the request was written.
    pub(crate) missed: u32,
    /// Failed, and was dispatched.
    pub(crate) dispatched: u32,
    /// Why those that were not dispatched were not resent.
    pub(crate) doubts: BTreeMap<&'static str, u32>,
    /// What was proven not to be applied, and for all that not resent.
    pub(crate) unresent: Vec<String>,
    /// How many dispatched requests a simpler rule would have resent.
    pub(crate) simpler: Simpler,
    pub(crate) dispatched_twice: u32,
    /// Every breach of safety, and every hang.
    pub(crate) wrong: Vec<String>,
}

/// Rules that resend on less evidence, judged by what was seen of failures.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Simpler {
    /// A FIN means: not applied.
    pub(crate) end: u32,
    /// A reset means: not applied.
    pub(crate) reset: u32,
    /// A FIN that acknowledges nothing of the request means: not applied.
    pub(crate) unsettled: u32,
}

impl Tally {
    pub(crate) fn new(calls: &[Call], record: &Record) -> Self {
        let mut tally = Self::default();
        calls.iter().for_each(|call| tally.count(call, record.times(call.id)));
        tally
    }

    fn count(&mut self, call: &Call, times: u32) {
        self.sent += 1;
        self.dispatched_twice += u32::from(times > 1);
        for ground in call.attempts.iter().filter_map(Attempt::ground) {
            let place = match ground.id() {
                "G1" => 0,
                "G2" => 1,
                _ => 2,
            };
            self.resent[place] += 1;
        }
        let breach = match (&call.end, times) {
            (_, 2..) => Some(format!("was dispatched {times} times")),
            (End::Absurd(what), _) => Some(what.clone()),
            (End::Served, 0) => Some("was answered and never dispatched".into()),
            (End::Failed(Fate::NotApplied(proof), _), 1) => {
                Some(format!("was dispatched: {proof}"))
            }
            _ => None,
        };
        if let Some(breach) = breach {
            let text = if let End::Failed(_, text) = &call.end { text } else { "" };
            self.wrong.push(format!("order {} {breach}; {text} {:?}", call.id, call.attempts));
        }
        match (&call.end, times) {
            (End::Served, _) => self.served += 1,
            (End::Status, _) => self.status += 1,
            (End::Failed(fate, text), 0) => {
                if fate.is_not_applied() {
                    let fates: Vec<_> = call.attempts.iter().map(Attempt::fate).collect();
                    self.unresent.push(format!("{text}: {fates:?}"));
                }
                self.needless += 1;
                let doubt = fate.doubt().map_or("proven", |doubt| doubt.name());
                *self.doubts.entry(doubt).or_default() += 1;
                let last = call.attempts.last().map(|attempt| attempt.evidence().hand_off);
                self.missed += u32::from(last == Some(HandOff::Written));
            }
            (End::Failed(..), _) => {
                self.dispatched += 1;
                self.simpler.count(call.attempts.last());
            }
            (End::Absurd(_), _) => {}
        }
    }

    /// Returns which share of the requests that met a close and were not taken
    /// up was resent on kernel evidence, and how many there were.
    pub(crate) fn recall(&self) -> (f64, u32) {
        let all = self.resent[1] + self.missed;
        (f64::from(self.resent[1]) / f64::from(all.max(1)), all)
    }

    /// # Panics
    ///
    /// If anything was resent, or said to be safe to resend, that was dispatched.
    pub(crate) fn assert_safe(&self) {
        let wrong = &self.wrong;
        assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
        assert_eq!(self.resent[2], 0, "resent on other grounds than G1 and G2");
    }
}

impl Simpler {
    fn count(&mut self, attempt: Option<&Attempt>) {
        match attempt.map(|attempt| attempt.evidence().kernel) {
            Some(TcpEvidence::Fin(acked, _)) => {
                self.end += 1;
                self.unsettled += u32::from(acked == Acked::None);
            }
            Some(TcpEvidence::Reset(_)) => self.reset += 1,
            _ => {}
        }
    }
}

/// The heading of the table whose rows are tallies.
pub(crate) const HEADING: &str = "
                                                 resent by           failed, and was    dispatched        wrong by the rule    resent of those
server        event                  sent     ok other   G1   G2  G3+ not dispatched  dispatched twice wrong   FIN   RST  FIN of none  that met a close";

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, served, status, resent: [g1, g2, other], .. } = self;
        let Self { needless, dispatched, dispatched_twice: twice, simpler, wrong, .. } = self;
        let Simpler { end, reset, unsettled } = simpler;
        write!(f, "{sent:>6} {served:>6} {status:>5} {g1:>4} {g2:>4} {other:>4}")?;
        write!(f, " {needless:>12} {dispatched:>9} {twice:>5} {:>5}", wrong.len())?;
        write!(f, " {end:>5} {reset:>5} {unsettled:>12}")?;
        let (recall, all) = self.recall();
        if all > 0 {
            write!(f, "  {:.0} % of {all}", recall * 100.0)?;
        }
        self.doubts.iter().try_for_each(|(doubt, times)| write!(f, ", {times} {doubt}"))
    }
}

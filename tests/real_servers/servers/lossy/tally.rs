//! What was claimed of the calls, and the truth about it.

use std::collections::BTreeMap;
use std::fmt;

use tower_resend::Attempt;
use tower_resend_core::{Acked, Answer, Evidence, HandOff, Settled, TcpEvidence};

use super::calls::{Call, End};
use super::server::Taken;
use super::setting::Setting;
use crate::servers::truth::Record;

/// The calls of all settings.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    rows: BTreeMap<Setting, Row>,
    /// Every breach of safety, and every hang.
    wrong: Vec<String>,
}

/// The calls of one setting.
#[derive(Clone, Debug, Default)]
struct Row {
    /// As the client is by default.
    calls: u32,
    spoilt: u32,
    /// The order was sent, and then a FIN came.
    met: u32,
    rule: Claims,
    /// What the rule that knows nothing of segments makes of the same evidence.
    old: Claims,
    /// Calls whose client is told, falsely, that no relay is on the way: that rule
    /// in force.
    vouched_calls: u32,
    vouched: Claims,
}

/// How many sent orders are said not to have been applied.
#[derive(Clone, Copy, Debug, Default)]
struct Claims {
    all: u32,
    /// It was dispatched on the very connection.
    wrong: u32,
    /// And again on another.
    twice: u32,
}

impl Tally {
    pub(crate) fn add(&mut self, call: &Call, record: &Record) {
        let on_used = record.times(Taken::OnUsed.number(call.job.id));
        let on_fresh = record.times(Taken::OnFresh.number(call.job.id));
        let row = self.rows.entry(call.job.setting).or_default();
        row.count(call, on_used, on_fresh);
        if let Some(breach) = breach(call, on_used, on_fresh) {
            let Call { job, end, attempts } = call;
            let text = format!("order {} ({}) {breach}; {end:?} {attempts:?}", job.id, job.setting);
            self.wrong.push(text);
        }
    }

    /// Returns the sum of all settings.
    fn sum(&self) -> Row {
        let mut sum = Row::default();
        self.rows.values().for_each(|row| sum.merge(row));
        sum
    }

    /// # Panics
    ///
    /// If anything was said to be safe to resend, or was resent, that was dispatched;
    /// or if that could not have been seen.
    pub(crate) fn judge(&self) {
        let wrong = &self.wrong;
        assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
        let Row { calls, spoilt, met, rule, old, vouched, .. } = self.sum();
        assert_eq!(rule.wrong, 0, "claims of what was dispatched");
        assert!(spoilt <= calls / 4, "{spoilt} of {calls} calls spoilt: no test");
        assert!(met >= calls / 2, "only {met} of {calls} orders met a FIN: no test");
        assert!(old.wrong > 0, "the rule that knows nothing of segments was not caught");
        // A fourth of the calls: in a small run it may have no luck.
        assert!(vouched.twice > 0 || old.wrong < 30, "the false statement doubled nothing");
    }
}

/// Says what is wrong with a call, if anything is. What comes of a false statement
/// of the user's is not.
fn breach(call: &Call, on_used: u32, on_fresh: u32) -> Option<String> {
    let unproven = |attempt: &&Attempt| !attempt.fate().is_not_applied();
    let unproven = call.attempts.iter().filter(unproven).count();
    let times = on_used + on_fresh;
    match &call.end {
        End::Absurd(what) => Some(what.clone()),
        _ if call.job.is_vouched => None,
        _ if is_claimed(call) && on_used > 0 => {
            Some("was dispatched where it is said not to have been".into())
        }
        End::Failed(fate) if fate.is_not_applied() && times > 0 => {
            Some("was dispatched and is said not to have been".into())
        }
        End::Failed(_) if times as usize > unproven => {
            Some(format!("was dispatched {times} times"))
        }
        End::Failed(_) | End::Spoilt => None,
    }
}

/// Whether the connection that the order was sent on first is said not to have
/// delivered it.
fn is_claimed(call: &Call) -> bool {
    let was_sent = |first: &Attempt| first.evidence().hand_off == HandOff::Written;
    call.attempts.first().is_some_and(|first| was_sent(first) && first.fate().is_not_applied())
}

/// A FIN that acknowledges none of the order, and then a reset, of however many
/// segments.
fn is_old_claim(evidence: &Evidence) -> bool {
    evidence.hand_off == HandOff::Written
        && evidence.answer == Answer::Nothing
        && matches!(evidence.kernel, TcpEvidence::Fin(Acked::None, Settled::Reset(_)))
}

impl Row {
    fn count(&mut self, call: &Call, on_used: u32, on_fresh: u32) {
        if call.job.is_vouched {
            self.vouched_calls += 1;
            return self.vouched.count(is_claimed(call), on_used, on_fresh);
        }
        self.calls += 1;
        self.spoilt += u32::from(matches!(call.end, End::Spoilt));
        self.rule.count(is_claimed(call), on_used, on_fresh);
        if let Some(evidence) = call.attempts.first().map(Attempt::evidence) {
            self.met += u32::from(matches!(evidence.kernel, TcpEvidence::Fin(..)));
            self.old.count(is_old_claim(evidence), on_used, on_fresh);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.calls += other.calls;
        self.spoilt += other.spoilt;
        self.met += other.met;
        self.vouched_calls += other.vouched_calls;
        self.rule.merge(other.rule);
        self.old.merge(other.old);
        self.vouched.merge(other.vouched);
    }
}

impl Claims {
    fn count(&mut self, is_claimed: bool, on_used: u32, on_fresh: u32) {
        self.all += u32::from(is_claimed);
        self.wrong += u32::from(is_claimed && on_used > 0);
        self.twice += u32::from(is_claimed && on_used > 0 && on_fresh > 0);
    }

    fn merge(&mut self, other: Self) {
        self.all += other.all;
        self.wrong += other.wrong;
        self.twice += other.twice;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEADING)?;
        self.rows.iter().try_for_each(|(setting, row)| writeln!(f, "{setting} {row}"))?;
        writeln!(f, "{:32} {}", "all", self.sum())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls, spoilt, met, rule, old, vouched_calls, vouched } = self;
        write!(f, "{calls:>6} {spoilt:>6} {met:>6}")?;
        write!(f, " {:>7} {:>5} {:>10} {:>5}", rule.all, rule.wrong, old.all, old.wrong)?;
        let Claims { all, wrong, twice } = vouched;
        write!(f, " {vouched_calls:>8} {all:>6} {wrong:>5} {twice:>5}")
    }
}

const HEADING: &str = "
             the server                         met a by default     without C5a     under a false no_relay
loss  relay   then    segments   calls spoilt    FIN  claims wrong     claims wrong    calls claims wrong twice
";

//! Holds what the client concluded against what really happened.

use std::fmt;

use tower_resend::Attempt;
use tower_resend_core::{Acked, Answer, Early, Fate, HandOff, TcpEvidence};

use super::board::Truth;
use super::client::{Outcome, Seen};
use super::plan::Through;

/// A trial, and the truth about it.
#[derive(Debug)]
pub(crate) struct Trial {
    pub(crate) seen: Seen,
    pub(crate) truth: Truth,
}

/// What became of the request on the connection that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crossing {
    /// The stale check found the end first, or there was no connection.
    NotWritten,
    Answered,
    /// A 599 or 408 was taken for the answer.
    Refused,
    /// It failed after it was written.
    Failed(Fate),
    /// The call did not end.
    Unended,
    /// There was no such request.
    Spoilt,
}

impl Trial {
    pub(crate) fn crossing(&self) -> Crossing {
        if let Outcome::Spoilt(_) | Outcome::Impossible(_) = self.seen.end {
            return Crossing::Spoilt;
        }
        if let Outcome::Unended = self.seen.end {
            return Crossing::Unended;
        }
        let is_refusal = matches!(self.seen.end, Outcome::Refused(_));
        let Some(first) = self.seen.attempts.first() else {
            return if is_refusal { Crossing::Refused } else { Crossing::Answered };
        };
        match (first.evidence().hand_off, first.fate()) {
            (HandOff::Written, Fate::Completed) if is_refusal && self.seen.attempts.len() == 1 => {
                Crossing::Refused
            }
            (HandOff::Written, Fate::Completed) => Crossing::Answered,
            (HandOff::Written | HandOff::Unrecorded, fate) => Crossing::Failed(fate),
            _ => Crossing::NotWritten,
        }
    }

    /// Whether the application got any of the request on the connection that
    /// ended.
    pub(crate) fn is_dispatched(&self) -> bool {
        self.truth.dispatched[0] > 0
    }

    /// Says what is wrong with the client's conclusions, if anything is.
    pub(crate) fn wrong(&self) -> Option<&'static str> {
        let times = self.truth.times();
        let attempts = &self.seen.attempts;
        let unsafe_ones = match (&self.seen.end, attempts.is_empty()) {
            (Outcome::Spoilt(_), _) => return None,
            (Outcome::Impossible(why), _) => return Some(why),
            (_, true) => 1,
            (_, false) => attempts.iter().filter(|attempt| !proves(attempt)).count(),
        };
        let is_first_proven = attempts.first().is_some_and(proves);
        match self.seen.end {
            _ if times > unsafe_ones => Some("dispatched oftener than the fates allow"),
            _ if self.seen.plan.through == Through::Client && times > 1 => Some("dispatched twice"),
            _ if self.seen.plan.through == Through::Pool
                && is_first_proven
                && self.is_dispatched() =>
            {
                Some("dispatched on a connection where it is called not applied")
            }
            Outcome::Failed { not_applied: true, .. } if times > 0 => {
                Some("dispatched and called not applied")
            }
            Outcome::Answered if times == 0 => Some("answered and never dispatched"),
            _ => None,
        }
    }
}

fn proves(attempt: &Attempt) -> bool {
    attempt.fate().is_not_applied()
}

/// A rule that people use and that doubles requests. It must be seen doing so,
/// or these trials could not see a duplicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    Error,
    Eof,
    Reset,
    Unsettled,
    NoResend,
}

impl Control {
    pub(crate) const ALL: [Self; 5] =
        [Self::Error, Self::Eof, Self::Reset, Self::Unsettled, Self::NoResend];

    /// Whether it takes all the evidence to follow the rule.
    pub(crate) fn needs_evidence(self) -> bool {
        matches!(self, Self::Eof | Self::Reset | Self::Unsettled)
    }

    /// Returns `true` if the rule would send the request again.
    pub(crate) fn resends(self, trial: &Trial) -> bool {
        let evidence = trial.seen.attempts.first().map(Attempt::evidence);
        let is_failed = matches!(trial.crossing(), Crossing::Failed(_));
        match (self, evidence) {
            (Self::Error, _) => is_failed,
            (Self::NoResend, Some(evidence)) if is_failed => {
                evidence.answer == Answer::Stray(Early::ClosingResponse)
            }
            (Self::NoResend, _) => trial.crossing() == Crossing::Refused,
            (_, None) => false,
            (_, Some(_)) if !is_failed => false,
            (Self::Eof, Some(evidence)) => matches!(evidence.kernel, TcpEvidence::Fin(..)),
            (Self::Reset, Some(evidence)) => matches!(evidence.kernel, TcpEvidence::Reset(_)),
            (Self::Unsettled, Some(evidence)) => {
                matches!(evidence.kernel, TcpEvidence::Fin(Acked::None, _))
            }
        }
    }
}

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "an error means resend",
            Self::Eof => "EOF means resend",
            Self::Reset => "RST means resend",
            Self::Unsettled => "a FIN that acknowledges nothing means resend, without settling",
            Self::NoResend => "599 or 408 means resend",
        })
    }
}

//! What became of a request at the server, as far as the evidence proves.

use std::fmt;

use super::doubt::Doubt;
use super::proof::Proof;

/// What became of a request at the server, as far as the evidence proves.
///
/// Fates are ordered from the weakest to the strongest statement: the fate of
/// a call with several hand-offs is the smallest of them, so *unknown*
/// followed by a refused connection is still *unknown*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
#[allow(clippy::exhaustive_enums, reason = "four fates only; a fifth would be a new design")]
pub enum Fate {
    /// The evidence does not tell whether the request was applied.
    Unknown(Doubt),
    /// A final response was begun and then cut: the request was answered.
    ResponseLost,
    /// The request was answered completely.
    Completed,
    /// No part of the request was acted on by the server's application.
    NotApplied(Proof),
}

impl Fate {
    /// Returns `true` if the request is proven not to have been applied, so
    /// that sending it again cannot apply it twice.
    pub fn is_not_applied(&self) -> bool {
        matches!(self, Self::NotApplied(_))
    }

    /// Returns `true` if it is unknown whether the request was applied.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown(_))
    }

    /// Returns the proof behind *not applied*.
    pub fn proof(&self) -> Option<Proof> {
        match self {
            Self::NotApplied(proof) => Some(*proof),
            Self::Unknown(_) | Self::ResponseLost | Self::Completed => None,
        }
    }

    /// Returns what is missing for a proof.
    pub fn doubt(&self) -> Option<Doubt> {
        match self {
            Self::Unknown(doubt) => Some(*doubt),
            Self::NotApplied(_) | Self::ResponseLost | Self::Completed => None,
        }
    }

    /// Returns the weaker of two fates; on a tie the earlier one, `self`.
    pub fn weaker(self, other: Self) -> Self {
        if other.strength() < self.strength() { other } else { self }
    }

    fn strength(&self) -> u8 {
        match self {
            Self::Unknown(_) => 0,
            Self::ResponseLost => 1,
            Self::Completed => 2,
            Self::NotApplied(_) => 3,
        }
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(doubt) => write!(f, "unknown: {doubt}"),
            Self::ResponseLost => f.write_str("response lost"),
            Self::Completed => f.write_str("completed"),
            Self::NotApplied(proof) => write!(f, "not applied: {proof}"),
        }
    }
}

//! The ladder of grounds, as an order.

/// A rung of the ladder of grounds. The strongest is the smallest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(clippy::exhaustive_enums, reason = "a new rung is a new design")]
pub enum Rung {
    /// Never sent.
    G1,
    /// Never received.
    G2,
    /// Refused.
    G3,
    /// Promised.
    G4,
    /// Deduplicated.
    G5,
    /// Idempotent.
    G6,
    /// The caller's word.
    G7,
}

impl Rung {
    /// Returns the id that docs, logs and tests use, `"G1"` to `"G7"`.
    pub fn id(self) -> &'static str {
        match self {
            Self::G1 => "G1",
            Self::G2 => "G2",
            Self::G3 => "G3",
            Self::G4 => "G4",
            Self::G5 => "G5",
            Self::G6 => "G6",
            Self::G7 => "G7",
        }
    }
}

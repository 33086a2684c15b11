//! Which contract a request was sent under, or why none.

use std::fmt;

use super::accept::Promise;
use super::ignored::Ignored;
use super::limits::OutOfLimits;

/// Which contract a request was sent under, or why there was none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ContractStatus {
    /// The client asked for no contract.
    NotOffered,
    /// The first request on its connection has none (C6).
    FirstRequest,
    /// A response on the connection had no field, or one that is ignored. Later
    /// announcements on it count for nothing (C6).
    Ignored(Ignored),
    /// The authority broke a promise (C9).
    Distrusted,
    /// A promise was in force, and every limit that was checked was kept.
    InForce(Promise),
    /// A promise was in force, and the failure was not within its limits.
    Exceeded(Promise, OutOfLimits),
}

impl ContractStatus {
    /// Returns a stable, low-cardinality name for metrics and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NotOffered => "not_offered",
            Self::FirstRequest => "first_request",
            Self::Ignored(Ignored::Absent) => "absent",
            Self::Ignored(Ignored::NotListed) => "not_listed",
            Self::Ignored(Ignored::OtherHop(_)) => "other_hop",
            Self::Ignored(_) => "ignored",
            Self::Distrusted => "distrusted",
            Self::InForce(_) => "in_force",
            Self::Exceeded(..) => "out_of_limits",
        }
    }

    /// Returns the promise that was in force, within its limits or not.
    pub fn promise(&self) -> Option<&Promise> {
        match self {
            Self::InForce(promise) | Self::Exceeded(promise, _) => Some(promise),
            Self::NotOffered | Self::FirstRequest | Self::Ignored(_) | Self::Distrusted => None,
        }
    }
}

impl fmt::Display for ContractStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOffered => f.write_str("no contract (none was asked for)"),
            Self::FirstRequest => f.write_str("no contract (first request on the connection)"),
            Self::Ignored(why) => write!(f, "{why}"),
            Self::Distrusted => f.write_str("no contract (the server has broken one)"),
            Self::InForce(_) => f.write_str("contract in force, which promises nothing of this"),
            Self::Exceeded(_, why) => write!(f, "contract in force, but {why}"),
        }
    }
}

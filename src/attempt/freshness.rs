//! Which connections a request may be sent on.

use crate::time::Instant;

/// Which connections a request may be sent on.
///
/// A failed or returned request asks for more than the one before it: its server
/// may be going away, and what that server closes next are its idle connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Any.
    #[default]
    Any,
    /// Only one that was never used.
    Unused,
    /// Only one that was never used and was made at this time or later.
    UnusedSince(Instant),
    /// Only one that was made, or returned to the pool, at this time or later: its
    /// peer was there then.
    AliveSince(Instant),
}

impl Freshness {
    /// Returns `true` if a connection satisfies this requirement that was made at
    /// `born` and has been idle since `idle_since`.
    pub(crate) fn accepts(self, is_used: bool, born: Instant, idle_since: Instant) -> bool {
        match self {
            Self::Any => true,
            Self::Unused => !is_used,
            Self::UnusedSince(at) => !is_used && born >= at,
            Self::AliveSince(at) if is_used => idle_since >= at,
            Self::AliveSince(at) => born >= at,
        }
    }

    /// Returns the requirement after a connection handed the request back: the
    /// others that idled as long are probably dead too.
    pub(crate) fn after_hand_back(self) -> Self {
        match self {
            Self::Any | Self::Unused => Self::Unused,
            Self::UnusedSince(since) | Self::AliveSince(since) => Self::UnusedSince(since),
        }
    }

    /// Returns the requirement after a connection failed under the request at
    /// `failed_at`.
    pub(crate) fn after_failure(self, failed_at: Instant) -> Self {
        match self {
            Self::Any => Self::AliveSince(failed_at),
            Self::Unused | Self::UnusedSince(_) | Self::AliveSince(_) => {
                Self::UnusedSince(failed_at)
            }
        }
    }

    /// Returns the time that the requirement names, if it names one.
    pub(crate) fn since(self) -> Option<Instant> {
        match self {
            Self::Any | Self::Unused => None,
            Self::UnusedSince(since) | Self::AliveSince(since) => Some(since),
        }
    }
}

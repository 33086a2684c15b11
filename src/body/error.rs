//! Why a request body stopped.

use std::{error, fmt};

use super::NotReplayable;
use crate::BoxError;

/// Tells why a request body stopped before its end.
///
/// A body that has once given an error gives one at every later poll, and
/// never an end of stream: a connection would take that for the end of the
/// message and complete it with part of its octets.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The body the caller supplied failed; `source()` is the caller's error.
    Failed(BoxError),
    /// The octets this body should repeat are no longer to be had.
    Gone(NotReplayable),
    /// A later attempt has taken over; this body may not be sent any more.
    Revoked,
    /// The body yielded more octets than its exact size hint declared.
    TooLong {
        /// The declared length in octets.
        declared: u64,
    },
    /// The body ended before the octets its exact size hint declared.
    TooShort {
        /// The declared length in octets.
        declared: u64,
        /// The octets that were still to come.
        missing: u64,
    },
}

impl Error {
    /// Wraps a caller's error; one of ours stays what it is.
    pub(super) fn from_caller(error: impl Into<BoxError>) -> Self {
        match error.into().downcast::<Self>() {
            Ok(ours) => *ours,
            Err(theirs) => Self::Failed(theirs),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(_) => f.write_str("the request body failed"),
            Self::Gone(reason) => write!(f, "the request body cannot be repeated: {reason}"),
            Self::Revoked => f.write_str("the request body was revoked by a later attempt"),
            Self::TooLong { declared } => {
                write!(f, "the request body exceeds its declared {declared} octets")
            }
            Self::TooShort { declared, missing } => write!(
                f,
                "the request body ended {missing} octets short of its declared {declared}"
            ),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Failed(theirs) => Some(theirs.as_ref()),
            Self::Gone(_) | Self::Revoked | Self::TooLong { .. } | Self::TooShort { .. } => None,
        }
    }
}

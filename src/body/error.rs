//! Why a request body stopped.

use std::{error, fmt};

use super::NotReplayable;
use crate::chain::BoxError;

/// Why a request body stopped before its end.
///
/// After an error every later poll gives an error too, and never an end of stream: a
/// connection would complete the message with part of its bytes.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The body the caller supplied failed; `source()` is the caller's error.
    Failed(BoxError),
    /// The bytes that this body should repeat are gone.
    Gone(NotReplayable),
    /// A later attempt has taken over, so this body must not be sent any more.
    Revoked,
    /// The body yielded more bytes than its exact size hint or its request's
    /// `Content-Length` declared.
    TooLong {
        /// The declared length in bytes.
        declared: u64,
    },
    /// The body ended before the bytes that its exact size hint or its request's
    /// `Content-Length` declared.
    TooShort {
        /// The declared length in bytes.
        declared: u64,
        /// The bytes that were still to come.
        missing: u64,
    },
    /// The body yielded trailers that the connection would drop.
    ///
    /// HTTP/1.1 sends the trailers that the request's `Trailer` field names, after a
    /// body without `Content-Length`. Over HTTP/1.0 there are none.
    UnnamedTrailers,
    /// The body yielded more after its trailers, which are the end.
    AfterTrailers,
}

impl Error {
    /// Wraps a caller's error. An error of this type is returned as it is.
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
                write!(f, "the request body exceeds its declared {declared} bytes")
            }
            Self::TooShort { declared, missing } => {
                write!(f, "the request body ended {missing} bytes short of its declared {declared}")
            }
            Self::UnnamedTrailers => f.write_str(
                "the request body has trailers that would be dropped: name them in a Trailer \
                 field, and leave Content-Length out",
            ),
            Self::AfterTrailers => f.write_str("the request body goes on after its trailers"),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Failed(theirs) => Some(theirs.as_ref()),
            Self::Gone(_)
            | Self::Revoked
            | Self::TooLong { .. }
            | Self::TooShort { .. }
            | Self::UnnamedTrailers
            | Self::AfterTrailers => None,
        }
    }
}

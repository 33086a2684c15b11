//! Why a response's body was not read as a whole.

use std::error::Error as StdError;
use std::fmt;

use crate::attempt::ResponseBodyError;

/// Why [`ResponseBody::bytes`] or [`ResponseBody::text`] failed.
///
/// The request was answered, whichever it is: sending it again may apply it twice.
///
/// [`ResponseBody::bytes`]: super::ResponseBody::bytes
/// [`ResponseBody::text`]: super::ResponseBody::text
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// The body is longer than the caller allows.
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// The body failed before its end. The source is the same error.
    Failed(ResponseBodyError),
    /// The body is whole, but is no UTF-8.
    NotUtf8 {
        /// How many bytes from the start are valid UTF-8; the fault is behind them.
        valid_up_to: usize,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { limit } => {
                write!(f, "the response's body is longer than the limit of {limit} bytes")
            }
            Self::Failed(_) => f.write_str("the response's body could not be read to its end"),
            Self::NotUtf8 { valid_up_to } => {
                write!(f, "the response's body is not UTF-8 from byte {valid_up_to} on")
            }
        }
    }
}

impl StdError for ReadError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Failed(error) => Some(error),
            Self::TooLong { .. } | Self::NotUtf8 { .. } => None,
        }
    }
}

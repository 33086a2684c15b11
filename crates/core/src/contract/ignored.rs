//! Why a field is ignored.

use std::fmt;

use http::Version;

use super::field::FieldError;
use super::hop::Hop;

/// Why a field is ignored as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ignored {
    /// There is no field.
    Absent,
    /// Not HTTP/1.1 (C3).
    Version(Version),
    /// In a 1xx response, which says nothing about the connection (C3; RFC 8297 2).
    Interim,
    /// `Connection` does not list it, so it is not for this hop (C1).
    NotListed,
    /// It names another connection than the one that it came on: this one (C2,
    /// S11).
    OtherHop(Hop),
    /// `refused` without `close`.
    RefusedWithoutClose,
    /// The field itself is in error.
    Field(FieldError),
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("no contract"),
            Self::Version(version) => write!(f, "contract ignored: {version:?}"),
            Self::Interim => f.write_str("contract ignored: in a 1xx response"),
            Self::NotListed => f.write_str("contract ignored: not listed in Connection"),
            Self::OtherHop(stated) => {
                write!(f, "contract ignored: it is for another connection, {stated}")
            }
            Self::RefusedWithoutClose => f.write_str("contract ignored: `refused` without close"),
            Self::Field(why) => write!(f, "contract ignored: {why}"),
        }
    }
}

impl std::error::Error for Ignored {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Field(why) => Some(why),
            Self::Absent
            | Self::Version(_)
            | Self::Interim
            | Self::NotListed
            | Self::OtherHop(_)
            | Self::RefusedWithoutClose => None,
        }
    }
}

impl From<FieldError> for Ignored {
    fn from(why: FieldError) -> Self {
        Self::Field(why)
    }
}

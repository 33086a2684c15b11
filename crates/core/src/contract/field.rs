//! The field's name, its members and their values.

use std::fmt;

use http::{HeaderName, StatusCode};

/// The field's name, which is also its connection option (C1).
pub const RETRY_CONTRACT: HeaderName = HeaderName::from_static("retry-contract");

/// The longest field that is read, all its lines together.
pub const LONGEST: usize = 1024;

/// The length, in bytes, up to which a server receives a request whole before it
/// dispatches it: head, body and chunked framing, above TLS (`max`; S1, C4).
///
/// The default is 64 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Max(u32);

impl Max {
    /// The largest that is believed, 1 GiB: no server buffers more of one request.
    pub const LARGEST: Self = Self(1 << 30);

    /// Returns the limit, or `None` for 0 and above [`Max::LARGEST`].
    pub fn new(bytes: u32) -> Option<Self> {
        (1..=Self::LARGEST.0).contains(&bytes).then_some(Self(bytes))
    }

    /// Returns the number of bytes.
    pub fn bytes(self) -> u32 {
        self.0
    }
}

impl Default for Max {
    fn default() -> Self {
        Self(64 * 1024)
    }
}

/// The status of a closing response (`gone`).
///
/// It tells people and other clients; to this crate `refused` alone has a meaning
/// (C8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClosingStatus {
    /// 503 (RFC 9110 15.6.4).
    #[default]
    ServiceUnavailable,
    /// 599, which is not registered: others read it as a 500.
    GoingAway,
}

impl ClosingStatus {
    /// Returns the status code.
    pub fn code(self) -> StatusCode {
        match self {
            Self::ServiceUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::GoingAway => StatusCode::from_u16(599).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
        }
    }
}

/// A member of the field that has a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Member {
    /// `hop`: both ends as the sender's own socket sees them.
    Hop,
    /// `max`: the length up to which a request is received whole before it is
    /// dispatched.
    Max,
    /// `rst`: a reset means that nothing is dispatched.
    Rst,
    /// `fin`: a FIN without a response means that nothing is dispatched.
    Fin,
    /// `half`: nothing that arrives after the FIN is dispatched.
    Half,
    /// `gone`: a closing response comes first.
    Gone,
    /// `refused`: nothing that is not yet answered was or will be dispatched.
    Refused,
    /// `drain`: the server will go away soon.
    Drain,
}

impl Member {
    pub(super) const ALL: [Self; 8] = [
        Self::Hop,
        Self::Max,
        Self::Rst,
        Self::Fin,
        Self::Half,
        Self::Gone,
        Self::Refused,
        Self::Drain,
    ];

    /// Returns the member's key.
    pub fn key(self) -> &'static str {
        match self {
            Self::Hop => "hop",
            Self::Max => "max",
            Self::Rst => "rst",
            Self::Fin => "fin",
            Self::Half => "half",
            Self::Gone => "gone",
            Self::Refused => "refused",
            Self::Drain => "drain",
        }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

/// What is wrong with a field. It is ignored as a whole, never in part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FieldError {
    /// Not a dictionary (RFC 9651 4.2.2), from this byte of a line on.
    Malformed(usize),
    /// Longer than [`LONGEST`].
    TooLong(usize),
    /// A member's value has another type than its own.
    WrongType(Member),
    /// A member's value has the right type and makes no sense.
    Absurd(Member),
    /// A member is there twice, with different values.
    Contradictory(Member),
    /// There is no `hop`.
    MissingHop,
    /// `rst` without `max`: a reset that hits a request in mid-upload says
    /// nothing unless requests are received whole.
    RstWithoutMax,
    /// `fin` without `max`.
    FinWithoutMax,
    /// `rst` and `fin`, which say the opposite of each other.
    RstAndFin,
    /// A member that only servers state, in a request.
    Misplaced(Member),
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(at) => write!(f, "malformed at byte {at}"),
            Self::TooLong(bytes) => write!(f, "{bytes} bytes long"),
            Self::WrongType(member) => write!(f, "`{member}` has the wrong type"),
            Self::Absurd(member) => write!(f, "`{member}` has an absurd value"),
            Self::Contradictory(member) => write!(f, "`{member}` contradicts itself"),
            Self::MissingHop => f.write_str("`hop` is missing"),
            Self::RstWithoutMax => f.write_str("`rst` without `max`"),
            Self::FinWithoutMax => f.write_str("`fin` without `max`"),
            Self::RstAndFin => f.write_str("`rst` and `fin` contradict each other"),
            Self::Misplaced(member) => write!(f, "`{member}` in a request"),
        }
    }
}

impl std::error::Error for FieldError {}

//! The field itself: its name, its members, and what a server announces.

use std::fmt;
use std::str::FromStr;

use http::header::{CONNECTION, MaxSizeReached};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::hop::Hop;
use super::read::{self, Read};

/// The field's name, which is also its connection option (C1).
pub const RETRY_CONTRACT: HeaderName = HeaderName::from_static("retry-contract");

/// The longest field that is read, all its lines together.
pub const LONGEST: usize = 1024;

/// What a server announces of one connection: the members of the field in a
/// response.
///
/// An announcement is not binding by itself: [`accept`](super::accept()) says
/// whether a client may rely on it.
///
/// # Examples
///
/// ```
/// use tower_resend_core::contract::{Announcement, Hop, Max};
///
/// let hop = Hop::seen_by_server("10.1.2.3:50211".parse()?, "10.1.2.9:80".parse()?);
/// let announced = Announcement::new(hop).with_rst(Max::default()).with_half();
/// let text = r#"hop="10.1.2.3:50211 10.1.2.9:80", max=65536, rst, half"#;
/// assert_eq!(announced.to_string(), text);
/// assert_eq!(text.parse(), Ok(announced));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Announcement {
    hop: Hop,
    max: Option<Max>,
    rst: bool,
    fin: bool,
    half: bool,
    gone: Option<ClosingStatus>,
    refused: bool,
    drain: bool,
}

impl Announcement {
    /// Returns an announcement for a connection that promises nothing (S7).
    pub fn new(hop: Hop) -> Self {
        Self {
            hop,
            max: None,
            rst: false,
            fin: false,
            half: false,
            gone: None,
            refused: false,
            drain: false,
        }
    }

    /// Promises to dispatch no request of at most `max` bytes before the whole
    /// of it has been received (`max`; S1).
    #[must_use]
    pub fn with_max(mut self, max: Max) -> Self {
        self.max = Some(max);
        self
    }

    /// Promises what [`with_max`](Self::with_max) does, and to reset the
    /// connection only while no request on it is dispatched (`rst`; S2, S3, S8).
    ///
    /// Takes the opposite promise back, [`with_fin`](Self::with_fin).
    #[must_use]
    pub fn with_rst(mut self, max: Max) -> Self {
        (self.rst, self.fin) = (true, false);
        self.with_max(max)
    }

    /// Promises what [`with_max`](Self::with_max) does, to end the connection
    /// by a FIN without a byte of a response only while no request on it is
    /// dispatched, and to dispatch nothing after that FIN (`fin`; S10).
    ///
    /// Takes the opposite promise back, [`with_rst`](Self::with_rst).
    #[must_use]
    pub fn with_fin(mut self, max: Max) -> Self {
        (self.rst, self.fin) = (false, true);
        self.with_max(max)
    }

    /// Promises to dispatch nothing that arrives after the server's FIN
    /// (`half`).
    #[must_use]
    pub fn with_half(mut self) -> Self {
        self.half = true;
        self
    }

    /// Promises a closing response with `refused` before the server leaves
    /// (`gone`; S4 to S6).
    #[must_use]
    pub fn with_gone(mut self, status: ClosingStatus) -> Self {
        self.gone = Some(status);
        self
    }

    /// States that neither the request that this answers nor any other that
    /// is not yet answered was or will be dispatched (`refused`; S4, S5).
    #[must_use]
    pub fn with_refused(mut self) -> Self {
        self.refused = true;
        self
    }

    /// Says that the server will leave soon (`drain`), which promises nothing.
    #[must_use]
    pub fn with_drain(mut self) -> Self {
        self.drain = true;
        self
    }

    /// Returns the ends of the connection that this speaks of (S7).
    pub fn hop(&self) -> Hop {
        self.hop
    }

    /// Returns how many bytes of a request are received whole before it is
    /// dispatched (S1).
    pub fn max(&self) -> Option<Max> {
        self.max
    }

    /// Returns `true` if a reset means that nothing is dispatched (S2).
    pub fn has_rst(&self) -> bool {
        self.rst
    }

    /// Returns `true` if a FIN without a byte of a response means that nothing
    /// is dispatched (S10).
    pub fn has_fin(&self) -> bool {
        self.fin
    }

    /// Returns `true` if nothing that arrives after the FIN is dispatched.
    pub fn has_half(&self) -> bool {
        self.half
    }

    /// Returns the status of the closing response that will come first.
    pub fn gone(&self) -> Option<ClosingStatus> {
        self.gone
    }

    /// Returns `true` if this refuses all that is not yet answered (S4).
    pub fn has_refused(&self) -> bool {
        self.refused
    }

    /// Returns `true` if the server will leave soon.
    pub fn has_drain(&self) -> bool {
        self.drain
    }

    /// Writes the announcement into the headers of a final HTTP/1.1 response
    /// (S9), and its name into their `Connection` (C1); with `refused` also
    /// `close`.
    ///
    /// # Errors
    ///
    /// If the map can take no further header.
    pub fn write(&self, headers: &mut HeaderMap) -> Result<(), MaxSizeReached> {
        self.write_made(self.make(), headers)
    }

    /// Returns the field's value, for [`write_made`](Self::write_made).
    pub fn make(&self) -> HeaderValue {
        read::field(self.to_string())
    }

    /// Does what [`write`](Self::write) does, with what [`make`](Self::make)
    /// returned before.
    pub fn write_made(
        &self,
        made: HeaderValue,
        headers: &mut HeaderMap,
    ) -> Result<(), MaxSizeReached> {
        if self.refused && !read::has_option(headers, "close") {
            headers.try_append(CONNECTION, HeaderValue::from_static("close"))?;
        }
        read::write(headers, made)
    }

    pub(super) fn from_members(read: &Read) -> Result<Self, FieldError> {
        let announcement = Self {
            hop: read.hop()?,
            max: read.max()?,
            rst: read.boolean(Member::Rst)?,
            fin: read.boolean(Member::Fin)?,
            half: read.boolean(Member::Half)?,
            gone: read.gone()?,
            refused: read.boolean(Member::Refused)?,
            drain: read.boolean(Member::Drain)?,
        };
        match announcement {
            Self { rst: true, fin: true, .. } => Err(FieldError::RstAndFin),
            Self { rst: true, max: None, .. } => Err(FieldError::RstWithoutMax),
            Self { fin: true, max: None, .. } => Err(FieldError::FinWithoutMax),
            announcement => Ok(announcement),
        }
    }
}

impl fmt::Display for Announcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hop=\"{}\"", self.hop)?;
        if let Some(max) = self.max {
            write!(f, ", max={}", max.octets())?;
        }
        let members = [(self.rst, ", rst"), (self.fin, ", fin"), (self.half, ", half")];
        for (_, text) in members.iter().filter(|(is_promised, _)| *is_promised) {
            f.write_str(text)?;
        }
        match self.gone {
            Some(ClosingStatus::ServiceUnavailable) => f.write_str(", gone")?,
            Some(ClosingStatus::GoingAway) => f.write_str(", gone=599")?,
            None => {}
        }
        let members = [(self.refused, ", refused"), (self.drain, ", drain")];
        for (_, text) in members.iter().filter(|(is_stated, _)| *is_stated) {
            f.write_str(text)?;
        }
        Ok(())
    }
}

impl FromStr for Announcement {
    type Err = FieldError;

    /// Reads the field from one line.
    fn from_str(line: &str) -> Result<Self, FieldError> {
        Self::from_members(&Read::lines([line.as_bytes()])?)
    }
}

/// The most bytes of a request that a server receives whole before it takes
/// the request up: head, body and chunked framing, above TLS (`max`; S1, C4).
///
/// The default is 64 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Max(u32);

impl Max {
    /// The largest that is believed: no server holds more of one request back.
    pub const LARGEST: Self = Self(1 << 30);

    /// Returns the limit; none for 0 and above [`Max::LARGEST`].
    pub fn new(octets: u32) -> Option<Self> {
        (1..=Self::LARGEST.0).contains(&octets).then_some(Self(octets))
    }

    /// Returns the number of bytes.
    pub fn octets(self) -> u32 {
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
/// It informs people and other clients; for us `refused` alone carries the
/// meaning (C8).
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
    /// `max`: bytes of a request that is received whole before it is dispatched.
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
    /// `drain`: the server will leave soon.
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

/// Why a field says nothing. It is ignored whole, never in part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FieldError {
    /// No dictionary (RFC 9651 4.2.2) from this byte of a line on.
    Malformed(usize),
    /// Longer than [`LONGEST`].
    TooLong(usize),
    /// A member's value has another type than its own.
    WrongType(Member),
    /// A member's value has the right type and no sense.
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
            Self::Malformed(at) => write!(f, "malformed at octet {at}"),
            Self::TooLong(octets) => write!(f, "{octets} octets long"),
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

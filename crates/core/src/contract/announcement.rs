//! What a server announces: the members of the field in a response.

use std::fmt;
use std::str::FromStr;

use http::header::{CONNECTION, MaxSizeReached};
use http::{HeaderMap, HeaderValue};

use super::field::{ClosingStatus, FieldError, Max, Member};
use super::hop::Hop;
use super::read::{self, Read};

/// What a server announces of one connection: the members of the field in a
/// response.
///
/// An announcement is not binding by itself: a client may rely on what
/// [`accept`](super::accept()) returns.
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

    /// Promises a closing response with `refused` before the server goes away
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

    /// States that the server will go away soon (`drain`), which promises nothing.
    #[must_use]
    pub fn with_drain(mut self) -> Self {
        self.drain = true;
        self
    }

    /// Returns both ends of the connection that the announcement is for (S7).
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

    /// Returns the status of the closing response that the server promises.
    pub fn gone(&self) -> Option<ClosingStatus> {
        self.gone
    }

    /// Returns `true` if every request that is not yet answered is refused (S4).
    pub fn has_refused(&self) -> bool {
        self.refused
    }

    /// Returns `true` if the server will go away soon.
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
            write!(f, ", max={}", max.bytes())?;
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

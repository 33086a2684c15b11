//! What a client offers: the members of the field in a request.

use std::fmt;

use http::header::MaxSizeReached;
use http::{HeaderMap, HeaderValue, Request, Version};

use super::accept::Ignored;
use super::field::{FieldError, Member};
use super::read::{self, Read};

/// What a client writes that offers all that there is, as this crate's does.
const ALL: &str = "rst, fin, gone, half";

/// What a client understands and will act on.
///
/// A server does nothing that a client without the field could notice, unless
/// that client offered to understand it (S6).
///
/// # Examples
///
/// ```
/// use tower_resend::contract::Offer;
///
/// let mut request = http::Request::get("/a").body(())?;
/// Offer::all().write(request.headers_mut())?;
/// assert_eq!(request.headers()["retry-contract"], "rst, fin, gone, half");
/// assert_eq!(request.headers()["connection"], "retry-contract");
/// assert_eq!(Offer::read(&request), Ok(Offer::all()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Offer {
    rst: bool,
    fin: bool,
    gone: bool,
    half: bool,
}

impl Offer {
    /// Returns an offer of nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// Returns an offer of all that there is.
    pub fn all() -> Self {
        Self { rst: true, fin: true, gone: true, half: true }
    }

    /// Adds that resets are understood (`rst`).
    #[must_use]
    pub fn with_rst(mut self) -> Self {
        self.rst = true;
        self
    }

    /// Adds that a FIN instead of a response is understood (`fin`).
    #[must_use]
    pub fn with_fin(mut self) -> Self {
        self.fin = true;
        self
    }

    /// Adds that closing responses are understood, unsolicited ones too
    /// (`gone`).
    #[must_use]
    pub fn with_gone(mut self) -> Self {
        self.gone = true;
        self
    }

    /// Adds that the promise about the time after a FIN is understood
    /// (`half`).
    #[must_use]
    pub fn with_half(mut self) -> Self {
        self.half = true;
        self
    }

    /// Returns whether resets are understood.
    pub fn has_rst(&self) -> bool {
        self.rst
    }

    /// Returns whether a FIN instead of a response is understood.
    pub fn has_fin(&self) -> bool {
        self.fin
    }

    /// Returns whether closing responses are understood.
    pub fn has_gone(&self) -> bool {
        self.gone
    }

    /// Returns whether the promise about the time after a FIN is understood.
    pub fn has_half(&self) -> bool {
        self.half
    }

    /// Reads the offer of a request that a server received (S6).
    ///
    /// # Errors
    ///
    /// Why the whole field is ignored; the client then offered nothing.
    pub fn read<B>(request: &Request<B>) -> Result<Self, Ignored> {
        if request.version() != Version::HTTP_11 {
            return Err(Ignored::Version(request.version()));
        }
        let lines = read::listed_lines(request.headers())?;
        // The usual offer is compared instead of parsed.
        if lines.iter().eq([ALL]) {
            return Ok(Self::all());
        }
        let lines = lines.iter().map(HeaderValue::as_bytes);
        Ok(Self::from_members(&Read::lines(lines)?)?)
    }

    /// Writes the offer into the headers of an HTTP/1.1 request, and its name
    /// into their `Connection` (C1 holds for servers too). Of an offer of
    /// nothing it writes nothing.
    ///
    /// # Errors
    ///
    /// If the map can take no further header.
    pub fn write(&self, headers: &mut HeaderMap) -> Result<(), MaxSizeReached> {
        if *self == Self::none() {
            return Ok(());
        }
        let field = match *self == Self::all() {
            true => HeaderValue::from_static(ALL),
            false => read::field(self.to_string()),
        };
        read::write(headers, field)
    }

    fn from_members(read: &Read) -> Result<Self, FieldError> {
        for servers in [Member::Hop, Member::Max] {
            if read.has(servers) {
                return Err(FieldError::Misplaced(servers));
            }
        }
        Ok(Self {
            rst: read.boolean(Member::Rst)?,
            fin: read.boolean(Member::Fin)?,
            gone: read.boolean(Member::Gone)?,
            half: read.boolean(Member::Half)?,
        })
    }
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members =
            [(self.rst, "rst"), (self.fin, "fin"), (self.gone, "gone"), (self.half, "half")];
        let mut before = "";
        for (_, name) in members.into_iter().filter(|(is_offered, _)| *is_offered) {
            write!(f, "{before}{name}")?;
            before = ", ";
        }
        Ok(())
    }
}

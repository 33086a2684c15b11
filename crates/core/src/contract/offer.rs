//! What a client offers: the members of the field in a request.

use std::fmt;

use http::header::MaxSizeReached;
use http::{HeaderMap, HeaderValue, Request, Version};

use super::accept::HopBinding;
use super::field::{FieldError, Member};
use super::hop::Hop;
use super::ignored::Ignored;
use super::read::{self, Read};

/// What a client understands and acts on.
///
/// A server does nothing that a client without the field could notice, unless
/// the client offered to understand it (S6). On the wire an offer names its
/// connection, as an announcement does, so that a server can tell an offer that a
/// proxy passed on (S11).
///
/// # Examples
///
/// ```
/// use tower_resend_core::contract::{Hop, Ignored, Offer};
///
/// let own = Hop::seen_by_client("10.1.2.3:50211".parse()?, "10.1.2.9:80".parse()?);
/// let mut request = http::Request::get("/a").body(())?;
/// Offer::all().write(&own, request.headers_mut())?;
/// let field = r#"hop="10.1.2.3:50211 10.1.2.9:80", rst, fin, gone, half"#;
/// assert_eq!(request.headers()["retry-contract"], field);
/// assert_eq!(request.headers()["connection"], "retry-contract");
///
/// let server = Hop::seen_by_server("10.1.2.3:50211".parse()?, "10.1.2.9:80".parse()?);
/// assert_eq!(Offer::read(&request, &server), Ok(Offer::all()));
///
/// let behind_a_proxy = Hop::seen_by_server("10.1.2.8:4000".parse()?, "10.1.2.9:80".parse()?);
/// let ignored = Offer::read(&request, &behind_a_proxy);
/// assert!(matches!(ignored, Err(Ignored::OtherHop(_))));
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

    /// Returns an offer of everything.
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

    /// Adds that closing responses are understood, even unsolicited ones (`gone`).
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

    /// Returns `true` if resets are understood.
    pub fn has_rst(&self) -> bool {
        self.rst
    }

    /// Returns `true` if a FIN instead of a response is understood.
    pub fn has_fin(&self) -> bool {
        self.fin
    }

    /// Returns `true` if closing responses are understood.
    pub fn has_gone(&self) -> bool {
        self.gone
    }

    /// Returns `true` if the promise about the time after a FIN is understood.
    pub fn has_half(&self) -> bool {
        self.half
    }

    /// Reads the offer of a request that a server received (S6).
    ///
    /// `own` names both ends of its connection, as the server's own socket sees
    /// them (S7). An offer that names others was made to another server (S11).
    ///
    /// # Errors
    ///
    /// Why the whole field is ignored. The client then offered nothing.
    pub fn read<B>(request: &Request<B>, own: &Hop) -> Result<Self, Ignored> {
        Self::read_bound(request, &HopBinding::To(*own))
    }

    /// Does what [`read`](Self::read) does, with the hop checked as `binding` says.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read); [`Ignored::OtherHop`] only under
    /// [`HopBinding::To`].
    pub fn read_bound<B>(request: &Request<B>, binding: &HopBinding) -> Result<Self, Ignored> {
        if request.version() != Version::HTTP_11 {
            return Err(Ignored::Version(request.version()));
        }
        let read = read::listed(request.headers())?;
        let (offer, stated) = Self::from_members(&read)?;
        match binding {
            HopBinding::To(own) if stated != *own => Err(Ignored::OtherHop(stated)),
            HopBinding::To(_) | HopBinding::Trusted => Ok(offer),
        }
    }

    /// Writes the offer for a connection with these ends into the headers of an
    /// HTTP/1.1 request, and the field's name into their `Connection` (C1 holds for
    /// servers too). An offer of nothing writes nothing.
    ///
    /// # Errors
    ///
    /// If the map is full.
    pub fn write(&self, hop: &Hop, headers: &mut HeaderMap) -> Result<(), MaxSizeReached> {
        if *self == Self::none() {
            return Ok(());
        }
        read::write(headers, self.make(hop))
    }

    /// Returns the field's value.
    pub fn make(self, hop: &Hop) -> HeaderValue {
        read::field(format!("hop=\"{hop}\", {self}"))
    }

    fn from_members(read: &Read) -> Result<(Self, Hop), FieldError> {
        if read.has(Member::Max) {
            return Err(FieldError::Misplaced(Member::Max));
        }
        let offer = Self {
            rst: read.boolean(Member::Rst)?,
            fin: read.boolean(Member::Fin)?,
            gone: read.boolean(Member::Gone)?,
            half: read.boolean(Member::Half)?,
        };
        Ok((offer, read.hop()?))
    }
}

/// Prints the members without the hop.
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

//! How a request's body is framed, settled before anything of it is sent.
//!
//! Hyper repairs a head that does not fit its body, in silence: it cuts a body at
//! the caller's `Content-Length`, drops that of a GET whose length it does not
//! know, and that of every request to a peer of HTTP/1.0. The server then acts on
//! a request that the caller never made. Here such a request is refused, and what
//! is not refused is framed so that all of it arrives.

use std::error::Error as StdError;
use std::fmt;

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, HeaderMap, HeaderName, HeaderValue, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, Request, Version};
use http_body::{Body, SizeHint};

use super::Error;
use crate::attempt::{Attempt, AttemptError};
use tower_resend_core::{BadRequest, Contract, Evidence, HandOff};

/// How the end of a request's body is found on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is no content, and no field that says so.
    Bare,
    /// By `Content-Length`: so many bytes.
    Length(u64),
    /// By chunks, of so many bytes in all if that is known.
    Chunked(Option<u64>),
}

/// What of a request's head says how its body is framed.
#[derive(Clone, Copy, Debug, Default)]
struct Named {
    length: bool,
    coding: bool,
    trailer: bool,
}

impl Framing {
    /// Settles the framing of a request as it is to be sent by HTTP/1.1, or by
    /// HTTP/1.0 where it says so.
    ///
    /// # Errors
    ///
    /// Its head and its body contradict each other, or there is no framing by
    /// which all of the body would arrive.
    #[inline]
    pub(crate) fn of<B: Body>(request: &Request<B>) -> Result<Self, Refused> {
        if request.version() > Version::HTTP_11 {
            check_fields(request.headers())?;
        }
        let mut named = Named::default();
        // Of the few names there are, a comparison is cheaper than a hash.
        for name in request.headers().keys() {
            named.length |= *name == CONTENT_LENGTH;
            named.coding |= *name == TRANSFER_ENCODING;
            named.trailer |= *name == TRAILER;
        }
        let body = request.body();
        match (body.is_end_stream(), has_no_content(request.method())) {
            (false, true) => return Err(Refused::of(BadRequest::ContentForbidden)),
            (is_empty, _) if named.length || named.coding => {
                return Self::as_named(request, named, is_empty);
            }
            (true, _) => return Ok(Self::of_empty(request.method())),
            (false, false) => {}
        }
        match body.size_hint().exact() {
            // Nobody would ask a body of no bytes for what it yields.
            Some(length) if length > 0 && !(named.trailer && may_chunk(request)) => {
                Ok(Self::Length(length))
            }
            length if may_chunk(request) => Ok(Self::Chunked(length)),
            _ => Err(Refused::of(BadRequest::UnknownLength)),
        }
    }

    /// Frames an empty body. A method that gives content a meaning says that there
    /// is none (RFC 9110 8.6).
    fn of_empty(method: &Method) -> Self {
        match *method {
            Method::POST | Method::PUT | Method::PATCH => Self::Length(0),
            _ => Self::Bare,
        }
    }

    /// Takes the caller's own fields as they are, or not at all.
    #[cold]
    fn as_named<B: Body>(
        request: &Request<B>,
        named: Named,
        is_empty: bool,
    ) -> Result<Self, Refused> {
        let hint = match is_empty {
            true => SizeHint::with_exact(0),
            false => request.body().size_hint(),
        };
        if !named.coding {
            return length(request.headers(), &hint, is_empty);
        }
        Err(Refused::of(if named.length {
            BadRequest::TwoLengths
        } else if !may_chunk(request) {
            BadRequest::CodingInHttp10
        } else if has_no_content(request.method()) {
            BadRequest::ContentForbidden
        } else if !ends_in_chunked(request.headers()) {
            BadRequest::TransferCoding
        } else {
            return Ok(Self::Chunked(hint.exact()));
        }))
    }

    /// Returns how many bytes the body must have, if that is known.
    pub(crate) fn declared(self) -> Option<u64> {
        match self {
            Self::Bare => Some(0),
            Self::Length(length) => Some(length),
            Self::Chunked(length) => length,
        }
    }

    /// Returns how many bytes the body has on the wire, with its framing, if that
    /// is known before it was written. The framing of chunks is not.
    pub(crate) fn on_the_wire(self) -> Option<u64> {
        match self {
            Self::Bare => Some(0),
            Self::Length(length) => Some(length),
            Self::Chunked(_) => None,
        }
    }

    /// Returns the field that says so where hyper does not write it by itself: it
    /// chunks no GET and no HEAD, and says of no empty body that it is.
    #[inline]
    pub(crate) fn field(self, method: &Method) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::Length(0) => Some((CONTENT_LENGTH, HeaderValue::from_static("0"))),
            Self::Chunked(_) if matches!(*method, Method::GET | Method::HEAD) => {
                Some((TRANSFER_ENCODING, HeaderValue::from_static("chunked")))
            }
            Self::Bare | Self::Length(_) | Self::Chunked(_) => None,
        }
    }
}

/// Makes HTTP/1.1 of a request that came as HTTP/2 or 3. Returns its `Cookie`
/// fields if they had to be joined (RFC 9113 8.2.3).
pub(crate) fn to_http1<B>(request: &mut Request<B>) -> Option<Box<[HeaderValue]>> {
    if request.version() <= Version::HTTP_11 {
        return None;
    }
    *request.version_mut() = Version::HTTP_11;
    let crumbs: Box<[_]> = request.headers().get_all(COOKIE).iter().cloned().collect();
    if crumbs.len() < 2 {
        return None;
    }
    let joined: Vec<_> = crumbs.iter().map(HeaderValue::as_bytes).collect();
    let mut joined = HeaderValue::from_bytes(&joined.join(&b"; "[..])).ok()?;
    joined.set_sensitive(crumbs.iter().any(HeaderValue::is_sensitive));
    request.headers_mut().insert(COOKIE, joined);
    Some(crumbs)
}

/// Makes of a request what any client of HTTP sends whole, over HTTP/1.1 or 2.
pub(crate) fn to_any_http<B>(request: &mut Request<B>, framing: Framing) {
    to_http1(request);
    if let Some((name, value)) = framing.field(request.method()) {
        request.headers_mut().entry(name).or_insert(value);
    }
}

/// TRACE and CONNECT (RFC 9110 9.3.6, 9.3.8).
fn has_no_content(method: &Method) -> bool {
    matches!(*method, Method::TRACE | Method::CONNECT)
}

fn may_chunk<B>(request: &Request<B>) -> bool {
    request.version() >= Version::HTTP_11
}

/// HTTP/2 and 3 have no fields that are about one connection: a message that has
/// one is malformed (RFC 9113 8.2.2, RFC 9114 4.2).
#[cold]
fn check_fields(headers: &HeaderMap) -> Result<(), Refused> {
    let is_of_connection = |name: &HeaderName| {
        matches!(*name, CONNECTION | TRANSFER_ENCODING | UPGRADE)
            || matches!(name.as_str(), "keep-alive" | "proxy-connection")
    };
    match headers.keys().any(is_of_connection) {
        true => Err(Refused::of(BadRequest::ConnectionField)),
        false => Ok(()),
    }
}

/// Frames a body by the caller's `Content-Length`.
fn length(headers: &HeaderMap, hint: &SizeHint, is_empty: bool) -> Result<Framing, Refused> {
    let declared = declared(headers).ok_or_else(|| Refused::of(BadRequest::ContentLength))?;
    if hint.lower() > declared {
        return Err(Refused::length(Error::TooLong { declared }));
    }
    if let Some(most) = hint.upper().filter(|most| *most < declared) {
        return Err(Refused::length(Error::TooShort { declared, missing: declared - most }));
    }
    match (declared, is_empty) {
        (0, false) => Err(Refused::of(BadRequest::ZeroLength)),
        _ => Ok(Framing::Length(declared)),
    }
}

/// Reads the one field that says how long a body is (RFC 9110 8.6).
fn declared(headers: &HeaderMap) -> Option<u64> {
    let mut fields = headers.get_all(CONTENT_LENGTH).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else { return None };
    let digits = field.to_str().ok()?;
    // A sign is none of the grammar's.
    digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Returns `true` if `chunked` is the last transfer coding, and is there once
/// (RFC 9112 6.1).
fn ends_in_chunked(headers: &HeaderMap) -> bool {
    let mut ends = false;
    for field in headers.get_all(TRANSFER_ENCODING) {
        let Ok(codings) = field.to_str() else { return false };
        for coding in codings.split(',').map(str::trim) {
            let name = coding.split(';').next().unwrap_or_default().trim();
            if ends || name.is_empty() {
                return false;
            }
            ends = coding.eq_ignore_ascii_case("chunked");
            if !ends && name.eq_ignore_ascii_case("chunked") {
                return false;
            }
        }
    }
    ends
}

/// Why a request is not sent, with the numbers where it is a matter of numbers.
#[derive(Debug)]
pub(crate) struct Refused {
    why: BadRequest,
    source: Option<Error>,
}

impl Refused {
    fn of(why: BadRequest) -> Self {
        Self { why, source: None }
    }

    fn length(source: Error) -> Self {
        Self { why: BadRequest::LengthMismatch, source: Some(source) }
    }
}

/// The error of the attempt that was not made.
impl From<Refused> for AttemptError {
    fn from(Refused { why, source }: Refused) -> Self {
        let evidence = Evidence::new(HandOff::NotSendable(why));
        let error = Self::new(Attempt::new(evidence, &Contract::none()).told_by_error());
        match source {
            Some(source) => error.with_source(source),
            None => error.with_source(why),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.why, f)
    }
}

impl StdError for Refused {}

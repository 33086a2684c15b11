//! How a request's body is framed, decided before any of the request is sent.
//!
//! Hyper silently repairs a head that does not fit its body: it cuts a body at the
//! caller's `Content-Length`, drops the body of a GET of unknown length, and drops every
//! body of unknown length sent to an HTTP/1.0 peer. The server then acts on a request
//! that the caller never made. Here such a request is rejected, and any other is framed
//! so that all of it arrives.

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, HeaderMap, HeaderName, HeaderValue, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, Request, Version};
use http_body::{Body, SizeHint};

use super::Error;
use crate::attempt::{Attempt, AttemptError};
use tower_resend_core::{BadRequest, Contract, Evidence, HandOff};

/// How the end of a request's body is marked on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// No content, and no field that says so.
    Bare,
    /// `Content-Length`, in bytes.
    Length(u64),
    /// Chunks, for a body of this many bytes.
    SizedChunks(u64),
    /// Chunks, for a body of unknown length.
    UnsizedChunks,
}

impl Framing {
    /// Decides how a request is framed over HTTP/1.1, or over HTTP/1.0 if that is its
    /// version.
    ///
    /// # Errors
    ///
    /// If the head contradicts the body, or no framing would carry the whole body.
    #[inline]
    pub(crate) fn of<B: Body>(request: &Request<B>) -> Result<Self, FramingError> {
        let frames =
            |name: &HeaderName| matches!(*name, CONTENT_LENGTH | TRANSFER_ENCODING | TRAILER);
        // Comparing the few names there are is cheaper than hashing three.
        let is_plain = request.version() <= Version::HTTP_11
            && !forbids_content(request.method())
            && !request.headers().keys().any(frames);
        if is_plain && request.body().is_end_stream() {
            return Ok(Self::of_empty(request.method()));
        }
        match request.body().size_hint().exact() {
            Some(length) if is_plain && length > 0 => Ok(Self::Length(length)),
            length => Self::of_any(request, length),
        }
    }

    // Apart, so that `of` stays small enough to be inlined.
    #[inline(never)]
    fn of_any<B: Body>(request: &Request<B>, length: Option<u64>) -> Result<Self, FramingError> {
        let headers = request.headers();
        if request.version() > Version::HTTP_11 {
            check_fields(headers)?;
        }
        let is_empty = request.body().is_end_stream();
        if !is_empty && forbids_content(request.method()) {
            return Err(FramingError::new(BadRequest::ContentForbidden));
        }
        if headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING) {
            return Self::as_declared(request, is_empty);
        }
        if is_empty {
            return Ok(Self::of_empty(request.method()));
        }
        match length {
            // A length of 0 is not used here: hyper would never poll the body, which says
            // that it is not at its end.
            Some(length)
                if length > 0 && !(headers.contains_key(TRAILER) && may_chunk(request)) =>
            {
                Ok(Self::Length(length))
            }
            length if may_chunk(request) => Ok(Self::chunks(length)),
            _ => Err(FramingError::new(BadRequest::UnknownLength)),
        }
    }

    fn chunks(length: Option<u64>) -> Self {
        length.map_or(Self::UnsizedChunks, Self::SizedChunks)
    }

    /// Frames an empty body. A method that gives content a meaning says that there is
    /// none (RFC 9110 8.6).
    fn of_empty(method: &Method) -> Self {
        match *method {
            Method::POST | Method::PUT | Method::PATCH => Self::Length(0),
            _ => Self::Bare,
        }
    }

    /// Takes the caller's own framing fields as they are, or rejects the request.
    fn as_declared<B: Body>(request: &Request<B>, is_empty: bool) -> Result<Self, FramingError> {
        let headers = request.headers();
        let hint = match is_empty {
            true => SizeHint::with_exact(0),
            false => request.body().size_hint(),
        };
        if !headers.contains_key(TRANSFER_ENCODING) {
            return by_length(headers, &hint, is_empty);
        }
        Err(FramingError::new(if headers.contains_key(CONTENT_LENGTH) {
            BadRequest::TwoLengths
        } else if !may_chunk(request) {
            BadRequest::CodingInHttp10
        } else if forbids_content(request.method()) {
            BadRequest::ContentForbidden
        } else if !ends_in_chunked(headers) {
            BadRequest::TransferCoding
        } else {
            return Ok(Self::chunks(hint.exact()));
        }))
    }

    /// Returns `true` if the body is sent in chunks.
    #[inline]
    pub(crate) fn has_chunks(self) -> bool {
        matches!(self, Self::SizedChunks(_) | Self::UnsizedChunks)
    }

    /// Returns the bytes that the body must yield, if that is known.
    pub(super) fn declared(self) -> Option<u64> {
        match self {
            Self::Bare => Some(0),
            Self::Length(length) | Self::SizedChunks(length) => Some(length),
            Self::UnsizedChunks => None,
        }
    }

    /// Returns the bytes that the body takes on the wire, if that is known before it is
    /// written. Chunks are not: their framing takes bytes too.
    pub(crate) fn on_the_wire(self) -> Option<u64> {
        match self {
            Self::Bare => Some(0),
            Self::Length(length) => Some(length),
            Self::SizedChunks(_) | Self::UnsizedChunks => None,
        }
    }

    /// Returns `true` if the request may need a [`field`](Self::field).
    #[inline]
    pub(crate) fn may_need_field(self) -> bool {
        matches!(self, Self::Length(0) | Self::SizedChunks(_) | Self::UnsizedChunks)
    }

    /// Returns the framing field where hyper would not write it: it chunks no GET and no
    /// HEAD by itself, and writes no length of an empty body.
    pub(crate) fn field(self, method: &Method) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::Length(0) => Some((CONTENT_LENGTH, HeaderValue::from_static("0"))),
            Self::SizedChunks(_) | Self::UnsizedChunks
                if matches!(*method, Method::GET | Method::HEAD) =>
            {
                Some((TRANSFER_ENCODING, HeaderValue::from_static("chunked")))
            }
            Self::Bare | Self::Length(_) | Self::SizedChunks(_) | Self::UnsizedChunks => None,
        }
    }
}

/// Turns a request that came as HTTP/2 or 3 into HTTP/1.1; [`from_http1`] undoes it.
#[inline]
pub(crate) fn to_http1<B>(request: &mut Request<B>) {
    if request.version() > Version::HTTP_11 {
        *request.version_mut() = Version::HTTP_11;
        if let Some(crumbs) = join_cookies(request.headers_mut()) {
            // Not returned: the caller would move the rare case with every call.
            request.extensions_mut().insert(Crumbs(crumbs));
        }
    }
}

/// The `Cookie` fields of a request before they were joined, among its extensions.
#[derive(Clone)]
struct Crumbs(Box<[HeaderValue]>);

/// Joins the `Cookie` fields into one, as HTTP/1 has it (RFC 9113 8.2.3). Returns them
/// if there was more than one.
#[cold]
fn join_cookies(headers: &mut HeaderMap) -> Option<Box<[HeaderValue]>> {
    let crumbs: Box<[_]> = headers.get_all(COOKIE).iter().cloned().collect();
    if crumbs.len() < 2 {
        return None;
    }
    let joined: Vec<_> = crumbs.iter().map(HeaderValue::as_bytes).collect();
    let mut joined = HeaderValue::from_bytes(&joined.join(&b"; "[..])).ok()?;
    joined.set_sensitive(crumbs.iter().any(HeaderValue::is_sensitive));
    headers.insert(COOKIE, joined);
    Some(crumbs)
}

/// Turns a request back into what it was before [`to_http1`], of `version`.
#[cold]
pub(crate) fn from_http1<B>(request: &mut Request<B>, version: Version) {
    if version <= Version::HTTP_11 {
        return;
    }
    *request.version_mut() = version;
    if let Some(Crumbs(crumbs)) = request.extensions_mut().remove() {
        request.headers_mut().remove(COOKIE);
        for crumb in crumbs {
            request.headers_mut().append(COOKIE, crumb);
        }
    }
}

/// Turns a request into one that any HTTP client sends whole, over HTTP/1.1 or 2.
pub(crate) fn to_any_http<B>(request: &mut Request<B>, framing: Framing) {
    if request.version() > Version::HTTP_11 {
        *request.version_mut() = Version::HTTP_11;
        join_cookies(request.headers_mut());
    }
    if let Some((name, value)) = framing.field(request.method()) {
        request.headers_mut().entry(name).or_insert(value);
    }
}

/// Returns `true` for TRACE and CONNECT (RFC 9110 9.3.6, 9.3.8).
fn forbids_content(method: &Method) -> bool {
    matches!(*method, Method::TRACE | Method::CONNECT)
}

fn may_chunk<B>(request: &Request<B>) -> bool {
    request.version() >= Version::HTTP_11
}

/// Rejects fields that are about one connection: a message of HTTP/2 or 3 that has one
/// is malformed (RFC 9113 8.2.2, RFC 9114 4.2).
#[cold]
fn check_fields(headers: &HeaderMap) -> Result<(), FramingError> {
    let is_of_connection = |name: &HeaderName| {
        matches!(*name, CONNECTION | TRANSFER_ENCODING | UPGRADE)
            || matches!(name.as_str(), "keep-alive" | "proxy-connection")
    };
    match headers.keys().any(is_of_connection) {
        true => Err(FramingError::new(BadRequest::ConnectionField)),
        false => Ok(()),
    }
}

/// Frames a body by the caller's `Content-Length`.
fn by_length(
    headers: &HeaderMap,
    hint: &SizeHint,
    is_empty: bool,
) -> Result<Framing, FramingError> {
    let declared = declared(headers).ok_or_else(|| FramingError::new(BadRequest::ContentLength))?;
    if hint.lower() > declared {
        return Err(FramingError::mismatch(Error::TooLong { declared }));
    }
    if let Some(most) = hint.upper().filter(|most| *most < declared) {
        let missing = declared - most;
        return Err(FramingError::mismatch(Error::TooShort { declared, missing }));
    }
    match (declared, is_empty) {
        (0, false) => Err(FramingError::new(BadRequest::ZeroLength)),
        _ => Ok(Framing::Length(declared)),
    }
}

/// Parses `Content-Length` if there is exactly one such field (RFC 9110 8.6).
fn declared(headers: &HeaderMap) -> Option<u64> {
    let mut fields = headers.get_all(CONTENT_LENGTH).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else { return None };
    let digits = field.to_str().ok()?;
    // `parse` accepts a sign, the grammar does not.
    digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Returns `true` if `chunked` is the last transfer coding and occurs once
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
            // `chunked` has no parameters.
            if !ends && name.eq_ignore_ascii_case("chunked") {
                return false;
            }
        }
    }
    ends
}

/// A request that is not sent: its head and body contradict each other.
///
/// A box, since it is the rare half of a `Result` on the way of every request.
#[derive(Debug)]
pub(crate) struct FramingError(Box<Contradiction>);

#[derive(Debug)]
struct Contradiction {
    reason: BadRequest,
    /// The lengths, if it is they that differ.
    lengths: Option<Error>,
}

impl FramingError {
    #[cold]
    fn new(reason: BadRequest) -> Self {
        Self(Box::new(Contradiction { reason, lengths: None }))
    }

    #[cold]
    fn mismatch(lengths: Error) -> Self {
        let reason = BadRequest::LengthMismatch;
        Self(Box::new(Contradiction { reason, lengths: Some(lengths) }))
    }
}

/// The error of the attempt that was not made.
impl From<FramingError> for AttemptError {
    fn from(error: FramingError) -> Self {
        let Contradiction { reason, lengths } = *error.0;
        let evidence = Evidence::new(HandOff::NotSendable(reason));
        let error = Self::new(Attempt::new(evidence, &Contract::none()).told_by_error());
        match lengths {
            Some(lengths) => error.with_source(lengths),
            None => error.with_source(reason),
        }
    }
}

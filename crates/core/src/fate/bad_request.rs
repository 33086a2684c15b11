//! Why a request is not sent at all: its head and body contradict each other.

use std::error::Error;
use std::fmt;

/// Why a request is not sent at all.
///
/// Its head announces another body than it has, or one that the connection would
/// drop or cut. HTTP libraries silently repair some of these, and the server acts
/// on something that the caller never said. Such a request fails before anything
/// is sent, and would fail the next time.
///
/// It is the `source()` of the call's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BadRequest {
    /// `Content-Length` is not one decimal number (RFC 9110 8.6).
    ContentLength,
    /// `Content-Length` is not the length of the body.
    LengthMismatch,
    /// `Content-Length` is 0, and the body is not known to be empty: the
    /// connection would never poll it.
    ZeroLength,
    /// Both `Content-Length` and `Transfer-Encoding` are set (RFC 9112 6.2).
    TwoLengths,
    /// `Transfer-Encoding` does not end in `chunked`, or lists it more than once
    /// (RFC 9112 6.1).
    TransferCoding,
    /// An HTTP/1.0 request has `Transfer-Encoding` (RFC 9112 6.1).
    CodingInHttp10,
    /// An HTTP/1.0 request has a body of unknown length.
    UnknownLength,
    /// TRACE and CONNECT have no content (RFC 9110 9.3.6, 9.3.8).
    ContentForbidden,
    /// An HTTP/2 or HTTP/3 request has a field that is about one HTTP/1 connection
    /// (RFC 9113 8.2.2).
    ConnectionField,
}

impl fmt::Display for BadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ContentLength => {
                "its Content-Length is not one decimal number: leave it out, the body's is sent"
            }
            Self::LengthMismatch => {
                "its Content-Length is not the length of its body: leave it out, the body's is sent"
            }
            Self::ZeroLength => {
                "its Content-Length is 0 and its body is not known to be empty: leave the field \
                 out, or give it an empty body"
            }
            Self::TwoLengths => {
                "it has Content-Length and Transfer-Encoding: leave one of them out"
            }
            Self::TransferCoding => {
                "its Transfer-Encoding does not end in one `chunked`: add that, or leave the field \
                 out"
            }
            Self::CodingInHttp10 => {
                "it is HTTP/1.0 and has a Transfer-Encoding: leave that out, or make it HTTP/1.1"
            }
            Self::UnknownLength => {
                "it is HTTP/1.0 and the length of its body is not known: give it a Content-Length, \
                 or make it HTTP/1.1"
            }
            Self::ContentForbidden => {
                "its method has no content: send it with an empty body and no Transfer-Encoding"
            }
            Self::ConnectionField => {
                "it is HTTP/2 or 3 and has a field of HTTP/1 connections: remove Connection, \
                 Keep-Alive, Proxy-Connection, Transfer-Encoding and Upgrade, or make it HTTP/1.1"
            }
        })
    }
}

impl Error for BadRequest {}

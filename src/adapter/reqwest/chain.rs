//! What the error of reqwest's client proves about the one request it sent.
//!
//! The chain is walked one known type at a time, never searched: a request's
//! body may fail with an error of another client, whose refused connection or
//! stream says nothing of this request.

use std::error::Error as StdError;
use std::io;

use hyper_util::client::legacy;

use crate::classify::{Answer, ConnectFailure, Errno, Evidence, Finding, HandOff};

/// Returns the evidence of a call in which at most one request was sent.
///
/// `is_body_polled` says whether a connection asked for the request's body.
pub(super) fn evidence(error: &::reqwest::Error, is_body_polled: bool) -> Evidence {
    let unrecorded = Evidence::new(HandOff::Unrecorded);
    let Some(client) = source::<legacy::Error>(error) else { return unrecorded };
    if client.is_connect() {
        return Evidence::new(HandOff::NotConnected(connect_failure(error, client)));
    }
    let Some(connection) = source::<hyper::Error>(client) else { return unrecorded };
    if connection.is_canceled() {
        return Evidence::new(HandOff::HandedBack(Finding::Ended));
    }
    // Of its user's errors, the request's own body is one.
    if !connection.is_user()
        && let Some(stream) = source::<h2::Error>(connection)
        && is_refused(stream, is_body_polled)
    {
        return Evidence::new(HandOff::Written).with_answer(Answer::RefusedStream);
    }
    unrecorded
}

/// Returns an error's own source, if it is of this type.
fn source<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    error.source()?.downcast_ref()
}

/// Returns whether the peer guarantees that it processed nothing of a stream
/// (RFC 9113 8.7): it reset the stream with `REFUSED_STREAM`, or sent a GOAWAY
/// whose last stream is an earlier one.
///
/// h2 ends by the peer's GOAWAY only the streams after its last one. But hyper
/// asks h2 once between a stream's opening and the first poll of its body
/// whether the connection can take more, and an answer of *no* fails this
/// request with the same error, even if the GOAWAY names its stream as one
/// that is being processed. So it proves nothing where no body was polled.
fn is_refused(error: &h2::Error, is_body_polled: bool) -> bool {
    error.is_remote()
        && match error.is_go_away() {
            true => is_body_polled,
            false => error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM),
        }
}

fn connect_failure(error: &::reqwest::Error, client: &legacy::Error) -> ConnectFailure {
    if error.is_dns() {
        return ConnectFailure::Resolve;
    }
    let mut next = client.source();
    while let Some(cause) = next {
        if let Some(errno) = cause.downcast_ref().and_then(io::Error::raw_os_error) {
            return ConnectFailure::Connect(Some(Errno(errno)));
        }
        next = cause.source();
    }
    match error.is_timeout() {
        true => ConnectFailure::TimedOut,
        false => ConnectFailure::Connect(None),
    }
}

//! What a response may prove, by what its connection served before it.
//!
//! HTTP/1.1 ties a response to its request by their order alone. A server that
//! sends more than it framed (a body after a HEAD, more than its
//! `Content-Length`) puts content where the next response is expected, and
//! the author of that content chose the response. Such an answer is delivered,
//! as by every client of HTTP/1.1. It proves nothing: a statement
//! that a request was not applied counts on a connection's first request only,
//! before which nothing was framed.

use http::StatusCode;

use crate::fate::Answer;

/// What a connection served before the request that is on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "nothing, or something")]
pub enum Served {
    /// Nothing: no content can be left over.
    #[default]
    Nothing,
    /// A request, or unknown.
    Before,
}

impl Served {
    /// Returns what a final response is that was read whole, as far as its
    /// status says: a 421 is a misdirected request (RFC 9110 15.5.20) only where
    /// the connection served nothing before.
    ///
    /// A pool that is keyed by authority never coalesces. So a 421 behind
    /// another response cannot mean what it says.
    pub fn answer(self, status: StatusCode) -> Answer {
        match (self, status) {
            (Self::Nothing, StatusCode::MISDIRECTED_REQUEST) => Answer::Misdirected,
            (Self::Nothing | Self::Before, _) => Answer::Complete,
        }
    }

    /// Returns `true` if what a response states of its request can be believed.
    pub fn is_nothing(self) -> bool {
        self == Self::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_421_proves_something_on_a_first_request_only() {
        let misdirected = StatusCode::MISDIRECTED_REQUEST;
        assert_eq!(Served::Nothing.answer(misdirected), Answer::Misdirected);
        assert_eq!(Served::Before.answer(misdirected), Answer::Complete);
        for status in [200, 408, 502, 503].map(|code| StatusCode::from_u16(code).expect("a status"))
        {
            for served in [Served::Nothing, Served::Before] {
                assert_eq!(served.answer(status), Answer::Complete);
            }
        }
    }
}

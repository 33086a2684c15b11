//! What one attempt's connection saw: counters, flags and errno; no opinion.

use std::fmt;

use super::alert::Alert;
use super::bad_request::BadRequest;
use super::tcp::{Errno, TcpEvidence, Unavailable};

/// What one attempt's connection saw.
///
/// Evidence carries no opinion; [`classify`](super::classify) draws the
/// conclusion. A new value states the least: handed over, nothing known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Evidence {
    /// How far the request got on this host.
    pub hand_off: HandOff,
    /// What was read back before the attempt ended.
    pub answer: Answer,
    /// What the kernel's counters say of the request and of the close.
    pub kernel: TcpEvidence,
    /// What ended the attempt.
    pub ended_by: EndedBy,
    /// Whether the limits of the contract in force were kept.
    pub limits: Limits,
    /// The byte counts behind the rest, for error texts and logs.
    pub counts: Counts,
    /// The fatal alert by which the peer rejected the TLS handshake, before it sent
    /// any plaintext. No fate depends on it: it says that another connection would
    /// end the same way.
    pub alert: Option<Alert>,
}

impl Evidence {
    /// Returns evidence of a hand-off about which nothing else is known.
    #[inline]
    pub fn new(hand_off: HandOff) -> Self {
        Self {
            hand_off,
            answer: Answer::Nothing,
            kernel: TcpEvidence::Unavailable(Unavailable::NotExamined),
            ended_by: EndedBy::Connection,
            limits: Limits::Unchecked,
            counts: Counts::default(),
            alert: None,
        }
    }

    /// Sets what was read back.
    #[must_use]
    #[inline]
    pub fn with_answer(mut self, answer: Answer) -> Self {
        self.answer = answer;
        self
    }

    /// Sets what the kernel's counters say.
    #[must_use]
    pub fn with_tcp(mut self, kernel: TcpEvidence) -> Self {
        self.kernel = kernel;
        self
    }

    /// Sets what ended the attempt.
    #[must_use]
    pub fn with_ended_by(mut self, ended_by: EndedBy) -> Self {
        self.ended_by = ended_by;
        self
    }

    /// Sets whether the contract's limits were kept.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the alert by which the peer rejected the TLS handshake.
    #[must_use]
    pub fn with_alert(mut self, alert: Option<Alert>) -> Self {
        self.alert = alert;
        self
    }

    /// Sets the byte counts.
    #[must_use]
    pub fn with_counts(mut self, counts: Counts) -> Self {
        self.counts = counts;
        self
    }
}

/// How far a request got on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandOff {
    /// Nothing recorded the hand-off.
    Unrecorded,
    /// The request contradicts itself and was not handed to any connection.
    NotSendable(BadRequest),
    /// There was no connection to hand the request to.
    NotConnected(ConnectFailure),
    /// The connection gave the request back, its body never polled.
    HandedBack(StaleReason),
    /// The connection took the request, but the kernel accepted none of it.
    NothingWritten,
    /// The kernel accepted at least one byte of the request.
    Written,
}

/// Why there was no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectFailure {
    /// The connect was refused, timed out or failed in another way; the
    /// operating system's error number where there is one.
    Connect(Option<Errno>),
    /// The name did not resolve, or the target has no usable address.
    Resolve,
    /// The connect took longer than its deadline.
    TimedOut,
    /// The TLS handshake failed.
    Tls,
    /// No TLS connection is possible: the server's certificate is not trusted, the
    /// peer does not speak TLS, or TLS is not configured. Another attempt would
    /// end the same way.
    Untrusted,
    /// The proxy made no connection to the target, or does not speak as a proxy.
    Proxy,
    /// The proxy denies the request and would again: it wants other credentials or
    /// forbids the target; or its kind is not supported.
    ProxyDenied,
    /// The wait for a connection, or for a permit of the pool, ended first.
    PoolWait,
    /// The request has no target: no host, an invalid port, or a scheme or version
    /// that is not supported.
    BadTarget,
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(Some(errno)) => write!(f, "connect failed with {errno}"),
            Self::Connect(None) => f.write_str("connect failed"),
            Self::Resolve => f.write_str("the name did not resolve"),
            Self::TimedOut => f.write_str("connect timed out"),
            Self::Tls => f.write_str("TLS handshake failed"),
            Self::Untrusted => f.write_str("no trusted TLS connection is possible"),
            Self::Proxy => f.write_str("the proxy made no connection"),
            Self::ProxyDenied => f.write_str("the proxy denies it"),
            Self::PoolWait => f.write_str("no connection was made or became free in time"),
            Self::BadTarget => {
                f.write_str("no host, or a scheme or version that is not served here")
            }
        }
    }
}

/// What was found on a connection before a request was written to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StaleReason {
    /// The peer's FIN.
    Fin,
    /// A reset or another socket error.
    Reset,
    /// Bytes that answer no request, such as an early 599 or 408.
    Stray,
    /// The end of a TLS session, or an error of it.
    EndOfTls,
    /// The connection had ended for a reason that was not seen.
    Ended,
}

impl fmt::Display for StaleReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fin => "FIN",
            Self::Reset => "reset",
            Self::Stray => "an unsolicited response",
            Self::EndOfTls => "the end of the TLS session",
            Self::Ended => "the connection had ended",
        })
    }
}

/// What was read back before the attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Answer {
    /// Not one byte.
    Nothing,
    /// Bytes that arrived while none of the request was acknowledged: they
    /// cannot answer it (RFC 9112 9.2) and were withheld.
    Stray(Early),
    /// A 1xx, or a head cut before its blank line.
    Begun,
    /// Bytes that are not an HTTP response.
    Malformed,
    /// A final head, and then a cut.
    FinalHead,
    /// A whole final response.
    Complete,
    /// A whole 421 (Misdirected Request) to the first request of its connection.
    ///
    /// After another response it is [`Complete`](Self::Complete): it may be content
    /// of that response that looks like a response.
    Misdirected,
    /// A closing response that carries the contract's `refused`, checked.
    Refused,
    /// A response by which a gateway that the user trusts says that it made no
    /// connection to its next hop (RFC 9209 2.3), checked. Only as the first
    /// response of a connection, like [`Misdirected`](Self::Misdirected).
    NotForwarded,
    /// The peer refused the request's HTTP/2 stream: it reset the stream with
    /// `REFUSED_STREAM`, or sent a GOAWAY whose last stream is an earlier one.
    RefusedStream,
}

/// What an early response turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Early {
    /// A 599 or 408 that announces `close`.
    ClosingResponse,
    /// Anything else, including a head that never ended.
    Other,
}

/// What ended an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndedBy {
    /// The connection, by a close, a failure or a complete answer.
    Connection,
    /// The caller, by dropping the future.
    Caller,
    /// A deadline of ours.
    Deadline,
    /// The request's own body, which failed or had the wrong length.
    RequestBody,
    /// The runtime that drove the connection, by ending.
    Runtime,
}

/// Whether the limits of a contract (size, time, retransmissions) were kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limits {
    /// Not checked: the contract proves nothing.
    Unchecked,
    /// All kept.
    Kept,
    /// At least one was not kept.
    Exceeded,
}

/// The byte counts behind a piece of evidence, below TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Counts {
    /// Bytes of this request that the kernel accepted.
    pub written: u64,
    /// Bytes of this request that the peer's TCP acknowledged, if known.
    pub acked: Option<u64>,
    /// Bytes read back during this exchange.
    pub read: u64,
}

impl Counts {
    /// Returns these counts.
    pub fn new(written: u64, acked: Option<u64>, read: u64) -> Self {
        Self { written, acked, read }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.acked {
            Some(acked) => {
                write!(f, "{acked}/{} bytes acknowledged, {} read", self.written, self.read)
            }
            None => write!(f, "{} bytes written, {} read", self.written, self.read),
        }
    }
}

//! What the kernel says of a connection: evidence that `exchange/fin_rule.rs`
//! makes of its counters.

use std::fmt;

/// What the kernel's counters say of the request and of the close.
///
/// Made by the rule in `exchange/fin_rule.rs`; see `docs/evidence.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TcpEvidence {
    /// There is no kernel evidence for this exchange.
    Unavailable(Unavailable),
    /// Where the request began on its connection is not known, so that the
    /// counters cannot be related to it.
    NoBoundary,
    /// The kernel did not send what was written: bytes travel outside TCP.
    Bypassed,
    /// The connection has not ended.
    StillOpen,
    /// A reset without a FIN before it. Its own ACK field counts for nothing.
    Reset(Acked),
    /// Ended without FIN and without reset: a timer, an ICMP error, or an
    /// end whose error a failed write had consumed.
    NoFin(Acked, Option<Errno>),
    /// A FIN, what it acknowledged, and what happened then.
    Fin(Acked, Settled),
}

/// How much of a request the peer's TCP acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(clippy::exhaustive_enums, reason = "none, part, all: nothing else can be")]
pub enum Acked {
    /// Not one byte.
    None,
    /// Some, but not all that was written.
    Part,
    /// All that was written.
    All,
}

impl fmt::Display for Acked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Part => "part",
            Self::All => "all",
        })
    }
}

/// What the peer's TCP answered to the request's bytes after its FIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Settled {
    /// A reset (state CLOSE and EPIPE), and how many data segments carried the
    /// request by the same counters. The sender of the reset will not read the
    /// bytes that it answers.
    Reset(Segments),
    /// A further acknowledgement: the acknowledged bytes may be read.
    AckedAfterFin,
    /// The socket closed for a reason of this host, with this errno if any.
    Local(Option<Errno>),
    /// Nothing until the deadline.
    Unsettled,
    /// Not waited for, since no answer could change the fate.
    NotAwaited,
}

/// How many data segments carried a request, retransmissions counted once.
///
/// `tcpi_data_segs_out` since the stale check, less what was retransmitted. A resend
/// by G2 needs [`One`](Self::One), or the user's statement
/// [`no_relay`](crate::Contract::no_relay).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "one, more, or no telling")]
pub enum Segments {
    /// One, and each retransmission carried the whole of it.
    One,
    /// More than one.
    Several,
    /// The counters do not tell: earlier bytes were unacknowledged at the stale
    /// check, some of the request was not sent yet, a retransmission carried
    /// less than the whole, or the kernel does not count.
    Uncounted,
}

impl Segments {
    /// Returns the worse of two counts of the same request.
    #[must_use]
    pub fn or_worse(self, other: Self) -> Self {
        match (self, other) {
            (Self::Several, _) | (_, Self::Several) => Self::Several,
            (Self::Uncounted, _) | (_, Self::Uncounted) => Self::Uncounted,
            (Self::One, Self::One) => Self::One,
        }
    }
}

/// Why there is no kernel evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unavailable {
    /// The counters were not read.
    NotExamined,
    /// This operating system does not offer the counters.
    Platform,
    /// The socket is not TCP over IP (a Unix socket, MPTCP, SMC, kTLS).
    NotPlainTcp,
    /// The kernel's answer is too short to hold the counters (before 4.19).
    ShortInfo(u32),
    /// The counters were not those of a fresh connection right after the connect.
    Uncalibrated,
    /// Urgent data cannot be kept in line on this socket.
    UrgentData,
    /// A system call failed.
    SystemCall(Errno),
    /// The counters did not add up before the request was written.
    NotConserved,
    /// The socket was aborted before the counters were read.
    Aborted,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotExamined => f.write_str("not examined"),
            Self::Platform => f.write_str("not offered by this operating system"),
            Self::NotPlainTcp => f.write_str("not a plain TCP socket"),
            Self::ShortInfo(len) => write!(f, "TCP_INFO has only {len} bytes"),
            Self::Uncalibrated => f.write_str("counters not fresh after connect"),
            Self::UrgentData => f.write_str("urgent data cannot be kept in line"),
            Self::SystemCall(errno) => write!(f, "system call failed with {errno}"),
            Self::NotConserved => f.write_str("counters did not add up before the request"),
            Self::Aborted => f.write_str("the socket was aborted first"),
        }
    }
}

/// An error number of the operating system, kept as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Errno(pub i32);

impl Errno {
    /// Linux's EPIPE: with a FIN before it, the mark of a received reset.
    pub const EPIPE: Self = Self(32);
    /// Linux's ECONNRESET: a reset without a FIN before it.
    pub const ECONNRESET: Self = Self(104);
    /// Linux's ETIMEDOUT.
    pub const ETIMEDOUT: Self = Self(110);
    /// Linux's ECONNREFUSED.
    pub const ECONNREFUSED: Self = Self(111);
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::EPIPE => f.write_str("EPIPE"),
            Self::ECONNRESET => f.write_str("ECONNRESET"),
            Self::ETIMEDOUT => f.write_str("ETIMEDOUT"),
            Self::ECONNREFUSED => f.write_str("ECONNREFUSED"),
            Self(number) => write!(f, "errno {number}"),
        }
    }
}

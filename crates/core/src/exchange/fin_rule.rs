//! The kernel rule (G2) as functions over snapshots.
//!
//! A FIN carries, like every segment, the acknowledgement of all that the
//! peer's TCP had received when it left, and an application can only have read
//! what was received. A FIN that acknowledges nothing of a request therefore
//! left before the application had read any of it. What happens to the bytes
//! *after* the FIN is settled by the peer's TCP: a reset refuses them, an
//! acknowledgement takes them. The argument in full is in `docs/evidence.md`.
//!
//! The reset must come from the TCP that received the rest. A relay can break
//! that: it takes one segment, passes it on, and resets the next. So a request
//! must have gone out in *one* data segment ([`Segments`], step C5a), unless
//! the user states that no relay is on the way
//! ([`no_relay`](Contract::no_relay)).
//!
//! The steps are those of the rule: [`calibrate`] once per connection (A),
//! [`stale_check`] before each request (B), and on failure [`at_end`], then
//! [`settle`] until it answers, then [`closed`] (C).

use std::time::Duration;

use super::segments::SegmentBase;
use super::snapshot::{Snapshot, TcpState};
use crate::fate::{
    Acked, Contract, Errno, Limits, PromiseSource, Segments, Settled, TcpEvidence, Unavailable,
};

/// What our side counted for one exchange, with the connection drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExchangeCounts {
    /// One (our SYN) plus the bytes written before the request's first.
    pub base: u64,
    /// Bytes the kernel accepted since the connect.
    pub written: u64,
    /// Bytes read since the connect.
    pub read: u64,
    /// The segment counters at the stale check; none if they cannot tell how many
    /// segments are the request's.
    pub segment_base: Option<SegmentBase>,
}

impl ExchangeCounts {
    /// Returns the counts of an exchange whose segments cannot be told.
    pub fn new(base: u64, written: u64, read: u64) -> Self {
        Self { base, written, read, segment_base: None }
    }

    /// Sets the segment counters at the stale check.
    #[must_use]
    pub fn with_segment_base(mut self, base: Option<SegmentBase>) -> Self {
        self.segment_base = base;
        self
    }

    /// Returns how many data segments carried the request, by a conserved
    /// snapshot.
    pub fn segments(&self, snapshot: &Snapshot) -> Segments {
        match self.segment_base {
            Some(base) => base.count(self.written, snapshot),
            None => Segments::Uncounted,
        }
    }

    /// Returns how many bytes of the request the kernel accepted.
    pub fn length(&self) -> u64 {
        (self.written + 1).saturating_sub(self.base)
    }

    /// Returns how many bytes of the request the snapshot has acknowledged.
    pub fn acked_bytes(&self, snapshot: &Snapshot) -> u64 {
        snapshot.bytes_acked.saturating_sub(self.base).min(self.length())
    }

    /// Returns how much of the request the snapshot has acknowledged.
    pub fn acked(&self, snapshot: &Snapshot) -> Acked {
        match snapshot.bytes_acked.saturating_sub(self.base) {
            0 => Acked::None,
            acked if acked < self.length() => Acked::Part,
            _ => Acked::All,
        }
    }
}

/// How the drain of a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "the three ways in which a non-blocking read ends")]
pub enum LastRead {
    /// The read returned no bytes: an end, though not always a FIN.
    End,
    /// The read failed.
    Failed,
    /// Nothing to read, and no end.
    WouldBlock,
}

/// The next step after a failed exchange was drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[allow(clippy::exhaustive_enums, reason = "a step machine: every driver must handle each step")]
pub enum FinStep {
    /// The evidence is complete.
    Done(TcpEvidence),
    /// A FIN came: wait for the peer TCP's answer with [`settle`].
    Settle(Fin),
    /// The socket closed: [`closed`] needs the first errno seen on it.
    Closed(Fin, Snapshot),
    /// Nothing yet: look again later, at the latest at the deadline.
    Wait,
}

/// A FIN and what it acknowledged, while the request's fate settles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fin {
    acked: Acked,
    bytes_acked: u64,
    segments: Segments,
}

impl Fin {
    /// Returns how much of the request the FIN acknowledged.
    pub fn acked(&self) -> Acked {
        self.acked
    }

    /// Returns how many data segments had carried the request at the FIN.
    pub fn segments(&self) -> Segments {
        self.segments
    }
}

/// Step A: checks the counters of a connection that was just made.
///
/// # Errors
///
/// [`Unavailable::Uncalibrated`] if they are not those of a fresh connection.
pub fn calibrate(snapshot: &Snapshot) -> Result<(), Unavailable> {
    let fresh = snapshot.state == TcpState::Established
        && snapshot.bytes_acked == 1
        && snapshot.bytes_sent == 0
        && snapshot.notsent == 0;
    if fresh { Ok(()) } else { Err(Unavailable::Uncalibrated) }
}

/// What the stale check found in the counters of an idle connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[allow(clippy::exhaustive_enums, reason = "write or do not write")]
pub enum StaleCheck {
    /// Something came or ended that our side has not read: do not write.
    Stale,
    /// Clear to write; and whether the counters may speak of this request.
    Clear(Result<(), Unavailable>),
}

/// Step B: the stale check, before any byte of a request is written.
pub fn stale_check(written: u64, read: u64, snapshot: &Snapshot) -> StaleCheck {
    if snapshot.state != TcpState::Established || snapshot.bytes_received > read {
        return StaleCheck::Stale;
    }
    let sound = snapshot.is_conserved(written)
        && snapshot.bytes_received == read
        && snapshot.bytes_acked <= written + 1;
    StaleCheck::Clear(if sound { Ok(()) } else { Err(Unavailable::NotConserved) })
}

/// Returns `true` if bytes that arrive now cannot answer the request, since
/// none of it is acknowledged: the guard at an answer's first byte.
pub fn is_stray(exchange: &ExchangeCounts, snapshot: &Snapshot) -> bool {
    snapshot.is_conserved(exchange.written) && exchange.acked(snapshot) == Acked::None
}

/// Steps C2 to C5: judges a failed exchange after its connection was drained.
///
/// `errno` is the first error number seen on the socket, if there was one.
pub fn at_end(
    exchange: &ExchangeCounts,
    last: LastRead,
    snapshot: &Snapshot,
    errno: Option<Errno>,
) -> FinStep {
    if last == LastRead::WouldBlock {
        return FinStep::Done(TcpEvidence::StillOpen);
    }
    if !snapshot.is_conserved(exchange.written) {
        return FinStep::Done(TcpEvidence::Bypassed);
    }
    let acked = exchange.acked(snapshot);
    let is_fin = last == LastRead::End && snapshot.bytes_received == exchange.read + 1;
    if !is_fin {
        let is_over = snapshot.state == TcpState::Close && snapshot.bytes_received == exchange.read;
        return FinStep::Done(match errno {
            Some(Errno::ECONNRESET) if is_over => TcpEvidence::Reset(acked),
            other => TcpEvidence::NoFin(acked, other),
        });
    }
    let segments = exchange.segments(snapshot);
    let fin = Fin { acked, bytes_acked: snapshot.bytes_acked, segments };
    match snapshot.state {
        TcpState::Close => FinStep::Closed(fin, *snapshot),
        TcpState::Established | TcpState::Other(_) => FinStep::Settle(fin),
    }
}

/// Step C6: one check while the request's fate settles after a FIN.
pub fn settle(exchange: &ExchangeCounts, fin: &Fin, snapshot: &Snapshot) -> FinStep {
    if snapshot.bytes_acked > fin.bytes_acked {
        return FinStep::Done(TcpEvidence::Fin(fin.acked, Settled::AckedAfterFin));
    }
    if !snapshot.is_conserved(exchange.written) {
        return FinStep::Done(TcpEvidence::Bypassed);
    }
    match snapshot.state {
        TcpState::Close => FinStep::Closed(*fin, *snapshot),
        TcpState::Established | TcpState::Other(_) => FinStep::Wait,
    }
}

/// Step C6, end: judges a socket that closed after a FIN by the first errno
/// seen on it. Only EPIPE is the peer's reset; a timer gives other numbers.
///
/// The segments are counted in this same snapshot (step C5a), and are never
/// better than at the FIN.
pub fn closed(
    exchange: &ExchangeCounts,
    fin: &Fin,
    snapshot: &Snapshot,
    errno: Option<Errno>,
) -> TcpEvidence {
    match settle(exchange, fin, snapshot) {
        FinStep::Done(kernel) => kernel,
        FinStep::Settle(_) | FinStep::Wait => TcpEvidence::StillOpen,
        FinStep::Closed(..) => TcpEvidence::Fin(
            fin.acked,
            match errno {
                Some(Errno::EPIPE) => {
                    Settled::Reset(fin.segments.or_worse(exchange.segments(snapshot)))
                }
                other => Settled::Local(other),
            },
        ),
    }
}

/// Returns `true` if the answer to the bytes after a FIN can still decide the
/// fate, so that it is worth waiting for.
///
/// `limits` are those of the contract at the FIN: within them the server's
/// word can decide at once.
///
/// The segments do not matter here. A reset after several proves nothing, but
/// names the one thing that is missing, which silence or an acknowledgement
/// would not.
pub fn is_worth_settling(fin: &Fin, contract: &Contract, limits: Limits) -> bool {
    let takes_up_nothing_after = contract.closed_after_fin == Some(PromiseSource::Announced);
    let is_promised = match fin.acked {
        _ if contract.fin_before_dispatch.is_some() => true,
        Acked::Part => {
            takes_up_nothing_after
                && contract.complete_messages_only == Some(PromiseSource::Announced)
        }
        Acked::None | Acked::All => false,
    };
    if is_promised && limits == Limits::Kept {
        return false;
    }
    match fin.acked {
        Acked::None => contract.closed_after_fin.is_none(),
        Acked::Part => contract.complete_messages_only.is_some(),
        Acked::All => false,
    }
}

/// Returns how long to wait for the peer TCP's answer after a FIN.
///
/// Long enough for two retransmissions of what it must answer:
/// `3 * rto + 2 * rtt + 50 ms`, at least 100 ms and at most 2 s.
pub fn settle_limit(snapshot: &Snapshot) -> Duration {
    let wanted = snapshot
        .rto
        .saturating_mul(3)
        .saturating_add(snapshot.rtt.saturating_mul(2))
        .saturating_add(Duration::from_millis(50));
    wanted.clamp(Duration::from_millis(100), Duration::from_secs(2))
}

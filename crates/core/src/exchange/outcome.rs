//! What the exchange machine is asked, and what it answers to each event.

use std::time::Duration;

use super::contract_state::ContractTrust;
use crate::fate::{Errno, StaleReason, TcpEvidence};

/// What the bytes on the socket are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "a new layer is a new machine")]
pub enum Layer {
    /// HTTP.
    Http,
    /// The handshake with a proxy, which is part of no request or response.
    ProxyHandshake,
    /// Records of TLS. What is in them is reported by the layer above TLS.
    Tls,
}

/// Whether bytes that were read reach the HTTP implementation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
#[allow(clippy::exhaustive_enums, reason = "a driver must handle each")]
pub enum Passage {
    /// They do.
    Deliver,
    /// They do not: they cannot answer the request, and would be taken for
    /// its answer.
    Withhold,
}

/// What a read of no bytes means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
#[allow(clippy::exhaustive_enums, reason = "a driver must handle each")]
pub enum ReadEnd {
    /// The peer's FIN.
    Fin,
    /// An error that an earlier write took from the socket. A response that
    /// lasts until the close would look whole if the read reported an end.
    Hidden(Errno),
}

/// The result of the stale check before a read that would wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
#[allow(clippy::exhaustive_enums, reason = "a driver must handle each")]
pub enum WaitCheck {
    /// No request is about to be written.
    NotDue,
    /// Nothing came and nothing ended.
    Clear,
    /// There are no counters. Whether anything can be read tells the same,
    /// less surely.
    Uncounted,
    /// Something came or ended: read it without asking the runtime.
    Stale,
}

/// Whether bytes may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
#[allow(clippy::exhaustive_enums, reason = "a driver must handle each")]
pub enum WriteCheck {
    /// They may.
    Go,
    /// The connection has ended, or an unsolicited response came.
    Stale,
    /// The connection was taken over.
    TakenOver,
}

/// Whether plaintext may be handed to TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
#[allow(clippy::exhaustive_enums, reason = "a driver must handle each")]
pub enum TextCheck {
    /// It may.
    Go,
    /// It may, unless a read finds plaintext or the session's end first.
    CheckFirst,
    /// The connection was taken over.
    TakenOver,
}

/// Whether the reader has had a chance since a write failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "a driver must know each")]
pub enum HeldBack {
    /// The write failed just now.
    New,
    /// The error was held back, and a read followed.
    Read,
    /// The error was held back, and no read followed.
    Unread,
}

/// What becomes of a write's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
#[allow(clippy::exhaustive_enums, reason = "a driver must handle each")]
pub enum WriteError {
    /// The writer gets it.
    Deliver,
    /// It is held back until the bytes that wait were read.
    Hold,
    /// The same, and the writer is woken, since no reader may be waiting.
    HoldAndWake,
}

/// Whether an end of our own is sent: a FIN, or a close_notify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
#[allow(clippy::exhaustive_enums, reason = "a driver must handle each")]
pub enum OwnEnd {
    /// It is.
    Send,
    /// It is not: a half-closed reader would take the request for complete.
    Suppress,
}

/// What becomes of a stream whose user is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
#[allow(clippy::exhaustive_enums, reason = "a driver must handle each")]
pub enum Leftover {
    /// It stays open, for the evidence.
    Park,
    /// It is closed.
    Close,
}

/// A request that is about to be handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Outbound {
    /// What the user believes of its server's promises.
    pub trust: ContractTrust,
    /// The length of its body on the wire, if that is known.
    pub body: Option<u64>,
    /// Whether it only fetches a promise (C6).
    pub is_primer: bool,
}

impl Outbound {
    /// Returns a request of a caller's.
    pub fn new(trust: ContractTrust, body: Option<u64>) -> Self {
        Self { trust, body, is_primer: false }
    }

    /// Returns a request that only fetches a promise.
    pub fn primer(trust: ContractTrust) -> Self {
        Self { trust, body: None, is_primer: true }
    }
}

/// A request for which the connection is armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Armed {
    /// Whether the request carries an offer.
    pub offers: bool,
    /// Whether the response's contract counts, so that it must be reported.
    pub reads_contract: bool,
    /// Whether the end of the request's body must be reported.
    pub watches_body: bool,
}

/// What the head of a final response is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
#[allow(clippy::exhaustive_enums, reason = "a driver must handle each")]
pub enum FinalHead {
    /// The answer to its request.
    Answer,
    /// A refusal of its request (C8). Take the connection over, drain it, and
    /// ask whether the server went on.
    Refusal,
}

/// What a final response is, once a refusal was followed to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "a driver must handle each")]
pub enum ResponseOutcome {
    /// The answer to its request.
    Answer,
    /// A refusal of its request (C8).
    Refusal,
    /// A refusal after which the server went on (C9): it counts for nothing.
    BrokenRefusal,
}

/// Whether a connection whose answer was read to its end takes another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "a driver must handle each")]
pub enum Reuse {
    /// As far as is known it does.
    Possible,
    /// The server announced that it goes away.
    Draining,
    /// It does not, for this reason.
    Stale(StaleReason),
}

/// How an exchange failed, as far as its driver can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "a driver must know each")]
pub enum FailureKind {
    /// The connection failed before an answer.
    Broken,
    /// The answer was not HTTP.
    Malformed,
    /// The request's own body failed or had the wrong length.
    RequestBody,
}

/// The next step after a failed exchange was drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[allow(clippy::exhaustive_enums, reason = "a step machine: every driver must handle each step")]
pub enum SettleStep {
    /// The evidence is complete.
    Done(TcpEvidence),
    /// The peer's next segment can decide the fate: wait for it so long.
    Wait(Duration),
}

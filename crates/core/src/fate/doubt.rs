//! What is missing for a proof: one variant for each missing thing.

use super::proof::Proof;
use super::tcp::{Acked, Errno, Unavailable};
use super::texts::texts;

/// What is missing to prove that a request was not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Doubt {
    /// The FIN acknowledged the whole request: the peer's kernel has it.
    Acknowledged,
    /// The FIN acknowledged a part of the request, which may have been read.
    PartlyAcknowledged,
    /// Nothing was acknowledged by the FIN, but something was after it: a
    /// half-closed peer, a lingering close or a relay may read the request.
    AcknowledgedAfterFin,
    /// The peer's TCP did not answer the request's bytes after its FIN in time.
    Unsettled,
    /// The request went out in more than one data segment: a TCP relay may have
    /// passed on the first before the reset came.
    SeveralSegments,
    /// How many data segments carried the request cannot be told, so that it
    /// may have been more than one.
    SegmentsUncounted,
    /// A reset without a FIN, which proves nothing by itself.
    Reset(Acked),
    /// An end without a FIN: only the FIN's own acknowledgement can be trusted.
    NoFin(Acked, Option<Errno>),
    /// After the FIN the socket closed by a timer or an error of this host,
    /// not by the peer's reset.
    NotByReset(Option<Errno>),
    /// The kernel did not send what was written; something carries the bytes
    /// outside TCP.
    Bypassed,
    /// The connection has not ended, so the request may still be read.
    StillOpen,
    /// There is no kernel evidence for this exchange.
    Unavailable(Unavailable),
    /// Bytes that cannot answer the request arrived before it was received,
    /// and the connection then did not end in a proof.
    StrayResponse,
    /// A response was begun (a 1xx or a part of a head) and then cut.
    ResponseBegun,
    /// The answer was no HTTP response.
    MalformedResponse,
    /// The caller dropped the request after a byte had reached the kernel.
    Cancelled,
    /// Our deadline passed after a byte had reached the kernel.
    TimedOut,
    /// The runtime that drove the connection ended.
    RuntimeEnded,
    /// The inner service recorded nothing about the attempt.
    NoEvidence,
    /// Where this request began in the connection's bytes is not known.
    NoRequestBoundary,
    /// There is a proof, but an attacker on the path could have forged it, and the
    /// policy takes no such proof.
    Forgeable(Proof),
}

texts! {
    impl Doubt {
        /// Returns a stable, low-cardinality name for metrics and logs.
        name: &'static str;

        Self::Acknowledged => "acknowledged",
            "the server closed with the whole request acknowledged",
            "The FIN acknowledged the whole request, so the server's kernel has it and its \
             application may have read it (G2 needs none acknowledged).";
        Self::PartlyAcknowledged => "partly_acknowledged",
            "the server closed with a part of the request acknowledged",
            "The FIN acknowledged a part of the request, which the application may have read and \
             acted on (G2 needs none acknowledged).";
        Self::AcknowledgedAfterFin => "acknowledged_after_fin",
            "the request was acknowledged after the server's FIN",
            "The request was acknowledged after the FIN, so it may still be read: by a half-closed \
             peer, during a lingering close or by a relay (G2 needs a reset).";
        Self::Unsettled => "unsettled",
            "the server's FIN was not followed by an answer to the request's bytes in time",
            "The server's TCP did not answer the request's bytes before the settle deadline (G2 \
             needs its reset).";
        Self::SeveralSegments => "several_segments",
            "the server closed and reset the request, but that had gone out in several segments",
            "The request went out in several TCP segments, of which a TCP relay may have passed on \
             the first before the reset (G2 needs one segment, into which a small request in one \
             write fits, or the statement no_relay of this origin).";
        Self::SegmentsUncounted => "segments_uncounted",
            "the server closed and reset the request, but in how many segments that had gone out \
             is not known",
            "The kernel's counters do not tell in how many TCP segments the request went out, and \
             of several a TCP relay may have passed on the first (G2 needs one, sent whole each \
             time and with nothing else in flight, or the statement no_relay of this origin).";
        Self::Reset(acked) => "reset",
            "the connection was reset with {acked} of the request acknowledged",
            "A reset acknowledges nothing and proves nothing without a contract (G4 needs one).";
        Self::NoFin(acked, Some(errno)) => "no_fin",
            "the connection ended by {errno} without a FIN, {acked} of the request acknowledged",
            NO_FIN;
        Self::NoFin(acked, None) => "no_fin",
            "the connection ended without a FIN, {acked} of the request acknowledged",
            NO_FIN;
        Self::NotByReset(Some(errno)) => "not_by_reset",
            "after the server's FIN the socket closed by {errno}, not by a reset",
            NOT_BY_RESET;
        Self::NotByReset(None) => "not_by_reset",
            "after the server's FIN the socket closed, but not by a reset",
            NOT_BY_RESET;
        Self::Bypassed => "bypassed",
            "the kernel did not send what was written to it",
            "The kernel did not send what was written to it, so the bytes may travel outside TCP \
             (G2 needs conserved counters).";
        Self::StillOpen => "still_open",
            "the connection has not ended",
            "The connection has not ended, so the request may still be read (G2 needs a FIN).";
        Self::Unavailable(why) => "unavailable",
            "no kernel evidence ({why})",
            "There is no kernel evidence for this exchange (G2 needs it).";
        Self::StrayResponse => "stray_response",
            "an unsolicited response arrived instead of an answer",
            "A response that cannot answer this request arrived first, and the connection did not \
             end in a proof (RFC 9112 9.2).";
        Self::ResponseBegun => "response_begun",
            "a response was begun and cut",
            "A response was begun and cut before its final head, so the request was being worked \
             on (G2 to G4 are off).";
        Self::MalformedResponse => "malformed_response",
            "the answer was no HTTP response",
            "The answer could not be read as HTTP, so it says nothing of the request (G2 to G4 are \
             off).";
        Self::Cancelled => "cancelled",
            "the caller gave up waiting",
            "The caller gave the request up after a byte of it had reached the kernel (only G1 \
             could prove more).";
        Self::TimedOut => "timed_out",
            "the deadline passed",
            "A deadline passed after a byte of the request had reached the kernel (only G1 could \
             prove more).";
        Self::RuntimeEnded => "runtime_ended",
            "the runtime that drove the connection ended",
            "The runtime that drove the connection ended with the request on its way (only G1 \
             could prove more).";
        Self::NoEvidence => "no_evidence",
            "the inner service left no evidence",
            "The inner service recorded nothing about what it did with the request (G1 to G4 need \
             a record).";
        Self::NoRequestBoundary => "no_request_boundary",
            "the request's place on its connection is not known",
            "Where the request began on its connection is not known, so acknowledgements cannot be \
             told apart (G2 needs the boundary).";
        Self::Forgeable(proof) => "forgeable",
            "its proof could have been forged on the way ({proof})",
            "The proof did not come inside TLS, so an attacker on the path could have forged it, \
             and the policy takes no such proof (of G1 to G4 it takes G1 only).";
    }
}

const NO_FIN: &str = "The connection ended without a FIN, whose acknowledgement alone can be \
                      trusted (G2 needs a FIN by counter).";
const NOT_BY_RESET: &str = "After the FIN the socket closed by a timer or an error of this host, \
                            not by the server's reset (G2 needs EPIPE).";

//! What is missing for a proof, one variant per missing thing.

use std::fmt;

use super::proof::Proof;
use super::tcp::{Acked, Errno, Unavailable};

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
    /// There is a proof, but somebody on the way could have forged it, and the
    /// policy takes no such proof.
    Forgeable(Proof),
}

impl Doubt {
    /// Returns a stable, low-cardinality name for metrics and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Acknowledged => "acknowledged",
            Self::PartlyAcknowledged => "partly_acknowledged",
            Self::AcknowledgedAfterFin => "acknowledged_after_fin",
            Self::Unsettled => "unsettled",
            Self::SeveralSegments => "several_segments",
            Self::SegmentsUncounted => "segments_uncounted",
            Self::Reset(_) => "reset",
            Self::NoFin(..) => "no_fin",
            Self::NotByReset(_) => "not_by_reset",
            Self::Bypassed => "bypassed",
            Self::StillOpen => "still_open",
            Self::Unavailable(_) => "unavailable",
            Self::StrayResponse => "stray_response",
            Self::ResponseBegun => "response_begun",
            Self::MalformedResponse => "malformed_response",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
            Self::RuntimeEnded => "runtime_ended",
            Self::NoEvidence => "no_evidence",
            Self::NoRequestBoundary => "no_request_boundary",
            Self::Forgeable(_) => "forgeable",
        }
    }

    fn explain_segments(&self) -> &'static str {
        match self {
            Self::SeveralSegments => SEVERAL_SEGMENTS,
            _ => SEGMENTS_UNCOUNTED,
        }
    }

    /// Explains the doubt in one sentence and names its rule.
    pub fn explain(&self) -> &'static str {
        match self {
            Self::Acknowledged => {
                "The FIN acknowledged the whole request, so the server's kernel has it and its application may have read it (G2 needs none acknowledged)."
            }
            Self::PartlyAcknowledged => {
                "The FIN acknowledged a part of the request, which the application may have read and acted on (G2 needs none acknowledged)."
            }
            Self::AcknowledgedAfterFin => {
                "The request was acknowledged after the FIN, so somebody may read it: a half-closed peer, a lingering close or a relay (G2 needs a reset)."
            }
            Self::Unsettled => {
                "The server's TCP did not answer the request's bytes before the settle deadline (G2 needs its reset)."
            }
            Self::SeveralSegments | Self::SegmentsUncounted => self.explain_segments(),
            Self::Reset(_) => {
                "A reset acknowledges nothing and proves nothing without a contract (G4 needs one)."
            }
            Self::NoFin(..) => {
                "The connection ended without a FIN, whose acknowledgement alone can be trusted (G2 needs a FIN by counter)."
            }
            Self::NotByReset(_) => {
                "After the FIN the socket closed by a timer or an error of this host, not by the server's reset (G2 needs EPIPE)."
            }
            Self::Bypassed => {
                "The kernel did not send what was written to it, so the bytes may travel outside TCP (G2 needs conserved counters)."
            }
            Self::StillOpen => {
                "The connection has not ended, so the request may still be read (G2 needs a FIN)."
            }
            Self::Unavailable(_) => "There is no kernel evidence for this exchange (G2 needs it).",
            Self::StrayResponse => {
                "A response that cannot answer this request arrived first, and the connection did not end in a proof (RFC 9112 9.2)."
            }
            Self::ResponseBegun => {
                "A response was begun and cut before its final head, so the request was being worked on (G2 to G4 are off)."
            }
            Self::MalformedResponse => {
                "The answer could not be read as HTTP, so it says nothing of the request (G2 to G4 are off)."
            }
            Self::Cancelled => {
                "The caller gave the request up after a byte of it had reached the kernel (only G1 could prove more)."
            }
            Self::TimedOut => {
                "A deadline passed after a byte of the request had reached the kernel (only G1 could prove more)."
            }
            Self::RuntimeEnded => {
                "The runtime that drove the connection ended with the request on its way (only G1 could prove more)."
            }
            Self::NoEvidence => {
                "The inner service recorded nothing about what it did with the request (G1 to G4 need a record)."
            }
            Self::NoRequestBoundary => {
                "Where the request began on its connection is not known, so acknowledgements cannot be told apart (G2 needs the boundary)."
            }
            Self::Forgeable(_) => {
                "The proof did not come inside TLS, so somebody on the way could have forged it, and the policy takes no such proof (of G1 to G4 it takes G1 only)."
            }
        }
    }
}

const SEVERAL_SEGMENTS: &str = "The request went out in several TCP segments, of which a TCP relay may have passed on the first before the reset (G2 needs one segment, into which a small request in one write fits, or the statement no_relay of this origin).";
const SEGMENTS_UNCOUNTED: &str = "The kernel's counters do not tell in how many TCP segments the request went out, and of several a TCP relay may have passed on the first (G2 needs one, sent whole each time and with nothing else in flight, or the statement no_relay of this origin).";

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Acknowledged => {
                f.write_str("the server closed with the whole request acknowledged")
            }
            Self::PartlyAcknowledged => {
                f.write_str("the server closed with a part of the request acknowledged")
            }
            Self::AcknowledgedAfterFin => {
                f.write_str("the request was acknowledged after the server's FIN")
            }
            Self::Unsettled => f.write_str(
                "the server's FIN was not followed by an answer to the request's bytes in time",
            ),
            Self::SeveralSegments => f.write_str(
                "the server closed and reset the request, but that had gone out in several segments",
            ),
            Self::SegmentsUncounted => f.write_str(
                "the server closed and reset the request, but in how many segments that had gone out is not known",
            ),
            Self::Reset(acked) => {
                write!(f, "the connection was reset with {acked} of the request acknowledged")
            }
            Self::NoFin(acked, Some(errno)) => {
                write!(
                    f,
                    "the connection ended by {errno} without a FIN, {acked} of the request acknowledged"
                )
            }
            Self::NoFin(acked, None) => {
                write!(f, "the connection ended without a FIN, {acked} of the request acknowledged")
            }
            Self::NotByReset(Some(errno)) => {
                write!(f, "after the server's FIN the socket closed by {errno}, not by a reset")
            }
            Self::NotByReset(None) => {
                f.write_str("after the server's FIN the socket closed, but not by a reset")
            }
            Self::Bypassed => f.write_str("the kernel did not send what was written to it"),
            Self::StillOpen => f.write_str("the connection has not ended"),
            Self::Unavailable(why) => write!(f, "no kernel evidence ({why})"),
            Self::StrayResponse => {
                f.write_str("an unsolicited response arrived instead of an answer")
            }
            Self::ResponseBegun => f.write_str("a response was begun and cut"),
            Self::MalformedResponse => f.write_str("the answer was no HTTP response"),
            Self::Cancelled => f.write_str("the caller gave up waiting"),
            Self::TimedOut => f.write_str("the deadline passed"),
            Self::RuntimeEnded => f.write_str("the runtime that drove the connection ended"),
            Self::NoEvidence => f.write_str("the inner service left no evidence"),
            Self::NoRequestBoundary => {
                f.write_str("the request's place on its connection is not known")
            }
            Self::Forgeable(proof) => {
                write!(f, "its proof could have been forged on the way ({proof})")
            }
        }
    }
}

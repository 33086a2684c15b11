//! Evidence in, fate and decision out. Two functions decide everything:
//!
//! - [`classify`] says what became of *one attempt* ([`Fate`]), from what its
//!   connection saw ([`Evidence`]) and what its server promised ([`Contract`]).
//!   It knows nothing of methods.
//! - [`decide()`] says whether the *request* may be sent again ([`Decision`]),
//!   from the fates of all its attempts ([`History`]), the facts of the request
//!   ([`RequestFacts`]) and the user's rules ([`Rules`]).
//!
//! **Within one call, no request is sent twice unless a [`Ground`] for every
//! earlier attempt says why that is safe.** What is not proven is
//! [`Fate::Unknown`], never *not applied*.
//!
//! Both are checked in as a table, `tests/verdict_table.txt`, which a test walks
//! combination by combination.

mod alert;
mod bad_request;
mod contract;
mod decide;
mod doubt;
mod evidence;
#[cfg(test)]
mod exhaustive;
#[allow(clippy::module_inception, reason = "the type that the module is about")]
mod fate;
mod ground;
mod proof;
mod rules;
mod rung;
mod tcp;
mod texts;

pub use alert::Alert;
pub use bad_request::BadRequest;
pub use contract::{Contract, PromiseSource};
pub use decide::{History, counts_as_attempt, decide};
pub use doubt::Doubt;
pub use evidence::{
    Answer, ConnectFailure, Counts, Early, EndedBy, Evidence, HandOff, Limits, StaleReason,
};
pub use fate::Fate;
pub use ground::{Decision, Ground, NoResend};
pub use proof::Proof;
pub use rules::{
    BodyState, Classifier, Deduplication, Opinion, Outlook, RequestFacts, Role, Rules, Semantics,
    Time,
};
pub use rung::Rung;
pub use tcp::{Acked, Errno, Segments, Settled, TcpEvidence, Unavailable};

/// Says what became of one attempt at the server, as far as its evidence
/// proves.
///
/// Fails closed: whatever is not proven is [`Fate::Unknown`] with the doubt
/// that names the missing proof.
pub fn classify(evidence: &Evidence, contract: &Contract) -> Fate {
    match evidence.hand_off {
        HandOff::Unrecorded => Fate::Unknown(Doubt::NoEvidence),
        HandOff::NotSendable(why) => Fate::NotApplied(Proof::NotSendable(why)),
        HandOff::NotConnected(why) => Fate::NotApplied(Proof::NotConnected(why)),
        HandOff::HandedBack(found) => Fate::NotApplied(Proof::HandedBack(found)),
        HandOff::NothingWritten => Fate::NotApplied(Proof::NothingWritten),
        HandOff::Written => written(evidence, contract),
    }
}

/// The kernel accepted at least one byte of the request.
fn written(evidence: &Evidence, contract: &Contract) -> Fate {
    match evidence.answer {
        Answer::Complete => Fate::Completed,
        Answer::Misdirected => Fate::NotApplied(Proof::Misdirected),
        Answer::Refused => Fate::NotApplied(Proof::Refused),
        Answer::NotForwarded => Fate::NotApplied(Proof::NotForwarded),
        Answer::RefusedStream => Fate::NotApplied(Proof::RefusedStream),
        Answer::FinalHead => Fate::ResponseLost,
        Answer::Begun => Fate::Unknown(Doubt::ResponseBegun),
        Answer::Malformed => Fate::Unknown(Doubt::MalformedResponse),
        Answer::Stray(early) => stray(early, evidence, contract),
        Answer::Nothing => unanswered(evidence, contract),
    }
}

/// A response came that cannot answer the request. It proves nothing by itself:
/// a 599 or 408 only changes the name of a proof by the kernel (G2 to G3). A
/// promise about closes (G4) holds only if no byte of a response came.
fn stray(early: Early, evidence: &Evidence, contract: &Contract) -> Fate {
    match (early, unanswered(evidence, contract)) {
        (Early::ClosingResponse, Fate::NotApplied(Proof::NeverReceived)) => {
            Fate::NotApplied(Proof::RefusedBeforeReceipt)
        }
        (Early::ClosingResponse | Early::Other, Fate::NotApplied(proof))
            if proof.rung() == Rung::G2 =>
        {
            Fate::NotApplied(proof)
        }
        (Early::ClosingResponse | Early::Other, _) => Fate::Unknown(Doubt::StrayResponse),
    }
}

/// No answer came: what ended the attempt, and what does the kernel say?
fn unanswered(evidence: &Evidence, contract: &Contract) -> Fate {
    match evidence.ended_by {
        EndedBy::Caller => Fate::Unknown(Doubt::Cancelled),
        EndedBy::Deadline => Fate::Unknown(Doubt::TimedOut),
        EndedBy::Runtime => Fate::Unknown(Doubt::RuntimeEnded),
        EndedBy::Connection | EndedBy::RequestBody => match evidence.kernel {
            TcpEvidence::Unavailable(why) => Fate::Unknown(Doubt::Unavailable(why)),
            TcpEvidence::NoBoundary => Fate::Unknown(Doubt::NoRequestBoundary),
            TcpEvidence::Bypassed => Fate::Unknown(Doubt::Bypassed),
            TcpEvidence::StillOpen => Fate::Unknown(Doubt::StillOpen),
            TcpEvidence::Reset(acked) => reset(acked, evidence.limits, contract),
            TcpEvidence::NoFin(acked, errno) => Fate::Unknown(Doubt::NoFin(acked, errno)),
            TcpEvidence::Fin(acked, settled) => fin(acked, settled, evidence.limits, contract),
        },
    }
}

/// A reset proves nothing, unless the server promised to reset only what it did
/// not dispatch (G4).
fn reset(acked: Acked, limits: Limits, contract: &Contract) -> Fate {
    match (contract.reset_before_dispatch, limits) {
        (Some(_), Limits::Kept) => Fate::NotApplied(Proof::ResetPromised),
        (Some(_), Limits::Unchecked | Limits::Exceeded) | (None, _) => {
            Fate::Unknown(Doubt::Reset(acked))
        }
    }
}

/// A FIN. If the counters prove nothing (G2), a promise may: to end a connection
/// without a response only while no request is dispatched (G4).
fn fin(acked: Acked, settled: Settled, limits: Limits, contract: &Contract) -> Fate {
    match (fin_by_counters(acked, settled, limits, contract), contract.fin_before_dispatch) {
        (Fate::Unknown(_), Some(_)) if limits == Limits::Kept => {
            Fate::NotApplied(Proof::ClosePromised)
        }
        (fate, _) => fate,
    }
}

/// A FIN: what did it acknowledge, and what followed (G2)?
fn fin_by_counters(acked: Acked, settled: Settled, limits: Limits, contract: &Contract) -> Fate {
    match (acked, settled) {
        (Acked::None, Settled::Reset(segments)) if contract.believes_reset(segments) => {
            Fate::NotApplied(Proof::NeverReceived)
        }
        (Acked::None, _) if contract.closed_after_fin.is_some() => {
            Fate::NotApplied(Proof::NeverReceivedClosed)
        }
        (Acked::None, Settled::Reset(segments)) => {
            let is_promised = contract.complete_messages_only == Some(PromiseSource::Announced);
            match limits {
                Limits::Kept if is_promised => Fate::NotApplied(Proof::FinPromised),
                Limits::Kept | Limits::Unchecked | Limits::Exceeded => {
                    Fate::Unknown(uncounted(segments))
                }
            }
        }
        (Acked::None, Settled::AckedAfterFin) => Fate::Unknown(Doubt::AcknowledgedAfterFin),
        (Acked::None, Settled::Local(errno)) => Fate::Unknown(Doubt::NotByReset(errno)),
        (Acked::None, Settled::Unsettled | Settled::NotAwaited) => Fate::Unknown(Doubt::Unsettled),
        (Acked::Part, settled) => fin_in_between(settled, limits, contract),
        (Acked::All, _) => Fate::Unknown(Doubt::Acknowledged),
    }
}

/// Returns the doubt about a reset that answers other than one segment.
fn uncounted(segments: Segments) -> Doubt {
    match segments {
        Segments::Several => Doubt::SeveralSegments,
        Segments::One | Segments::Uncounted => Doubt::SegmentsUncounted,
    }
}

/// A FIN that acknowledged a part of the request. The rest is refused by a reset
/// (G2 by the user's word, G4 by the server's), or by the server's promise to
/// dispatch nothing after its FIN. The server's word holds only within its limits.
///
/// The user's word is about the origin. A relay before it can take the rest in
/// several segments, pass all of it on and reset, as it can with none
/// acknowledged; so the reset is believed on the same condition. The server's word
/// is about this very connection, which no relay holds, and within its limits
/// nothing was retransmitted.
fn fin_in_between(settled: Settled, limits: Limits, contract: &Contract) -> Fate {
    let closes_fully = contract.closed_after_fin == Some(PromiseSource::Announced);
    let is_refused = matches!(settled, Settled::Reset(_));
    match (contract.complete_messages_only, settled, limits) {
        (Some(PromiseSource::Configured), Settled::Reset(segments), _) => {
            if contract.believes_reset(segments) {
                Fate::NotApplied(Proof::NeverComplete)
            } else {
                Fate::Unknown(uncounted(segments))
            }
        }
        (Some(PromiseSource::Announced), _, Limits::Kept) if is_refused || closes_fully => {
            Fate::NotApplied(Proof::FinPromised)
        }
        (Some(PromiseSource::Configured | PromiseSource::Announced) | None, ..) => {
            Fate::Unknown(Doubt::PartlyAcknowledged)
        }
    }
}

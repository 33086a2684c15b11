//! Every variant of the core's types, with payloads that stand for the rest.
//!
//! `fate/exhaustive.rs` checks, where a `match` must name
//! every variant, that none is missing here.

use crate::{
    Acked, Answer, BadRequest, BodyState, ConnectFailure, Contract, Deduplication, Doubt, Early,
    EndedBy, Errno, Fate, Ground, HandOff, Limits, NoResend, Outlook, PromiseSource, Proof, Role,
    Segments, Semantics, Settled, StaleReason, TcpEvidence, Time, Unavailable,
};

/// The reason that stands for all reasons of user classifiers.
pub const REASON: &str = "their reason";

/// Error numbers: the two that mean a reset, timers, aborts and ICMP errors.
pub fn errnos() -> Vec<Errno> {
    vec![
        Errno::EPIPE,
        Errno::ECONNRESET,
        Errno::ETIMEDOUT,
        Errno::ECONNREFUSED,
        Errno(103), // ECONNABORTED
        Errno(113), // EHOSTUNREACH
    ]
}

pub fn optional_errnos() -> Vec<Option<Errno>> {
    std::iter::once(None).chain(errnos().into_iter().map(Some)).collect()
}

pub fn connect_failures() -> Vec<ConnectFailure> {
    use ConnectFailure as C;
    let failed = [None, Some(Errno::ECONNREFUSED)].map(C::Connect);
    let others = [C::Resolve, C::TimedOut, C::Tls, C::Untrusted, C::Proxy, C::ProxyDenied];
    failed.into_iter().chain(others).chain([C::PoolWait, C::BadTarget]).collect()
}

/// Every way in which a request contradicts itself.
pub fn bad_requests() -> Vec<BadRequest> {
    use BadRequest as B;
    let lengths = [B::ContentLength, B::LengthMismatch, B::ZeroLength, B::TwoLengths];
    let codings = [B::TransferCoding, B::CodingInHttp10, B::UnknownLength];
    let others = [B::ContentForbidden, B::ConnectionField];
    lengths.into_iter().chain(codings).chain(others).collect()
}

pub fn stale_reasons() -> Vec<StaleReason> {
    vec![
        StaleReason::Fin,
        StaleReason::Reset,
        StaleReason::Stray,
        StaleReason::EndOfTls,
        StaleReason::Ended,
    ]
}

pub fn hand_offs() -> Vec<HandOff> {
    let mut all = vec![HandOff::Unrecorded];
    // Two stand for all: a fate has the same.
    all.extend(bad_requests().into_iter().take(2).map(HandOff::NotSendable));
    all.extend(connect_failures().into_iter().map(HandOff::NotConnected));
    all.extend(stale_reasons().into_iter().map(HandOff::HandedBack));
    all.extend([HandOff::NothingWritten, HandOff::Written]);
    all
}

pub fn earlies() -> Vec<Early> {
    vec![Early::ClosingResponse, Early::Other]
}

pub fn answers() -> Vec<Answer> {
    let mut all = vec![Answer::Nothing];
    all.extend(earlies().into_iter().map(Answer::Stray));
    all.extend([
        Answer::Begun,
        Answer::Malformed,
        Answer::FinalHead,
        Answer::Complete,
        Answer::Misdirected,
        Answer::Refused,
        Answer::NotForwarded,
        Answer::RefusedStream,
    ]);
    all
}

pub fn ends() -> Vec<EndedBy> {
    vec![
        EndedBy::Connection,
        EndedBy::RequestBody,
        EndedBy::Caller,
        EndedBy::Deadline,
        EndedBy::Runtime,
    ]
}

pub fn ackeds() -> Vec<Acked> {
    vec![Acked::None, Acked::Part, Acked::All]
}

pub fn settleds() -> Vec<Settled> {
    let mut all: Vec<_> = segments().into_iter().map(Settled::Reset).collect();
    all.push(Settled::AckedAfterFin);
    all.extend(optional_errnos().into_iter().map(Settled::Local));
    all.extend([Settled::Unsettled, Settled::NotAwaited]);
    all
}

pub fn segments() -> Vec<Segments> {
    vec![Segments::One, Segments::Several, Segments::Uncounted]
}

pub fn unavailables() -> Vec<Unavailable> {
    vec![
        Unavailable::NotExamined,
        Unavailable::Platform,
        Unavailable::NotPlainTcp,
        Unavailable::ShortInfo(104),
        Unavailable::Uncalibrated,
        Unavailable::UrgentData,
        Unavailable::SystemCall(Errno(9)),
        Unavailable::NotConserved,
        Unavailable::Aborted,
    ]
}

pub fn tcp_evidences() -> Vec<TcpEvidence> {
    let mut all = Vec::new();
    for acked in ackeds() {
        all.extend(settleds().into_iter().map(|settled| TcpEvidence::Fin(acked, settled)));
    }
    all.extend(ackeds().into_iter().map(TcpEvidence::Reset));
    for acked in ackeds() {
        all.extend(optional_errnos().into_iter().map(|errno| TcpEvidence::NoFin(acked, errno)));
    }
    all.extend([TcpEvidence::StillOpen, TcpEvidence::Bypassed, TcpEvidence::NoBoundary]);
    all.extend(unavailables().into_iter().map(TcpEvidence::Unavailable));
    all
}

pub fn limits() -> Vec<Limits> {
    vec![Limits::Kept, Limits::Unchecked, Limits::Exceeded]
}

pub fn sources() -> Vec<PromiseSource> {
    vec![PromiseSource::Announced, PromiseSource::Configured]
}

/// Every combination of the contract's members.
pub fn contracts() -> Vec<Contract> {
    let member = || std::iter::once(None).chain(sources().into_iter().map(Some));
    let mut all = Vec::new();
    for closed_after_fin in member() {
        for complete_messages_only in member() {
            for reset_before_dispatch in member() {
                for fin_before_dispatch in member() {
                    for no_relay in member() {
                        let mut contract = Contract::none();
                        contract.closed_after_fin = closed_after_fin;
                        contract.complete_messages_only = complete_messages_only;
                        contract.reset_before_dispatch = reset_before_dispatch;
                        contract.fin_before_dispatch = fin_before_dispatch;
                        contract.no_relay = no_relay;
                        all.push(contract);
                    }
                }
            }
        }
    }
    all
}

pub fn proofs() -> Vec<Proof> {
    let mut all: Vec<_> = connect_failures().into_iter().map(Proof::NotConnected).collect();
    all.extend(bad_requests().into_iter().map(Proof::NotSendable));
    all.extend(stale_reasons().into_iter().map(Proof::HandedBack));
    all.extend([
        Proof::NothingWritten,
        Proof::NeverReceived,
        Proof::NeverReceivedClosed,
        Proof::NeverComplete,
        Proof::RefusedBeforeReceipt,
        Proof::Refused,
        Proof::RefusedStream,
        Proof::Misdirected,
        Proof::NotForwarded,
        Proof::ResetPromised,
        Proof::FinPromised,
        Proof::ClosePromised,
    ]);
    all
}

pub fn doubts() -> Vec<Doubt> {
    let mut all = vec![Doubt::Acknowledged, Doubt::PartlyAcknowledged, Doubt::AcknowledgedAfterFin];
    all.extend([Doubt::Unsettled, Doubt::SeveralSegments, Doubt::SegmentsUncounted]);
    all.extend(ackeds().into_iter().map(Doubt::Reset));
    for acked in ackeds() {
        all.extend(optional_errnos().into_iter().map(|errno| Doubt::NoFin(acked, errno)));
    }
    let not_by_reset = optional_errnos().into_iter().filter(|errno| *errno != Some(Errno::EPIPE));
    all.extend(not_by_reset.map(Doubt::NotByReset));
    all.extend([Doubt::Bypassed, Doubt::StillOpen]);
    all.extend(unavailables().into_iter().map(Doubt::Unavailable));
    all.extend([
        Doubt::StrayResponse,
        Doubt::ResponseBegun,
        Doubt::MalformedResponse,
        Doubt::Cancelled,
        Doubt::TimedOut,
        Doubt::RuntimeEnded,
        Doubt::NoEvidence,
        Doubt::NoRequestBoundary,
        Doubt::Forgeable(Proof::ResetPromised),
    ]);
    all
}

/// Every fate, from the weakest to the strongest.
pub fn fates() -> Vec<Fate> {
    let mut all: Vec<_> = doubts().into_iter().map(Fate::Unknown).collect();
    all.extend([Fate::ResponseLost, Fate::Completed]);
    all.extend(proofs().into_iter().map(Fate::NotApplied));
    all
}

pub fn grounds() -> Vec<Ground> {
    let mut all: Vec<_> = proofs().into_iter().map(Ground::Proven).collect();
    all.extend([Ground::Deduplicated, Ground::Idempotent, Ground::CallerSays(REASON)]);
    all
}

pub fn no_resends() -> Vec<NoResend> {
    let mut all: Vec<_> = doubts().into_iter().map(NoResend::Doubt).collect();
    all.extend([
        NoResend::ResponseLost,
        NoResend::Answered,
        NoResend::Proxy,
        NoResend::Forgeable(Proof::ResetPromised),
        NoResend::BodyNotReplayable,
        NoResend::BodyFailed,
        NoResend::Attempts(2),
        NoResend::NotReady,
        NoResend::Deadline,
        NoResend::ConnectPatience,
        NoResend::Forbidden(REASON),
        NoResend::Permanent,
        NoResend::NotSendable(BadRequest::LengthMismatch),
        NoResend::StandsDown,
    ]);
    all
}

pub fn roles() -> Vec<Role> {
    vec![Role::Client, Role::Proxy, Role::ProxyWithAllGrounds]
}

pub fn semantics() -> Vec<Semantics> {
    vec![Semantics::NotIdempotent, Semantics::IdempotentMethod, Semantics::MarkedIdempotent]
}

pub fn deduplications() -> Vec<Deduplication> {
    vec![Deduplication::None, Deduplication::Keyed]
}

pub fn body_states() -> Vec<BodyState> {
    vec![BodyState::Replayable, BodyState::Gone, BodyState::Failed]
}

pub fn outlooks() -> Vec<Outlook> {
    vec![Outlook::Open, Outlook::Permanent]
}

pub fn times() -> Vec<Time> {
    vec![Time::Left, Time::Over, Time::OutOfPatience]
}

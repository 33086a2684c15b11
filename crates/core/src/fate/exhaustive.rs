//! Checks that the lists of variants in `variants.rs` are whole.
//!
//! A `match` must name every variant only inside the crate, so the check is
//! here: a new variant does not compile until it is named below, and then
//! fails until it is listed there, where the table and the laws take it from.

use crate::*;

macro_rules! assert_listed {
    ($list:ident: $($pattern:pat),+ $(,)?) => {
        for value in variants::$list() {
            match value { $($pattern => {})+ }
        }
        $(assert!(
            variants::$list().iter().any(|value| matches!(value, $pattern)),
            "{} is missing in {}", stringify!($pattern), stringify!($list),
        );)+
    };
}

#[test]
fn what_a_connection_saw_is_listed() {
    assert_listed!(hand_offs: HandOff::Unrecorded, HandOff::NotSendable(_), HandOff::NotConnected(_),
        HandOff::HandedBack(_), HandOff::NothingWritten, HandOff::Written);
    assert_listed!(bad_requests: BadRequest::ContentLength, BadRequest::LengthMismatch,
        BadRequest::ZeroLength, BadRequest::TwoLengths, BadRequest::TransferCoding,
        BadRequest::CodingInHttp10, BadRequest::UnknownLength, BadRequest::ContentForbidden,
        BadRequest::ConnectionField);
    assert_listed!(connect_failures: ConnectFailure::Connect(None),
        ConnectFailure::Connect(Some(_)), ConnectFailure::Resolve, ConnectFailure::TimedOut,
        ConnectFailure::Tls, ConnectFailure::Untrusted, ConnectFailure::Proxy,
        ConnectFailure::ProxyDenied, ConnectFailure::PoolWait, ConnectFailure::BadTarget);
    assert_listed!(stale_reasons: StaleReason::Fin, StaleReason::Reset, StaleReason::Stray, StaleReason::EndOfTls, StaleReason::Ended);
    assert_listed!(answers: Answer::Nothing, Answer::Stray(_), Answer::Begun, Answer::Malformed,
        Answer::FinalHead, Answer::Complete, Answer::Misdirected, Answer::Refused, Answer::NotForwarded,
        Answer::RefusedStream);
    assert_listed!(earlies: Early::ClosingResponse, Early::Other);
    assert_listed!(ends: EndedBy::Connection, EndedBy::Caller, EndedBy::Deadline,
        EndedBy::RequestBody, EndedBy::Runtime);
}

#[test]
fn what_the_kernel_says_is_listed() {
    assert_listed!(tcp_evidences: TcpEvidence::Unavailable(_), TcpEvidence::NoBoundary, TcpEvidence::Bypassed,
        TcpEvidence::StillOpen, TcpEvidence::Reset(_), TcpEvidence::NoFin(..), TcpEvidence::Fin(..));
    assert_listed!(ackeds: Acked::None, Acked::Part, Acked::All);
    assert_listed!(segments: Segments::One, Segments::Several, Segments::Uncounted);
    assert_listed!(settleds: Settled::Reset(_), Settled::AckedAfterFin, Settled::Local(None),
        Settled::Local(Some(_)), Settled::Unsettled, Settled::NotAwaited);
    assert_listed!(unavailables: Unavailable::NotExamined, Unavailable::Platform,
        Unavailable::NotPlainTcp, Unavailable::ShortInfo(_), Unavailable::Uncalibrated,
        Unavailable::UrgentData, Unavailable::SystemCall(_), Unavailable::NotConserved,
        Unavailable::Aborted);
    assert_listed!(limits: Limits::Kept, Limits::Unchecked, Limits::Exceeded);
    assert_listed!(sources: PromiseSource::Announced, PromiseSource::Configured);
}

#[test]
fn what_is_concluded_is_listed() {
    assert_listed!(fates: Fate::Unknown(_), Fate::ResponseLost, Fate::Completed,
        Fate::NotApplied(_));
    assert_listed!(proofs: Proof::NotSendable(_), Proof::NotConnected(_), Proof::HandedBack(_), Proof::NothingWritten,
        Proof::NeverReceived, Proof::NeverReceivedClosed, Proof::NeverComplete,
        Proof::RefusedBeforeReceipt, Proof::Refused, Proof::RefusedStream, Proof::Misdirected, Proof::NotForwarded,
        Proof::ResetPromised,
        Proof::FinPromised, Proof::ClosePromised);
    assert_listed!(doubts: Doubt::Acknowledged, Doubt::PartlyAcknowledged,
        Doubt::AcknowledgedAfterFin, Doubt::Unsettled, Doubt::Reset(_), Doubt::NoFin(..),
        Doubt::SeveralSegments, Doubt::SegmentsUncounted, Doubt::NotByReset(_), Doubt::Bypassed, Doubt::StillOpen, Doubt::Unavailable(_),
        Doubt::StrayResponse, Doubt::ResponseBegun, Doubt::MalformedResponse, Doubt::Cancelled,
        Doubt::TimedOut, Doubt::RuntimeEnded, Doubt::NoEvidence, Doubt::NoRequestBoundary,
        Doubt::Forgeable(_));
    assert_listed!(grounds: Ground::Proven(_), Ground::Deduplicated, Ground::Idempotent,
        Ground::CallerSays(_));
    assert_listed!(no_resends: NoResend::Doubt(_), NoResend::ResponseLost, NoResend::Answered,
        NoResend::Proxy, NoResend::Forgeable(_), NoResend::BodyNotReplayable, NoResend::BodyFailed, NoResend::Attempts(_),
        NoResend::NotReady, NoResend::Deadline, NoResend::ConnectPatience, NoResend::Forbidden(_), NoResend::Permanent,
        NoResend::NotSendable(_), NoResend::StandsDown);
}

#[test]
fn what_a_decision_needs_is_listed() {
    assert_listed!(roles: Role::Client, Role::Proxy, Role::ProxyWithAllGrounds);
    assert_listed!(semantics: Semantics::NotIdempotent, Semantics::IdempotentMethod,
        Semantics::MarkedIdempotent);
    assert_listed!(deduplications: Deduplication::None, Deduplication::Keyed);
    assert_listed!(body_states: BodyState::Replayable, BodyState::Gone, BodyState::Failed);
    assert_listed!(times: Time::Left, Time::Over, Time::OutOfPatience);
    assert_listed!(outlooks: Outlook::Open, Outlook::Permanent);
}

#[test]
fn every_member_of_a_contract_is_combined() {
    let Contract {
        closed_after_fin: _,
        complete_messages_only: _,
        reset_before_dispatch: _,
        fin_before_dispatch: _,
        no_relay: _,
    } = Contract::none();
    assert_eq!(variants::contracts().len(), 243);
}

/// Every conclusion explains itself in one sentence that names its rule.
#[test]
fn every_conclusion_explains_itself() {
    let rules = ["G1", "G2", "G3", "G4", "G5", "G6", "G7", "RFC"];
    let proofs = variants::proofs().into_iter().map(|proof| proof.explain());
    let doubts = variants::doubts().into_iter().map(|doubt| doubt.explain());
    let grounds = variants::grounds().into_iter().map(|ground| ground.explain());
    for sentence in proofs.chain(doubts).chain(grounds) {
        assert!(sentence.ends_with('.') && !sentence.contains(". "), "{sentence}");
        assert!(rules.iter().any(|rule| sentence.contains(rule)), "{sentence}");
    }
    for why in variants::no_resends() {
        assert!(why.explain().ends_with('.') && !why.to_string().is_empty(), "{why}");
    }
}

#[test]
fn every_doubt_and_every_no_resend_has_its_own_name() {
    use std::collections::HashSet;
    use std::mem::discriminant;

    let names: HashSet<_> = variants::doubts().iter().map(Doubt::name).collect();
    let kinds: HashSet<_> = variants::doubts().iter().map(discriminant).collect();
    assert_eq!(names.len(), kinds.len());

    // Those of a doubt have its name.
    let is_of_its_own = |why: &NoResend| !matches!(why, NoResend::Doubt(_));
    let others: Vec<_> = variants::no_resends().into_iter().filter(is_of_its_own).collect();
    let names: HashSet<_> = others.iter().map(NoResend::name).collect();
    assert_eq!(names.len(), others.len());
}

//! Arbitrary evidence: the laws hold.
#![no_main]

use testkit::weaker;
use tower_resend_core::variants;

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use tower_resend_core::fin_rule::{self, ExchangeCounts, FinStep, LastRead};
use tower_resend_core::*;

type Input<'a> = Unstructured<'a>;

fuzz_target!(|input: &[u8]| {
    let mut input = Unstructured::new(input);
    // Input that ends too early says nothing.
    let _ = attempts(&mut input);
});

fn attempts(input: &mut Input<'_>) -> Result<()> {
    let mut history = History::new();
    for _ in 0..input.int_in_range(1..=4)? {
        let contract = *input.choose(&variants::contracts())?;
        let evidence = evidence(input)?;
        let fate = classify(&evidence, &contract);
        check_proof(&evidence, &contract, fate);
        check_order(&evidence, &contract, fate);
        history.push(fate);
    }
    check_decision(&history, input)
}

fn evidence(input: &mut Input<'_>) -> Result<Evidence> {
    let hand_off = match input.ratio(1, 8)? {
        true => *input.choose(&variants::hand_offs())?,
        false => HandOff::Written,
    };
    let counts = Counts::new(input.arbitrary()?, input.arbitrary()?, input.arbitrary()?);
    let kernel = match input.arbitrary()? {
        true => *input.choose(&variants::tcp_evidences())?,
        false => story(input)?,
    };
    Ok(Evidence::new(hand_off)
        .with_answer(*input.choose(&variants::answers())?)
        .with_tcp(kernel)
        .with_ended_by(*input.choose(&variants::ends())?)
        .with_limits(*input.choose(&variants::limits())?)
        .with_counts(counts))
}

/// Takes arbitrary counters through the steps of the kernel rule. A refusal
/// needs a FIN that acknowledged what it is said to, conserved counters, a
/// closed socket, EPIPE, and no acknowledgement after the FIN; one that counts
/// as that of one segment, one new segment that was never sent in pieces.
fn story(input: &mut Input<'_>) -> Result<TcpEvidence> {
    let [before, length, read] = [number(input)?, number(input)?, number(input)?];
    let exchange = ExchangeCounts::new(before + 1, before + length, read);
    let mut look = snapshot(input, &ExchangeCounts::new(before + 1, before, read))?;
    look.notsent = 0;
    let base = SegmentBase::at_stale_check(before, &look);
    let exchange = exchange.with_segment_base(base);
    let last = *input.choose(&[LastRead::End, LastRead::Failed, LastRead::WouldBlock])?;
    let errno = input.arbitrary::<Option<u8>>()?.map(|number| Errno(number.into()));
    let first = snapshot(input, &exchange)?;
    let mut shown = vec![first];
    let mut step = fin_rule::at_end(&exchange, last, &first, errno);
    let mut fin = None;
    let kernel = loop {
        step = match step {
            FinStep::Done(kernel) => break kernel,
            FinStep::Closed(fin, snapshot) => {
                break fin_rule::closed(&exchange, &fin, &snapshot, errno);
            }
            FinStep::Settle(new) => {
                fin = Some(new);
                FinStep::Wait
            }
            FinStep::Wait => {
                let fin = fin.as_ref().expect("only a FIN is waited for");
                if shown.len() == 6 {
                    break TcpEvidence::Fin(fin.acked(), Settled::Unsettled);
                }
                let next = snapshot(input, &exchange)?;
                shown.push(next);
                fin_rule::settle(&exchange, fin, &next)
            }
        }
    };
    if let TcpEvidence::Fin(acked, Settled::Reset(segments)) = kernel {
        let end = shown.last().expect("the first is there");
        assert!(last == LastRead::End && first.bytes_received == read + 1, "no FIN");
        assert_eq!(exchange.acked(&first), acked);
        assert!(end.state == TcpState::Close && errno == Some(Errno::EPIPE), "no reset");
        assert!(shown.iter().all(|shown| shown.is_conserved(exchange.written)));
        assert!(end.bytes_acked <= first.bytes_acked, "acknowledged after the FIN");
        if segments == Segments::One {
            let more = |now: Option<u32>, then: Option<u32>| Some(now?.wrapping_sub(then?));
            let again = more(end.total_retrans, look.total_retrans).expect("counted");
            assert_eq!(more(end.data_segs_out, look.data_segs_out), again.checked_add(1));
            assert_eq!(look.bytes_acked, before + 1, "something was in flight");
            assert_eq!(end.notsent, 0);
            assert_eq!(end.bytes_retrans - look.bytes_retrans, u64::from(again) * length);
        }
    }
    Ok(kernel)
}

/// Counters as they may be, or near to it.
fn snapshot(input: &mut Input<'_>, exchange: &ExchangeCounts) -> Result<Snapshot> {
    let mut snapshot = Snapshot::new(TcpState::from_linux(input.int_in_range(0..=12)?));
    let near = |input: &mut Input<'_>, number: u64| -> Result<u64> {
        Ok(match input.int_in_range(0..=7)? {
            0 => number.saturating_sub(1),
            1 => number + 1,
            2 => input.arbitrary()?,
            _ => number,
        })
    };
    let acked = if input.arbitrary()? { exchange.base } else { exchange.written + 1 };
    snapshot.bytes_acked = near(input, acked)?;
    snapshot.bytes_received = near(input, exchange.read + 1)?;
    snapshot.bytes_retrans = number(input)?;
    snapshot.bytes_sent = near(input, exchange.written + snapshot.bytes_retrans)?;
    snapshot.notsent = near(input, 0)?;
    snapshot.data_segs_out = input.arbitrary::<Option<u8>>()?.map(u32::from);
    snapshot.total_retrans = input.arbitrary::<Option<u8>>()?.map(u32::from);
    Ok(snapshot)
}

fn number(input: &mut Input<'_>) -> Result<u64> {
    input.arbitrary::<u32>().map(u64::from)
}

/// What a proof needs at least, as it is argued and not as it is computed.
fn check_proof(evidence: &Evidence, contract: &Contract, fate: Fate) {
    let Fate::NotApplied(proof) = fate else {
        return;
    };
    let Evidence { hand_off, answer, kernel, ended_by, limits, .. } = *evidence;
    let unanswered = matches!(answer, Answer::Nothing | Answer::Stray(_));
    let by_peer = matches!(ended_by, EndedBy::Connection | EndedBy::RequestBody);
    let is_argued = match proof {
        Proof::NotConnected(_) => matches!(hand_off, HandOff::NotConnected(_)),
        Proof::NotSendable(_) => matches!(hand_off, HandOff::NotSendable(_)),
        Proof::HandedBack(_) => matches!(hand_off, HandOff::HandedBack(_)),
        Proof::NothingWritten => hand_off == HandOff::NothingWritten,
        Proof::NeverReceived | Proof::RefusedBeforeReceipt => {
            unanswered && by_peer && is_refused(kernel, Acked::None, contract)
        }
        Proof::NeverReceivedClosed => {
            contract.closed_after_fin.is_some()
                && unanswered
                && by_peer
                && matches!(kernel, TcpEvidence::Fin(Acked::None, _))
        }
        Proof::NeverComplete => {
            contract.complete_messages_only.is_some()
                && unanswered
                && by_peer
                && is_refused(kernel, Acked::Part, contract)
        }
        Proof::ResetPromised | Proof::FinPromised => {
            *contract != Contract::none()
                && limits == Limits::Kept
                && answer == Answer::Nothing
                && by_peer
                && matches!(
                    kernel,
                    TcpEvidence::Reset(_)
                        | TcpEvidence::Fin(Acked::Part, _)
                        | TcpEvidence::Fin(Acked::None, Settled::Reset(_))
                )
        }
        Proof::ClosePromised => {
            contract.fin_before_dispatch.is_some()
                && limits == Limits::Kept
                && answer == Answer::Nothing
                && by_peer
                && matches!(kernel, TcpEvidence::Fin(..))
        }
        Proof::Misdirected => answer == Answer::Misdirected,
        Proof::Refused => answer == Answer::Refused,
        Proof::NotForwarded => answer == Answer::NotForwarded,
        Proof::RefusedStream => answer == Answer::RefusedStream,
        _ => false,
    };
    assert!(is_argued, "{proof:?} from {evidence:?} under {contract:?}");
}

/// A reset after a FIN that acknowledged so much, of one segment or without a
/// relay on the way.
fn is_refused(kernel: TcpEvidence, acked: Acked, contract: &Contract) -> bool {
    let has_no_relay = contract.no_relay == Some(PromiseSource::Configured);
    match kernel {
        TcpEvidence::Fin(by_fin, Settled::Reset(segments)) => {
            by_fin == acked && (segments == Segments::One || has_no_relay)
        }
        _ => false,
    }
}

/// Less evidence, or fewer promises, never prove more.
fn check_order(evidence: &Evidence, contract: &Contract, fate: Fate) {
    if fate.is_not_applied() {
        return;
    }
    let bare = classify(evidence, &Contract::none());
    assert!(!bare.is_not_applied(), "{evidence:?} proves less under {contract:?}");
    if evidence.hand_off != HandOff::Written {
        return;
    }
    for less in weaker::weaker(evidence) {
        let fate = classify(&less, contract);
        assert!(!fate.is_not_applied(), "{less:?} proves more than {evidence:?}: {fate:?}");
    }
}

/// A request that is not idempotent is sent again only if every attempt is
/// proven not to have been applied.
fn check_decision(history: &History, input: &mut Input<'_>) -> Result<()> {
    let role = *input.choose(&variants::roles())?;
    let facts = RequestFacts::new(*input.choose(&variants::semantics())?);
    let verdict = decide(history, &facts, &Rules::new().role(role));
    let proven = history.fates().iter().all(Fate::is_not_applied);
    let repeats = facts.semantics != Semantics::NotIdempotent;
    assert_eq!(history.fate().is_some_and(|fate| fate.is_not_applied()), proven);
    match verdict {
        Ok(ground) => {
            assert!(proven || repeats, "{verdict:?} after {history:?}");
            assert_eq!(ground.is_proven(), proven || ground.id() < "G5");
            assert!(role != Role::Proxy || repeats || ground.id() == "G1");
        }
        Err(NoResend::Doubt(_) | NoResend::ResponseLost | NoResend::Answered) => {
            assert!(!proven, "{verdict:?} after {history:?}");
        }
        Err(_) => {}
    }
    Ok(())
}

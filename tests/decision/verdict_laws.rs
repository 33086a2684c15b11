//! Laws of the core, each with a control: a rule broken on purpose that the
//! same law must catch.

use std::cell::Cell;
use std::collections::HashSet;
use std::mem::discriminant;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRng, TestRunner};
use tower_resend_core::fin_rule::{ExchangeCounts, FinStep, LastRead, at_end, closed, settle};
use tower_resend_core::*;

use testkit::weaker;
use tower_resend_core::variants;

use variants::REASON;
use weaker::weaker;

// ===== less evidence never yields a resend =====

type Classify = fn(&Evidence, &Contract) -> Fate;

/// Everything that can be said of a request that was written, in part at least.
fn observations() -> impl Iterator<Item = Evidence> {
    let tcp_evidences = variants::tcp_evidences();
    let evidence = move |answer| {
        let tcp_evidences = tcp_evidences.clone();
        variants::ends().into_iter().flat_map(move |ended_by| {
            tcp_evidences.clone().into_iter().flat_map(move |kernel| {
                variants::limits().into_iter().map(move |limits| {
                    Evidence::new(HandOff::Written)
                        .with_answer(answer)
                        .with_ended_by(ended_by)
                        .with_tcp(kernel)
                        .with_limits(limits)
                })
            })
        })
    };
    variants::answers().into_iter().flat_map(evidence)
}

/// Returns the first observation whose loss makes a rule say *not applied*.
fn gains_by_losing(classify: Classify) -> Option<(Evidence, Evidence)> {
    let contracts = variants::contracts();
    for evidence in observations() {
        let weaker = weaker(&evidence);
        for contract in &contracts {
            if classify(&evidence, contract).is_not_applied() {
                continue;
            }
            let gains = |less: &&Evidence| classify(less, contract).is_not_applied();
            if let Some(less) = weaker.iter().find(gains) {
                return Some((evidence, *less));
            }
        }
    }
    None
}

#[test]
fn less_evidence_never_proves_more() {
    assert_eq!(gains_by_losing(classify), None);
}

#[test]
fn control_taking_an_end_for_a_fin_gains_by_losing() {
    fn eof_is_enough(evidence: &Evidence, contract: &Contract) -> Fate {
        match evidence.kernel {
            TcpEvidence::NoFin(..) => Fate::NotApplied(Proof::NeverReceived),
            _ => classify(evidence, contract),
        }
    }
    assert!(gains_by_losing(eof_is_enough).is_some());
}

#[test]
fn control_taking_silence_for_safety_gains_by_losing() {
    fn silence_is_safe(evidence: &Evidence, contract: &Contract) -> Fate {
        match (evidence.hand_off, evidence.kernel) {
            (_, TcpEvidence::Unavailable(_)) => Fate::NotApplied(Proof::NeverReceived),
            (HandOff::Unrecorded, _) => Fate::NotApplied(Proof::NothingWritten),
            _ => classify(evidence, contract),
        }
    }
    assert!(gains_by_losing(silence_is_safe).is_some());
}

#[test]
fn a_contract_only_ever_adds_proofs() {
    let with_less = |contract: &Contract| {
        let mut all = [*contract; 5];
        all[0].closed_after_fin = None;
        all[1].complete_messages_only = None;
        all[2].reset_before_dispatch = None;
        all[3].fin_before_dispatch = None;
        all[4].no_relay = None;
        all
    };
    for evidence in observations() {
        for contract in variants::contracts() {
            if !classify(&evidence, &contract).is_not_applied() {
                for less in with_less(&contract) {
                    let fate = classify(&evidence, &less);
                    assert!(!fate.is_not_applied(), "{evidence:?} {contract:?} {less:?} {fate:?}");
                }
            }
        }
    }
}

/// Of whole messages the server's word is used unless the user's needs no
/// limits, which takes a way without relays; and no server speaks of relays.
#[test]
fn user_and_server_promise_together() {
    let mut stated = Contract::none();
    stated.complete_messages_only = Some(PromiseSource::Configured);
    let mut announced = Contract::none();
    announced.complete_messages_only = Some(PromiseSource::Announced);
    announced.no_relay = Some(PromiseSource::Announced);
    let both = stated.with_announced(announced);
    assert_eq!(
        (both.complete_messages_only, both.no_relay),
        (Some(PromiseSource::Announced), None)
    );
    let alone = stated.with_announced(Contract::none());
    assert_eq!(alone.complete_messages_only, Some(PromiseSource::Configured));
    stated.no_relay = Some(PromiseSource::Configured);
    let both = stated.with_announced(announced);
    let configured = Some(PromiseSource::Configured);
    assert_eq!((both.complete_messages_only, both.no_relay), (configured, configured));
}

// ===== a reset is believed for one segment only =====

/// The first proof by a reset after a FIN about a request that a relay may have
/// passed on in part.
fn believes_a_relay(classify: Classify) -> Option<(Evidence, Contract, Fate)> {
    let contracts = variants::contracts();
    for evidence in observations() {
        for contract in &contracts {
            let fate = classify(&evidence, contract);
            let is_by_reset = matches!(
                fate.proof(),
                Some(Proof::NeverReceived | Proof::NeverComplete | Proof::RefusedBeforeReceipt)
            );
            let is_one =
                matches!(evidence.kernel, TcpEvidence::Fin(_, Settled::Reset(Segments::One)));
            if is_by_reset && !is_one && contract.no_relay != Some(PromiseSource::Configured) {
                return Some((evidence, *contract, fate));
            }
        }
    }
    None
}

#[test]
fn a_reset_proves_nothing_of_several_segments() {
    assert_eq!(believes_a_relay(classify), None);
}

#[test]
fn control_a_rule_that_ignores_segments_believes_a_relay() {
    fn any_segments(evidence: &Evidence, contract: &Contract) -> Fate {
        let one = match evidence.kernel {
            TcpEvidence::Fin(acked, Settled::Reset(_)) => {
                evidence.with_tcp(TcpEvidence::Fin(acked, Settled::Reset(Segments::One)))
            }
            _ => *evidence,
        };
        classify(&one, contract)
    }
    fn announced_is_enough(evidence: &Evidence, contract: &Contract) -> Fate {
        let mut stated = *contract;
        stated.no_relay = contract.no_relay.map(|_| PromiseSource::Configured);
        classify(evidence, &stated)
    }
    assert!(believes_a_relay(any_segments).is_some());
    assert!(believes_a_relay(announced_is_enough).is_some());
}

/// What the user states about relays changes nothing but resets after a FIN.
#[test]
fn no_relay_decides_nothing_but_a_reset_after_a_fin() {
    for evidence in observations() {
        for contract in variants::contracts() {
            let mut stated = contract;
            stated.no_relay = Some(PromiseSource::Configured);
            if classify(&evidence, &contract).is_unknown()
                && classify(&evidence, &stated).is_not_applied()
            {
                assert!(matches!(evidence.kernel, TcpEvidence::Fin(_, Settled::Reset(_))));
            }
        }
    }
}

// ===== everything can happen =====

/// The proofs and doubts that a rule never reaches, by `Debug`.
fn unreached(classify: Classify) -> Vec<String> {
    let mut proofs = HashSet::new();
    let mut doubts = HashSet::new();
    let hostile = Rules::new().require_authenticated_refusal();
    let mut note = |fate| {
        for fate in [fate, hostile.believed(fate)] {
            match fate {
                Fate::NotApplied(proof) => drop(proofs.insert(discriminant(&proof))),
                Fate::Unknown(doubt) => drop(doubts.insert(discriminant(&doubt))),
                Fate::ResponseLost | Fate::Completed => {}
            }
        }
    };
    for hand_off in variants::hand_offs() {
        note(classify(&Evidence::new(hand_off), &Contract::none()));
    }
    let contracts = variants::contracts();
    for evidence in observations() {
        contracts.iter().for_each(|contract| note(classify(&evidence, contract)));
    }
    let missing = variants::proofs().into_iter().filter(|p| !proofs.contains(&discriminant(p)));
    let mut missing: Vec<_> = missing.map(|proof| format!("{proof:?}")).collect();
    let doubts = variants::doubts().into_iter().filter(|d| !doubts.contains(&discriminant(d)));
    missing.extend(doubts.map(|doubt| format!("{doubt:?}")));
    missing
}

#[test]
fn every_proof_and_doubt_is_reached() {
    assert_eq!(unreached(classify), Vec::<String>::new());
}

#[test]
fn control_merging_two_doubts_leaves_one_unreached() {
    fn merged(evidence: &Evidence, contract: &Contract) -> Fate {
        match classify(evidence, contract) {
            Fate::Unknown(Doubt::Bypassed) => Fate::Unknown(Doubt::StillOpen),
            fate => fate,
        }
    }
    assert_eq!(unreached(merged), ["Bypassed"]);
}

/// What decide says of one attempt, over all fates, requests and opinions.
fn single_verdicts() -> Vec<(Fate, RequestFacts, Opinion, Role, Decision)> {
    let mut all = Vec::new();
    for fate in variants::fates() {
        for request in requests() {
            for opinion in OPINIONS {
                for role in variants::roles() {
                    let verdict = decide(&history(&[fate]), &request, &policy(opinion).role(role));
                    all.push((fate, request, opinion, role, verdict));
                }
            }
        }
    }
    all
}

#[test]
fn every_ground_is_reached() {
    let verdicts = single_verdicts();
    let reached = verdicts.iter().filter_map(|(.., verdict)| verdict.ok());
    let reached: HashSet<_> = reached.map(|ground| ground.id()).collect();
    let listed: HashSet<_> = variants::grounds().iter().map(Ground::id).collect();
    assert_eq!(reached, listed);
    assert_eq!(reached, HashSet::from(["G1", "G2", "G3", "G4", "G5", "G6", "G7"]));
}

#[test]
fn every_no_resend_is_reached_but_those_of_the_layer() {
    let mut reached: HashSet<_> = single_verdicts()
        .iter()
        .filter_map(|(.., verdict)| verdict.err())
        .map(|refusal| discriminant(&refusal))
        .collect();
    let repeated = history(&[Fate::ResponseLost; 2]);
    let get = RequestFacts::new(Semantics::IdempotentMethod);
    let refusal = decide(&repeated, &get, &Rules::new()).expect_err("a refusal");
    reached.insert(discriminant(&refusal));
    let connect = history(&[Fate::NotApplied(Proof::NothingWritten)]);
    let refusal = decide(&connect, &get.with_outlook(Outlook::Permanent), &Rules::new());
    reached.insert(discriminant(&refusal.expect_err("it would end the same way")));
    let missing =
        variants::no_resends().into_iter().filter(|r| !reached.contains(&discriminant(r)));
    assert_eq!(missing.collect::<Vec<_>>(), [NoResend::NotReady, NoResend::StandsDown]);
}

// ===== G2 needs FIN, none acked, one segment, CLOSE, EPIPE and conserved counters =====

/// What the kernel showed of one failed exchange.
#[derive(Clone, Debug)]
struct Story {
    exchange: ExchangeCounts,
    last: LastRead,
    errno: Option<Errno>,
    /// The snapshot after the drain, and those while the fate settled.
    shown: Vec<Snapshot>,
    /// In how many segments the request had gone out at each of them.
    carried: Vec<Segments>,
}

/// The clauses of the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clause {
    Fin,
    NoneAcked,
    Conserved,
    Close,
    Epipe,
    OneSegment,
}

impl Story {
    fn is_none_acked(&self, shown: &Snapshot) -> bool {
        shown.bytes_acked <= self.exchange.base
    }

    fn is_conserved(&self, shown: &Snapshot) -> bool {
        let sent = i128::from(shown.bytes_sent) - i128::from(shown.bytes_retrans);
        sent + i128::from(shown.notsent) == i128::from(self.exchange.written)
    }

    /// Returns `true` if the story has all that G2 needs, as the argument says it and
    /// not as the code computes it.
    fn proves(&self) -> bool {
        let first = &self.shown[0];
        let fin = self.last == LastRead::End && first.bytes_received == self.exchange.read + 1;
        let sound = |shown: &Snapshot| self.is_none_acked(shown) && self.is_conserved(shown);
        let closed = self.shown.iter().zip(&self.carried).any(|(shown, carried)| {
            shown.state == TcpState::Close && sound(shown) && *carried == Segments::One
        });
        let fin = fin && self.carried[0] == Segments::One;
        fin && sound(first) && closed && self.errno == Some(Errno::EPIPE)
    }

    /// Steps C2 to C6 as the crate has them.
    fn judged(&self) -> TcpEvidence {
        let mut shown = self.shown.iter();
        let first = shown.next().expect("a first snapshot");
        let mut step = at_end(&self.exchange, self.last, first, self.errno);
        let mut fin = None;
        loop {
            step = match (step, fin) {
                (FinStep::Done(kernel), _) => return kernel,
                (FinStep::Closed(fin, last), _) => {
                    return closed(&self.exchange, &fin, &last, self.errno);
                }
                (FinStep::Settle(new), _) => {
                    fin = Some(new);
                    FinStep::Wait
                }
                (FinStep::Wait, Some(known)) => match shown.next() {
                    Some(next) => settle(&self.exchange, &known, next),
                    None => return TcpEvidence::Fin(known.acked(), Settled::Unsettled),
                },
                (FinStep::Wait, None) => panic!("nothing to wait for"),
            };
        }
    }

    /// The rule in a few lines, with one clause left out.
    fn judged_without(&self, left_out: Option<Clause>) -> TcpEvidence {
        let needs = |clause| left_out != Some(clause);
        let first = &self.shown[0];
        let acked = self.exchange.acked(first);
        if self.last == LastRead::WouldBlock {
            return TcpEvidence::StillOpen;
        }
        if needs(Clause::Conserved) && !self.is_conserved(first) {
            return TcpEvidence::Bypassed;
        }
        let counted = first.bytes_received == self.exchange.read + 1;
        if self.last != LastRead::End || (needs(Clause::Fin) && !counted) {
            let over = first.state == TcpState::Close && first.bytes_received == self.exchange.read;
            return match self.errno {
                Some(Errno::ECONNRESET) if over => TcpEvidence::Reset(acked),
                errno => TcpEvidence::NoFin(acked, errno),
            };
        }
        let acked = if needs(Clause::NoneAcked) { acked } else { Acked::None };
        for (shown, carried) in self.shown.iter().zip(&self.carried) {
            if needs(Clause::NoneAcked) && shown.bytes_acked > first.bytes_acked {
                return TcpEvidence::Fin(acked, Settled::AckedAfterFin);
            }
            if needs(Clause::Conserved) && !self.is_conserved(shown) {
                return TcpEvidence::Bypassed;
            }
            if shown.state == TcpState::Close || !needs(Clause::Close) {
                let segments = match needs(Clause::OneSegment) {
                    true => self.carried[0].or_worse(*carried),
                    false => Segments::One,
                };
                let refused = TcpEvidence::Fin(acked, Settled::Reset(segments));
                return match self.errno {
                    Some(Errno::EPIPE) => refused,
                    Some(_) if !needs(Clause::Epipe) => refused,
                    errno => TcpEvidence::Fin(acked, Settled::Local(errno)),
                };
            }
        }
        TcpEvidence::Fin(acked, Settled::Unsettled)
    }
}

/// Stories near the one that proves: each of its parts is usually right.
fn stories() -> impl Strategy<Value = Story> {
    let counts = (0..2_u64 << 20, 1..1_u64 << 16, 0..1_u64 << 20, 0..1_u64 << 16);
    let errno = prop_oneof![
        4 => Just(Some(Errno::EPIPE)),
        1 => select(variants::optional_errnos()),
    ];
    let last = prop_oneof![
        8 => Just(LastRead::End),
        1 => Just(LastRead::Failed),
        1 => Just(LastRead::WouldBlock),
    ];
    let received = prop_oneof![6 => Just(1_i64), 2 => Just(0), 1 => -1_i64..4];
    let shown = vec((snapshots(), received), 1..5);
    (counts, looks(), errno, last, shown, any::<bool>()).prop_map(
        |((before, length, read, less), look, errno, last, shown, close)| {
            let (look, is_quiet) = look.shown(before, less.min(before));
            let base = SegmentBase::at_stale_check(before, &look);
            let exchange =
                ExchangeCounts::new(before + 1, before + length, read).with_segment_base(base);
            let count = shown.len();
            let shown = shown.into_iter().enumerate().map(|(index, (draft, received))| {
                let closes = close && index + 1 == count;
                let carried = if is_quiet { draft.carried(&exchange) } else { Segments::Uncounted };
                let shown = draft.shown(&exchange, &look, less.min(before), received, closes);
                (shown, carried)
            });
            let (shown, carried) = shown.unzip();
            Story { exchange, last, errno, shown, carried }
        },
    )
}

/// The stale check before the request.
#[derive(Clone, Copy, Debug)]
struct LookDraft {
    is_acked: bool,
    /// The counts since the connect, near the end of their range perhaps.
    segments: u32,
    again: u32,
    bytes_again: u64,
}

fn looks() -> impl Strategy<Value = LookDraft> {
    let acked = prop_oneof![9 => Just(true), 1 => Just(false)];
    let count = || prop_oneof![0..9_u32, u32::MAX - 4..=u32::MAX];
    (acked, count(), count(), 0..9_u64).prop_map(|(is_acked, segments, again, bytes_again)| {
        LookDraft { is_acked, segments, again, bytes_again }
    })
}

impl LookDraft {
    /// The counters, and whether nothing is in flight.
    fn shown(self, before: u64, less: u64) -> (Snapshot, bool) {
        let less = if self.is_acked { 0 } else { less };
        let mut look = Snapshot::new(TcpState::Established);
        look.bytes_acked = before + 1 - less;
        look.bytes_retrans = self.bytes_again;
        look.bytes_sent = before + self.bytes_again;
        look.data_segs_out = Some(self.segments);
        look.total_retrans = Some(self.again);
        (look, less == 0)
    }
}

/// A snapshot relative to its exchange.
#[derive(Clone, Copy, Debug)]
struct Draft {
    state: TcpState,
    acked: Acknowledged,
    /// Segments of the request that were new, and that were sent again.
    new: u32,
    again: u32,
    /// How much less than the whole request the latter carried.
    short: u64,
    is_counted: bool,
    notsent: u64,
    surplus: i64,
}

#[derive(Clone, Copy, Debug)]
enum Acknowledged {
    UpToBase,
    LessThanBase,
    Bytes(u64),
    All,
}

fn snapshots() -> impl Strategy<Value = Draft> {
    let state = prop_oneof![
        5 => Just(TcpState::Other(8)),
        2 => Just(TcpState::Close),
        1 => select(vec![TcpState::Established, TcpState::Other(6), TcpState::Other(9)]),
    ];
    let acked = prop_oneof![
        6 => Just(Acknowledged::UpToBase),
        2 => Just(Acknowledged::LessThanBase),
        1 => (1..100_u64).prop_map(Acknowledged::Bytes),
        1 => Just(Acknowledged::All),
    ];
    let surplus = prop_oneof![9 => Just(0_i64), 1 => -2_i64..3];
    let new = prop_oneof![8 => Just(1_u32), 1 => Just(0), 2 => 2..9_u32];
    let short = prop_oneof![8 => Just(0_u64), 1 => 1..9_u64];
    let counted = prop_oneof![19 => Just(true), 1 => Just(false)];
    let notsent = prop_oneof![8 => Just(0_u64), 1 => 1..100_u64];
    (state, acked, (new, 0..4_u32, short, counted), notsent, surplus).prop_map(
        |(state, acked, (new, again, short, is_counted), notsent, surplus)| Draft {
            state,
            acked,
            new,
            again,
            short,
            is_counted,
            notsent,
            surplus,
        },
    )
}

impl Draft {
    /// In how many segments the request went out, as it was drawn.
    fn carried(self, exchange: &ExchangeCounts) -> Segments {
        let is_whole = self.again == 0 || self.short == 0;
        let is_sent = self.notsent.min(exchange.written) == 0;
        match self.new {
            _ if !self.is_counted => Segments::Uncounted,
            1 if is_whole && is_sent => Segments::One,
            0 | 1 => Segments::Uncounted,
            _ => Segments::Several,
        }
    }

    fn shown(
        self,
        exchange: &ExchangeCounts,
        look: &Snapshot,
        less: u64,
        received: i64,
        closes: bool,
    ) -> Snapshot {
        let state = if closes { TcpState::Close } else { self.state };
        let mut snapshot = Snapshot::new(state);
        snapshot.bytes_acked = match self.acked {
            Acknowledged::UpToBase => exchange.base,
            Acknowledged::LessThanBase => exchange.base - less,
            Acknowledged::Bytes(bytes) => exchange.base + bytes,
            Acknowledged::All => exchange.written + 1,
        };
        snapshot.bytes_received = exchange.read.saturating_add_signed(received);
        snapshot.notsent = self.notsent.min(exchange.written);
        let bytes_again = (u64::from(self.again) * exchange.length()).saturating_sub(self.short);
        snapshot.bytes_retrans = look.bytes_retrans + bytes_again;
        if self.is_counted {
            let since = |count: Option<u32>, more| count.map(|count| count.wrapping_add(more));
            snapshot.data_segs_out = since(look.data_segs_out, self.new + self.again);
            snapshot.total_retrans = since(look.total_retrans, self.again);
        }
        let sent = exchange.written - snapshot.notsent + snapshot.bytes_retrans;
        snapshot.bytes_sent = sent.saturating_add_signed(self.surplus);
        snapshot
    }
}

fn is_g2(kernel: TcpEvidence) -> bool {
    let evidence = Evidence::new(HandOff::Written).with_tcp(kernel);
    classify(&evidence, &Contract::none()).proof().is_some_and(|proof| proof.id() == "G2")
}

/// Checks that a rule finds G2 only in stories that prove it. Returns how
/// often it found it.
#[allow(clippy::result_large_err, reason = "a test's failure is as large as its case")]
fn finds_only_what_is_proven(
    runner: &mut TestRunner,
    rule: impl Fn(&Story) -> TcpEvidence,
) -> Result<u32, TestError<Story>> {
    let found = Cell::new(0);
    runner.run(&stories(), |story| {
        let kernel = rule(&story);
        if is_g2(kernel) {
            found.set(found.get() + 1);
            prop_assert!(story.proves(), "{kernel:?}");
        }
        Ok(())
    })?;
    Ok(found.get())
}

#[test]
fn g2_needs_all_of_its_clauses() {
    let found = finds_only_what_is_proven(&mut random(20_000), Story::judged);
    assert!(found.expect("the law holds") > 500, "the stories are too far off");
}

#[test]
fn rule_equals_its_statement_in_a_few_lines() {
    let same = random(20_000).run(&stories(), |story| {
        prop_assert_eq!(story.judged(), story.judged_without(None));
        Ok(())
    });
    same.expect("the same");
}

#[test]
fn control_a_rule_without_any_one_clause_is_caught() {
    use Clause::{Close, Conserved, Epipe, Fin, NoneAcked, OneSegment};
    for clause in [Fin, NoneAcked, Conserved, Close, Epipe, OneSegment] {
        let found = finds_only_what_is_proven(&mut fixed(20_000), |story| {
            story.judged_without(Some(clause))
        });
        assert!(matches!(found, Err(TestError::Fail(..))), "without {clause:?}: {found:?}");
    }
}

// ===== the fate of a call, and what decide makes of it =====

type Decide = fn(&[Fate], &RequestFacts, &Rules) -> Decision;

const OPINIONS: [Opinion; 3] = [Opinion::None, Opinion::Resend(REASON), Opinion::Forbidden(REASON)];

fn history(fates: &[Fate]) -> History {
    fates.iter().copied().collect()
}

/// A policy without limits of attempts, and with a classifier that always
/// says the same.
fn policy(opinion: Opinion) -> Rules {
    unlimited().classifier(move |_: &Fate, _: &RequestFacts| opinion)
}

fn unlimited() -> Rules {
    Rules::new()
        .max_attempts(u32::MAX)
        .max_idempotent_attempts(u32::MAX)
        .max_proven_resends(u32::MAX)
        .max_hand_backs(u32::MAX)
}

fn requests() -> Vec<RequestFacts> {
    let mut all = Vec::new();
    for semantics in variants::semantics() {
        for deduplication in variants::deduplications() {
            for body in variants::body_states() {
                for time in variants::times() {
                    all.push(
                        RequestFacts::new(semantics)
                            .with_deduplication(deduplication)
                            .with_body(body)
                            .with_time(time),
                    );
                }
            }
        }
    }
    all
}

fn sendable() -> impl Strategy<Value = RequestFacts> {
    select(requests())
        .prop_filter("can be sent", |r| r.body == BodyState::Replayable && r.time == Time::Left)
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    // Two 421 in one call are a limit of their own.
    let fates: Vec<_> = variants::fates()
        .into_iter()
        .filter(|fate| *fate != Fate::NotApplied(Proof::Misdirected))
        .collect();
    vec(select(fates), 1..5)
}

fn the_real_decide(fates: &[Fate], request: &RequestFacts, policy: &Rules) -> Decision {
    decide(&history(fates), request, policy)
}

/// Broken: only the last attempt counts.
fn decide_by_the_last(fates: &[Fate], request: &RequestFacts, policy: &Rules) -> Decision {
    decide(&history(&fates[fates.len() - 1..]), request, policy)
}

/// Broken: only the first attempt counts.
fn decide_by_the_first(fates: &[Fate], request: &RequestFacts, policy: &Rules) -> Decision {
    decide(&history(&fates[..1]), request, policy)
}

/// Broken: a proof of any attempt is a proof.
fn decide_by_any_proof(fates: &[Fate], request: &RequestFacts, policy: &Rules) -> Decision {
    let proof = fates.iter().find(|fate| fate.is_not_applied());
    decide(&history(&[*proof.unwrap_or(&fates[0])]), request, policy)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Words {
    /// The classifier says the same of every fate.
    Always(Opinion),
    /// It allows what is proven.
    OnProof,
    /// It allows what is not proven.
    OnDoubt,
    /// It forbids what is not proven.
    NeverOnDoubt,
}

impl Words {
    fn on(self, fate: &Fate) -> Opinion {
        match (self, fate.is_not_applied()) {
            (Self::Always(opinion), _) => opinion,
            (Self::OnProof, true) | (Self::OnDoubt, false) => Opinion::Resend(REASON),
            (Self::NeverOnDoubt, false) => Opinion::Forbidden(REASON),
            (Self::OnProof, false) | (Self::OnDoubt | Self::NeverOnDoubt, true) => Opinion::None,
        }
    }

    fn policy(self, role: Role) -> Rules {
        unlimited().role(role).classifier(move |fate: &Fate, _: &RequestFacts| self.on(fate))
    }
}

fn words() -> impl Strategy<Value = Words> {
    let others = [Words::OnProof, Words::OnDoubt, Words::NeverOnDoubt];
    select(OPINIONS.map(Words::Always).into_iter().chain(others).collect::<Vec<_>>())
}

type Call = (Vec<Fate>, RequestFacts, Words, Role);

fn calls() -> impl Strategy<Value = Call> {
    (fates(), sendable(), words(), select(variants::roles()))
}

/// Runs a law over calls.
fn of_calls(
    mut runner: TestRunner,
    law: impl Fn(&Call) -> Result<(), TestCaseError>,
) -> Result<(), TestError<Call>> {
    runner.run(&calls(), |call| law(&call))
}

/// Resent if and only if each attempt alone would be, and by a ground that is
/// that of one of them, no stronger than any.
fn needs_a_ground_for_each(decide: Decide) -> impl Fn(&Call) -> Result<(), TestCaseError> {
    move |(fates, request, words, role)| {
        let policy = words.policy(*role);
        let alone = |fate: &Fate| the_real_decide(&[*fate], request, &policy).ok();
        let grounds: Vec<_> = fates.iter().map(alone).collect();
        match decide(fates, request, &policy).ok() {
            Some(ground) => {
                prop_assert!(grounds.iter().all(Option::is_some), "{:?} for {:?}", ground, grounds);
                let weakest = grounds.iter().flatten().map(Ground::id).max();
                prop_assert_eq!(Some(ground.id()), weakest);
            }
            None => prop_assert!(grounds.iter().any(Option::is_none), "refused for nothing"),
        }
        Ok(())
    }
}

#[test]
fn each_attempt_needs_a_ground() {
    of_calls(random(5_000), needs_a_ground_for_each(the_real_decide)).expect("the law holds");
}

#[test]
fn control_deciding_by_one_attempt_lacks_grounds_for_others() {
    for broken in [decide_by_the_last as Decide, decide_by_the_first, decide_by_any_proof] {
        let caught = of_calls(fixed(5_000), needs_a_ground_for_each(broken));
        assert!(matches!(caught, Err(TestError::Fail(..))), "{caught:?}");
    }
}

/// A word of the user's counts for the attempt it was given for.
#[test]
fn opinion_on_a_proven_attempt_does_not_cover_an_unknown_one() {
    let unknown = Fate::Unknown(Doubt::Acknowledged);
    let proven = Fate::NotApplied(Proof::NeverReceived);
    let post = RequestFacts::new(Semantics::NotIdempotent);
    let policy = Words::OnProof.policy(Role::Client);
    for fates in [[unknown, proven], [proven, unknown]] {
        let verdict = decide(&history(&fates), &post, &policy);
        assert_eq!(verdict, Err(NoResend::Doubt(Doubt::Acknowledged)));
    }
}

fn forbidden_wins(decide: Decide) -> impl Fn(&Call) -> Result<(), TestCaseError> {
    move |(fates, request, words, role)| {
        let verdict = decide(fates, request, &words.policy(*role));
        let forbids = fates.iter().any(|f| matches!(words.on(f), Opinion::Forbidden(_)));
        prop_assert_eq!(forbids, verdict == Err(NoResend::Forbidden(REASON)));
        Ok(())
    }
}

#[test]
fn forbidden_wins_over_every_ground_and_every_no_resend() {
    of_calls(random(5_000), forbidden_wins(the_real_decide)).expect("the law holds");
}

#[test]
fn control_deciding_by_the_last_attempt_misses_a_forbidden_one() {
    let caught = of_calls(fixed(5_000), forbidden_wins(decide_by_the_last));
    assert!(matches!(caught, Err(TestError::Fail(..))), "{caught:?}");
}

/// The order of the attempts changes neither the fate's kind nor whether, and
/// by which ground, the request is sent again.
fn order_is_nothing(decide: Decide) -> impl Fn(&Call) -> Result<(), TestCaseError> {
    move |(fates, request, words, role)| {
        let policy = words.policy(*role);
        let kind = |fates: &[Fate]| history(fates).fate().map(|fate| discriminant(&fate));
        let ground = |fates: &[Fate]| decide(fates, request, &policy).ok().map(|g| g.id());
        for turned in permutations(fates) {
            prop_assert_eq!(kind(&turned), kind(fates));
            prop_assert_eq!(ground(&turned), ground(fates));
        }
        Ok(())
    }
}

fn permutations(fates: &[Fate]) -> Vec<Vec<Fate>> {
    let Some((&first, rest)) = fates.split_first() else { return vec![Vec::new()] };
    let mut all = Vec::new();
    for rest in permutations(rest) {
        for at in 0..=rest.len() {
            let mut one = rest.clone();
            one.insert(at, first);
            all.push(one);
        }
    }
    all
}

#[test]
fn the_order_of_attempts_changes_nothing() {
    of_calls(random(2_000), order_is_nothing(the_real_decide)).expect("the law holds");
}

#[test]
fn control_deciding_by_the_last_attempt_depends_on_order() {
    let caught = of_calls(fixed(2_000), order_is_nothing(decide_by_the_last));
    assert!(matches!(caught, Err(TestError::Fail(..))), "{caught:?}");
}

/// The weakest first: unknown, response lost, completed, not applied.
fn strength(fate: &Fate) -> u8 {
    match fate {
        Fate::Unknown(_) => 0,
        Fate::ResponseLost => 1,
        Fate::Completed => 2,
        Fate::NotApplied(_) => 3,
    }
}

/// The fate of a call is the first of the weakest of its attempts' fates.
fn is_the_weakest(of: fn(&[Fate]) -> Option<Fate>) -> impl Fn(&Call) -> Result<(), TestCaseError> {
    move |(fates, ..)| {
        prop_assert_eq!(of(fates), fates.iter().copied().min_by_key(strength));
        Ok(())
    }
}

#[test]
fn fate_of_a_call_is_the_weakest_of_its_attempts() {
    assert_eq!(History::new().fate(), None);
    let real = |fates: &[Fate]| history(fates).fate();
    of_calls(random(5_000), is_the_weakest(real)).expect("the law holds");
}

#[test]
fn control_the_last_fate_is_not_the_weakest() {
    let last = |fates: &[Fate]| fates.last().copied();
    let caught = of_calls(fixed(5_000), is_the_weakest(last));
    assert!(matches!(caught, Err(TestError::Fail(..))), "{caught:?}");
}

// ===== roles and limits =====

/// A proxy resends a non-idempotent request only if it was never sent.
fn proxy_keeps_to_g1(role: Role) -> Option<(Fate, RequestFacts)> {
    let breaks = |(fate, request, _, of, verdict): &(Fate, RequestFacts, _, Role, Decision)| {
        *of == role
            && request.semantics == Semantics::NotIdempotent
            && verdict.ok().is_some_and(|ground| ground.id() != "G1")
            && !matches!(fate, Fate::NotApplied(proof) if proof.id() == "G1")
    };
    let found = single_verdicts().into_iter().find(breaks);
    found.map(|(fate, request, ..)| (fate, request))
}

#[test]
fn proxy_resends_non_idempotent_requests_only_by_g1() {
    assert_eq!(proxy_keeps_to_g1(Role::Proxy), None);
}

#[test]
fn control_a_client_does_not_keep_to_g1() {
    assert!(proxy_keeps_to_g1(Role::Client).is_some());
    assert!(proxy_keeps_to_g1(Role::ProxyWithAllGrounds).is_some());
}

#[test]
fn no_resend_without_a_body_or_without_time() {
    for (_, request, _, _, verdict) in single_verdicts() {
        if request.body != BodyState::Replayable || request.time != Time::Left {
            assert_eq!(verdict.ok(), None, "{request:?}");
        }
    }
}

/// How many attempts there are in all when each has this fate.
fn attempts_of(fate: Fate, request: &RequestFacts, policy: &Rules) -> u32 {
    let mut history = History::new();
    for attempt in 1..1_000 {
        history.push(fate);
        if decide(&history, request, policy).ok().is_none() {
            return attempt;
        }
    }
    u32::MAX
}

#[test]
fn attempts_are_limited_by_what_they_may_repeat() {
    let unknown = Fate::Unknown(Doubt::Acknowledged);
    let post = RequestFacts::new(Semantics::NotIdempotent);
    let get = RequestFacts::new(Semantics::IdempotentMethod);
    let keyed = post.with_deduplication(Deduplication::Keyed);
    let says = |_: &Fate, _: &RequestFacts| Opinion::Resend(REASON);
    let policy = Rules::new();
    assert_eq!(attempts_of(unknown, &post, &policy), 1);
    assert_eq!(attempts_of(unknown, &get, &policy), 2);
    assert_eq!(attempts_of(unknown, &keyed, &policy), 3);
    assert_eq!(attempts_of(unknown, &post, &Rules::new().classifier(says)), 3);
    assert_eq!(attempts_of(unknown, &get, &Rules::new().max_attempts(1)), 1);
    assert_eq!(attempts_of(unknown, &get, &Rules::new().max_idempotent_attempts(9)), 3);
    assert_eq!(attempts_of(Fate::NotApplied(Proof::NeverReceived), &post, &policy), 17);
    assert_eq!(attempts_of(Fate::NotApplied(Proof::Misdirected), &post, &policy), 2);
    let handed_back = Fate::NotApplied(Proof::HandedBack(StaleReason::Fin));
    assert_eq!(attempts_of(handed_back, &post, &policy), 33);
    let refused = Fate::NotApplied(Proof::NotConnected(ConnectFailure::Connect(None)));
    assert_eq!(attempts_of(refused, &post, &policy), u32::MAX, "time limits these");
}

#[test]
fn attempt_counts_once_its_request_was_handed_over() {
    for hand_off in variants::hand_offs() {
        let expected = !matches!(
            hand_off,
            HandOff::NotConnected(_) | HandOff::HandedBack(_) | HandOff::NotSendable(_)
        );
        assert_eq!(counts_as_attempt(&Evidence::new(hand_off)), expected, "{hand_off:?}");
    }
}

/// In every role, and whatever else was tried.
#[test]
fn request_that_contradicts_itself_is_never_resent() {
    for why in variants::bad_requests() {
        let fate = Fate::NotApplied(Proof::NotSendable(why));
        for other in variants::fates() {
            for semantics in variants::semantics() {
                let facts = RequestFacts::new(semantics).with_deduplication(Deduplication::Keyed);
                let policy =
                    Rules::new().classifier(|_: &Fate, _: &RequestFacts| Opinion::Resend(REASON));
                let refused = Err(NoResend::NotSendable(why));
                if !matches!(other, Fate::NotApplied(Proof::NotSendable(_))) {
                    let history = [fate, other].into_iter().collect();
                    assert_eq!(decide(&history, &facts, &policy), refused, "{why:?}, {other}");
                }
                let history = [fate].into_iter().collect();
                assert_eq!(decide(&history, &facts, &policy), refused, "{why:?}");
            }
        }
    }
    let unconnected = Fate::NotApplied(Proof::NotConnected(ConnectFailure::BadTarget));
    let post = RequestFacts::new(Semantics::NotIdempotent);
    let control = decide(&[unconnected].into_iter().collect(), &post, &Rules::new());
    assert_eq!(control, Ok(Ground::Proven(unconnected.proof().expect("a proof"))));
}

#[test]
fn only_the_methods_of_rfc_9110_are_idempotent() {
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
        let method = method.parse().expect("a method");
        assert_eq!(Semantics::of(&method), Semantics::IdempotentMethod, "{method}");
    }
    for method in ["POST", "PATCH", "CONNECT", "get", "PROPFIND", "QUERY"] {
        let method = method.parse().expect("a method");
        assert_eq!(Semantics::of(&method), Semantics::NotIdempotent, "{method}");
    }
}

// ===== runners =====

/// A runner whose cases differ from run to run; a failure prints its case.
fn random(cases: u32) -> TestRunner {
    TestRunner::new(config(cases))
}

/// A runner for controls: what it catches does not depend on luck.
fn fixed(cases: u32) -> TestRunner {
    let config = config(cases);
    let rng = TestRng::deterministic_rng(config.rng_algorithm);
    TestRunner::new_with_rng(config, rng)
}

fn config(cases: u32) -> Config {
    Config { cases, failure_persistence: None, ..Config::default() }
}

// ===== hostile paths =====

/// The proofs on which a POST is resent under a policy.
fn proofs_that_do(policy: &Rules) -> Vec<&'static str> {
    let post = RequestFacts::new(Semantics::NotIdempotent);
    let does = |proof: &Proof| {
        let history = [Fate::NotApplied(*proof)].into_iter().collect();
        decide(&history, &post, policy).is_ok()
    };
    let mut ids: Vec<_> =
        variants::proofs().iter().filter(|proof| does(proof)).map(Proof::id).collect();
    ids.dedup();
    ids
}

#[test]
fn only_g1_is_a_proof_where_proofs_must_be_authenticated() {
    let policy = Rules::new().require_authenticated_refusal();
    assert_eq!(proofs_that_do(&policy), ["G1"]);
    assert_eq!(proofs_that_do(&Rules::new()), ["G1", "G2", "G3", "G4"], "control");
    for proof in variants::proofs().into_iter().filter(|proof| proof.id() != "G1") {
        let history = [Fate::NotApplied(proof)].into_iter().collect();
        let refused = |semantics| decide(&history, &RequestFacts::new(semantics), &policy);
        assert_eq!(refused(Semantics::NotIdempotent), Err(NoResend::Forgeable(proof)),);
        let repeated = Ok(Ground::Idempotent);
        assert_eq!(refused(Semantics::IdempotentMethod), repeated);
        let keyed =
            RequestFacts::new(Semantics::NotIdempotent).with_deduplication(Deduplication::Keyed);
        assert_eq!(decide(&history, &keyed, &policy), Ok(Ground::Deduplicated));
    }
}

/// The fate that a caller sees and the decision agree, so that a caller who
/// redoes what is *not applied* does nothing that the layer would not.
#[test]
fn fate_is_unknown_where_the_proof_must_be_authenticated() {
    let hostile = Rules::new().require_authenticated_refusal();
    for fate in variants::fates() {
        let believed = hostile.believed(fate);
        assert_eq!(Rules::new().believed(fate), fate, "control");
        assert_eq!(hostile.believed(believed), believed);
        assert_eq!(fate.weaker(believed), believed, "never stronger");
        let is_never_sent = fate.proof().is_some_and(|proof| proof.id() == "G1");
        assert_eq!(believed.is_not_applied(), is_never_sent, "{fate}");
        assert_eq!(believed == fate, is_never_sent || !fate.is_not_applied(), "{fate}");
        for semantics in variants::semantics() {
            let facts = RequestFacts::new(semantics);
            let of = |fate: Fate| decide(&history(&[fate]), &facts, &hostile);
            assert_eq!(of(fate), of(believed), "{fate}");
        }
    }
    // A repeat after a proof that is not believed may repeat work, and counts.
    let twice = history(&[Fate::NotApplied(Proof::ResetPromised); 2]);
    let get = RequestFacts::new(Semantics::IdempotentMethod);
    assert_eq!(decide(&twice, &get, &hostile), Err(NoResend::Attempts(2)));
}

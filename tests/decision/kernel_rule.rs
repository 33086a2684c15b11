//! The kernel rule over recorded counters: what Linux shows in each numbered
//! row of the truth table, from the stale check to the fate.
//!
//! All of them on a connection that carried one exchange before: 100 bytes
//! there and 50 back, and now a request of 70.

use std::time::Duration;

use tower_resend_core::fin_rule::{
    ExchangeCounts, FinStep, LastRead, StaleCheck, at_end, calibrate, closed, is_stray,
    is_worth_settling, settle, settle_limit, stale_check,
};
use tower_resend_core::{
    Acked, Answer, Contract, Doubt, Early, Errno, Evidence, Fate, HandOff, PromiseSource, Proof,
    SegmentBase, Segments, Settled, Snapshot, TcpEvidence, TcpState, Unavailable, classify,
};

const WRITTEN_BEFORE: u64 = 100;
const READ_BEFORE: u64 = 50;
const REQUEST: u64 = 70;
const BASE: u64 = WRITTEN_BEFORE + 1;
const W: u64 = WRITTEN_BEFORE + REQUEST;

const ESTABLISHED: TcpState = TcpState::Established;
const CLOSE_WAIT: TcpState = TcpState::Other(8);
const CLOSE: TcpState = TcpState::Close;

/// One line of a recording: state, acknowledged, received, sent.
fn shown(state: TcpState, acked: u64, received: u64) -> Snapshot {
    let mut snapshot = Snapshot::new(state);
    snapshot.bytes_acked = acked;
    snapshot.bytes_received = received;
    snapshot.bytes_sent = W;
    snapshot.data_segs_out = Some(SEGMENTS_BEFORE + 1);
    snapshot.total_retrans = Some(AGAIN_BEFORE);
    snapshot
}

/// Segments of the exchange before, two of them sent again, and a SYN.
const SEGMENTS_BEFORE: u32 = 5;
const AGAIN_BEFORE: u32 = 3;

/// What the stale check showed.
fn looked() -> Snapshot {
    let mut snapshot = shown(ESTABLISHED, BASE, READ_BEFORE);
    snapshot.bytes_sent = WRITTEN_BEFORE;
    snapshot.data_segs_out = Some(SEGMENTS_BEFORE);
    snapshot
}

fn exchange(read: u64) -> ExchangeCounts {
    let base = SegmentBase::at_stale_check(WRITTEN_BEFORE, &looked());
    ExchangeCounts::new(BASE, W, read).with_segment_base(base)
}

/// The snapshot after `again` retransmissions of so many bytes in all.
fn retransmitted(mut snapshot: Snapshot, again: u32, bytes: u64) -> Snapshot {
    snapshot.bytes_sent += bytes;
    snapshot.bytes_retrans += bytes;
    snapshot.data_segs_out = snapshot.data_segs_out.map(|segments| segments + again);
    snapshot.total_retrans = snapshot.total_retrans.map(|segments| segments + again);
    snapshot
}

/// The snapshot with so many new segments.
fn carried(mut snapshot: Snapshot, segments: u32) -> Snapshot {
    snapshot.data_segs_out = Some(SEGMENTS_BEFORE + segments);
    snapshot
}

/// What follows the drain while the fate settles.
struct Recording {
    exchange: ExchangeCounts,
    last: LastRead,
    /// After the drain, and then while settling.
    shown: Vec<Snapshot>,
    errno: Option<Errno>,
}

impl Recording {
    /// Plays it through the steps C2 to C6.
    fn played(&self) -> TcpEvidence {
        let mut shown = self.shown.iter();
        let first = shown.next().expect("a snapshot after the drain");
        let fin = match at_end(&self.exchange, self.last, first, self.errno) {
            FinStep::Done(kernel) => return kernel,
            FinStep::Closed(fin, last) => return closed(&self.exchange, &fin, &last, self.errno),
            FinStep::Settle(fin) => fin,
            FinStep::Wait => panic!("at_end never waits"),
        };
        for next in shown {
            match settle(&self.exchange, &fin, next) {
                FinStep::Done(kernel) => return kernel,
                FinStep::Closed(fin, last) => {
                    return closed(&self.exchange, &fin, &last, self.errno);
                }
                FinStep::Wait => {}
                FinStep::Settle(_) => panic!("settle has settled"),
            }
        }
        TcpEvidence::Fin(fin.acked(), Settled::Unsettled)
    }

    fn fate(&self) -> Fate {
        self.fate_under(&Contract::none(), Answer::Nothing)
    }

    fn fate_under(&self, contract: &Contract, answer: Answer) -> Fate {
        let evidence = Evidence::new(HandOff::Written).with_tcp(self.played()).with_answer(answer);
        classify(&evidence, contract)
    }
}

/// The end of the stream, and then what is shown.
fn after_end(shown: &[Snapshot], errno: Option<Errno>) -> Recording {
    let shown = shown.to_vec();
    Recording { exchange: exchange(READ_BEFORE), last: LastRead::End, shown, errno }
}

fn unknown(doubt: Doubt) -> Fate {
    Fate::Unknown(doubt)
}

// ===== A and B =====

#[test]
fn a_fresh_connection_is_calibrated_by_its_syn_alone() {
    let mut fresh = Snapshot::new(ESTABLISHED);
    fresh.bytes_acked = 1;
    assert_eq!(calibrate(&fresh), Ok(()));
    let spoiled: [fn(&mut Snapshot); 5] = [
        |s| s.bytes_acked = 0, // TCP_FASTOPEN_CONNECT, or a kernel that does not count
        |s| s.bytes_acked = 2,
        |s| s.bytes_sent = 1,
        |s| s.notsent = 1,
        |s| s.state = TcpState::Other(2), // SYN_SENT
    ];
    for spoil in spoiled {
        let mut snapshot = fresh;
        spoil(&mut snapshot);
        assert_eq!(calibrate(&snapshot), Err(Unavailable::Uncalibrated), "{snapshot:?}");
    }
}

#[test]
fn stale_check_finds_bytes_and_ends() {
    let idle = |state, acked, received| {
        let mut snapshot = shown(state, acked, received);
        snapshot.bytes_sent = WRITTEN_BEFORE;
        stale_check(WRITTEN_BEFORE, READ_BEFORE, &snapshot)
    };
    assert_eq!(idle(ESTABLISHED, BASE, READ_BEFORE), StaleCheck::Clear(Ok(())));
    assert_eq!(
        idle(ESTABLISHED, BASE - 20, READ_BEFORE),
        StaleCheck::Clear(Ok(())),
        "still in flight"
    );
    assert_eq!(
        idle(ESTABLISHED, BASE, READ_BEFORE + 1),
        StaleCheck::Stale,
        "a FIN, not yet in the state"
    );
    assert_eq!(idle(CLOSE_WAIT, BASE, READ_BEFORE + 1), StaleCheck::Stale, "a FIN");
    assert_eq!(idle(ESTABLISHED, BASE, READ_BEFORE + 60), StaleCheck::Stale, "a 599");
    assert_eq!(
        idle(CLOSE, BASE, READ_BEFORE),
        StaleCheck::Stale,
        "a RST, or keepalive's ETIMEDOUT"
    );
    let unsound = StaleCheck::Clear(Err(Unavailable::NotConserved));
    assert_eq!(idle(ESTABLISHED, BASE + 1, READ_BEFORE), unsound, "more acknowledged than written");
    assert_eq!(idle(ESTABLISHED, BASE, READ_BEFORE - 1), unsound, "more read than received");
    let snapshot = shown(ESTABLISHED, BASE, READ_BEFORE);
    assert_eq!(
        stale_check(WRITTEN_BEFORE, READ_BEFORE, &snapshot),
        unsound,
        "70 bytes of another writer"
    );
}

#[test]
fn conservation_counts_unsent_and_not_retransmitted_bytes() {
    let mut snapshot = Snapshot::new(ESTABLISHED);
    snapshot.bytes_sent = 90;
    snapshot.bytes_retrans = 30;
    snapshot.notsent = 10;
    assert!(snapshot.is_conserved(70));
    assert!(!snapshot.is_conserved(69));
    assert!(!snapshot.is_conserved(71));
    snapshot.bytes_retrans = 91;
    assert!(!snapshot.is_conserved(0), "no wrapping around");
    snapshot.bytes_retrans = 0;
    snapshot.bytes_sent = u64::MAX;
    assert!(!snapshot.is_conserved(9), "no wrapping around");
}

// ===== the rows of the truth table =====

#[test]
fn row_1_nothing_written_is_never_sent() {
    let fate = classify(&Evidence::new(HandOff::NothingWritten), &Contract::none());
    assert_eq!(fate, Fate::NotApplied(Proof::NothingWritten));
}

#[test]
fn row_2_fin_none_acked_then_rst_is_never_received() {
    let fin = shown(CLOSE_WAIT, BASE, READ_BEFORE + 1);
    let rst = shown(CLOSE, BASE, READ_BEFORE + 1);
    let proven = Fate::NotApplied(Proof::NeverReceived);
    let epipe = Some(Errno::EPIPE);
    assert_eq!(after_end(&[fin, fin, fin, rst], epipe).fate(), proven);
    assert_eq!(after_end(&[rst], epipe).fate(), proven, "both before the drain");
    let stale = shown(ESTABLISHED, BASE, READ_BEFORE + 1);
    assert_eq!(after_end(&[stale, rst], epipe).fate(), proven, "a state older than the counters");
    let again = retransmitted(rst, 2, 2 * REQUEST);
    assert_eq!(after_end(&[fin, again], epipe).fate(), proven, "with two retransmissions");
}

#[test]
fn row_2_with_earlier_bytes_in_flight() {
    let less = shown(CLOSE_WAIT, BASE - 20, READ_BEFORE + 1);
    let rst = shown(CLOSE, BASE - 20, READ_BEFORE + 1);
    let mut look = looked();
    look.bytes_acked = BASE - 20;
    let base = SegmentBase::at_stale_check(WRITTEN_BEFORE, &look);
    assert_eq!(base, None, "the segments in flight could be taken for the request's");
    let exchange = exchange(READ_BEFORE).with_segment_base(base);
    let recording = Recording { exchange, ..after_end(&[less, rst], Some(Errno::EPIPE)) };
    assert_eq!(recording.fate(), unknown(Doubt::SegmentsUncounted));
    let fate = recording.fate_under(&no_relay(), Answer::Nothing);
    assert_eq!(fate, Fate::NotApplied(Proof::NeverReceived));
}

fn no_relay() -> Contract {
    with(Contract::none(), |contract| contract.no_relay = Some(PromiseSource::Configured))
}

fn with<T>(mut value: T, change: impl FnOnce(&mut T)) -> T {
    change(&mut value);
    value
}

// ===== C5a: one segment =====

/// A FIN and a reset that acknowledge nothing, the counters changed by `with`.
fn refused(with: impl Fn(Snapshot) -> Snapshot) -> Recording {
    let fin = shown(CLOSE_WAIT, BASE, READ_BEFORE + 1);
    let rst = shown(CLOSE, BASE, READ_BEFORE + 1);
    after_end(&[with(fin), with(rst)], Some(Errno::EPIPE))
}

/// A relay took the first segment, passed it on, and reset the second. The
/// acknowledgement was lost.
#[test]
fn attack_reset_refuses_only_the_last_of_several_segments() {
    for segments in [2, 3, 100] {
        let recording = refused(|shown| carried(shown, segments));
        assert_eq!(recording.fate(), unknown(Doubt::SeveralSegments), "{segments}");
        let again = refused(|shown| retransmitted(carried(shown, segments), 2, 2 * REQUEST));
        assert_eq!(again.fate(), unknown(Doubt::SeveralSegments), "{segments} and two again");
        let closes_fully = |c: &mut Contract| c.closed_after_fin = Some(PromiseSource::Configured);
        for stated in [no_relay(), with(Contract::none(), closes_fully)] {
            let fate = recording.fate_under(&stated, Answer::Nothing);
            assert!(fate.is_not_applied(), "{stated:?}: {fate}");
        }
    }
}

/// Cut when it was sent again, since the path's MTU or the window shrank: to
/// the peer these are segments like others.
#[test]
fn attack_a_retransmission_in_pieces_is_several_segments() {
    for (again, bytes) in [
        (1, REQUEST - 1),           // a first piece
        (2, REQUEST),               // both pieces
        (3, 2 * REQUEST),           // whole, then both pieces
        (2, 2 * REQUEST - 1),       // whole, then a piece
        (3, REQUEST + REQUEST / 2), // whole, and pieces again
        (1, REQUEST + 1),           // more than there is
        (1, 0),
    ] {
        let recording = refused(|shown| retransmitted(shown, again, bytes));
        assert_eq!(recording.fate(), unknown(Doubt::SegmentsUncounted), "{again}: {bytes}");
    }
    let whole = refused(|shown| retransmitted(shown, 3, 3 * REQUEST));
    assert_eq!(whole.fate(), Fate::NotApplied(Proof::NeverReceived), "control");
}

#[test]
fn segments_that_cannot_be_counted_are_not_one() {
    type Change = fn(Snapshot) -> Snapshot;
    let uncounted: [(&str, Change); 6] = [
        ("none was sent", |shown| carried(shown, 0)),
        ("fewer than before", |shown| with(shown, |s| s.data_segs_out = Some(SEGMENTS_BEFORE - 1))),
        ("more again than sent", |shown| with(shown, |s| s.total_retrans = Some(AGAIN_BEFORE + 1))),
        ("no count of segments", |shown| with(shown, |s| s.data_segs_out = None)),
        ("no count of retransmissions", |shown| with(shown, |s| s.total_retrans = None)),
        ("some of it waits", |mut shown| {
            shown.bytes_sent -= 1;
            shown.notsent = 1;
            shown
        }),
    ];
    for (why, with) in uncounted {
        let fate = refused(with).fate();
        // A huge difference counts as several.
        let doubts = [Doubt::SegmentsUncounted, Doubt::SeveralSegments].map(unknown);
        assert!(doubts.contains(&fate), "{why}: {fate}");
    }
    let mut before = looked();
    before.data_segs_out = None;
    assert_eq!(SegmentBase::at_stale_check(WRITTEN_BEFORE, &before), None);
    let mut before = looked();
    before.notsent = 1;
    assert_eq!(SegmentBase::at_stale_check(WRITTEN_BEFORE, &before), None);
    let unlooked =
        Recording { exchange: ExchangeCounts::new(BASE, W, READ_BEFORE), ..refused(|shown| shown) };
    assert_eq!(unlooked.fate(), unknown(Doubt::SegmentsUncounted));
}

/// 32 bits may wrap; no segment has more bytes than an IP packet.
#[test]
fn counts_of_segments_wrap_around() {
    let counting = |shown, segments, again| {
        with(shown, |s: &mut Snapshot| {
            s.data_segs_out = Some(segments);
            s.total_retrans = Some(again);
        })
    };
    let near = |shown| counting(shown, u32::MAX, u32::MAX);
    let wrapped = |shown| counting(shown, 1, 0);
    let base = SegmentBase::at_stale_check(WRITTEN_BEFORE, &near(looked()));
    let exchange = exchange(READ_BEFORE).with_segment_base(base);
    let again = refused(|shown| wrapped(retransmitted(shown, 1, REQUEST)));
    let fate = Recording { exchange, ..again }.fate();
    assert_eq!(fate, Fate::NotApplied(Proof::NeverReceived));
    for (length, segments) in [(65_535, Segments::One), (65_536, Segments::Uncounted)] {
        let exchange = ExchangeCounts::new(BASE, WRITTEN_BEFORE + length, READ_BEFORE);
        let base = SegmentBase::at_stale_check(WRITTEN_BEFORE, &looked());
        let exchange = exchange.with_segment_base(base);
        assert_eq!(exchange.segments(&shown(CLOSE, BASE, READ_BEFORE + 1)), segments, "{length}");
    }
}

/// The count at the reset is the one that is judged, and one at the FIN that was
/// worse stands.
#[test]
fn a_count_of_segments_is_never_better_later() {
    let fin = shown(CLOSE_WAIT, BASE, READ_BEFORE + 1);
    let rst = shown(CLOSE, BASE, READ_BEFORE + 1);
    let waits = with(fin, |s| (s.notsent, s.bytes_sent) = (1, W - 1));
    let epipe = Some(Errno::EPIPE);
    assert_eq!(after_end(&[fin, carried(rst, 2)], epipe).fate(), unknown(Doubt::SeveralSegments));
    assert_eq!(after_end(&[carried(fin, 2), rst], epipe).fate(), unknown(Doubt::SeveralSegments));
    assert_eq!(after_end(&[waits, rst], epipe).fate(), unknown(Doubt::SegmentsUncounted));
    assert_eq!(
        after_end(&[fin, rst], epipe).fate(),
        Fate::NotApplied(Proof::NeverReceived),
        "control"
    );
}

#[test]
fn row_3_a_request_acked_after_the_fin_may_be_read() {
    let fin = shown(CLOSE_WAIT, BASE, READ_BEFORE + 1);
    let doubt = unknown(Doubt::AcknowledgedAfterFin);
    for acked in [BASE + 1, BASE + 35, W + 1] {
        let ack = shown(CLOSE_WAIT, acked, READ_BEFORE + 1);
        let rst = shown(CLOSE, acked, READ_BEFORE + 1);
        assert_eq!(after_end(&[fin, ack], None).fate(), doubt);
        assert_eq!(after_end(&[fin, fin, rst], Some(Errno::EPIPE)).fate(), doubt, "with a RST");
    }
}

#[test]
fn row_4_silence_after_the_fin_settles_nothing() {
    let fin = shown(CLOSE_WAIT, BASE, READ_BEFORE + 1);
    let recording = after_end(&[fin; 9], None);
    assert_eq!(recording.fate(), unknown(Doubt::Unsettled));
    let mut closes_fully = Contract::none();
    closes_fully.closed_after_fin = Some(PromiseSource::Configured);
    let fate = recording.fate_under(&closes_fully, Answer::Nothing);
    assert_eq!(fate, Fate::NotApplied(Proof::NeverReceivedClosed));
}

#[test]
fn row_5_a_local_end_after_the_fin_is_no_rst() {
    let fin = shown(CLOSE_WAIT, BASE, READ_BEFORE + 1);
    let end = shown(CLOSE, BASE, READ_BEFORE + 1);
    let others = [Errno::ETIMEDOUT, Errno::ECONNRESET, Errno(103), Errno(113)].map(Some);
    for errno in others.into_iter().chain([None]) {
        assert_eq!(after_end(&[fin, end], errno).fate(), unknown(Doubt::NotByReset(errno)));
        assert_eq!(after_end(&[end], errno).fate(), unknown(Doubt::NotByReset(errno)));
    }
}

#[test]
fn row_6_a_fin_that_acks_part_may_have_been_read() {
    let mut whole_only = Contract::none();
    whole_only.complete_messages_only = Some(PromiseSource::Configured);
    for acked in [BASE + 1, W] {
        let fin = shown(CLOSE_WAIT, acked, READ_BEFORE + 1);
        let rst = shown(CLOSE, acked, READ_BEFORE + 1);
        let more = shown(CLOSE, W + 1, READ_BEFORE + 1);
        let partly = unknown(Doubt::PartlyAcknowledged);
        let refused = after_end(&[fin, rst], Some(Errno::EPIPE));
        assert_eq!(refused.played(), TcpEvidence::Fin(Acked::Part, Settled::Reset(Segments::One)));
        assert_eq!(refused.fate(), partly);
        let fate = refused.fate_under(&whole_only, Answer::Nothing);
        assert_eq!(fate, Fate::NotApplied(Proof::NeverComplete));
        let several = after_end(&[carried(fin, 2), carried(rst, 2)], Some(Errno::EPIPE));
        let fate = several.fate_under(&whole_only, Answer::Nothing);
        assert_eq!(fate, unknown(Doubt::SeveralSegments), "a relay may have the rest");
        let both = with(no_relay(), |c| c.complete_messages_only = Some(PromiseSource::Configured));
        let fate = several.fate_under(&both, Answer::Nothing);
        assert_eq!(fate, Fate::NotApplied(Proof::NeverComplete));
        let completed = after_end(&[fin, more], Some(Errno::EPIPE));
        assert_eq!(completed.fate_under(&whole_only, Answer::Nothing), partly);
    }
}

#[test]
fn row_7_a_fin_that_acks_all_may_have_been_read() {
    let fin = shown(CLOSE_WAIT, W + 1, READ_BEFORE + 1);
    let rst = shown(CLOSE, W + 1, READ_BEFORE + 1);
    let all = unknown(Doubt::Acknowledged);
    assert_eq!(after_end(&[fin], None).fate(), all);
    assert_eq!(after_end(&[fin, rst], Some(Errno::EPIPE)).fate(), all);
    assert_eq!(after_end(&[rst], Some(Errno::EPIPE)).fate(), all);
}

#[test]
fn rows_8_and_9_a_rst_alone_proves_nothing() {
    for (acked, how_much) in [(BASE, Acked::None), (BASE + 35, Acked::Part), (W + 1, Acked::All)] {
        let rst = shown(CLOSE, acked, READ_BEFORE);
        let recording = Recording {
            exchange: exchange(READ_BEFORE),
            last: LastRead::Failed,
            shown: vec![rst],
            errno: Some(Errno::ECONNRESET),
        };
        assert_eq!(recording.fate(), unknown(Doubt::Reset(how_much)));
    }
}

#[test]
fn row_10_an_end_without_a_counted_fin_is_none() {
    let rst = shown(CLOSE, BASE, READ_BEFORE);
    let written = after_end(&[rst], Some(Errno::ECONNRESET));
    assert_eq!(written.fate(), unknown(Doubt::Reset(Acked::None)), "a write had the error");
    let errno = Some(Errno::EPIPE);
    assert_eq!(after_end(&[rst], errno).fate(), unknown(Doubt::NoFin(Acked::None, errno)));
    assert_eq!(after_end(&[rst], None).fate(), unknown(Doubt::NoFin(Acked::None, None)));
}

#[test]
fn row_11_timers_and_icmp_errors_prove_nothing() {
    for errno in [Errno::ETIMEDOUT, Errno(113)].map(Some) {
        let mut end = shown(CLOSE, BASE, READ_BEFORE);
        end.bytes_sent = W + 3 * REQUEST;
        end.bytes_retrans = 3 * REQUEST;
        let recording = Recording {
            exchange: exchange(READ_BEFORE),
            last: LastRead::Failed,
            shown: vec![end],
            errno,
        };
        assert_eq!(recording.fate(), unknown(Doubt::NoFin(Acked::None, errno)));
    }
}

#[test]
fn row_12_an_expired_keepalive_is_found_by_the_stale_check() {
    let mut dead = shown(CLOSE, BASE, READ_BEFORE);
    dead.bytes_sent = WRITTEN_BEFORE;
    assert_eq!(stale_check(WRITTEN_BEFORE, READ_BEFORE, &dead), StaleCheck::Stale);
}

#[test]
fn rows_13_to_15_an_early_response_needs_the_close_of_row_2() {
    const EARLY: u64 = 60;
    let exchange = exchange(READ_BEFORE + EARLY);
    let first = shown(ESTABLISHED, BASE, READ_BEFORE + EARLY);
    assert!(is_stray(&exchange, &first));
    let fin = shown(CLOSE_WAIT, BASE, READ_BEFORE + EARLY + 1);
    let refused = shown(CLOSE, BASE, READ_BEFORE + EARLY + 1);
    let reset = shown(CLOSE, BASE, READ_BEFORE + EARLY);
    let none = Contract::none();
    let stray = Answer::Stray(Early::ClosingResponse);
    let play = |shown: &[Snapshot], errno| Recording {
        exchange,
        last: LastRead::End,
        shown: shown.to_vec(),
        errno,
    };

    let row_13 = play(&[fin, refused], Some(Errno::EPIPE));
    let several = play(&[carried(fin, 2), carried(refused, 2)], Some(Errno::EPIPE));
    assert_eq!(several.fate_under(&none, stray), unknown(Doubt::StrayResponse));
    let proven = Fate::NotApplied(Proof::RefusedBeforeReceipt);
    assert_eq!(row_13.fate_under(&none, stray), proven);
    let row_14 = play(&[reset], Some(Errno::ECONNRESET));
    assert_eq!(row_14.fate_under(&none, stray), unknown(Doubt::StrayResponse));
    let other = Answer::Stray(Early::Other);
    assert_eq!(row_14.fate_under(&none, other), unknown(Doubt::StrayResponse), "row 15");
    assert_eq!(row_13.fate_under(&none, other), Fate::NotApplied(Proof::NeverReceived));
}

#[test]
fn bytes_read_once_some_is_acknowledged_may_answer() {
    let exchange = exchange(READ_BEFORE + 60);
    assert!(is_stray(&exchange, &shown(ESTABLISHED, BASE, READ_BEFORE + 60)));
    assert!(!is_stray(&exchange, &shown(ESTABLISHED, BASE + 1, READ_BEFORE + 60)));
    let mut bypassed = shown(ESTABLISHED, BASE, READ_BEFORE + 60);
    bypassed.bytes_sent = 0;
    assert!(!is_stray(&exchange, &bypassed), "the counters do not speak of it");
}

// ===== counterexamples =====

#[test]
fn bytes_outside_tcp_are_never_proven_refused() {
    let mut fin = shown(CLOSE_WAIT, BASE, READ_BEFORE + 1);
    fin.bytes_sent = WRITTEN_BEFORE;
    let rst = shown(CLOSE, BASE, READ_BEFORE + 1);
    let errno = Some(Errno::EPIPE);
    assert_eq!(after_end(&[fin, rst], errno).fate(), unknown(Doubt::Bypassed));
    let (fin, rst) = (shown(CLOSE_WAIT, BASE, READ_BEFORE + 1), fin);
    assert_eq!(after_end(&[fin, rst], errno).fate(), unknown(Doubt::Bypassed), "seen at the end");
}

#[test]
fn counters_that_an_abort_zeroed_prove_nothing() {
    let fin = shown(CLOSE_WAIT, BASE, READ_BEFORE + 1);
    let zeroed = Snapshot::new(CLOSE);
    let errno = Some(Errno::EPIPE);
    assert_eq!(after_end(&[fin, zeroed], errno).fate(), unknown(Doubt::Bypassed));
    assert_eq!(after_end(&[zeroed], errno).fate(), unknown(Doubt::Bypassed));
}

#[test]
fn an_urgent_byte_kept_in_line_is_no_fin() {
    // Read like any other, so that one more was read and one more received.
    let exchange = exchange(READ_BEFORE + 1);
    let rst = shown(CLOSE, BASE, READ_BEFORE + 1);
    for errno in [Errno::ECONNRESET, Errno::EPIPE].map(Some) {
        let recording = Recording { exchange, last: LastRead::End, shown: vec![rst], errno };
        assert!(recording.fate().is_unknown());
    }
    // Out of line it would pass for a FIN; the errno of a RST without one rejects it.
    let errno = Some(Errno::ECONNRESET);
    assert_eq!(after_end(&[rst], errno).fate(), unknown(Doubt::NotByReset(errno)));
}

#[test]
fn bytes_that_were_not_drained_are_no_fin() {
    let rst = shown(CLOSE, BASE, READ_BEFORE + 2);
    let fate = after_end(&[rst], Some(Errno::ECONNRESET)).fate();
    assert_eq!(fate, unknown(Doubt::NoFin(Acked::None, Some(Errno::ECONNRESET))));
    let fin = shown(CLOSE_WAIT, BASE, READ_BEFORE + 1);
    let recording = Recording {
        exchange: exchange(READ_BEFORE),
        last: LastRead::WouldBlock,
        shown: vec![fin],
        errno: None,
    };
    assert_eq!(recording.fate(), unknown(Doubt::StillOpen));
}

// ===== how much and how long =====

#[test]
fn acknowledged_is_counted_from_the_request_on() {
    let exchange = exchange(READ_BEFORE);
    assert_eq!(exchange.length(), REQUEST);
    for (bytes_acked, bytes, acked) in [
        (0, 0, Acked::None),
        (BASE - 1, 0, Acked::None),
        (BASE, 0, Acked::None),
        (BASE + 1, 1, Acked::Part),
        (W, REQUEST - 1, Acked::Part),
        (W + 1, REQUEST, Acked::All),
        (W + 2, REQUEST, Acked::All),
    ] {
        let snapshot = shown(ESTABLISHED, bytes_acked, READ_BEFORE);
        assert_eq!(exchange.acked_bytes(&snapshot), bytes, "{bytes_acked}");
        assert_eq!(exchange.acked(&snapshot), acked, "{bytes_acked}");
    }
}

#[test]
fn settling_is_worth_it_only_where_it_can_decide() {
    let fin = |acked| {
        let fin = shown(CLOSE_WAIT, acked, READ_BEFORE + 1);
        match at_end(&exchange(READ_BEFORE), LastRead::End, &fin, None) {
            FinStep::Settle(fin) => fin,
            other => panic!("{other:?}"),
        }
    };
    let mut closes_fully = Contract::none();
    closes_fully.closed_after_fin = Some(PromiseSource::Configured);
    let mut whole_only = Contract::none();
    whole_only.complete_messages_only = Some(PromiseSource::Configured);
    for (acked, worth) in [
        (BASE, [true, false, true]),
        (BASE + 1, [false, false, true]),
        (W + 1, [false, false, false]),
    ] {
        let contracts = [Contract::none(), closes_fully, whole_only];
        let found = contracts.map(|contract| {
            is_worth_settling(&fin(acked), &contract, tower_resend_core::Limits::Unchecked)
        });
        assert_eq!(found, worth, "{acked}");
    }
}

#[test]
fn settle_limit_covers_two_retransmissions_within_bounds() {
    let limit = |rto_ms, rtt_ms| {
        let mut snapshot = Snapshot::new(CLOSE_WAIT);
        snapshot.rto = Duration::from_millis(rto_ms);
        snapshot.rtt = Duration::from_millis(rtt_ms);
        settle_limit(&snapshot).as_millis()
    };
    assert_eq!(limit(0, 0), 100, "at least");
    assert_eq!(limit(16, 0), 100, "at least");
    assert_eq!(limit(17, 0), 101);
    assert_eq!(limit(200, 10), 670);
    assert_eq!(limit(640, 15), 2000);
    assert_eq!(limit(640, 16), 2000, "at most");
    assert_eq!(limit(u64::MAX / 1000, u64::MAX / 1000), 2000, "no overflow");
}

#[test]
fn states_have_linux_numbers() {
    assert_eq!(TcpState::from_linux(1), ESTABLISHED);
    assert_eq!(TcpState::from_linux(7), CLOSE);
    for other in (0..=255).filter(|number| ![1, 7].contains(number)) {
        assert_eq!(TcpState::from_linux(other), TcpState::Other(other));
    }
}

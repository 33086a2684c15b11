//! The ledger against a naive model, over sequences of operations drawn at random.

use testkit::ledger_model as model;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tower_resend_core::fin_rule::StaleCheck;
use tower_resend_core::{Errno, Ledger, Reply, Segments, Snapshot, TcpState, Unavailable};

use self::model::{Operation, SEEN, Seen, run, writes};

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let seen = || prop_oneof![3 => Just(Seen::Quiet), 4 => proptest::sample::select(SEEN.to_vec())];
    let bytes = || prop_oneof![1 => Just(0_usize), 4 => 1_usize..5000];
    let errno = prop_oneof![Just(None), Just(Some(Errno::EPIPE)), Just(Some(Errno::ECONNRESET))];
    let operation = prop_oneof![
        6 => Just(Operation::Arm),
        3 => Just(Operation::Resolve),
        1 => Just(Operation::Release),
        1 => Just(Operation::TakeOver),
        6 => seen().prop_map(Operation::StaleCheck),
        8 => bytes().prop_map(Operation::Written),
        6 => (bytes(), seen()).prop_map(|(bytes, seen)| Operation::Read(bytes, seen)),
        1 => seen().prop_map(Operation::Reply),
        1 => Just(Operation::End),
        1 => errno.prop_map(Operation::Error),
    ];
    vec(operation, 0..30)
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
}

#[test]
fn ledger_agrees_with_the_model() {
    let calibration = prop_oneof![4 => Just(Ok(())), 1 => Just(Err(Unavailable::Uncalibrated))];
    let strategy = (calibration, operations());
    let same = runner(4_000).run(&strategy, |(calibration, operations)| {
        run(calibration, &operations);
        Ok(())
    });
    same.expect("the ledger does as the model");
}

/// The counters vouch for a request only after a calibrated connection and a
/// clean stale check between arming and its first byte.
#[test]
fn counters_prove_nothing_without_a_clean_stale_check() {
    let vouched = std::cell::Cell::new(0);
    let law = runner(1_500).run(&operations(), |operations| {
        let model = run(Ok(()), &operations);
        if model.check() == Ok(()) {
            vouched.set(vouched.get() + 1);
            let (_, since) = model.exchange();
            let written = since.iter().position(writes).unwrap_or(since.len());
            let was_checked =
                since[..written].iter().any(|o| matches!(o, Operation::StaleCheck(_)));
            prop_assert!(was_checked, "{:?}", operations);
        }
        Ok(())
    });
    law.expect("the law holds");
    assert!(vouched.get() > 100, "vouched only {} times", vouched.get());
}

/// What is stray stays stray, whatever is acknowledged later.
#[test]
fn stray_bytes_never_become_an_answer() {
    let mut ledger = Ledger::new(Ok(()));
    let mut quiet = Snapshot::new(TcpState::Established);
    quiet.bytes_acked = 1;
    ledger.arm();
    assert_eq!(ledger.on_stale_check(Ok(quiet)), StaleCheck::Clear(Ok(())));
    ledger.on_written(100);
    assert!(ledger.on_read(20));
    quiet.bytes_sent = 100;
    quiet.bytes_received = 20;
    assert_eq!(ledger.on_reply(Ok(quiet)), Reply::Stray);
    quiet.bytes_acked = 101;
    assert!(!ledger.on_read(20));
    assert_eq!(ledger.on_reply(Ok(quiet)), Reply::Stray);
}

/// A stale check after the request went out says nothing of the moment before.
#[test]
fn late_stale_check_does_not_replace_a_missed_one() {
    let mut ledger = Ledger::new(Ok(()));
    let mut quiet = Snapshot::new(TcpState::Established);
    quiet.bytes_acked = 1;
    ledger.arm();
    ledger.on_written(100);
    quiet.bytes_sent = 100;
    assert_eq!(ledger.on_stale_check(Ok(quiet)), StaleCheck::Clear(Ok(())));
    assert_eq!(ledger.check(), Err(Unavailable::NotExamined));
}

/// What was in flight at the stale check could be counted as the request's, and the
/// other way round.
#[test]
fn attack_segments_in_flight_at_the_stale_check_are_not_counted() {
    for (acked, segments) in [(101, Segments::One), (100, Segments::Uncounted)] {
        let mut ledger = Ledger::new(Ok(()));
        let mut shown = Snapshot::new(TcpState::Established);
        ledger.on_written(100);
        shown.bytes_sent = 100;
        shown.bytes_acked = acked;
        shown.data_segs_out = Some(1);
        shown.total_retrans = Some(0);
        ledger.arm();
        assert_eq!(ledger.on_stale_check(Ok(shown)), StaleCheck::Clear(Ok(())));
        ledger.on_written(70);
        shown.bytes_sent = 170;
        shown.data_segs_out = Some(2);
        assert_eq!(ledger.exchange().segments(&shown), segments, "{acked}");
    }
}

/// A stale check that vouches for one request says nothing of the segments of the next.
#[test]
fn segment_count_restarts_with_each_request() {
    let mut ledger = Ledger::new(Ok(()));
    let mut shown = Snapshot::new(TcpState::Established);
    shown.bytes_acked = 1;
    shown.data_segs_out = Some(0);
    shown.total_retrans = Some(0);
    ledger.arm();
    assert_eq!(ledger.on_stale_check(Ok(shown)), StaleCheck::Clear(Ok(())));
    ledger.on_written(100);
    shown.bytes_sent = 100;
    shown.data_segs_out = Some(1);
    assert_eq!(ledger.exchange().segments(&shown), Segments::One);
    ledger.resolve();
    ledger.arm();
    assert_eq!(ledger.exchange().segments(&shown), Segments::Uncounted);
}

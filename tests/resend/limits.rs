//! How often and for how long requests are resent.

#![allow(clippy::disallowed_methods, reason = "this is a test")]

use crate::inner;

use std::time::Duration;

use inner::*;
use tokio::time::Instant;
use tower_resend::resend::Deadline;
use tower_resend::{AttemptToken, Policy};
use tower_resend_core::{Doubt, Fate, NoResend, Opinion, Proof, RequestFacts};

fn doubling() -> Policy {
    Policy::new().classifier(|_: &Fate, _: &RequestFacts| Opinion::Resend("test"))
}

/// The pauses between the calls of the inner service.
fn pauses(played: &Played) -> Vec<Duration> {
    played.calls.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// The clock has a grain of a millisecond, and timers are rounded up to it.
const GRAIN: Duration = Duration::from_millis(1);

fn assert_pauses(played: &Played, first: Duration, base: u64, cap: u64) {
    let mut bound = base;
    for (i, pause) in pauses(played).into_iter().enumerate() {
        let bound = match i {
            0 => first,
            _ => {
                let now = Duration::from_millis(bound.min(cap));
                bound *= 2;
                now
            }
        };
        assert!(pause <= bound + GRAIN, "pause {i} took {pause:?} of {bound:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn repeats_end_with_the_attempts() {
    for (request, policy, calls) in [
        (get(), Policy::new(), 2),
        (get(), Policy::new().max_idempotent_attempts(1), 1),
        (keyed_post(), Policy::new().origins_deduplicate(), 3),
        (keyed_post(), Policy::new().origins_deduplicate().max_attempts(5), 5),
        (post(), doubling(), 3),
    ] {
        let played = play(policy, request, |_| fail(reset())).await;
        assert_eq!(played.calls.len(), calls);
        let limit = u32::try_from(calls).unwrap();
        assert_eq!(played.error().no_resend(), NoResend::Attempts(limit));
    }
}

#[tokio::test(start_paused = true)]
async fn proven_resends_end_after_sixteen() {
    let played = play(Policy::new(), post(), |_| fail(never_received())).await;
    assert_eq!(played.calls.len(), 17);
    assert!(played.error().fate().is_not_applied());
    let played =
        play(Policy::new().max_proven_resends(0), post(), |_| fail(never_received())).await;
    assert_eq!(played.calls.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn hand_backs_end_after_thirty_two() {
    let policy = || Policy::new().deadline(None);
    let played = play(policy(), post(), |_| fail(handed_back())).await;
    assert_eq!(played.calls.len(), 33);
    let error = played.error();
    assert_eq!(error.no_resend(), NoResend::Attempts(32));
    assert_eq!(error.attempts().len(), 33);
}

#[tokio::test(start_paused = true)]
async fn hand_backs_and_failed_connects_use_up_no_attempts() {
    let replies = |call: usize| match call {
        0..10 => fail(handed_back()),
        10..15 => fail(not_connected()),
        _ => fail(reset()),
    };
    let played = play(Policy::new().origins_deduplicate(), keyed_post(), replies).await;
    assert_eq!(played.calls.len(), 18);
}

#[tokio::test(start_paused = true)]
async fn failed_connects_are_repeated_until_patience_ends() {
    let played = play(Policy::new(), post(), |_| fail(not_connected())).await;
    assert!(played.calls.len() > 10, "{} connects", played.calls.len());
    assert!(played.elapsed <= Duration::from_secs(10), "{:?}", played.elapsed);
    assert!(played.elapsed >= Duration::from_secs(8), "{:?}", played.elapsed);
    let error = played.error();
    assert!(error.fate().is_not_applied());
    assert_eq!(error.no_resend(), NoResend::ConnectPatience);

    let policy = Policy::new().deadline(Duration::from_secs(3));
    let played = play(policy, post(), |_| fail(not_connected())).await;
    assert!(played.elapsed <= Duration::from_secs(3), "{:?}", played.elapsed);
    assert_eq!(played.error().no_resend(), NoResend::Deadline);
}

#[tokio::test(start_paused = true)]
async fn patience_begins_anew_when_a_connect_worked() {
    let start = Instant::now();
    let mut proven = false;
    let replies = move |_| match start.elapsed().as_secs() {
        5.. if !proven => {
            proven = true;
            fail(never_received())
        }
        0..12 => fail(not_connected()),
        _ => ok(),
    };
    let policy = Policy::new().connect_patience(Duration::from_secs(10)).deadline(None);
    let played = play(policy, post(), replies).await;
    assert!(played.result.is_ok());
    assert!(played.elapsed > Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn the_first_resend_after_a_proof_is_at_once() {
    for evidence in [handed_back(), never_received()] {
        for _ in 0..20 {
            let policy = Policy::new().deadline(None);
            let played = play(policy, post(), move |_| fail(evidence)).await;
            assert_pauses(&played, Duration::ZERO, 25, 1000);
            assert!(pauses(&played).iter().any(|pause| !pause.is_zero()));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn repeats_pause_within_their_bounds() {
    let mut longest = Duration::ZERO;
    for _ in 0..50 {
        let policy = doubling().max_attempts(10).deadline(None);
        let played = play(policy, post(), |_| fail(reset())).await;
        assert_eq!(played.calls.len(), 10);
        assert_pauses(&played, Duration::from_millis(50), 100, 2000);
        longest = longest.max(pauses(&played)[0]);
    }
    assert!(longest > Duration::from_millis(25), "the jitter is full: {longest:?}");
}

#[tokio::test(start_paused = true)]
async fn no_resend_begins_after_the_deadline() {
    for _ in 0..500 {
        let deadline = Duration::from_millis(200);
        let policy = doubling().max_attempts(1000).deadline(deadline);
        let played = play(policy, post(), |_| fail(reset())).await;
        assert!(played.calls.iter().all(|&at| at < deadline), "{:?}", played.calls);
        assert!(played.elapsed < deadline, "it does not wait to be refused");
        assert_eq!(played.error().no_resend(), NoResend::Deadline);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_outlasts_the_deadline_is_followed_by_no_resend() {
    for (late, calls) in [(Duration::from_secs(4), 2), (Duration::from_secs(5), 1)] {
        let policy = doubling().deadline(Duration::from_secs(5));
        let (mut service, mut handle) = spawn(policy);
        handle.allow(2);
        tokio_test::assert_ready_ok!(service.poll_ready());
        let mut call = tokio_test::task::spawn(service.call(post()));
        fail_taken(taken(&mut handle), reset());
        tokio_test::assert_pending!(call.poll(), "it pauses");
        tokio::time::advance(late).await;
        if calls == 2 {
            tokio_test::assert_pending!(call.poll());
            drop(taken(&mut handle));
        } else {
            let error = tokio_test::assert_ready_err!(call.poll());
            assert_eq!(error.no_resend(), NoResend::Deadline);
            assert_eq!(error.attempts().len(), 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_a_wait_for_readiness() {
    let policy = Policy::new().deadline(Duration::from_secs(5));
    let (mut service, mut handle) = spawn(policy);
    handle.allow(1);
    tokio_test::assert_ready_ok!(service.poll_ready());
    let mut call = tokio_test::task::spawn(service.call(post()));
    fail_taken(taken(&mut handle), never_received());
    tokio_test::assert_pending!(call.poll());
    tokio::time::advance(Duration::from_secs(6)).await;
    let mut error = tokio_test::assert_ready_err!(call.poll());
    assert_eq!(error.no_resend(), NoResend::Deadline);
    assert!(error.fate().is_not_applied());
    assert!(error.take_request::<Octets>().is_some());
}

#[tokio::test(start_paused = true)]
async fn each_attempt_has_its_own_timeout() {
    let policy = || Policy::new().attempt_timeout(Duration::from_secs(1));
    let hang_once = |call| match call {
        0 => Reply::Hang(Some(dropped())),
        _ => ok(),
    };
    let played = play(policy(), get(), hang_once).await;
    assert_eq!(played.calls.len(), 2);
    assert!(played.calls[1] >= Duration::from_secs(1));
    assert!(played.result.is_ok());

    let played = play(policy(), post(), hang_once).await;
    assert_eq!(played.calls.len(), 1, "a POST that timed out is unknown");
    assert_eq!(played.elapsed, Duration::from_secs(1));

    let never_sent = |call| match call {
        0 => Reply::Hang(Some(not_connected())),
        _ => ok(),
    };
    let played = play(policy(), post(), never_sent).await;
    assert_eq!(played.calls.len(), 2, "unless it was never sent");
}

#[tokio::test(start_paused = true)]
async fn a_call_without_limits_may_take_for_ever() {
    let policy = Policy::new().deadline(None);
    let call = play(policy, get(), |_| Reply::Hang(None));
    let long = Duration::from_secs(100_000);
    assert!(tokio::time::timeout(long, call).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn endless_limits_do_not_overflow() {
    let policy = Policy::new()
        .deadline(Duration::MAX)
        .attempt_timeout(Duration::MAX)
        .connect_patience(Duration::MAX);
    let replies = |call| if call < 50 { fail(not_connected()) } else { ok() };
    let played = play(policy, post(), replies).await;
    assert!(played.result.is_ok());
    assert_eq!(played.calls.len(), 51);
}

/// A call may wait for its server for days.
#[tokio::test(start_paused = true)]
async fn the_list_of_endless_failed_connects_is_bounded() {
    let policy = || Policy::new().deadline(None).connect_patience(Duration::MAX);
    let replies = |call| match call {
        300 => fail(handed_back()),
        900 => fail(reset()),
        _ => fail(not_connected()),
    };
    let played = play(policy(), post(), replies).await;
    assert_eq!(played.calls.len(), 901);
    let error = played.error();
    assert!(!error.fate().is_not_applied());
    let fates: Vec<Fate> = error.attempts().iter().map(|attempt| attempt.fate()).collect();
    assert_eq!(fates.len(), 64 + 1 + 64 + 1, "the ends, and what is no failed connect");
    let is_connect = |fate: &Fate| matches!(fate, Fate::NotApplied(Proof::NotConnected(_)));
    assert_eq!(fates.iter().filter(|fate| is_connect(fate)).count(), 64 + 64);
    assert!(matches!(fates[64], Fate::NotApplied(Proof::HandedBack(_))));
    assert!(matches!(fates[129], Fate::Unknown(_)));
    assert!(error.to_string().ends_with(" (after over 128 attempts)"), "{error}");
}

// ===== a deadline of the call's own =====

const LONG: Duration = Duration::from_secs(100_000);

fn with<T: Clone + Send + Sync + 'static>(
    mark: T,
    mut request: http::Request<Octets>,
) -> http::Request<Octets> {
    request.extensions_mut().insert(mark);
    request
}

/// How long a call lasts whose inner service never answers; at most [`LONG`].
async fn lasts(policy: Policy, request: http::Request<Octets>) -> Duration {
    let call = play(policy, request, |_| Reply::Hang(Some(dropped())));
    match tokio::time::timeout(LONG, call).await {
        Ok(played) => {
            let elapsed = played.elapsed;
            assert_eq!(played.error().fate(), Fate::Unknown(Doubt::TimedOut));
            elapsed
        }
        Err(_) => LONG,
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_in_the_request_replaces_the_policys() {
    let ten = || Policy::new().deadline(Duration::from_secs(10));
    for (policy, after, lasted) in [
        (Policy::new(), Some(Duration::from_secs(60)), Duration::from_secs(60)),
        (Policy::new(), Some(Duration::from_secs(2)), Duration::from_secs(2)),
        (ten(), Some(Duration::from_secs(60)), Duration::from_secs(60)),
        (ten(), None, LONG),
        (Policy::new().deadline(None), Some(Duration::from_secs(2)), Duration::from_secs(2)),
    ] {
        let what = format!("{policy:?}, {after:?}");
        assert_eq!(lasts(policy, with(Deadline::new(after), post())).await, lasted, "{what}");
    }
    assert_eq!(lasts(Policy::new(), post()).await, Duration::from_secs(30), "control: none");
    assert_eq!(lasts(ten(), post()).await, Duration::from_secs(10), "control: none");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_in_the_request_is_one_over_all_attempts() {
    for _ in 0..20 {
        let after = Duration::from_millis(200);
        let request = with(Deadline::new(after), post());
        let played = play(doubling().max_attempts(1000), request, |_| fail(reset())).await;
        assert!(played.calls.len() > 1);
        assert!(played.calls.iter().all(|&at| at < after), "{:?}", played.calls);
        assert_eq!(played.error().no_resend(), NoResend::Deadline);
    }
}

#[tokio::test(start_paused = true)]
async fn absurd_deadlines_are_safe() {
    let zero = with(Deadline::new(Duration::ZERO), post());
    assert_eq!(lasts(Policy::new(), zero).await, Duration::ZERO);
    let zero = with(Deadline::new(Duration::ZERO), post());
    let played = play(Policy::new(), zero, |_| ok()).await;
    assert!(played.result.is_ok(), "what waits for nothing is not late");
    let zero = with(Deadline::new(Duration::ZERO), post());
    let played = play(Policy::new(), zero, |_| fail(handed_back())).await;
    assert_eq!(played.calls.len(), 1);
    assert!(played.error().fate().is_not_applied());

    for endless in [|| Duration::MAX, last_of_all] {
        assert_eq!(lasts(Policy::new(), with(Deadline::new(endless()), post())).await, LONG);
        assert_eq!(lasts(Policy::new().deadline(endless()), post()).await, LONG);
        let policy = Policy::new().deadline(None).attempt_timeout(endless());
        assert_eq!(lasts(policy, post()).await, LONG);
    }
}

/// The longest duration after which there is still a time.
fn last_of_all() -> Duration {
    let now = Instant::now();
    let seconds = (0..64).rev().map(|bit| Duration::from_secs(1 << bit));
    let nanos = (0..30).rev().map(|bit| Duration::from_nanos(1 << bit));
    seconds.chain(nanos).fold(Duration::ZERO, |sum, part| {
        let more = sum.checked_add(part).filter(|&more| now.checked_add(more).is_some());
        more.unwrap_or(sum)
    })
}

#[tokio::test(start_paused = true)]
async fn layer_that_stands_down_leaves_the_deadline_to_the_outer() {
    let request = with(AttemptToken::new(), with(Deadline::new(Duration::from_secs(1)), post()));
    assert_eq!(lasts(Policy::new(), request).await, LONG);
}

#[tokio::test(start_paused = true)]
async fn resent_or_returned_request_keeps_the_callers_deadline() {
    let mark = Deadline::new(Duration::from_secs(60));
    let policy = Policy::new().max_proven_resends(1);
    let played = play(policy, with(mark, post()), |_| fail(never_received())).await;
    assert_eq!(played.calls.len(), 2);
    let given_back = played.error().take_request::<Octets>().unwrap();
    assert_eq!(given_back.extensions().get::<Deadline>(), Some(&mark));
}

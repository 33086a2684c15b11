//! Holds what came of a request against the truth, and against what the
//! stack's class promises. Pure: a breach is text, so that a control can ask
//! for one.

use http::StatusCode;
use tower_resend_core::{Doubt, Fate, HandOff, Proof, StaleReason};

use super::{Called, Class, End, Knows};

/// What is wrong.
pub type Breach = String;

/// What an origin does with a request that was written to it.
#[derive(Clone, Copy, Debug)]
pub enum Treats {
    /// It fails it. Who has all the evidence has one of these doubts.
    Fails(&'static [Doubt]),
    /// It answers it, with this status.
    Answers(u16),
    /// It speaks at the wrong moment: anything but a false fate may come of it.
    Interrupts,
}

/// What holds for every stack and every act. `dispatched` is how many times the
/// server took the request up.
pub fn laws(called: &Called, dispatched: usize) -> Result<(), Breach> {
    ensure(dispatched <= 1, || format!("executed {dispatched} times: {called:?}"))?;
    let says_unapplied = match &called.end {
        End::Failed(fate, _) => fate.is_some_and(|fate| fate.is_not_applied()),
        End::Answered(..) => false,
    };
    ensure(!says_unapplied || dispatched == 0, || format!("executed and denied: {called:?}"))?;
    let is_own = is_own_answer(called);
    ensure(!is_own || dispatched == 1, || format!("an answer from nowhere: {called:?}"))
}

/// A request whose connection ended or spoke while it was idle. `found` is
/// what the stale check finds there.
pub fn idle(
    class: Class,
    found: StaleReason,
    called: &Called,
    dispatched: usize,
) -> Result<(), Breach> {
    laws(called, dispatched)?;
    if class.looks {
        ensure(is_own_answer(called), || format!("not survived: {called:?}"))?;
        let handed_back = Fate::NotApplied(Proof::HandedBack(found));
        let expected: &[_] =
            if class.lists_hand_backs { &[handed_back, Fate::Completed] } else { &[] };
        let fates = called.fates();
        let is_expected = match fates[..] {
            // What ended it, or was said, cannot be told below TLS that is not ours.
            [Fate::NotApplied(Proof::HandedBack(_)), Fate::Completed] if is_below_tls(class) => {
                true
            }
            _ => fates == expected,
        };
        return ensure(is_expected, || format!("{fates:?} instead of {expected:?}"));
    }
    match &called.end {
        // Its own pool may have known, and what is stray may be delivered.
        End::Answered(..) => Ok(()),
        End::Failed(fate, _) => {
            ensure(*fate == weakest(class), || format!("another fate: {called:?}"))
        }
    }
}

/// A request before which half of something was said, which the rest could
/// follow: a stack that knows where records end, and which are a request's, does
/// not write it there.
pub fn half_said(class: Class, called: &Called, dispatched: usize) -> Result<(), Breach> {
    laws(called, dispatched)?;
    let is_kept = match called.fates()[..] {
        [first, Fate::Completed] => first.is_not_applied(),
        _ => class.evidence != Knows::All,
    };
    ensure(is_kept, || format!("not survived: {called:?}"))
}

fn is_below_tls(class: Class) -> bool {
    class.evidence == Knows::Nothing(Doubt::NoRequestBoundary)
}

/// A request that was written before anything happened, with bytes in memory
/// or as a stream.
pub fn written(
    class: Class,
    treats: Treats,
    is_streamed: bool,
    called: &Called,
    dispatched: usize,
) -> Result<(), Breach> {
    laws(called, dispatched)?;
    let doubts = match (treats, &called.end) {
        (Treats::Interrupts, _) => return Ok(()),
        (Treats::Answers(status), End::Answered(answered, Ok(_))) => {
            return ensure(*answered == status, || format!("{answered} instead of {status}"));
        }
        (Treats::Fails(doubts), End::Failed(..)) => doubts,
        _ => return Err(format!("{treats:?} ended as {called:?}")),
    };
    let End::Failed(fate, _) = &called.end else { return Ok(()) };
    if class.evidence != Knows::All {
        return ensure(*fate == weakest(class), || format!("another fate: {called:?}"));
    }
    let [attempt] = &called.attempts[..] else { return Err(format!("not one: {called:?}")) };
    let Some(Fate::Unknown(doubt)) = *fate else {
        return Err(format!("stronger than what can be known: {called:?}"));
    };
    // A stream is cut between any two of its bytes.
    let is_expected = match is_streamed {
        true => !is_blind(doubt),
        false => doubts.contains(&doubt),
    };
    ensure(is_expected, || format!("{doubt:?} is none of {doubts:?}: {called:?}"))?;
    let evidence = attempt.evidence();
    let is_measured = evidence.hand_off == HandOff::Written
        && evidence.counts.written > 0
        && evidence.counts.acked.is_some();
    ensure(is_measured && attempt.peer().is_some(), || format!("no evidence: {evidence:?}"))
}

/// The fate of everything that failed, where nothing is known of it.
fn weakest(class: Class) -> Option<Fate> {
    match class.evidence {
        Knows::Nothing(missing) => Some(Fate::Unknown(missing)),
        Knows::All | Knows::Silent => None,
    }
}

/// Whether a doubt says that there was nothing to see.
fn is_blind(doubt: Doubt) -> bool {
    matches!(doubt, Doubt::NoEvidence | Doubt::NoRequestBoundary | Doubt::Unavailable(_))
}

/// Whether the request was answered with what the server's application says.
pub fn is_own_answer(called: &Called) -> bool {
    matches!(&called.end, End::Answered(StatusCode::OK, Ok(body)) if body == "ok")
}

fn ensure(holds: bool, breach: impl FnOnce() -> Breach) -> Result<(), Breach> {
    if holds { Ok(()) } else { Err(breach()) }
}

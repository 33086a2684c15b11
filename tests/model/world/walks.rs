//! The contract, walked: it holds whole, and no clause of it can be left out.

use std::sync::atomic::Ordering;

use stateright::{Checker, HasDiscoveries, Model};

use super::contract::clauses::{Clause, Middlebox, Mode};
use super::contract::{Contracted, NOT_BY_RESET, NOT_LOST, NOT_TAKEN_UP, NOT_UNASKED};

/// Walks the whole space, which keeps the laws. Returns in how many states the
/// request is sent again, by G1 to G4.
#[track_caller]
fn holds(name: &str, world: Contracted) -> [usize; 4] {
    let checker = world.checker().threads(2).spawn_bfs().join();
    let resent = checker.model().resent.each_ref().map(|ground| ground.load(Ordering::Relaxed));
    println!(
        "{name}: holds in {} states; sent again in {resent:?} by G1 to G4",
        checker.unique_state_count()
    );
    checker.assert_properties();
    resent
}

/// Walks until a law is broken, and prints the way there.
#[track_caller]
fn breaks(law: &'static str, name: &str, world: Contracted) {
    let broken = HasDiscoveries::AnyOf([law].into());
    let checker = world.checker().threads(2).finish_when(broken).spawn_bfs().join();
    let states = checker.unique_state_count();
    let Some(path) = checker.discovery(law) else {
        panic!("{name}: holds in {states} states");
    };
    let actions = path.into_actions();
    let steps: Vec<_> = actions.iter().map(|action| format!("    {action:?}")).collect();
    println!("{name}: {law}? Not so, found in {states} states\n{}", steps.join("\n"));
}

#[track_caller]
fn doubles(mode: Mode, clause: Clause) {
    let name = format!("{mode:?} without {clause:?}");
    breaks(NOT_TAKEN_UP, &name, Contracted::new(mode).without(clause));
}

#[test]
fn under_rst_no_dispatched_request_is_resent() {
    let resent = holds("rst", Contracted::new(Mode::Rst));
    assert!(resent.iter().all(|states| *states > 0), "G1 to G4 are there: {resent:?}");
}

#[test]
fn under_fin_no_dispatched_request_is_resent() {
    let resent = holds("fin", Contracted::new(Mode::Fin));
    assert!(resent.iter().all(|states| *states > 0), "G1 to G4 are there: {resent:?}");
}

// ===== each clause of the server is needed =====

#[test]
fn armed_by_what_was_started_and_finished() {
    doubles(Mode::Rst, Clause::ArmedByTakeUp);
}

/// The reset erases the response, and then nothing tells the request from one
/// that was not dispatched.
#[test]
fn armed_with_a_response_on_its_way() {
    let world = || Contracted::new(Mode::Rst).without(Clause::ArmedWhenAcked);
    breaks(NOT_LOST, "Rst without ArmedWhenAcked", world());
    breaks(NOT_TAKEN_UP, "Rst without ArmedWhenAcked", world());
}

#[test]
fn disarmed_after_the_hand_over() {
    doubles(Mode::Rst, Clause::BeforeHandOver);
}

#[test]
fn armed_after_the_hand_over() {
    doubles(Mode::Fin, Clause::BeforeHandOver);
}

#[test]
fn disarmed_before_the_kernel_has_the_response() {
    doubles(Mode::Fin, Clause::ArmedUntilResponse);
}

#[test]
fn shut_down_with_a_request_dispatched() {
    doubles(Mode::Fin, Clause::NoShutdown);
}

#[test]
fn dispatched_after_the_fin() {
    doubles(Mode::Rst, Clause::NothingAfterFin);
    doubles(Mode::Fin, Clause::NothingAfterFin);
}

/// Unread bytes turn the end of a process into a reset, armed or
/// not; and a FIN that acknowledges a part speaks of a request that runs. The
/// opposite mapping resets all the time.
#[test]
fn dispatched_by_parts() {
    doubles(Mode::Rst, Clause::WholeRequests);
    let world = || Contracted::new(Mode::Rst).without(Clause::WholeRequests);
    breaks(NOT_BY_RESET, "Rst without WholeRequests", world());
    holds("Fin without WholeRequests", Contracted::new(Mode::Fin).without(Clause::WholeRequests));
}

#[test]
fn refused_without_the_lock() {
    doubles(Mode::Rst, Clause::OneLock);
    doubles(Mode::Fin, Clause::OneLock);
}

#[test]
fn dispatched_after_the_refusal() {
    doubles(Mode::Rst, Clause::NothingAfterRefused);
    doubles(Mode::Fin, Clause::NothingAfterRefused);
}

#[test]
fn reset_by_a_timer() {
    doubles(Mode::Rst, Clause::NoTimer);
    holds("Fin without NoTimer", Contracted::new(Mode::Fin).without(Clause::NoTimer));
}

/// A blind proxy passes the offer of its own client on.
#[test]
fn an_offer_of_another_connection() {
    for mode in [Mode::Rst, Mode::Fin] {
        let name = format!("{mode:?} without Offer");
        breaks(NOT_UNASKED, &name, Contracted::new(mode).without(Clause::Offer));
    }
}

// ===== each clause of the client is needed =====

#[test]
fn the_announcement_of_another_connection() {
    doubles(Mode::Rst, Clause::Hop);
    doubles(Mode::Fin, Clause::Hop);
}

#[test]
fn a_request_longer_than_max() {
    doubles(Mode::Rst, Clause::Max);
    holds("Fin without Max", Contracted::new(Mode::Fin).without(Clause::Max));
}

/// A host that was rebooted resets what it had dispatched.
#[test]
fn a_reset_after_a_retransmission() {
    doubles(Mode::Rst, Clause::Limits);
    holds("Fin without Limits", Contracted::new(Mode::Fin).without(Clause::Limits));
}

#[test]
fn a_promise_for_the_first_request() {
    doubles(Mode::Rst, Clause::NotTheFirst);
    doubles(Mode::Fin, Clause::NotTheFirst);
}

// ===== resets of others =====

/// C5 keeps those out that forgot the connection; nothing keeps out one that
/// resets what is under way. That is why `fin` is there.
#[test]
fn injected_resets() {
    let late = || Contracted::new(Mode::Rst).with(Middlebox::Late);
    holds("rst, late resets injected", late());
    breaks(NOT_TAKEN_UP, "rst, late resets believed", late().without(Clause::Limits));
    let rst = Contracted::new(Mode::Rst).with(Middlebox::AnyTime);
    breaks(NOT_TAKEN_UP, "rst, resets injected", rst);
    holds("fin, resets injected", Contracted::new(Mode::Fin).with(Middlebox::AnyTime));
}

//! The rule, walked by a model checker through all that a small world can do:
//! two attempts, two segments, loss, delay and reordering, servers and relays
//! that close, reset or crash at any moment.
//!
//! `cargo test -p tower-resend-tests --test model -- --nocapture` prints how many states there are
//! and, where a premise or a clause is taken away, the shortest way to a
//! request that is dispatched twice.

mod world;

use std::sync::atomic::{AtomicUsize, Ordering};

use stateright::{Checker, HasDiscoveries, Model};
use tower_resend_core::{Contract, PromiseSource};
use world::premises::{AfterFin, PeerTcp, Premises};
use world::rule::{Clause, Rule};
use world::{NOT_TWICE, Second, World};

/// Walks the whole space, which keeps the laws. Returns in how many states the
/// request is sent again: by G1, by G2 and by G3.
#[track_caller]
fn holds(name: &str, world: World) -> [usize; 3] {
    let checker = world.checker().threads(2).spawn_bfs().join();
    let proven = &checker.model().proven;
    let [g1, g2, g3] = [&proven.g1, &proven.g2, &proven.g3].map(count);
    println!(
        "{name}: holds in {} states; resent in {}: G1 {g1}, G2 {g2}, G3 {g3}",
        checker.unique_state_count(),
        g1 + g2 + g3,
    );
    checker.assert_properties();
    [g1, g2, g3]
}

fn count(counter: &AtomicUsize) -> usize {
    counter.load(Ordering::Relaxed)
}

/// Walks until a request is dispatched twice, and prints the way there.
#[track_caller]
fn breaks(name: &str, world: World) {
    let twice = HasDiscoveries::AnyOf([NOT_TWICE].into());
    let world = World { second: Second::Ordinary, ..world };
    let checker = world.checker().threads(2).finish_when(twice).spawn_bfs().join();
    let states = checker.unique_state_count();
    let Some(path) = checker.discovery(NOT_TWICE) else {
        panic!("{name}: holds in {states} states");
    };
    let actions = path.into_actions();
    let steps: Vec<_> = actions.iter().map(|action| format!("    {action:?}")).collect();
    println!("{name}: dispatched twice, found in {states} states\n{}", steps.join("\n"));
}

/// All premises hold, and there is no way around TCP: shorter to read.
const PLAIN: Premises = Premises { bypass: false, ..Premises::HOLD };

fn without(premises: Premises) -> World {
    World::new(Rule::whole(), premises)
}

fn weakened(dropped: &'static [Clause]) -> World {
    World::new(Rule::without(dropped), PLAIN)
}

fn first_only(world: World) -> World {
    World { second: Second::None, ..world }
}

#[test]
fn no_request_is_dispatched_twice() {
    let resent = holds("the rule", World::new(Rule::whole(), Premises::HOLD));
    assert!(resent.iter().all(|states| *states > 0), "G1, G2 and G3 are there: {resent:?}");
}

// ===== each premise is needed =====

#[test]
fn p0_counters_that_do_not_count() {
    breaks("P0 off", without(Premises { honest_counters: false, ..PLAIN }));
}

#[test]
fn p1_half_close_then_dispatch_then_reset() {
    breaks("P1 off", without(Premises { after_fin: AfterFin::AtAnyTime, ..PLAIN }));
}

/// A relay in TCP mode half-closes to us and still forwards. Its backend acts
/// on the first segment and resets, the second one makes the relay give the
/// connection up, and the acknowledgement is lost. By the whole rule this is a
/// doubt: `no_request_is_dispatched_twice` walks the same world.
#[test]
fn attack_a_relay_that_passed_the_first_segment_on() {
    breaks("more than one segment", weakened(&[Clause::OneSegment]));
    let walked = holds("the rule against that relay", first_only(without(PLAIN)));
    assert!(walked[1] > 0, "a request in one segment is still proven");
}

/// The second segment is refused by a reset, while the acknowledgement of the
/// first, which was dispatched, waits or is lost. In one segment that is not so.
#[test]
fn p1_covers_closing_where_segments_are_not_counted() {
    let premises = Premises { after_fin: AfterFin::ResetWaits, ..PLAIN };
    let rule = Rule::without(&[Clause::OneSegment]);
    breaks("P1 for resets only", World::new(rule, premises));
    holds("P1 for resets only, one segment", first_only(without(premises)));
}

#[test]
fn p1_speaks_of_acknowledgements_that_arrive() {
    let premises = Premises { after_fin: AfterFin::AckSentFirst, ..PLAIN };
    breaks("P1 for acknowledgements that were sent", without(premises));
}

#[test]
fn p2_another_reader() {
    breaks("P2 off", without(Premises { exclusive_socket: false, ..PLAIN }));
}

#[test]
fn p3_a_fin_that_acknowledges_less() {
    breaks("P3 off: FIN", without(Premises { peer_tcp: PeerTcp::StaleAck, ..PLAIN }));
}

#[test]
fn p3_an_application_that_reads_ahead() {
    // What is ahead is a second segment.
    let premises = Premises { peer_tcp: PeerTcp::ReadsAhead, ..PLAIN };
    breaks("P3 off: read", World::new(Rule::without(&[Clause::OneSegment]), premises));
}

#[test]
fn p4_a_forger() {
    breaks("P4 off", without(Premises { no_forgery: false, ..PLAIN }));
}

#[test]
fn p5_a_replayer() {
    breaks("P5 off", without(Premises { no_replayer: false, ..PLAIN }));
}

// ===== each clause is needed =====

#[test]
fn without_the_wait_for_an_answer() {
    breaks("no settle", weakened(&[Clause::Settle]));
}

#[test]
fn without_conservation() {
    let rule = Rule::without(&[Clause::Conservation]);
    breaks("no conservation", World::new(rule, Premises::HOLD));
}

#[test]
fn with_any_errno() {
    breaks("any errno", weakened(&[Clause::Errno]));
}

#[test]
fn with_some_acknowledged() {
    breaks("some acknowledged", weakened(&[Clause::NoneAcked]));
}

/// EPIPE is only there after a FIN, so that the errno says again what the
/// counter said. The opt-in has no other lock.
#[test]
fn with_any_end_for_a_fin() {
    let rule = Rule::without(&[Clause::FinByCounter]);
    holds("any end for a FIN", first_only(World::new(rule, Premises::HOLD)));
    let mut world = closed_after_fin();
    world.premises.bypass = false;
    world.rule.dropped = &[Clause::FinByCounter];
    breaks("any end for a FIN, closed_after_fin", world);
}

// ===== the opt-ins =====

fn closed_after_fin() -> World {
    let mut contract = Contract::none();
    contract.closed_after_fin = Some(PromiseSource::Configured);
    let rule = Rule { stated: contract, ..Rule::whole() };
    World::new(rule, Premises { after_fin: AfterFin::TakesUpNothing, ..Premises::HOLD })
}

#[test]
fn closed_after_fin_holds_for_what_it_states() {
    let [_, g2, _] = holds("closed_after_fin", first_only(closed_after_fin()));
    assert!(g2 > 0);
    let premises = PLAIN;
    breaks("closed_after_fin, wrongly stated", World { premises, ..closed_after_fin() });
}

fn no_relay(after_fin: AfterFin) -> World {
    let mut contract = Contract::none();
    contract.no_relay = Some(PromiseSource::Configured);
    let premises = Premises { after_fin, ..Premises::HOLD };
    World::new(Rule { stated: contract, ..Rule::whole() }, premises)
}

#[test]
fn no_relay_holds_for_what_it_states() {
    let stated = no_relay(AfterFin::AckArrivesFirst);
    let [_, g2, _] = holds("no_relay", first_only(stated));
    assert!(g2 > 0);
    let relay = World { premises: PLAIN, ..no_relay(AfterFin::LoneAckArrivesFirst) };
    breaks("no_relay, wrongly stated", relay);
}

/// Stated together with `no_relay`: a relay's reset says nothing of the rest.
fn complete_messages_only(premises: Premises) -> World {
    let mut contract = Contract::none();
    contract.complete_messages_only = Some(PromiseSource::Configured);
    contract.no_relay = Some(PromiseSource::Configured);
    World::new(Rule { stated: contract, ..Rule::whole() }, premises)
}

#[test]
fn complete_messages_only_holds_for_what_it_states() {
    let stated =
        Premises { whole_messages: true, after_fin: AfterFin::AllAckedFirst, ..Premises::HOLD };
    let [_, g2, _] = holds("complete_messages_only", first_only(complete_messages_only(stated)));
    assert!(g2 > 0);
    let parts = Premises { whole_messages: false, bypass: false, ..stated };
    breaks("complete_messages_only, wrongly stated", complete_messages_only(parts));
    let after_fin = AfterFin::AckArrivesFirst;
    let some_acked = Premises { after_fin, bypass: false, ..stated };
    breaks("complete_messages_only, P1 for some of it", complete_messages_only(some_acked));
}

/// Without `no_relay` a relay may take the rest, pass the whole on, and reset.
#[test]
fn complete_messages_only_says_nothing_about_a_relay() {
    let relay = Premises { whole_messages: true, ..Premises::HOLD };
    let mut world = complete_messages_only(relay);
    world.premises.bypass = false;
    breaks("complete_messages_only before a relay", world);
    let mut alone = complete_messages_only(relay);
    alone.rule.stated.no_relay = None;
    holds("complete_messages_only alone", first_only(alone));
}

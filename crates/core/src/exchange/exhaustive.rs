//! Every state that any order of events leads to, beside the truth.
//!
//! [`Truth`] is a second account of the same connection, kept without looking at
//! the machine. A law is broken where the two together would let a request be
//! doubled, or an answer be taken for that of another request. Each law has a
//! control: a machine with a fault that breaks it.

use std::collections::HashSet;

use super::contract_state::{Breach, ContractTrust};
use super::fin_rule::LastRead;
use super::ledger::{ExchangePhase, Ledger, Reply};
use super::machine::ExchangeMachine;
use super::outcome::{OwnEnd, Passage, TextCheck, WriteCheck};
use super::snapshot::TcpState;
use super::truth::{Stage, Taking, Truth};
use super::walk::{Age, Event, Outcome, Shown, World, play};
use crate::fate::{Acked, Errno, HandOff, Segments, Settled, TcpEvidence};

/// A machine that can be walked.
trait Walks {
    fn play(&self, machine: &mut ExchangeMachine, event: Event, truth: &Truth) -> Outcome;
}

/// One event: what was before it, what was said, and what is after it.
struct Moment<'a> {
    world: World,
    event: Event,
    outcome: &'a Outcome,
    before: (&'a ExchangeMachine, &'a Truth),
    after: (&'a ExchangeMachine, &'a Truth),
}

impl Moment<'_> {
    /// Returns the law that is broken, if one is.
    fn breach(&self) -> Option<&'static str> {
        self.of_writes()
            .or_else(|| self.of_taking_over())
            .or_else(|| self.of_reads())
            .or_else(|| self.of_another_pool())
            .or_else(|| self.of_contracts())
            .or_else(|| self.of_evidence())
    }

    fn of_writes(&self) -> Option<&'static str> {
        let (machine, truth) = self.after;
        let counts = machine.ledger().exchange();
        let is_untouched = machine.hand_off() == HandOff::NothingWritten;
        if truth.is_open && is_untouched != (truth.own() == 0) {
            return Some("the hand-off is not what the kernel has");
        }
        if truth.is_open && counts.base != truth.counted.before + 1 {
            return Some("the request does not begin where it was counted from");
        }
        let is_checked = truth.is_open && machine.ledger().check().is_ok();
        if is_checked && !(truth.was_sound && self.world != World::Uncalibrated) {
            return Some("the counters speak of a request that they were not checked for");
        }
        let may_end = matches!(truth.stage, Stage::Idle | Stage::Released);
        (self.outcome.end == Some(OwnEnd::Send) && !may_end).then_some("a FIN in an exchange")
    }

    fn of_taking_over(&self) -> Option<&'static str> {
        if self.before.1.stage == Stage::TakenOver {
            let goes = self.outcome.write == Some(WriteCheck::Go)
                || matches!(self.outcome.text, Some(TextCheck::Go | TextCheck::CheckFirst))
                || matches!(self.outcome.armed, Some(Ok(_)))
                || self.outcome.id.is_some();
            if goes {
                return Some("written after it was taken over");
            }
            let is_text = matches!(self.event, Event::OnText(_));
            if is_text && self.outcome.passage != Some(Passage::Withhold) {
                return Some("delivered after it was taken over");
            }
        }
        let is_taken_over = self.after.1.stage == Stage::TakenOver;
        (self.after.0.is_taken_over() != is_taken_over).then_some("who has it is not known")
    }

    fn of_reads(&self) -> Option<&'static str> {
        let (machine, truth) = self.after;
        if machine.ledger().errno() != truth.errno {
            return Some("an errno that the socket did not give first");
        }
        let is_http = matches!(self.event, Event::Read(_) | Event::ReadClosing | Event::OnText(_));
        if is_http && self.before.1.stage == Stage::InExchange {
            let is_withheld = self.outcome.passage == Some(Passage::Withhold);
            if self.before.1.own() == 0 && !(is_withheld && machine.found().is_some()) {
                return Some("read before the request, and delivered");
            }
            if truth.stray == Some(true) && !is_withheld {
                return Some("stray, and delivered");
            }
        }
        let reply = match truth.stray {
            None => Reply::Nothing,
            Some(true) => Reply::Stray,
            Some(false) => Reply::Answer,
        };
        let is_wrong = truth.is_open && machine.ledger().reply() != reply;
        is_wrong.then_some("the first judgment does not stand")
    }

    fn of_another_pool(&self) -> Option<&'static str> {
        let (_, truth) = self.before;
        if self.outcome.id.is_some() {
            let is_over = matches!(truth.stage, Stage::TakenOver | Stage::Released);
            if truth.is_lost || truth.was_spoken_to || truth.is_buffered || is_over {
                return Some("a boundary that cannot be known");
            }
        }
        let is_old = matches!(
            self.event,
            Event::TakeOverIf(Age::Earlier) | Event::Answered(Age::Earlier, _)
        );
        (is_old && self.before.0 != self.after.0)
            .then_some("an exchange that is over did something")
    }

    fn of_contracts(&self) -> Option<&'static str> {
        let (machine, truth) = self.after;
        if machine.contract.monitor.is_some() && !truth.is_watched {
            return Some("a promise that is not in force counts");
        }
        let is_broken = self.before.0.has_broken_promise();
        if is_broken && !machine.has_broken_promise() {
            return Some("a broken promise is forgotten");
        }
        let refuses = machine.has_broken_promise() && machine.clone().is_refused();
        refuses.then_some("the word of a server that broke it counts")
    }

    /// What proves anything must be shown by one reading of the socket.
    fn of_evidence(&self) -> Option<&'static str> {
        let (Event::Drained(_, shown) | Event::Settle(shown)) = self.event else { return None };
        let (before, after) = (self.before.1, self.after.1);
        let is_shown = |acked: Acked, state: TcpState, errno: Errno| {
            let Ok(shown) = shown.reading(&before.counted).snapshot else { return false };
            shown.state == state
                && shown.is_conserved(before.counted.written)
                && (acked != Acked::None || shown.bytes_acked <= before.counted.before + 1)
                && after.errno == Some(errno)
        };
        match self.outcome.tcp? {
            TcpEvidence::Fin(acked, Settled::Reset(_)) => {
                let is_sound = after.saw_fin && is_shown(acked, TcpState::Close, Errno::EPIPE);
                (!is_sound).then_some("a reset after a FIN that was not seen")
            }
            TcpEvidence::Fin(..) => (!after.saw_fin).then_some("a FIN that was not seen"),
            TcpEvidence::Reset(acked) => {
                let is_sound = is_shown(acked, TcpState::Close, Errno::ECONNRESET);
                (!is_sound).then_some("a reset that was not seen")
            }
            _ => None,
        }
    }
}

/// Visits all states of a world; returns how many, and the first breach with the
/// events that led to it.
fn explore(world: World, walks: &impl Walks) -> (usize, Option<(&'static str, Vec<Event>)>) {
    let events = world.events();
    let mut seen = HashSet::new();
    let first = (world.machine(), Truth::new());
    seen.insert(first.clone());
    let mut states = vec![(first, None)];
    let mut at = 0;
    while at < states.len() {
        for &event in &events {
            let (before, truth) = &states[at].0;
            if !truth.can(event) {
                continue;
            }
            let (mut after, mut then) = (before.clone(), truth.clone());
            let outcome = walks.play(&mut after, event, truth);
            then.follow(world, before, event, &outcome, &after);
            let before = (before, truth);
            let moment = Moment { world, event, outcome: &outcome, before, after: (&after, &then) };
            if let Some(law) = moment.breach() {
                return (states.len(), Some((law, way_to(&states, at, event))));
            }
            let state = (after, then);
            // What was concluded is over.
            if state.1.taking != Taking::Done && seen.insert(state.clone()) {
                states.push((state, Some((at, event))));
            }
        }
        at += 1;
    }
    (states.len(), None)
}

type Visited = ((ExchangeMachine, Truth), Option<(usize, Event)>);

fn way_to(states: &[Visited], mut at: usize, last: Event) -> Vec<Event> {
    let mut way = vec![last];
    while let Some((earlier, event)) = states[at].1 {
        way.push(event);
        at = earlier;
    }
    way.reverse();
    way
}

/// The machine as it is.
struct Sound;

impl Walks for Sound {
    fn play(&self, machine: &mut ExchangeMachine, event: Event, truth: &Truth) -> Outcome {
        play(machine, event, &truth.counted)
    }
}

#[test]
fn no_order_of_events_breaks_a_law() {
    for world in World::ALL {
        let (states, breach) = explore(world, &Sound);
        assert_eq!(breach, None, "{world:?}");
        assert!(states > 1_000, "{world:?}: only {states} states were visited");
    }
}

/// One fault of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// A write is not counted while the exchange is taken over.
    LosesAWrite,
    /// Under TLS no byte is the request's.
    CountsAllBefore,
    /// A check is taken from the exchange before.
    KeepsTheCheck,
    SendsItsFin,
    /// An answer that was read to its end frees any connection.
    FreesWhatWasTaken,
    /// Only an idle connection has unsolicited bytes.
    DeliversWhileArmed,
    /// A response is judged anew at each read.
    JudgesAgain,
    /// A byte of no request ends no boundary.
    KeepsBoundaries,
    /// Any exchange is the one on the connection.
    TakesOverByAnyId,
    /// What is no longer believed still counts.
    BelievesTheRevoked,
    /// Each exchange begins with a clean slate.
    ForgetsBreaches,
    /// EPIPE is a reset, whatever else the socket shows.
    TrustsTheErrno,
}

impl Walks for Fault {
    fn play(&self, machine: &mut ExchangeMachine, event: Event, truth: &Truth) -> Outcome {
        let before = machine.clone();
        let mut outcome = match (self, event) {
            (Self::BelievesTheRevoked, Event::Arm(ContractTrust::Revoked))
                if before.contract.status.promise().is_some() =>
            {
                play(machine, Event::Arm(ContractTrust::SameHop), &truth.counted)
            }
            _ => play(machine, event, &truth.counted),
        };
        let is_armed = before.ledger.phase() == ExchangePhase::Armed;
        match (self, event) {
            (Self::LosesAWrite, Event::Write(_)) if is_armed => machine.ledger = before.ledger,
            (Self::CountsAllBefore, Event::Write(_)) if is_armed => {
                machine.ledger = before.ledger;
                machine.ledger.on_written_before(2);
            }
            (Self::KeepsTheCheck, Event::Arm(_)) => {
                let _ =
                    machine.ledger.on_stale_check(Shown::Quiet.reading(&truth.counted).snapshot);
            }
            (Self::SendsItsFin, Event::Shutdown) => outcome.end = Some(OwnEnd::Send),
            (Self::FreesWhatWasTaken, Event::Finish) if before.is_taken_over() => {
                machine.ledger = Ledger::new(Ok(()))
            }
            (Self::DeliversWhileArmed, Event::Read(_)) if is_armed => {
                outcome.passage = Some(Passage::Deliver);
            }
            (Self::JudgesAgain, Event::Read(_)) if before.ledger.reply() == Reply::Stray => {
                outcome.passage = Some(Passage::Deliver);
            }
            (Self::KeepsBoundaries, Event::Write(_)) => machine.driver = before.driver,
            (Self::TakesOverByAnyId, Event::TakeOverIf(_)) => {
                machine.take_over();
                outcome.takes_over = true;
            }
            (Self::ForgetsBreaches, Event::Arm(_)) => machine.contract.breach = Breach::None,
            (Self::TrustsTheErrno, Event::Drained(LastRead::End, _))
                if machine.ledger.errno().is_some() =>
            {
                let reset = Settled::Reset(Segments::One);
                outcome.tcp = Some(TcpEvidence::Fin(Acked::None, reset));
            }
            _ => {}
        }
        outcome
    }
}

#[test]
fn control_every_fault_is_caught() {
    for (fault, world, law) in [
        (Fault::LosesAWrite, World::Plain, "the hand-off is not what the kernel has"),
        (
            Fault::CountsAllBefore,
            World::Tls,
            "the request does not begin where it was counted from",
        ),
        (
            Fault::KeepsTheCheck,
            World::Plain,
            "the counters speak of a request that they were not checked for",
        ),
        (Fault::SendsItsFin, World::Plain, "a FIN in an exchange"),
        (Fault::FreesWhatWasTaken, World::Plain, "who has it is not known"),
        (Fault::DeliversWhileArmed, World::External, "read before the request, and delivered"),
        (Fault::JudgesAgain, World::Plain, "stray, and delivered"),
        (Fault::KeepsBoundaries, World::External, "a boundary that cannot be known"),
        (Fault::TakesOverByAnyId, World::External, "an exchange that is over did something"),
        (Fault::BelievesTheRevoked, World::Contract, "a promise that is not in force counts"),
        (Fault::ForgetsBreaches, World::Contract, "a broken promise is forgotten"),
        (Fault::TrustsTheErrno, World::Plain, "a reset after a FIN that was not seen"),
    ] {
        let (_, breach) = explore(world, &fault);
        assert_eq!(breach.map(|(law, _)| law), Some(law), "{fault:?}");
    }
}

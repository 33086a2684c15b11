//! What each event does in each phase, compared with the checked-in
//! `TRANSITIONS.txt`.
//!
//! The machine is asked, not read: every event is played in every state of four
//! worlds, and what differs is boiled down to the parts of the state that it
//! depends on. `UPDATE=1 cargo test -p tower-resend-core transitions` writes the
//! file anew.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write;
use std::path::Path;

use super::contract_state::DrainNotice;
use super::external::{Boundaries, Driver, OwnFin};
use super::ledger::ExchangePhase;
use super::machine::ExchangeMachine;
use super::stream_kind::StreamKind;
use super::truth::{Taking, Truth};
use super::walk::{Event, Outcome, World, play};
use crate::rule_lines::{Names, Rule};

const HEAD: &str = "\
Every transition of the exchange machine.

Made by exchange/transitions.rs from `ExchangeMachine`; UPDATE=1 writes it anew.
A line is an event with what the socket shows at it, what it depends on
(nothing: it always does this), what the machine answers, and the phase after
the event if that is another. An event that is not listed in a phase cannot
happen in it. What is read in TakenOver is read by the drain: hyper gets none of
it. How the evidence is judged is not here: see `fin_rule`.
";

const PHASES: [ExchangePhase; 5] = [
    ExchangePhase::Idle,
    ExchangePhase::Armed,
    ExchangePhase::Sent,
    ExchangePhase::TakenOver,
    ExchangePhase::Released,
];

const WORLDS: [World; 4] = [World::Plain, World::Contract, World::Tls, World::External];

/// What an event can depend on.
fn parts(machine: &ExchangeMachine) -> Vec<(&'static str, String)> {
    let layer = match machine.stream {
        StreamKind::Http => "http",
        StreamKind::ProxyHandshake => "proxy handshake",
        StreamKind::Tls(_) => "tls",
    };
    let (driver, boundaries, own_fin) = match &machine.driver {
        Driver::Announced => ("our pool", "known", "none"),
        Driver::External(external) => (
            "another pool",
            match external.boundaries {
                Boundaries::Known => "known",
                Boundaries::Lost => "lost",
            },
            match external.own_fin {
                OwnFin::NotSent => "none",
                OwnFin::Sent => "sent",
            },
        ),
    };
    let is_first = matches!(&machine.driver, Driver::External(external) if external.exchanges == 0);
    let was_spoken_to =
        is_first && machine.stream.was_spoken_to(&machine.ledger, machine.driver.last());
    let yes_or_no = |is: bool| if is { "yes" } else { "no" };
    vec![
        ("driver", driver.to_owned()),
        ("layer", layer.to_owned()),
        ("found", yes_or_no(machine.ledger.found().is_some()).to_owned()),
        (
            "check",
            match machine.ledger.check() {
                Ok(()) => "sound".to_owned(),
                Err(why) => format!("{why:?}"),
            },
        ),
        ("reply", format!("{:?}", machine.ledger.reply())),
        ("boundaries", boundaries.to_owned()),
        ("first", yes_or_no(is_first).to_owned()),
        ("heard", yes_or_no(was_spoken_to).to_owned()),
        ("own fin", own_fin.to_owned()),
        ("errno", yes_or_no(machine.ledger.errno().is_some()).to_owned()),
        ("text", yes_or_no(machine.stream.has_text()).to_owned()),
        ("flushed", yes_or_no(machine.stream.is_flushed()).to_owned()),
        ("within record", {
            let is_within = machine.stream.is_within_record(ExchangePhase::Armed);
            yes_or_no(is_within).to_owned()
        }),
        ("record", format!("{:?}", machine.stream.is_too_early())),
        ("written", yes_or_no(machine.is_written()).to_owned()),
        ("trust", format!("{:?}", machine.contract.trust)),
        ("contract", machine.contract.status.name().to_owned()),
        ("draining", yes_or_no(machine.contract.drain == DrainNotice::Announced).to_owned()),
    ]
}

/// The machine's answer, and the phase after the event if that is another.
fn text_of(event: Event, outcome: &Outcome, before: ExchangePhase, after: ExchangePhase) -> String {
    let mut said: Vec<String> = Vec::new();
    said.extend(outcome.armed.map(|armed| match armed {
        Ok(armed) => {
            let offers = if armed.offers { ", offers" } else { "" };
            format!("armed{offers}{}", if armed.watches_body { ", watched" } else { "" })
        }
        Err(_) => "not taken".to_owned(),
    }));
    if event == Event::ArmTaken {
        said.push(if outcome.id.is_some() { "armed" } else { "no boundary" }.to_owned());
    }
    said.extend(outcome.passage.map(|passage| format!("{passage:?}")));
    said.extend(outcome.wait.map(|check| format!("{check:?}")));
    said.extend(outcome.write.map(|check| format!("{check:?}")));
    said.extend(outcome.text.map(|check| format!("{check:?}")));
    said.extend(outcome.end.map(|end| format!("{end:?}")));
    if outcome.refuses {
        said.push("refused".to_owned());
    }
    if after != before {
        said.push(format!("-> {after:?}"));
    }
    said.join(" ")
}

/// Each event in each phase: what it led to, by the parts of the state.
type Seen = BTreeMap<(usize, usize), BTreeMap<Vec<u8>, u8>>;

struct Transitions {
    names: Names,
    events: Vec<String>,
    outcomes: Vec<String>,
    seen: Seen,
}

impl Transitions {
    fn place(list: &mut Vec<String>, text: String) -> usize {
        list.iter().position(|known| *known == text).unwrap_or_else(|| {
            list.push(text);
            list.len() - 1
        })
    }

    fn walk(&mut self, world: World) {
        let events = world.events();
        let mut known = HashSet::new();
        let mut states = vec![(world.machine(), Truth::new())];
        while let Some((before, truth)) = states.pop() {
            let numbers: Vec<_> =
                parts(&before).iter().map(|part| self.names.number(part)).collect();
            for &event in events.iter().filter(|event| truth.can(**event)) {
                let (mut after, mut then) = (before.clone(), truth.clone());
                let outcome = play(&mut after, event, &truth.counted);
                then.follow(world, &before, event, &outcome, &after);
                self.note(&numbers, event, &outcome, &before, &after);
                let state = (after, then);
                if state.1.taking == Taking::Not && known.insert(state.clone()) {
                    states.push(state);
                }
            }
        }
    }

    fn note(
        &mut self,
        numbers: &[u8],
        event: Event,
        outcome: &Outcome,
        before: &ExchangeMachine,
        after: &ExchangeMachine,
    ) {
        let (from, to) = (before.ledger.phase(), after.ledger.phase());
        let phase = PHASES.iter().position(|phase| *phase == from).expect("one of five");
        let outcome = Self::place(&mut self.outcomes, text_of(event, outcome, from, to)) as u8;
        let event = Self::place(&mut self.events, format!("{event:?}"));
        let seen = self.seen.entry((phase, event)).or_default();
        let other = *seen.entry(numbers.to_vec()).or_insert(outcome);
        assert_eq!(
            self.outcomes[usize::from(other)],
            self.outcomes[usize::from(outcome)],
            "{} depends on something that has no part: {before:?}",
            self.events[event]
        );
    }

    fn write(&self, part_names: &[&'static str]) -> String {
        let mut text = HEAD.to_owned();
        let mut order: Vec<_> = (0..self.events.len()).collect();
        order.sort_by_key(|event| &self.events[*event]);
        for (phase, name) in PHASES.iter().enumerate() {
            write!(text, "\n{name:?}\n").expect("text can be written");
            for &event in &order {
                let Some(seen) = self.seen.get(&(phase, event)) else { continue };
                let occurring: Vec<BTreeSet<u8>> = (0..part_names.len())
                    .map(|place| seen.keys().map(|values| values[place]).collect())
                    .collect();
                let mut rule = Rule(seen.clone());
                let kept = rule.reduce(part_names.len());
                for (values, outcome) in rule.lines() {
                    let guards: Vec<_> = kept
                        .iter()
                        .zip(&values)
                        .filter(|(place, values)| **values != occurring[**place])
                        .map(|(place, values)| self.names.write(part_names[*place], values))
                        .collect();
                    let (event, guards) = (&self.events[event], guards.join(", "));
                    let outcome = &self.outcomes[usize::from(outcome)];
                    let line = format!("  {event:<28} {guards:<60} {outcome}");
                    writeln!(text, "{}", line.trim_end()).expect("text can be written");
                }
            }
        }
        text
    }
}

fn transitions() -> String {
    let mut transitions = Transitions {
        names: Names::default(),
        events: Vec::new(),
        outcomes: Vec::new(),
        seen: Seen::new(),
    };
    for world in WORLDS {
        transitions.walk(world);
    }
    let part_names: Vec<_> =
        parts(&World::Plain.machine()).into_iter().map(|(name, _)| name).collect();
    transitions.write(&part_names)
}

#[test]
fn transitions_are_as_checked_in() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/exchange/TRANSITIONS.txt");
    let now = transitions();
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        std::fs::write(&path, &now).expect("the snapshot can be written");
    }
    let then = std::fs::read_to_string(&path).expect("the snapshot is checked in");
    for (number, (now, then)) in now.lines().zip(then.lines()).enumerate() {
        assert_eq!(now, then, "TRANSITIONS.txt:{}; UPDATE=1 accepts it", number + 1);
    }
    assert_eq!(now.lines().count(), then.lines().count(), "UPDATE=1 accepts it");
}

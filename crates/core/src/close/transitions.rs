//! What each event changes in each stage, compared with the checked-in
//! `TRANSITIONS.txt`.
//!
//! The machine is asked, not read: every event is played in every state that
//! events can lead to, and what differs is boiled down to the parts of the state
//! that it depends on. `UPDATE=1 cargo test -p tower-resend-core transitions`
//! writes the file anew.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Write;
use std::path::Path;

use super::quick::Quick;
use super::state::CloseStage;
use super::{CloseMachine, CloseMode, Event, Linger};
use crate::contract::Offer;
use crate::rule_lines::{Names, Rule};

const HEAD: &str = "\
Every transition of the close machine, and when it arms the socket.

Made by close/transitions.rs from `CloseMachine`; UPDATE=1 writes it anew.
A line is an event, what it depends on (nothing: it always does this), and what
it changes. What is not listed stays as it is. `denied`: what the event
announces must not happen. A part with a colon names the values that it has
before the event.
";

/// A part of the state or of its outcome, by its name, and its value.
type Parts = Vec<(&'static str, String)>;

fn offers() -> [(&'static str, Offer); 5] {
    [
        ("none", Offer::none()),
        ("gone", Offer::none().with_gone()),
        ("rst", Offer::none().with_rst()),
        ("fin", Offer::none().with_fin()),
        ("all", Offer::all()),
    ]
}

fn events() -> Vec<(&'static str, Event)> {
    let others = [
        ("waited", Event::Waited),
        ("read", Event::Read),
        ("peer ended", Event::PeerEnded),
        ("received", Event::Received),
        ("dispatch", Event::Dispatch),
        ("announce", Event::Announce),
        ("connection: close sent", Event::ConnectionCloseSent),
        ("refused", Event::Refused),
        ("answered", Event::Answered),
        ("abandoned", Event::Abandoned),
        ("write", Event::Write),
        ("flushed", Event::Flushed),
        ("acked", Event::Acked),
        ("go away", Event::GoAway),
        ("go away later", Event::GoAwayLater),
        ("shutdown", Event::Shutdown),
        ("disarm", Event::Disarm),
        ("broken", Event::Broken),
        ("closed", Event::Closed),
    ];
    let began = offers().map(|(_, offer)| ("began", Event::Began(offer)));
    began.into_iter().chain(others).collect()
}

const STAGES: [&str; 9] = [
    "Unused",
    "Idle",
    "Receiving",
    "Pending",
    "Dispatched",
    "Answered",
    "Closing",
    "Disarmed",
    "Closed",
];

/// The name of a stage without what it carries.
fn stage_name(stage: CloseStage) -> &'static str {
    match stage {
        CloseStage::Unused => "Unused",
        CloseStage::Idle(_) => "Idle",
        CloseStage::Receiving(_) => "Receiving",
        CloseStage::Pending => "Pending",
        CloseStage::Dispatched => "Dispatched",
        CloseStage::Answered => "Answered",
        CloseStage::Closing(_) => "Closing",
        CloseStage::Disarmed(_) => "Disarmed",
        CloseStage::Closed => "Closed",
    }
}

impl CloseMachine {
    /// Everything but linger, which is a function of the rest.
    fn parts(&self) -> Parts {
        let offer = offers().into_iter().find(|(_, offer)| *offer == self.offer());
        let mode = match self.mode {
            CloseMode::ResetBeforeDispatch => "rst",
            CloseMode::FinBeforeDispatch => "fin",
            CloseMode::Plain => "plain",
        };
        vec![
            ("mode", mode.to_owned()),
            ("stage", format!("{:?}", self.stage)),
            ("tracking", format!("{:?}", self.tracking)),
            ("end", format!("{:?}", self.end)),
            ("request", format!("{:?}", self.request)),
            ("response", format!("{:?}", self.response)),
            ("delivery", format!("{:?}", self.delivery)),
            ("promise", format!("{:?}", self.promise)),
            ("server", format!("{:?}", self.server)),
            ("admission", format!("{:?}", self.admission)),
            ("offer", offer.map_or("other", |(name, _)| name).to_owned()),
        ]
    }
}

/// Every state that events lead to, a request beginning only after a byte was
/// read.
fn reachable() -> Vec<CloseMachine> {
    let modes = [CloseMode::ResetBeforeDispatch, CloseMode::FinBeforeDispatch, CloseMode::Plain];
    let mut states: Vec<_> = modes.into_iter().map(CloseMachine::new).collect();
    let mut seen: HashSet<_, Quick> = states.iter().copied().collect();
    let mut at = 0;
    while let Some(&before) = states.get(at) {
        for (_, event) in events() {
            let mut machine = before;
            let _ = machine.handle(event);
            let is_early = before.stage == CloseStage::Unused && matches!(event, Event::Began(_));
            // Linger is a function of the rest, and its own history no state.
            machine.linger = Linger::Off;
            if !is_early && seen.insert(machine) {
                states.push(machine);
            }
        }
        at += 1;
    }
    states
}

/// A state with the numbers of its parts.
type Numbered = (CloseMachine, Vec<u8>);

/// The outcome that is not written.
const SAME: u8 = u8::MAX;
const DENIED: u8 = u8::MAX - 1;

/// The snapshot while it is made.
struct Snapshot {
    text: String,
    names: Names,
    parts: Vec<&'static str>,
    known: HashMap<CloseMachine, Vec<u8>, Quick>,
}

impl Snapshot {
    fn numbers(&mut self, machine: CloseMachine) -> Vec<u8> {
        // Linger is a function of the rest.
        let machine = CloseMachine { linger: Linger::Off, ..machine };
        let names = &mut self.names;
        let make = || machine.parts().iter().map(|part| names.number(part)).collect();
        self.known.entry(machine).or_insert_with(make).clone()
    }

    /// Writes the outcomes of an event in these states, a line for each
    /// combination of parts that the outcome depends on.
    fn write_rule(
        &mut self,
        event: &str,
        states: &[&Numbered],
        outcomes: &[u8],
        name: impl Fn(&Names, u8) -> String,
    ) {
        if outcomes.iter().all(|outcome| *outcome == SAME) {
            return;
        }
        let numbers = states.iter().map(|(_, numbers)| numbers.clone());
        let mut rule = Rule(numbers.zip(outcomes.iter().copied()).collect());
        let kept = rule.reduce(self.parts.len());
        for (values, outcome) in rule.lines().into_iter().filter(|line| line.1 != SAME) {
            let guards = kept.iter().zip(&values).filter(|(place, values)| {
                // A part that may have any value that occurs here decides nothing.
                let occurring: BTreeSet<_> = states.iter().map(|state| state.1[**place]).collect();
                **values != occurring
            });
            let guards: Vec<_> = guards
                .map(|(place, values)| self.names.write(self.parts[*place], values))
                .collect();
            let outcome = name(&self.names, outcome);
            let line = format!("  {event:<23} {:<56} {outcome}", guards.join(", "));
            writeln!(self.text, "{}", line.trim_end()).expect("text can be written");
        }
    }

    /// Writes what an event changes in these states.
    fn write_event(&mut self, name: &str, event: Event, states: &[&Numbered]) {
        let afters: Vec<_> = states
            .iter()
            .map(|(machine, _)| {
                let mut after = *machine;
                let step = after.handle(event);
                (step.is_allowed, self.numbers(after))
            })
            .collect();
        for (place, part) in self.parts.clone().into_iter().enumerate() {
            let outcomes: Vec<_> = states
                .iter()
                .zip(&afters)
                .map(|((_, before), (is_allowed, after))| match part {
                    "stage" if !is_allowed => DENIED,
                    // A request that begins brings its own.
                    "offer" => SAME,
                    _ if before[place] == after[place] => SAME,
                    _ => after[place],
                })
                .collect();
            self.write_rule(name, states, &outcomes, |names, outcome| match part {
                _ if outcome == DENIED => "denied".to_owned(),
                "stage" => format!("-> {}", names.0[part][usize::from(outcome)]),
                _ => format!("{part} = {}", names.0[part][usize::from(outcome)]),
            });
        }
    }
}

fn transitions() -> String {
    let parts = CloseMachine::new(CloseMode::Plain).parts();
    let parts = parts.into_iter().map(|(part, _)| part).collect();
    let mut snapshot = Snapshot {
        text: HEAD.to_owned(),
        names: Names::default(),
        parts,
        known: HashMap::default(),
    };
    let states = reachable().into_iter().map(|machine| (machine, snapshot.numbers(machine)));
    let states: Vec<Numbered> = states.collect();
    let mut events = events();
    // The offer of the request that begins is the only difference.
    events.dedup_by_key(|(name, _)| *name);
    for stage in STAGES {
        let here = states.iter().filter(|(machine, _)| stage_name(machine.stage) == stage);
        let here: Vec<_> = here.collect();
        assert!(!here.is_empty(), "{stage}");
        write!(snapshot.text, "\n{stage}\n").expect("text can be written");
        for (name, event) in &events {
            snapshot.write_event(name, *event, &here);
        }
    }
    snapshot.text.push_str("\nThe socket is set to reset, until it is closed\n");
    for stage in STAGES.into_iter().filter(|stage| *stage != "Closed") {
        let here = states.iter().filter(|(machine, _)| stage_name(machine.stage) == stage);
        let here: Vec<_> = here.collect();
        let is_armed = |(machine, _): &&Numbered| match machine.wanted_linger() {
            Linger::Zero => 0,
            Linger::Off => SAME,
        };
        let outcomes: Vec<_> = here.iter().map(is_armed).collect();
        snapshot.write_rule(stage, &here, &outcomes, |_, _| "armed".to_owned());
    }
    snapshot.text
}

#[test]
fn transitions_are_as_checked_in() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/close/TRANSITIONS.txt");
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

//! Every state that any order of events leads to, beside the truth.
//!
//! [`Truth`] is a second account of the same connection, kept without looking
//! at the machine: what the application has, what the kernel has, what the
//! socket is set to. A breach is a state in which the two together would tell a
//! client something false.

use std::collections::HashSet;

use super::quick::Quick;
use super::scenarios::served;
use super::state::{CloseStage, Tunnel};
use super::{CloseMachine, CloseMode, CloseStep, ClosingMessage, Event, Linger};
use crate::contract::Offer;

/// What is true of a connection, whatever a machine believes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Truth {
    /// Something was read, so that a request can begin.
    was_read: bool,
    /// The service has a request that it has not answered.
    is_open: bool,
    /// A request is dispatched whose response has not reached the kernel whole.
    is_dispatched: bool,
    /// The service made the whole of that response.
    is_answered: bool,
    /// Some of it was written, and has reached the kernel.
    wrote: bool,
    reached: bool,
    /// Nothing tells any more when the response is complete.
    is_lost: bool,
    /// The peer has not acknowledged all that was written.
    is_unacked: bool,
    /// HTTP holds bytes that the kernel does not have.
    is_unflushed: bool,
    /// The latest complete response announced, and the one being made does.
    promised: bool,
    promises: bool,
    /// What the latest request offered to understand.
    offer: Offer,
    /// The client was refused, or has seen the end of the connection.
    is_over: bool,
    /// When the closing response was decided on, the latest request had offered
    /// to understand one. What later requests offer changes nothing.
    is_asked_for: bool,
    /// The socket is closed: its state says nothing more.
    is_closed: bool,
    /// The connection no longer carries HTTP/1.1.
    is_tunnel: bool,
    /// What the socket is set to.
    linger: Linger,
    /// The socket refused to be set.
    is_broken: bool,
}

impl Truth {
    /// Returns `true` if HTTP and the kernel can let this happen now.
    fn can(&self, event: Event) -> bool {
        match event {
            Event::Dispatch => self.is_open,
            _ if self.is_closed => false,
            Event::PeerEnded
            | Event::GoAway
            | Event::GoAwayLater
            | Event::Shutdown
            | Event::Write
            | Event::Flushed
            | Event::Closed => true,
            _ if self.is_tunnel => false,
            Event::Began(_) => self.was_read && !self.is_open,
            Event::Received
            | Event::Announce
            | Event::ConnectionCloseSent
            | Event::Answered
            | Event::Abandoned => self.is_open,
            Event::Acked => self.is_unacked && !self.is_unflushed,
            // Not an event of its own, but how a step can fail.
            Event::Broken => false,
            Event::Waited | Event::Read | Event::Refused | Event::Disarm => true,
        }
    }

    /// Takes note of what happened; `is_allowed` is what the machine said.
    fn follow(&mut self, event: Event, is_allowed: bool) {
        match event {
            Event::Read => self.was_read |= is_allowed,
            Event::Began(offer) => {
                self.promised = self.promised_now();
                (self.is_open, self.promises) = (true, false);
                self.offer = offer;
            }
            Event::Dispatch if is_allowed => {
                self.is_lost |= self.is_dispatched && !self.is_answered;
                (self.is_dispatched, self.is_answered) = (true, false);
                (self.wrote, self.reached) = (false, false);
            }
            // A client that is refused sends the request elsewhere.
            Event::Dispatch | Event::Refused if !self.is_dispatched => self.is_over = true,
            Event::Announce if is_allowed => self.promises = self.offer.has_rst(),
            Event::Answered => (self.is_open, self.is_answered) = (false, true),
            Event::Abandoned => {
                self.is_open = false;
                self.is_lost |= self.is_dispatched && !self.is_answered;
            }
            Event::Write if is_allowed => {
                (self.wrote, self.is_unacked, self.is_unflushed) = (true, true, true);
            }
            Event::Flushed => {
                self.is_unflushed = false;
                self.reached |= self.wrote;
                if self.is_answered && self.wrote && !self.is_lost {
                    self.is_dispatched = false;
                }
            }
            Event::Acked => self.is_unacked = false,
            Event::Shutdown if is_allowed => self.is_over = true,
            Event::Closed => (self.is_over, self.is_closed) = (true, true),
            Event::Disarm => self.is_tunnel = true,
            _ => {}
        }
    }

    fn promised_now(&self) -> bool {
        if self.is_dispatched { self.promised || self.promises } else { self.promises }
    }

    /// Under `fin`, a FIN now would refuse a request that the application has.
    fn fin_would_lie(&self) -> bool {
        self.is_dispatched && self.promised && !self.reached
    }

    /// How the end of the connection would lie, if it would.
    fn linger_breach(&self, mode: CloseMode) -> Option<&'static str> {
        let is_armed = self.linger == Linger::Zero && !self.is_closed;
        // A socket that cannot be cleared resets a client that did not ask for
        // it. That is not a lie.
        let is_armed_by_choice = is_armed && !self.is_broken;
        if self.is_tunnel && mode != CloseMode::FinBeforeDispatch {
            return is_armed_by_choice.then_some("an armed tunnel");
        }
        match mode {
            CloseMode::Plain => is_armed.then_some("armed without a mode"),
            CloseMode::ResetBeforeDispatch if is_armed && self.is_dispatched => {
                Some("armed with a dispatched request")
            }
            CloseMode::ResetBeforeDispatch if is_armed && self.is_unacked => {
                Some("armed with bytes unacknowledged")
            }
            CloseMode::ResetBeforeDispatch if is_armed_by_choice && !self.offer.has_rst() => {
                Some("armed without an offer")
            }
            CloseMode::ResetBeforeDispatch => {
                let is_promised = if self.is_open { self.promised } else { self.promises };
                let is_breach = is_armed_by_choice && !is_promised;
                is_breach.then_some("armed without a promise")
            }
            CloseMode::FinBeforeDispatch => {
                let is_breach = !is_armed && self.fin_would_lie() && !self.is_over;
                is_breach.then_some("not armed with a dispatched request")
            }
        }
    }

    /// How what is said before the FIN would lie, or go to another peer.
    fn message_breach(&self, message: ClosingMessage) -> Option<&'static str> {
        match message {
            ClosingMessage::Silent => None,
            _ if self.is_tunnel => Some("a closing response in a tunnel"),
            ClosingMessage::Unused => self.was_read.then_some("used, and called unused"),
            ClosingMessage::ClosingResponse if !self.is_asked_for => {
                Some("a closing response without an offer")
            }
            ClosingMessage::ClosingResponse => {
                self.is_dispatched.then_some("a dispatched request is called refused")
            }
        }
    }
}

/// A machine that can be compared.
trait Arms: Copy + Eq + std::hash::Hash + std::fmt::Debug {
    fn handle(&mut self, event: Event) -> CloseStep;
    fn linger(&self) -> Linger;
    fn message(&self) -> ClosingMessage;
    fn asks(&self) -> bool;
}

impl Arms for CloseMachine {
    fn handle(&mut self, event: Event) -> CloseStep {
        Self::handle(self, event)
    }

    fn linger(&self) -> Linger {
        self.linger
    }

    fn message(&self) -> ClosingMessage {
        self.closing_message()
    }

    fn asks(&self) -> bool {
        self.needs_recheck()
    }
}

/// What the socket does when it is told to change its linger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obedience {
    Obeys,
    /// It refuses, and obeys when it is told to clear it then.
    RefusesOnce,
    Refuses,
}

const OBEDIENCE: [Obedience; 3] = [Obedience::Obeys, Obedience::RefusesOnce, Obedience::Refuses];

/// Lets `event` happen as the connection's driver does; returns the breach, if
/// there is one.
fn play<M: Arms>(
    mode: CloseMode,
    (machine, truth): &mut (M, Truth),
    event: Event,
    obedience: Obedience,
) -> Option<&'static str> {
    let was_silent = machine.message() == ClosingMessage::Silent;
    let CloseStep { linger, mut is_allowed } = machine.handle(event);
    if was_silent && machine.message() == ClosingMessage::ClosingResponse {
        truth.is_asked_for = truth.offer.has_gone();
    }
    if let Some(linger) = linger {
        truth.linger = match obedience {
            Obedience::Obeys => linger,
            Obedience::RefusesOnce => Linger::Off,
            Obedience::Refuses => truth.linger,
        };
        if obedience != Obedience::Obeys {
            let _ = machine.handle(Event::Broken);
            (truth.is_broken, is_allowed) = (true, false);
        }
    }
    let is_late = truth.is_over && event == Event::Dispatch && is_allowed;
    truth.follow(event, is_allowed);
    if is_late {
        return Some("dispatched after the end");
    }
    if !truth.is_broken && truth.linger != machine.linger() {
        return Some("the socket is not as the machine believes");
    }
    let is_fin = mode == CloseMode::FinBeforeDispatch && event == Event::Shutdown && is_allowed;
    if is_fin && truth.fin_would_lie() {
        return Some("a FIN instead of a response to a dispatched request");
    }
    truth.linger_breach(mode).or_else(|| truth.message_breach(machine.message()))
}

fn events() -> Vec<Event> {
    let offers = [Offer::none(), Offer::none().with_gone(), Offer::all()];
    let mut events: Vec<_> = offers.into_iter().map(Event::Began).collect();
    events.extend([
        Event::Waited,
        Event::Read,
        Event::PeerEnded,
        Event::Received,
        Event::Dispatch,
        Event::Announce,
        Event::ConnectionCloseSent,
        Event::Refused,
        Event::Answered,
        Event::Abandoned,
        Event::Write,
        Event::Flushed,
        Event::Acked,
        Event::GoAway,
        Event::GoAwayLater,
        Event::Shutdown,
        Event::Disarm,
        Event::Closed,
    ]);
    events
}

/// An event, and what the socket did with the command that followed.
type Happened = (Event, Obedience);

/// What can happen to a connection in this state: each event with what the
/// socket can do, the state after it, and the breach if there is one.
fn next<M: Arms>(
    mode: CloseMode,
    before: (M, Truth),
    events: &[Event],
) -> impl Iterator<Item = (Happened, (M, Truth), Option<&'static str>)> {
    let can =
        move |event: &&Event| before.1.can(**event) && (**event != Event::Acked || before.0.asks());
    let happened = move |event: &Event| {
        let ways = match { before.0 }.handle(*event).linger {
            Some(_) => &OBEDIENCE[..],
            None => &OBEDIENCE[..1],
        };
        let event = *event;
        ways.iter().map(move |obedience| (event, *obedience))
    };
    events.iter().filter(can).flat_map(happened).map(move |(event, obedience)| {
        let mut state = before;
        let breach = play(mode, &mut state, event, obedience);
        ((event, obedience), state, breach)
    })
}

/// A state, and the place of the one before it with what led here.
type Visited<M> = ((M, Truth), Option<(usize, Happened)>);

/// Returns what leads to the state at `place`, and then these.
fn way_to<M>(states: &[Visited<M>], mut place: usize, last: &[Happened]) -> Vec<Happened> {
    let mut way = last.to_vec();
    while let (_, Some((earlier, happened))) = states[place] {
        way.insert(0, happened);
        place = earlier;
    }
    way
}

/// Visits all states, those that fewer events lead to first; returns how many,
/// and the first breach with its events. Of a closed socket the next event is
/// played too, and none after it.
fn explore<M: Arms>(first: M, mode: CloseMode) -> (usize, Option<(&'static str, Vec<Happened>)>) {
    let start = (first, Truth::default());
    let mut seen = HashSet::with_hasher(Quick::default());
    seen.insert(start);
    let mut states: Vec<Visited<M>> = vec![(start, None)];
    let (events, mut at) = (events(), 0);
    while let Some(&(before, _)) = states.get(at) {
        for (happened, state, breach) in next(mode, before, &events) {
            if let Some(why) = breach {
                return (seen.len(), Some((why, way_to(&states, at, &[happened]))));
            }
            if state.1.is_closed {
                for (last, _, breach) in next(mode, state, &events) {
                    if let Some(why) = breach {
                        return (seen.len(), Some((why, way_to(&states, at, &[happened, last]))));
                    }
                }
            } else if seen.insert(state) {
                states.push((state, Some((at, happened))));
            }
        }
        at += 1;
    }
    (seen.len(), None)
}

const MODES: [CloseMode; 3] =
    [CloseMode::ResetBeforeDispatch, CloseMode::FinBeforeDispatch, CloseMode::Plain];

#[test]
fn no_order_of_events_breaks_a_promise() {
    for mode in MODES {
        let (states, breach) = explore(CloseMachine::new(mode), mode);
        assert_eq!(breach, None, "{mode:?}");
        assert!(states > 10_000, "{mode:?}: only {states} states were visited");
    }
}

/// The machine with a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Faulty {
    machine: CloseMachine,
    fault: Fault,
    message: ClosingMessage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Fault {
    /// A socket that cannot be set changes nothing.
    IgnoresBroken,
    /// What was decided on before a tunnel is said in it.
    TalksInTunnels,
    /// Leaving HTTP/1.1 settles everything.
    ForgetsInTunnels,
    /// HTTP's end of a connection is always its end.
    AllowsEveryFin,
}

impl Arms for Faulty {
    fn handle(&mut self, event: Event) -> CloseStep {
        let mut step = match event {
            Event::Broken if self.fault == Fault::IgnoresBroken => {
                return CloseStep { linger: None, is_allowed: true };
            }
            event => self.machine.handle(event),
        };
        let unanswered = CloseStage::Disarmed(Tunnel::Unanswered);
        if self.fault == Fault::ForgetsInTunnels && self.machine.stage == unanswered {
            self.machine.stage = CloseStage::Disarmed(Tunnel::Open);
            self.machine.linger = Linger::Off;
            step.linger = Some(Linger::Off);
        }
        step.is_allowed |= event == Event::Shutdown && self.fault == Fault::AllowsEveryFin;
        if event != Event::Disarm || self.fault != Fault::TalksInTunnels {
            self.message = self.machine.message();
        }
        step
    }

    fn linger(&self) -> Linger {
        self.machine.linger()
    }

    fn message(&self) -> ClosingMessage {
        self.message
    }

    fn asks(&self) -> bool {
        self.machine.asks()
    }
}

#[test]
fn control_each_fault_is_found() {
    let (rst, fin) = (CloseMode::ResetBeforeDispatch, CloseMode::FinBeforeDispatch);
    for (fault, mode, why) in [
        (Fault::IgnoresBroken, rst, "armed with a dispatched request"),
        (Fault::TalksInTunnels, rst, "a closing response in a tunnel"),
        (Fault::ForgetsInTunnels, fin, "not armed with a dispatched request"),
        (Fault::AllowsEveryFin, fin, "a FIN instead of a response to a dispatched request"),
    ] {
        let machine = CloseMachine::new(mode);
        let (_, breach) = explore(Faulty { machine, fault, message: machine.message() }, mode);
        assert_eq!(breach.map(|(why, _)| why), Some(why), "{fault:?}");
    }
}

/// Arms when as many requests have finished as have started, and clears when
/// bytes arrive: a second request that was read is counted as started only
/// when the service runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Counting {
    is_ahead: bool,
    is_used: bool,
    linger: Linger,
}

impl Arms for Counting {
    fn handle(&mut self, event: Event) -> CloseStep {
        match event {
            Event::Read => self.linger = Linger::Off,
            Event::Dispatch => self.is_ahead = true,
            Event::Answered | Event::Abandoned => (self.is_ahead, self.is_used) = (false, true),
            Event::Waited | Event::Flushed if self.is_used && !self.is_ahead => {
                self.linger = Linger::Zero;
            }
            _ => {}
        }
        CloseStep { linger: Some(self.linger), is_allowed: true }
    }

    fn linger(&self) -> Linger {
        self.linger
    }

    fn message(&self) -> ClosingMessage {
        ClosingMessage::Silent
    }

    fn asks(&self) -> bool {
        true
    }
}

#[test]
fn control_arming_by_counters_resets_a_running_request() {
    let mode = CloseMode::ResetBeforeDispatch;
    assert!(explore(Counting::default(), mode).1.is_some());

    // The trap itself: HTTP reads again before the service first runs.
    let mut counting = Counting::default();
    let mut machine = CloseMachine::new(mode);
    let offer = Offer::all();
    for event in served(offer).into_iter().chain([
        Event::Read,
        Event::Waited,
        Event::Began(offer),
        Event::Received,
        Event::Dispatch,
    ]) {
        let _ = counting.handle(event);
        let _ = machine.handle(event);
    }
    assert_eq!(counting.linger, Linger::Zero);
    assert_eq!(machine.linger, Linger::Off);
}

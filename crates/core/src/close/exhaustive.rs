//! Every state that any order of events leads to, beside the truth.

use std::collections::HashSet;

use super::scenarios::served;
use super::{CloseMachine, CloseMode, Event, Linger, Step};
use crate::contract::Offer;

/// What is true of a connection, whatever a machine believes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Truth {
    /// The service has a request that it has not answered.
    is_open: bool,
    /// A request is dispatched whose response has not reached the kernel whole.
    is_dispatched: bool,
    /// The service made the whole of that response.
    is_answered: bool,
    /// Something of it was written, and has reached the kernel.
    wrote: bool,
    reached: bool,
    /// Nobody can tell any more when the response is complete.
    is_lost: bool,
    /// There are bytes of a response that the peer has not acknowledged.
    is_unacked: bool,
    /// HTTP holds bytes that the kernel does not have.
    is_unflushed: bool,
    /// The latest complete response announced, and the one being made does.
    promised: bool,
    promises: bool,
    /// The latest request offered to understand the mode.
    is_offered: bool,
    /// The client was refused, or has seen the end of the connection.
    is_over: bool,
    /// The socket is closed: its state says nothing more.
    is_closed: bool,
    /// Bytes of this connection are no longer HTTP/1.1.
    is_tunnel: bool,
}

impl Truth {
    /// Returns whether HTTP and the kernel can let this happen now.
    fn can(&self, event: Event) -> bool {
        match event {
            Event::Dispatch => self.is_open,
            _ if self.is_closed => false,
            Event::Write | Event::Flushed | Event::Shutdown | Event::Closed => true,
            _ if self.is_tunnel => false,
            Event::Began(_) => !self.is_open,
            Event::Received | Event::Announce | Event::Answered | Event::Abandoned => self.is_open,
            Event::Acked => self.is_unacked && !self.is_unflushed,
            Event::Broken => false,
            _ => true,
        }
    }

    /// Takes note of what happened; `is_allowed` is what was believed of it.
    fn follow(&mut self, event: Event, is_allowed: bool) {
        match event {
            Event::Began(offer) => {
                self.promised = self.promised_now();
                (self.is_open, self.promises) = (true, false);
                self.is_offered = offer.has_rst();
            }
            Event::Dispatch if is_allowed => {
                self.is_lost |= self.is_dispatched && !self.is_answered;
                (self.is_dispatched, self.is_answered) = (true, false);
                (self.wrote, self.reached) = (false, false);
            }
            Event::Dispatch if !self.is_dispatched => self.is_over = true,
            Event::Announce if is_allowed => self.promises = self.is_offered,
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
}

/// What is checked after each event: the breach, if there is one.
fn breach(
    mode: CloseMode,
    truth: &Truth,
    linger: Linger,
    step: Step,
    event: Event,
) -> Option<&'static str> {
    let is_armed = linger == Linger::Zero && !truth.is_closed;
    match mode {
        CloseMode::ResetBeforeDispatch if is_armed && truth.is_tunnel => {
            return Some("an armed tunnel");
        }
        CloseMode::Plain if is_armed => return Some("armed without a mode"),
        CloseMode::ResetBeforeDispatch if is_armed && truth.is_dispatched => {
            return Some("armed with a request dispatched");
        }
        CloseMode::ResetBeforeDispatch if is_armed && truth.is_unacked => {
            return Some("armed with octets unacknowledged");
        }
        CloseMode::ResetBeforeDispatch if is_armed && !truth.is_offered => {
            return Some("armed without an offer");
        }
        CloseMode::FinBeforeDispatch
            if !is_armed
                && truth.is_dispatched
                && truth.promised
                && !truth.reached
                && !truth.is_over =>
        {
            return Some("not armed with a request dispatched");
        }
        CloseMode::FinBeforeDispatch
            if event == Event::Shutdown
                && step.is_allowed
                && truth.is_dispatched
                && truth.promised
                && !truth.reached =>
        {
            return Some("a FIN instead of a response to a request dispatched");
        }
        _ => {}
    }
    let is_late = truth.is_over && event == Event::Dispatch && step.is_allowed;
    is_late.then_some("dispatched after the end")
}

/// A machine that can be compared.
trait Arms: Copy + Eq + std::hash::Hash + std::fmt::Debug {
    fn on(&mut self, event: Event) -> Step;
    fn linger(&self) -> Linger;
    fn asks(&self) -> bool;
}

impl Arms for CloseMachine {
    fn on(&mut self, event: Event) -> Step {
        Self::on(self, event)
    }

    fn linger(&self) -> Linger {
        self.linger
    }

    fn asks(&self) -> bool {
        self.needs_recheck()
    }
}

fn events() -> Vec<Event> {
    let offers = [Offer::none(), Offer::none().with_gone(), Offer::all()];
    let mut events: Vec<_> = offers.into_iter().map(Event::Began).collect();
    events.extend([
        Event::Waited,
        Event::Read,
        Event::Received,
        Event::Dispatch,
        Event::Announce,
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

/// Visits all states, those that fewer events lead to first; returns how many,
/// and the first breach with its events. The peer's FIN, and what a response
/// says of itself, decide on no reset and are left out.
fn explore<M: Arms>(first: M, mode: CloseMode) -> (usize, Option<(&'static str, Vec<Event>)>) {
    let start = (first, Truth::default());
    let mut seen = HashSet::from([start]);
    // Each state with the place of the one before it.
    let mut states = vec![(start, None)];
    let mut at = 0;
    while let Some(&((before, truth_before), _)) = states.get(at) {
        for event in events().into_iter().filter(|event| truth_before.can(*event)) {
            let (mut machine, mut truth) = (before, truth_before);
            if event == Event::Acked && !machine.asks() {
                continue;
            }
            let step = machine.on(event);
            truth.follow(event, step.is_allowed);
            if let Some(why) = breach(mode, &truth, machine.linger(), step, event) {
                let mut way = vec![event];
                let mut place = at;
                while let (_, Some((earlier, event))) = states[place] {
                    way.insert(0, event);
                    place = earlier;
                }
                return (seen.len(), Some((why, way)));
            }
            if seen.insert((machine, truth)) {
                states.push(((machine, truth), Some((at, event))));
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
        assert!(states > 1_000, "{mode:?}: only {states} states were visited");
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
    fn on(&mut self, event: Event) -> Step {
        match event {
            Event::Read => self.linger = Linger::Off,
            Event::Dispatch => self.is_ahead = true,
            Event::Answered | Event::Abandoned => (self.is_ahead, self.is_used) = (false, true),
            Event::Waited | Event::Flushed if self.is_used && !self.is_ahead => {
                self.linger = Linger::Zero;
            }
            _ => {}
        }
        Step { linger: Some(self.linger), is_allowed: true }
    }

    fn linger(&self) -> Linger {
        self.linger
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
        let _ = counting.on(event);
        let _ = machine.on(event);
    }
    assert_eq!(counting.linger, Linger::Zero);
    assert_eq!(machine.linger, Linger::Off);
}

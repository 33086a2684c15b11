//! A model of one call: a client with two attempts, the network, and the
//! servers' kernels and applications, for a model checker to walk.
//!
//! The client of the model keeps the crate's own ledger and decides by the
//! crate's own functions; only the sockets are modeled. A request is one
//! segment of one byte, or two of them. Each attempt has a connection of its
//! own, which carried an exchange before.

pub(crate) mod client;
pub(crate) mod contract;
pub(crate) mod premises;
pub(crate) mod rule;
pub(crate) mod server;
pub(crate) mod socket;
pub(crate) mod state;
mod walks;

use std::sync::atomic::{AtomicUsize, Ordering};

use stateright::{Model, Property};
use tower_resend_core::{Fate, History, RequestFacts, Rules, Semantics, decide};

use self::client::Client;
use self::premises::Premises;
use self::rule::Rule;
use self::server::{Does, REQUEST};
use self::state::Attempt::First;
use self::state::{Action, Attempt, Connection, State};

/// What is walked: a rule in a world.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) rule: Rule,
    pub(crate) premises: Premises,
    pub(crate) second: Second,
    pub(crate) proven: Proven,
}

/// How much of the second attempt is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Second {
    /// All that can happen to it.
    Whole,
    /// It is sent, received and dispatched, and nothing happens to it.
    Ordinary,
    /// There is none, only what comes of the first.
    None,
}

/// In how many states the first attempt is proven not to be applied, so that
/// the request is sent again.
#[derive(Debug, Default)]
pub(crate) struct Proven {
    /// Never sent.
    pub(crate) g1: AtomicUsize,
    /// Never received.
    pub(crate) g2: AtomicUsize,
    /// Refused.
    pub(crate) g3: AtomicUsize,
}

impl World {
    pub(crate) fn new(rule: Rule, premises: Premises) -> Self {
        Self { rule, premises, second: Second::Whole, proven: Proven::default() }
    }

    fn client_actions(&self, connection: &Connection, actions: &mut Vec<Action>) {
        let Some(Client { socket, .. }) = &connection.client else { return };
        let sent = &connection.server.sent;
        let is_forged = !self.premises.no_forgery;
        let options = connection.client.iter().flat_map(|c| c.options(&self.premises));
        actions.extend(options.map(Action::Client));
        let mut when = |can: bool, action| actions.extend(can.then_some(action));
        when(socket.can_send(), Action::ClientSends);
        when(socket.wants_reset(), Action::ClientTimer);
        when(socket.wants_reset() && (sent.reset || is_forged), Action::Reset);
        if !self.premises.exclusive_socket {
            when(socket.has_unread(), Action::ReadElsewhere);
            when(socket.has_error(), Action::ErrorElsewhere);
        }
        for ack in sent.acks_since(0) {
            when(socket.is_news(ack), Action::Ack(ack));
        }
        if let (Some(first), true) = (sent.response, socket.wants_response()) {
            sent.acks_since(first).for_each(|ack| when(true, Action::Response(ack)));
        }
        if let (Some(first), true) = (sent.fin, socket.wants_fin()) {
            sent.acks_since(first).for_each(|ack| when(true, Action::Fin(ack)));
        }
        when(is_forged && socket.wants_fin(), Action::Fin(0));
    }

    fn server_actions(&self, at: Attempt, relayed: bool, on: &Connection, to: &mut Vec<Action>) {
        let acked = on.client.as_ref().map(|client| client.socket.acked);
        let options = on.server.options(&self.premises, acked.unwrap_or(0));
        // What the client no longer hears changes nothing any more.
        let matters = |does: &Does| acked.is_some() || does.is_read();
        to.extend(options.into_iter().filter(matters).map(|does| Action::Server(at, does)));
        to.extend(on.server.deliverable(on.sent).map(|segment| Action::Segment(at, segment)));
        if relayed && on.is_held && !on.is_dispatched {
            to.push(Action::Relays(at));
        }
        if !self.premises.no_replayer && on.sent > 0 && !on.is_dispatched {
            to.push(Action::Overhears(at));
        }
    }

    /// The client's attempt is over: classify, decide, and perhaps send again.
    fn on_fate(&self, state: &mut State, fate: Fate) {
        let facts = RequestFacts::new(Semantics::NotIdempotent);
        let attempt = state.under_way();
        state.fates[attempt as usize] = Some(fate);
        state.at(attempt).client = None;
        let history: History = state.fates.iter().flatten().copied().collect();
        let verdict = decide(&history, &facts, &Rules::new());
        if let (First, Ok(_), true) = (attempt, verdict, self.second != Second::None) {
            state.send_again();
        }
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let lengths = 1..=REQUEST;
        lengths
            .flat_map(|length| [false, true].map(|relayed| State::new(relayed, length)))
            .collect()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.fates[0].is_some_and(|fate| !fate.is_not_applied()) && state.second.is_none() {
            return;
        }
        self.client_actions(state.current(), actions);
        self.server_actions(First, state.relayed, &state.first, actions);
        if let Some(second) = &state.second {
            self.server_actions(Attempt::Second, state.relayed, second, actions);
            if self.second == Second::Ordinary {
                actions.retain(Action::is_ordinary);
            }
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        let fate = next.step(action, self);
        if let Some(fate) = fate {
            self.on_fate(&mut next, fate);
        }
        next.first.forget(&self.premises);
        if let Some(second) = &mut next.second {
            second.forget(&self.premises);
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(NOT_TWICE, |world: &Self, state: &State| {
                world.proven.count(state);
                !(state.first.is_dispatched && state.is_dispatched_again())
            }),
            Property::always(NOT_APPLIED, |_, state: &State| {
                let dispatched = [state.first.is_dispatched, state.is_dispatched_again()];
                let mut attempts = state.fates.iter().flatten().zip(dispatched);
                !attempts.any(|(fate, is_dispatched)| fate.is_not_applied() && is_dispatched)
            }),
        ]
    }
}

/// No request is dispatched twice.
pub(crate) const NOT_TWICE: &str = "not dispatched twice";
/// What is said not to be applied never is.
pub(crate) const NOT_APPLIED: &str = "not applied is true";

impl Proven {
    fn count(&self, state: &State) {
        let Some(proof) = state.fates[0].and_then(|fate| fate.proof()) else { return };
        match proof.id() {
            "G1" => self.g1.fetch_add(1, Ordering::Relaxed),
            "G2" => self.g2.fetch_add(1, Ordering::Relaxed),
            "G3" => self.g3.fetch_add(1, Ordering::Relaxed),
            other => unreachable!("{other} is no proof of this world"),
        };
    }
}

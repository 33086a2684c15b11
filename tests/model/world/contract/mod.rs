//! A model of one request under a contract: the client's rule, the network,
//! and a server that arms and disarms its socket, refuses, leaves, and can be
//! killed between any two of its steps.
//!
//! The client's side is the crate's own: [`accept`], [`Observed`], the ledger,
//! the kernel rule and `classify`. What the other model walks, the ways of TCP
//! and of peers without a contract, is here as far as promises meet it.
//!
//! [`accept`]: tower_resend_core::contract::accept()
//! [`Observed`]: tower_resend_core::contract::Observed

pub(crate) mod clauses;
mod does;
mod promise;
mod server;
mod state;

use std::sync::atomic::{AtomicUsize, Ordering};

use stateright::{Model, Property};
use tower_resend_core::{Fate, Proof};

use self::clauses::{Clause, Middlebox, Mode, Peer};
use self::state::{Action, State};
use super::server::REQUEST;

/// What is walked: a contract, kept but for one clause, on some way.
#[derive(Debug)]
pub(crate) struct Contracted {
    pub(crate) mode: Mode,
    pub(crate) dropped: Option<Clause>,
    pub(crate) middlebox: Middlebox,
    /// In how many states the request is sent again, by its ground.
    pub(crate) resent: [AtomicUsize; 4],
}

/// Which request on its connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    First,
    Later,
}

/// What is sent again is never dispatched.
pub(crate) const NOT_TAKEN_UP: &str = "not dispatched";
/// The same, where a reset is the proof.
pub(crate) const NOT_BY_RESET: &str = "not dispatched, by a promised reset";
/// A client that did not offer to understand it is told nothing (S6).
pub(crate) const NOT_UNASKED: &str = "nothing said unasked";
/// A reset of the server's discards no response.
pub(crate) const NOT_LOST: &str = "no response lost";

impl Contracted {
    pub(crate) fn new(mode: Mode) -> Self {
        let resent = [const { AtomicUsize::new(0) }; 4];
        Self { mode, dropped: None, middlebox: Middlebox::None, resent }
    }

    pub(crate) fn without(self, clause: Clause) -> Self {
        Self { dropped: Some(clause), ..self }
    }

    pub(crate) fn with(self, middlebox: Middlebox) -> Self {
        Self { middlebox, ..self }
    }

    fn drops(&self, clause: Clause) -> bool {
        self.dropped == Some(clause)
    }

    fn count(&self, state: &State) {
        let proof = state.fate.and_then(|fate| fate.proof());
        let grounds = ["G1", "G2", "G3", "G4"];
        let ground = proof.and_then(|proof| grounds.iter().position(|id| *id == proof.id()));
        if let Some(ground) = ground {
            self.resent[ground].fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Model for Contracted {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut states = vec![
            State::new(self, Peer::Stranger, Position::First, REQUEST),
            State::new(self, Peer::Relay, Position::Later, REQUEST),
            State::new(self, Peer::BehindProxy, Position::Later, REQUEST),
        ];
        for position in [Position::First, Position::Later] {
            let of = |max| State::new(self, Peer::Ours, position, max);
            states.extend([of(REQUEST), of(REQUEST - 1)]);
        }
        states
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        state.actions(self, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        next.step(action, self);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(NOT_TAKEN_UP, |world: &Self, state: &State| {
                world.count(state);
                let is_resent = state.fate.is_some_and(|fate| fate.is_not_applied());
                !(is_resent && state.server.is_dispatched)
            }),
            Property::always(NOT_BY_RESET, |_, state: &State| {
                let is_reset = state.fate == Some(Fate::NotApplied(Proof::ResetPromised));
                !(is_reset && state.server.is_dispatched)
            }),
            Property::always(NOT_UNASKED, |_, state: &State| !state.server.speaks_unasked()),
            // Under `fin` a reset between the response and the end of arming may.
            Property::always(NOT_LOST, |world: &Self, state: &State| {
                world.mode == Mode::Fin || !state.server.is_erased
            }),
        ]
    }
}

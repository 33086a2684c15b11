//! How a server's connection must end, at any moment: a pure state machine of one
//! connection. Events in, the state of `SO_LINGER` out.
//!
//! [`CloseMachine::handle`] is the only way in. The diagram of the states is above
//! `CloseStage` in `state.rs`; every transition is in `TRANSITIONS.txt`.
//!
//! Linger is a *function of the state*. Counters kept elsewhere (requests begun,
//! responses finished) cannot arm a connection while a request on it is
//! dispatched.

mod event;
#[cfg(test)]
mod exhaustive;
mod machine;
mod questions;
#[cfg(test)]
mod quick;
#[cfg(test)]
mod scenarios;
mod state;
#[cfg(test)]
mod transitions;

pub use self::event::{CloseMode, CloseStep, ClosingMessage, Event, Linger, Phase};
pub use self::machine::CloseMachine;

//! What a server's connection must do when it ends, at any moment: a pure
//! state machine of one connection. Events in, the state of `SO_LINGER` out.
//!
//! Linger is a *function of the state*, never of counters: nothing that is
//! counted elsewhere (requests begun, responses finished) can arm a connection
//! while a request on it is dispatched.

mod event;
#[cfg(test)]
mod exhaustive;
mod machine;
#[cfg(test)]
mod scenarios;
mod steps;

pub use self::event::{CloseMode, ClosingMessage, Event, Linger, Phase, Step};
pub use self::machine::CloseMachine;

//! What is sent of a request whose head says another thing than its body: all that the
//! caller gave, or a typed error and nothing.

#![allow(clippy::unwrap_used, reason = "a test helper panics when it is in the way")]

mod attacks;
#[cfg(feature = "reqwest")]
mod body;
#[cfg(feature = "reqwest")]
mod connect;
#[cfg(feature = "reqwest")]
mod origin;
#[cfg(feature = "reqwest")]
mod sent;
#[cfg(feature = "reqwest")]
mod stacks;

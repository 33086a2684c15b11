//! Requests whose head says another thing than their body, and what arrives of them.

#![allow(clippy::unwrap_used, reason = "a test helper panics when it is in the way")]

pub(crate) mod body;
pub(crate) mod origin;
pub(crate) mod stacks;

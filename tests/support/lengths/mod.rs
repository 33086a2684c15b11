//! Requests whose head says another thing than their body, and what arrives of them.

#![allow(dead_code, unreachable_pub, reason = "each test uses some of it")]
#![allow(clippy::unwrap_used, reason = "a test helper panics when it is in the way")]

pub mod body;
pub mod origin;
pub mod stacks;

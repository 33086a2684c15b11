//! The resending layer: verdicts, limits, bodies, cancellation, and the layers around it.

mod attack_other_hop;
mod body;
mod body_reentry;
mod body_replay;
mod cancel;
mod error_texts;
mod hops;
mod inner;
mod inner_hops;
mod limits;
mod readiness;
mod stack;
mod tower_stack;
mod trace;
mod verdicts;

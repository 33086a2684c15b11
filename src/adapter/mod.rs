//! Evidence for the HTTP stacks that people have.
//!
//! One module per foreign stack. An adapter decides nothing: it turns what
//! its stack did with a request into [evidence](tower_resend_core::Evidence),
//! and a [`ResendLayer`](crate::ResendLayer) above it decides. Where the stack
//! does not let through what a proof needs, the fate is *unknown* and its
//! [`Doubt`](tower_resend_core::Doubt) names what is missing.

#[cfg(feature = "reqwest")]
pub mod reqwest;

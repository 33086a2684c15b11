//! Evidence for the HTTP stacks that people have.
//!
//! One module per foreign stack. An adapter decides nothing: it turns what
//! its stack did with a request into [evidence](crate::classify::Evidence),
//! and a [`ResendLayer`](crate::ResendLayer) above it decides. Where the stack
//! does not let through what a proof needs, the fate is *unknown* and its
//! [`Doubt`](crate::classify::Doubt) names what is missing.

pub mod hyper_util;
#[cfg(feature = "reqwest")]
pub mod reqwest;

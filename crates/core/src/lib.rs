//! The pure core of [tower-resend]: evidence in, fate and decision out.
//!
//! ```text
//! Evidence, Contract --classify--> Fate, for each attempt
//!                                    |
//!              RequestFacts, Rules --decide--> Ground: send it again
//!                                              NoResend: report the fate
//! ```
//!
//! A connection leaves [`Evidence`]: how far the request got, what was read back,
//! what the kernel counted. [`classify`] says what that proves: a [`Fate`], with
//! its [`Proof`] or its [`Doubt`]. [`decide()`] says whether the request may be sent
//! again: on a [`Ground`] for every attempt, or why not ([`NoResend`]).
//!
//! ```
//! use tower_resend_core::{
//!     Acked, Contract, Doubt, Evidence, Fate, Ground, HandOff, History, NoResend, Proof,
//!     RequestFacts, Rules, Segments, Semantics, Settled, TcpEvidence, classify, decide,
//! };
//!
//! let post = RequestFacts::new(Semantics::NotIdempotent);
//! let closed = |acked, settled| {
//!     let kernel = TcpEvidence::Fin(acked, settled);
//!     classify(&Evidence::new(HandOff::Written).with_tcp(kernel), &Contract::none())
//! };
//! let decided = |fate| decide(&History::from_iter([fate]), &post, &Rules::new());
//!
//! // A FIN that acknowledged nothing of the request, and a reset in answer to it.
//! let fate = closed(Acked::None, Settled::Reset(Segments::One));
//! assert_eq!(fate, Fate::NotApplied(Proof::NeverReceived));
//! assert_eq!(decided(fate), Ok(Ground::Proven(Proof::NeverReceived)));
//!
//! // A FIN after the whole request had arrived.
//! let fate = closed(Acked::All, Settled::NotAwaited);
//! assert_eq!(fate, Fate::Unknown(Doubt::Acknowledged));
//! assert_eq!(decided(fate), Err(NoResend::Doubt(Doubt::Acknowledged)));
//! ```
//!
//! Nothing here reads a clock or a socket, waits, logs or knows a runtime: times and
//! snapshots are arguments.
//!
//! | module | what it is |
//! |---|---|
//! | [`fate`] | evidence to fate, fates to a decision |
//! | [`exchange`] | the client's connection: its machine, and the kernel rule (`fin_rule`) |
//! | [`contract`] | the `Retry-Contract` field and the rules of both halves |
//! | [`close`] | the server's connection: the state of `SO_LINGER` as a function of what happened |
//!
//! This crate is published because [tower-resend] depends on it, and changes with every
//! release of that crate. It is not an API for others: [tower-resend] re-exports what its
//! users need, also for a transport of their own.
//!
//! [tower-resend]: https://docs.rs/tower-resend

#![forbid(unsafe_code)]

pub mod close;
pub mod contract;
pub mod exchange;
pub mod fate;
#[cfg(test)]
mod transition_table;
#[cfg(any(test, feature = "internals"))]
#[doc(hidden)]
#[allow(missing_docs, reason = "lists for tests")]
pub mod variants;

pub use exchange::*;
pub use fate::*;

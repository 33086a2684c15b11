//! The pure core of [tower-resend]: evidence in, fate and decision out.
//!
//! Nothing here reads a clock or a socket, waits, logs or knows a runtime. The
//! stack around it, for users, is the crate `tower-resend`; it re-exports what
//! they need of this one.
//!
//! | module | what it is |
//! |---|---|
//! | [`fate`] | evidence to fate ([`classify`]), fates to a decision ([`decide()`]) |
//! | [`exchange`] | the client's connection: its ledger and the kernel rule ([`fin_rule`]) |
//! | [`contract`] | the `Retry-Contract` field and the rules of both halves |
//! | [`close`] | the server's connection: the state of `SO_LINGER` as a function of what happened |
//!
//! [tower-resend]: https://docs.rs/tower-resend

#![forbid(unsafe_code)]

pub mod close;
pub mod contract;
pub mod exchange;
pub mod fate;
#[cfg(any(test, feature = "variants"))]
#[doc(hidden)]
#[allow(missing_docs, reason = "lists for tests")]
pub mod variants;

pub use exchange::*;
pub use fate::*;

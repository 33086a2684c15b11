//! Scripted peers, wires, stacks and ledgers of the truth, for the tests and
//! the demonstrations of tower-resend.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::new_without_default,
    reason = "test code measures in real time and panics when something is in its way"
)]

#[cfg(feature = "peers")]
pub mod body_script;
#[cfg(feature = "peers")]
pub mod chance;
#[cfg(feature = "peers")]
pub mod circular;
#[cfg(feature = "peers")]
pub mod client_end;
#[cfg(feature = "peers")]
pub mod closed_port;
#[cfg(feature = "peers")]
pub mod contract;
#[cfg(feature = "demo")]
pub mod demo;
#[cfg(feature = "peers")]
pub mod ledger_model;
#[cfg(feature = "peers")]
pub mod origin;
#[cfg(feature = "peers")]
pub mod proxy;
#[cfg(feature = "peers")]
mod relay;
#[cfg(feature = "peers")]
pub mod skip;
#[cfg(feature = "peers")]
pub mod stacks;
#[cfg(feature = "peers")]
pub mod table;
#[cfg(feature = "peers")]
pub mod tcp_info;
#[cfg(feature = "peers")]
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(feature = "tls-origin")]
pub mod tls_origin;
pub mod truth;
#[cfg(feature = "peers")]
pub mod tun;
#[cfg(feature = "peers")]
pub mod weaker;
pub mod wire;

//! One connection: what reads and writes its socket, the tracker that both sides
//! of hyper share, and how hyper is driven. What it all means is decided by the
//! [`ExchangeMachine`](tower_resend_core::ExchangeMachine).
#![forbid(unsafe_code)]

mod connected;
mod failure;
mod http1;
mod io;
mod offer;
mod outgoing;
mod settle;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
mod tls_io;
mod tracker;
mod waiters;

pub(crate) use connected::{Connected, Io};
pub(crate) use failure::failure_kind;
pub(crate) use http1::{Http1Connection, SendError};
pub(crate) use io::TrackedIo;
pub(crate) use settle::{give_up, resolve};
pub(crate) use tower_resend_core::{
    ContractTrust, ExchangeId, FailureKind, ResponseOutcome, Served,
};
pub(crate) use tracker::ConnTracker;

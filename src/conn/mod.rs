//! One connection: what reads and writes its socket, and what its exchanges
//! have shown so far.
#![forbid(unsafe_code)]

mod connected;
mod external;
mod http1;
mod io;
mod limit_monitor;
mod offer;
mod served;
mod session;
mod settle;
mod stream_kind;
#[cfg(feature = "tls")]
mod tls_io;
mod tracker;
mod waiters;

pub(crate) use connected::{Connected, Io};
pub(crate) use external::ExchangeId;
pub(crate) use http1::{Connection, ResponseOutcome, SendError};
pub(crate) use io::TrackedIo;
pub(crate) use offer::ContractTrust;
pub(crate) use served::Served;
pub(crate) use settle::{FailureKind, give_up, resolve};
pub(crate) use tracker::ConnTracker;

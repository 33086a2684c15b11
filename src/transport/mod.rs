//! What touches sockets: the TrackedIo, its record, the evidence of an exchange.
#![forbid(unsafe_op_in_unsafe_fn)]

mod above;
mod connect;
mod http1;
mod io;
mod meter;
mod offer;
mod proxy;
mod proxy_error;
mod record;
mod served;
mod session;
mod settle;
#[cfg(feature = "tls")]
mod tap;
mod unannounced;
mod waiters;
mod watch;

pub(crate) use connect::{
    ConnectError, ConnectOptions, Connected, Connector, Io, Keepalive, Route, connect_failure,
    has_sound_port, http_connector,
};
pub(crate) use http1::{Broken, Connection, ResponseOutcome};
pub(crate) use offer::ContractTrust;
pub(crate) use proxy::Proxy;
pub use proxy_error::ProxyError;
pub(crate) use record::ConnTracker;
pub(crate) use served::Served;
pub(crate) use settle::{FailureKind, give_up, handed_back, resolve};
pub(crate) use unannounced::ExchangeId;

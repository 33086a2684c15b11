//! The server half: a server that says, by how it closes a connection, whether
//! it took a request up.
//!
//! A [`Listener`] accepts; a [`Connection`] is what HTTP reads and writes; its
//! [`Handle`] is what the service side tells it. The rules S1 to S9 are those
//! of `docs/contract.md`.

mod answered;
#[cfg(feature = "axum")]
mod axum;
mod closing;
mod connection;
mod handle;
mod listener;
mod preface;
mod recheck;
mod shared;
mod socket;
mod state;

pub use answered::Answered;
pub use connection::Connection;
pub use handle::{Counters, Exchange, Handle, Refused};
pub use listener::{Listener, ListenerOptions};
pub use socket::Socket;
pub use state::{CloseMode, Phase};

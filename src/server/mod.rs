//! The server half (feature `server`): a server that says, by how it closes a
//! connection, whether it dispatched a request.
//!
//! [`serve()`] runs a service on a [`Listener`] and drains on a signal. The pieces
//! that it is made of are for server loops of your own: a [`Listener`] accepts, HTTP
//! reads and writes a [`Connection`], and a [`DispatchLayer`] with the connection's
//! [`Handle`] keeps the contract for the service. [`handover`] passes the listening
//! socket from one process to the next (hot restart, socket activation).
//!
//! The rules S1 to S11 are those of `docs/contract.md`.

#[cfg(feature = "axum")]
mod axum;
mod buffer;
mod conn;
mod connection_table;
mod dispatch;
#[cfg(unix)]
pub mod handover;
mod listener;
mod memory;
mod report;
mod serve;

pub use self::buffer::{Buffering, RequestBody};
pub use self::conn::{
    Connection, Counters, DispatchRefused, Exchange, Handle, Socket, TrackedResponseBody,
};
pub use self::dispatch::{Dispatch, DispatchBody, DispatchFuture, DispatchLayer};
pub use self::listener::{Listener, ListenerOptions};
pub use self::report::{Report, RunningRequest};
pub use self::serve::{
    Accepted, Serve, ServeFuture, SharedService, ShutdownMode, serve, serve_make,
};
pub use crate::statement::NotApplied;
pub use tower_resend_core::close::{CloseMode, Phase};

//! The server half: a server that says, by how it closes a connection, whether
//! it took a request up.
//!
//! A [`Listener`] accepts; a [`Connection`] is what HTTP reads and writes; its
//! [`Handle`] is what the service side tells it. The rules S1 to S10 are those
//! of `docs/contract.md`.

mod answered;
#[cfg(feature = "axum")]
mod axum;
mod buffer;
mod closing;
mod connection;
mod drain;
mod handle;
#[cfg(unix)]
pub mod handover;
mod layer;
mod listener;
mod preface;
mod recheck;
mod report;
mod room;
mod serve;
mod serve_connection;
mod shared;
mod socket;

pub use answered::TrackedResponseBody;
pub use buffer::{Buffering, RequestBody};
pub use connection::Connection;
pub use drain::ShutdownMode;
pub use handle::{Counters, Exchange, Handle, Refused};
pub use layer::{Dispatch, DispatchFuture, DispatchLayer, ResponseBody};
pub use listener::{Listener, ListenerOptions};
pub use report::{Report, RunningRequest};
pub use serve::{Accepted, Serve, ServeFuture, SharedService, serve, serve_make};
pub use socket::Socket;

pub use crate::statement::NotApplied;
pub use tower_resend_core::close::{CloseMode, Phase};

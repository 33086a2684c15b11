//! `axum::serve` over a [`Listener`] (feature `axum`).
//!
//! A `ConnectInfo` of your own names this listener instead of a `TcpListener`, and
//! can have the [`Handle`](super::Handle) of the connection;
//! `ConnectInfo<SocketAddr>` works over `listener.tap_io(|_| {})`.
//!
//! ```
//! use axum::extract::connect_info::Connected;
//! use axum::serve::IncomingStream;
//! use tower_resend::server::{Handle, Listener};
//!
//! #[derive(Clone)]
//! struct Client(Handle);
//!
//! impl Connected<IncomingStream<'_, Listener>> for Client {
//!     fn connect_info(stream: IncomingStream<'_, Listener>) -> Self {
//!         Self(stream.io().handle().clone())
//!     }
//! }
//! ```

use std::io;
use std::net::SocketAddr;

use super::conn::Connection;
use super::listener::Listener;

impl axum::serve::Listener for Listener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        Self::accept(self).await
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Self::local_addr(self)
    }
}

//! A port at which connects are refused.

#![allow(clippy::unwrap_used, reason = "a test helper panics when it is in the way")]

use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Socket, Type};

/// A port at which every connect is refused, and that the kernel gives to no other socket:
/// one that was merely closed is soon the port of another test.
pub struct ClosedPort(Socket);

impl ClosedPort {
    pub fn new() -> Self {
        Self(bound(SocketAddr::from(([127, 0, 0, 1], 0))))
    }

    /// Returns `http://address/`.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address())
    }

    /// Opens the port for as long as the listener is there.
    pub fn open(&self) -> TcpListener {
        let listener = bound(self.address());
        listener.listen(128).unwrap();
        listener.into()
    }

    /// Returns the address that refuses.
    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap().as_socket().unwrap()
    }
}

/// A socket that does not listen, on a port that only we may share.
fn bound(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    #[cfg(unix)]
    socket.set_reuse_port(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket
}

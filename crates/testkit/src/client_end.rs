//! The client's end of a connection, as its kernel knows it: a test that does
//! something to a connection waits here until the client's kernel has heard of
//! it. On a busy machine loopback delivers late, and acknowledges later.
//!
//! The client's end is a socket of the same process, and is asked itself.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test helper measures in real time, and panics when it is in the way"
)]

#[cfg(target_os = "linux")]
use crate::tcp_info;

pub use kernel::{Client, until_sent_to};

#[cfg(target_os = "linux")]
mod kernel {
    #![allow(unsafe_code, reason = "the sockets of other threads are asked by their numbers")]

    use std::net::{SocketAddr, TcpStream};
    use std::os::fd::{BorrowedFd, OwnedFd};
    use std::thread::yield_now;
    use std::time::{Duration, Instant};

    use socket2::SockRef;
    use tower_resend_core::{Snapshot, TcpState};

    use super::tcp_info::snapshot;

    /// Linux's FIN_WAIT1 and FIN_WAIT2: it has sent a FIN, and heard of none.
    const FIN_WAIT: [TcpState; 2] = [TcpState::Other(4), TcpState::Other(5)];

    /// The client's end of a connection; none if the client has closed it.
    pub struct Client(Option<OwnedFd>);

    impl Client {
        /// Finds the client's end of a connection by the server's.
        pub fn of(stream: &TcpStream) -> Self {
            let (Ok(client), Ok(server)) = (stream.peer_addr(), stream.local_addr()) else {
                return Self(None);
            };
            Self(connected_to(server).find(|socket| local(socket) == Some(client)))
        }

        /// Waits for the server's FIN.
        pub fn until_fin(&self) {
            self.until(|now| now.state != TcpState::Established && !FIN_WAIT.contains(&now.state));
        }

        /// Waits for the server's reset.
        pub fn until_reset(&self) {
            self.until(|now| now.state == TcpState::Close);
        }

        /// Returns how many bytes the client's kernel received.
        pub fn received(&self) -> u64 {
            self.0.as_ref().map_or(0, |socket| snapshot(socket).bytes_received)
        }

        /// Waits until it received so many.
        pub fn until_received(&self, bytes: u64) {
            self.until(|now| now.bytes_received >= bytes);
        }

        /// Waits, at most until the client has given the connection up, which
        /// zeroes the counters.
        fn until(&self, is_so: impl Fn(&Snapshot) -> bool) {
            let Some(socket) = &self.0 else { return };
            wait(|| {
                let now = snapshot(socket);
                is_so(&now) || now.state == TcpState::Close
            });
        }
    }

    /// Waits until something of what was sent to an address arrived there.
    pub fn until_sent_to(server: SocketAddr) {
        let has_sent = |socket: OwnedFd| {
            let now = snapshot(&socket);
            now.bytes_sent > 0 && now.bytes_acked >= now.bytes_sent
        };
        wait(|| connected_to(server).any(has_sent));
    }

    /// Waits for what happens soon, or never.
    fn wait(mut is_over: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !is_over() {
            assert!(Instant::now() < end, "the client's kernel heard of nothing for a minute");
            yield_now();
        }
    }

    /// Returns this process's sockets that are connected to an address.
    fn connected_to(server: SocketAddr) -> impl Iterator<Item = OwnedFd> {
        let names = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let numbers = names.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        numbers.filter_map(move |number| {
            // SAFETY: the number is used for one system call at a time, and one
            // that is closed or another socket's meanwhile is told by its address.
            let fd = unsafe { BorrowedFd::borrow_raw(number) };
            let is_it = |fd: &BorrowedFd<'_>| peer(SockRef::from(fd)) == Some(server);
            let socket = is_it(&fd).then(|| fd.try_clone_to_owned().ok()).flatten()?;
            (peer(SockRef::from(&socket)) == Some(server)).then_some(socket)
        })
    }

    fn peer(socket: SockRef<'_>) -> Option<SocketAddr> {
        socket.peer_addr().ok()?.as_socket()
    }

    fn local(socket: &OwnedFd) -> Option<SocketAddr> {
        SockRef::from(socket).local_addr().ok()?.as_socket()
    }
}

/// Elsewhere loopback is taken at its word.
#[cfg(not(target_os = "linux"))]
mod kernel {
    use std::net::{SocketAddr, TcpStream};

    pub struct Client;

    impl Client {
        pub fn of(_: &TcpStream) -> Self {
            Self
        }
        pub fn until_fin(&self) {}
        pub fn until_reset(&self) {}
        pub fn received(&self) -> u64 {
            0
        }
        pub fn until_received(&self, _: u64) {}
    }

    pub fn until_sent_to(_: SocketAddr) {
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
}

//! What an origin does to a connection, over once the client's kernel has heard
//! of it: on a busy machine loopback delivers late, and acknowledges later.
//!
//! The client's end is a socket of the same process, and is asked itself.

#![allow(dead_code, unreachable_pub, reason = "each test uses some of it")]
#![allow(clippy::unwrap_used, reason = "a test helper panics when it is in the way")]

#[cfg(target_os = "linux")]
#[path = "../tcp_info.rs"]
mod tcp_info;

use std::net::TcpListener;

use self::kernel::Client;
use super::origin::Peer;

/// Closes.
pub fn closes(peer: Peer) {
    let client = Client::of(&peer);
    peer.half_close();
    client.until_fin();
    peer.close();
}

/// Resets.
pub fn resets(peer: Peer) {
    let client = Client::of(&peer);
    peer.reset();
    client.until_reset();
}

/// Says something.
pub fn says(peer: &mut Peer, text: &str) {
    receives(peer, |peer| peer.write(text));
}

/// Sends what is on the wire at once, in one segment.
pub fn receives(peer: &mut Peer, send: impl FnOnce(&mut Peer)) {
    let client = Client::of(peer);
    let before = client.received();
    send(peer);
    client.until_received(before + 1);
}

/// Returns once some of a request is in the queue of a connection that nobody
/// accepted.
pub fn queued(listener: &TcpListener) {
    kernel::until_sent_to(listener.local_addr().unwrap());
}

#[cfg(target_os = "linux")]
mod kernel {
    #![allow(unsafe_code, reason = "the sockets of other threads are asked by their numbers")]

    use std::net::SocketAddr;
    use std::os::fd::{BorrowedFd, OwnedFd};
    use std::thread::yield_now;

    use socket2::SockRef;
    use tower_resend::classify::{Snapshot, TcpState};

    use super::Peer;
    use super::tcp_info::snapshot;

    /// Linux's FIN_WAIT1 and FIN_WAIT2: it has sent a FIN, and heard of none.
    const FIN_WAIT: [TcpState; 2] = [TcpState::Other(4), TcpState::Other(5)];

    /// The client's end of a connection.
    pub struct Client(OwnedFd);

    impl Client {
        pub fn of(peer: &Peer) -> Self {
            let stream = peer.stream();
            let (client, server) = (stream.peer_addr().unwrap(), stream.local_addr().unwrap());
            let mut sockets = connected_to(server).filter(|socket| local(socket) == Some(client));
            Self(sockets.next().expect("the client's end is open, and of this process"))
        }

        pub fn until_fin(&self) {
            self.until(|now| now.state != TcpState::Established && !FIN_WAIT.contains(&now.state));
        }

        pub fn until_reset(&self) {
            self.until(|now| now.state == TcpState::Close);
        }

        pub fn received(&self) -> u64 {
            snapshot(&self.0).bytes_received
        }

        pub fn until_received(&self, octets: u64) {
            self.until(|now| now.bytes_received >= octets);
        }

        fn until(&self, is_so: impl Fn(&Snapshot) -> bool) {
            while !is_so(&snapshot(&self.0)) {
                yield_now();
            }
        }
    }

    /// Waits until something of what was sent to an address arrived there.
    pub fn until_sent_to(server: SocketAddr) {
        let has_sent = |socket: OwnedFd| {
            let now = snapshot(&socket);
            now.bytes_sent > 0 && now.bytes_acked >= now.bytes_sent
        };
        while !connected_to(server).any(has_sent) {
            yield_now();
        }
    }

    /// Returns this process's sockets that are connected to an address.
    fn connected_to(server: SocketAddr) -> impl Iterator<Item = OwnedFd> {
        let names = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let numbers = names.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        numbers.filter_map(move |number| {
            // SAFETY: the number is used for one system call at a time, and one
            // that is closed or somebody else's meanwhile is told by its address.
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
    use std::net::SocketAddr;

    use super::Peer;

    pub struct Client;

    impl Client {
        pub fn of(_: &Peer) -> Self {
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

//! The listening socket.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, Type};
use tokio::net::{TcpListener, TcpStream};

use super::conn::{Connection, ConnectionSettings, Handle, Socket};
use crate::time::sleep;
use tower_resend_core::close::CloseMode;
use tower_resend_core::contract::{ClosingStatus, Hop, Max};

/// How a [`Listener`] is made.
#[derive(Clone, Copy, Debug)]
pub struct ListenerOptions {
    settings: ConnectionSettings,
    backlog: u32,
    reuse_port: bool,
}

impl Default for ListenerOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl ListenerOptions {
    /// Returns the defaults: `rst`, 64 KiB, a closing response of 503, a queue
    /// of 1024, `TCP_NODELAY`.
    pub fn new() -> Self {
        let settings = ConnectionSettings {
            mode: CloseMode::default(),
            max: Max::default(),
            closing_status: ClosingStatus::default(),
            never_used_599: false,
            trusts_nat: false,
            nodelay: true,
        };
        Self { settings, backlog: 1024, reuse_port: false }
    }

    /// Sets what the end of a connection says;
    /// [`CloseMode::ResetBeforeDispatch`] by default. On systems other than Linux,
    /// whose kernel cannot tell what is acknowledged, it says nothing.
    #[must_use]
    pub fn mode(mut self, mode: CloseMode) -> Self {
        self.settings.mode = mode;
        self
    }

    /// Sets the largest request that is received whole before it is dispatched
    /// (S1); 64 KiB by default.
    #[must_use]
    pub fn max(mut self, max: Max) -> Self {
        self.settings.max = max;
        self
    }

    /// Sets the status of closing responses; 503 by default.
    #[must_use]
    pub fn closing_status(mut self, status: ClosingStatus) -> Self {
        self.settings.closing_status = status;
        self
    }

    /// Sends a 599 before the FIN, when the server leaves, on connections on which
    /// nothing was ever received. Off by default: their clients have offered
    /// nothing (S6).
    #[must_use]
    pub fn never_used_599(mut self, is_sent: bool) -> Self {
        self.settings.never_used_599 = is_sent;
        self
    }

    /// States that addresses are translated on the way from the clients, and that
    /// no hop on the way terminates TCP connections: the two ends that an offer
    /// names are not compared (S11). Off by default.
    ///
    /// A client behind the same translation needs the counterpart,
    /// [`OriginTrust::behind_nat`](crate::pool::OriginTrust::behind_nat).
    ///
    /// **A wrong statement takes a proxy for a client**: HAProxy in HTTP mode passes
    /// the field on both ways, and so does nginx where it forwards `Connection`. The
    /// server then resets the proxy's idle connections when its process ends, and
    /// writes its unsolicited closing response to them when it leaves. The proxy
    /// may give that to a client that offered nothing.
    #[must_use]
    pub fn trust_nat(mut self, is_trusted: bool) -> Self {
        self.settings.trusts_nat = is_trusted;
        self
    }

    /// Sets `TCP_NODELAY` of the connections; on by default.
    #[must_use]
    pub fn nodelay(mut self, is_set: bool) -> Self {
        self.settings.nodelay = is_set;
        self
    }

    /// Sets how many connections the kernel holds until they are accepted; 1024 by
    /// default.
    #[must_use]
    pub fn backlog(mut self, connections: u32) -> Self {
        self.backlog = connections;
        self
    }

    /// Sets `SO_REUSEPORT`; off by default. When one listener closes, the kernel
    /// resets the connections that wait in its queue: see
    /// [`handover`](super::handover).
    #[must_use]
    pub fn reuse_port(mut self, is_set: bool) -> Self {
        self.reuse_port = is_set;
        self
    }

    /// Binds a listening socket.
    ///
    /// # Errors
    ///
    /// Those of the system calls.
    pub async fn bind(self, address: SocketAddr) -> io::Result<Listener> {
        let socket =
            RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        #[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos"))))]
        socket.set_reuse_port(self.reuse_port)?;
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(self.backlog).unwrap_or(i32::MAX))?;
        self.from_std(socket.into())
    }

    /// Takes over a listening socket, an inherited one for example. It keeps its
    /// backlog.
    ///
    /// Clears `SO_LINGER`, `SO_KEEPALIVE` and, on Linux, `TCP_USER_TIMEOUT`, of
    /// the socket and of each connection that is accepted: a connection that waited
    /// in the queue has inherited them, and no timer may reset a connection (S8).
    ///
    /// # Errors
    ///
    /// Those of the system calls.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime with IO.
    pub fn from_std(self, listener: std::net::TcpListener) -> io::Result<Listener> {
        listener.set_nonblocking(true)?;
        clear(&SockRef::from(&listener))?;
        let mut settings = self.settings;
        if !cfg!(target_os = "linux") {
            settings.mode = CloseMode::Plain;
        }
        Ok(Listener { listener: TcpListener::from_std(listener)?, settings })
    }
}

/// A TCP listener whose connections say, by how they end, whether a request was
/// dispatched.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    settings: ConnectionSettings,
}

impl Listener {
    /// Binds a listening socket with the default [`ListenerOptions`].
    ///
    /// # Errors
    ///
    /// Those of the system calls.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        ListenerOptions::new().bind(address).await
    }

    /// Takes over a listening socket, with the default [`ListenerOptions`].
    ///
    /// # Errors
    ///
    /// Those of the system calls.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime with IO.
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<Self> {
        ListenerOptions::new().from_std(listener)
    }

    /// Returns the next connection, for HTTP without TLS.
    ///
    /// Never fails: after an error of one connection it accepts the next one at
    /// once, after any other, such as `EMFILE`, in 50 ms.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no connection is lost when the future is dropped.
    pub async fn accept(&mut self) -> (Connection, SocketAddr) {
        let (socket, handle, peer) = self.accept_socket().await;
        (Connection::new(socket, handle), peer)
    }

    /// Returns the next connection below TLS: give the TLS stream over the socket
    /// to [`Connection::new`]. Errors as in [`accept`](Self::accept).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no connection is lost when the future is dropped.
    pub async fn accept_socket(&mut self) -> (Socket, Handle, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    if let Ok((socket, handle)) = self.prepare(stream, peer) {
                        return (socket, handle, peer);
                    }
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "accept");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Returns the address that it listens on.
    ///
    /// # Errors
    ///
    /// Those of the system call.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Fails where the client has gone already.
    fn prepare(&self, stream: TcpStream, peer: SocketAddr) -> io::Result<(Socket, Handle)> {
        clear(&SockRef::from(&stream))?;
        let hop = Hop::seen_by_server(peer, stream.local_addr()?);
        if self.settings.nodelay {
            stream.set_nodelay(true)?;
        }
        Ok(Socket::new(stream, hop, self.settings))
    }
}

/// Clears what connections inherit from a listening socket and could reset them
/// at the wrong time: their machine begins with linger off, and no timer may
/// reset them (S8).
fn clear(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_linger(None)?;
    socket.set_keepalive(false)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(None)?;
    Ok(())
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// The pause after an error that leaves nothing to accept with, such as
/// `EMFILE`. Connections wait in the kernel's queue meanwhile.
const PAUSE: Duration = Duration::from_millis(50);

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn settings_of(socket: &RawSocket) -> (Option<Duration>, bool, Option<Duration>) {
        let linger = socket.linger().expect("a socket");
        (
            linger,
            socket.keepalive().expect("a socket"),
            socket.tcp_user_timeout().expect("a socket"),
        )
    }

    #[tokio::test]
    async fn options_inherited_in_the_accept_queue_are_cleared() {
        let inherited = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = SockRef::from(&inherited);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
        socket.set_keepalive(true).unwrap();
        let timeout = Some(Duration::from_secs(7));
        socket.set_tcp_user_timeout(timeout).unwrap();
        let _client = std::net::TcpStream::connect(inherited.local_addr().unwrap()).unwrap();

        let listener = Listener::from_std(inherited).unwrap();
        let (stream, peer) = listener.listener.accept().await.unwrap();
        let kept = SockRef::from(&stream).try_clone().unwrap();
        assert_eq!(settings_of(&kept), (Some(Duration::ZERO), true, timeout), "it was inherited");
        let prepared = listener.prepare(stream, peer).unwrap();
        assert_eq!(settings_of(&kept), (None, false, None));
        drop(prepared);
    }
}

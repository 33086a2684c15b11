//! The TCP stream of a connection, below TLS, whose descriptor the connection's
//! handle shares.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::handle::Handle;
use super::tracker::{CloseTracker, ConnectionSettings};
use tower_resend_core::contract::Hop;

/// The TCP stream of an accepted connection.
///
/// Put TLS on top of it, and [`Connection::new`](super::Connection::new) on top
/// of that.
pub struct Socket {
    stream: Arc<TcpStream>,
    tracker: Arc<CloseTracker>,
}

impl Socket {
    /// Takes over a stream whose `SO_LINGER` is off.
    pub(in crate::server) fn new(
        stream: TcpStream,
        hop: Hop,
        settings: ConnectionSettings,
    ) -> (Self, Handle) {
        let stream = Arc::new(stream);
        let tracker = Arc::new(CloseTracker::new(Arc::clone(&stream), hop, settings));
        (Self { stream, tracker: Arc::clone(&tracker) }, Handle::new(tracker))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = &self.stream;
        poll_io(cx, |cx| stream.poll_read_ready(cx), || read(stream, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let stream = &self.stream;
        poll_io(cx, |cx| stream.poll_write_ready(cx), || stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = &self.stream;
        poll_io(cx, |cx| stream.poll_write_ready(cx), || stream.try_write_vectored(bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = SockRef::from(&*self.stream).shutdown(std::net::Shutdown::Write);
        Poll::Ready(match ended {
            // The peer was faster.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            ended => ended,
        })
    }
}

impl Drop for Socket {
    /// The tracker gives its reference to the stream back, so that this one is the
    /// last and the descriptor is closed with it.
    fn drop(&mut self) {
        self.tracker.on_closed();
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("hop", &self.tracker.hop).finish_non_exhaustive()
    }
}

/// Repeats `attempt` until it does not have to wait.
fn poll_io<T>(
    cx: &mut Context<'_>,
    ready: impl Fn(&mut Context<'_>) -> Poll<io::Result<()>>,
    mut attempt: impl FnMut() -> io::Result<T>,
) -> Poll<io::Result<T>> {
    loop {
        ready!(ready(cx))?;
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return Poll::Ready(done),
        }
    }
}

/// Reads once. A read that leaves room in the buffer has emptied the socket, so
/// the next one waits for the kernel's word instead of trying first.
///
/// Tokio's own `poll_read` does the same, but needs the stream for itself. The
/// outer `try_io` remembers the tick of the readiness before the read, and clears
/// that readiness on `WouldBlock`; bytes that arrive after the read belong to a
/// later tick, which it leaves alone.
fn read(stream: &TcpStream, buf: &mut ReadBuf<'_>) -> io::Result<()> {
    let mut done = None;
    let tried = stream.try_io(Interest::READABLE, || {
        let room = buf.remaining();
        let count = stream.try_read_buf(buf)?;
        done = Some(());
        match HAS_EDGES && (1..room).contains(&count) {
            true => Err(io::ErrorKind::WouldBlock.into()),
            false => Ok(()),
        }
    });
    done.map_or(tried, Ok)
}

/// `true` if the kernel reports readiness by its edges, as epoll does.
const HAS_EDGES: bool = cfg!(any(target_os = "linux", target_os = "android"));

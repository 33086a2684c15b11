//! The IO wrapper below TLS: makes the system calls, reports each to the
//! connection's machine, and obeys.

use std::fmt;
use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::tracker::{ConnTracker, Tracked};
use tower_resend_core::{
    Errno, HeldBack, OwnEnd, Passage, ReadEnd, WaitCheck, WriteCheck, WriteError,
};

/// A TCP stream that reports to a [`ConnTracker`].
///
/// - It counts what is read and written, below TLS, and keeps the first errno.
/// - While it is *armed* it makes the stale check before each read that would
///   wait: tokio's readiness can lag behind the kernel, and hyper reads once more
///   just before it takes a request, so a FIN found here makes hyper hand the
///   request back.
/// - At the first byte after a request it checks that some of the request was
///   acknowledged; if not, the byte answers nothing and is withheld.
/// - A write error is held back while there is something to read, such as the
///   413 that explains it; while no request is known to be on the connection
///   only as long as hyper reads.
/// - An end of the stream that hides an error, which a write took, is reported as
///   that error: a cut response that lasts until the close would look whole.
/// - It sends no FIN of its own while a request is unresolved: that FIN would
///   complete the request for a half-closed reader.
///
/// The tracker is locked across each system call, so that its count is never
/// behind the kernel's (ADR 0002).
pub(crate) struct TrackedIo {
    /// Gone only while it is being dropped.
    stream: Option<TcpStream>,
    tracker: Arc<ConnTracker>,
    held_back: Option<io::Error>,
    /// Whether a read was tried since the error was held back.
    has_read: bool,
    /// Whether a flush has to be reported: the last write was of a request under
    /// a promise.
    reports_flush: bool,
}

impl TrackedIo {
    /// Wraps a stream that was just connected. Returns its tracker too.
    pub(crate) fn new(stream: TcpStream) -> (Self, Arc<ConnTracker>) {
        let tracker = Arc::new(ConnTracker::of(&stream));
        let io = Self {
            stream: Some(stream),
            tracker: Arc::clone(&tracker),
            held_back: None,
            has_read: false,
            reports_flush: false,
        };
        (io, tracker)
    }

    /// Wraps a stream for a pool that announces no requests: the stale check is
    /// then made whenever no request is known to be on the connection.
    pub(crate) fn external(stream: TcpStream) -> (Self, Arc<ConnTracker>) {
        let (io, tracker) = Self::new(stream);
        tracker.expect_external_driver();
        (io, tracker)
    }

    /// Returns the stream.
    pub(crate) fn stream(&self) -> Option<&TcpStream> {
        self.stream.as_ref()
    }

    #[cold]
    fn report_flush(&self) {
        self.tracker.lock().parts().0.on_flush();
    }

    /// Writes by `write`, unless the machine forbids it.
    fn poll_write_with(
        &mut self,
        cx: &mut Context<'_>,
        offered: usize,
        write: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let mut tracked = self.tracker.lock();
        let (machine, socket) = tracked.parts();
        let Some(stream) = &mut self.stream else { return Poll::Ready(Err(taken_over())) };
        match machine.before_write(socket) {
            WriteCheck::Go => {}
            WriteCheck::Stale => return Poll::Ready(Err(not_writable())),
            WriteCheck::TakenOver => return Poll::Ready(Err(taken_over())),
        }
        let (error, held_back) = match self.held_back.take() {
            Some(error) if self.has_read => (error, HeldBack::Read),
            Some(error) => (error, HeldBack::Unread),
            None => match ready!(write(Pin::new(stream), cx)) {
                Ok(accepted) => {
                    machine.on_written(offered, accepted, socket);
                    self.reports_flush = machine.wants_flushes();
                    return Poll::Ready(Ok(accepted));
                }
                Err(error) => {
                    machine.on_error(errno_of(&error));
                    (error, HeldBack::New)
                }
            },
        };
        let verdict = machine.on_write_error(held_back, socket.has_data());
        if verdict == WriteError::Deliver {
            return Poll::Ready(Err(error));
        }
        // hyper reads before it writes and comes back here when it has read on;
        // the waker is registered for reading.
        let _ = stream.poll_read_ready(cx);
        (self.held_back, self.has_read) = (Some(error), false);
        // A waker can run anything.
        drop(tracked);
        if verdict == WriteError::HoldAndWake {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

/// Reports a read that filled `buf` from `start` on.
fn on_read(tracked: &mut Tracked, buf: &mut ReadBuf<'_>, start: usize) -> io::Result<()> {
    let (machine, socket) = tracked.parts();
    if buf.filled().len() == start {
        return on_end(tracked);
    }
    match machine.on_read(&buf.filled()[start..], socket) {
        Passage::Deliver => Ok(()),
        Passage::Withhold => {
            buf.set_filled(start);
            Err(withheld())
        }
    }
}

/// Reports a read of no bytes.
#[cold]
fn on_end(tracked: &mut Tracked) -> io::Result<()> {
    let (machine, socket) = tracked.parts();
    match machine.on_end(socket) {
        ReadEnd::Fin => Ok(()),
        ReadEnd::Hidden(Errno(number)) => Err(io::Error::from_raw_os_error(number)),
    }
}

/// The stale check of a read that would wait: asks the kernel, since tokio knows
/// of nothing to read.
#[inline]
fn stale_check(
    tracked: &mut Tracked,
    stream: &TcpStream,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    let (machine, socket) = tracked.parts();
    let is_stale = match machine.before_wait(socket) {
        WaitCheck::NotDue | WaitCheck::Clear => false,
        WaitCheck::Stale => true,
        WaitCheck::Uncounted => {
            !would_block(&SockRef::from(stream).peek(&mut [MaybeUninit::uninit()]))
        }
    };
    match is_stale {
        true => Poll::Ready(read_unheard(tracked, stream, buf)),
        false => Poll::Pending,
    }
}

/// Reads what tokio has not heard of.
#[cold]
fn read_unheard(
    tracked: &mut Tracked,
    stream: &TcpStream,
    buf: &mut ReadBuf<'_>,
) -> io::Result<()> {
    let (machine, socket) = tracked.parts();
    let mut fresh = [0; 4096];
    let room = fresh.len().min(buf.remaining());
    match (&*SockRef::from(stream)).read(&mut fresh[..room]) {
        Ok(0) => on_end(tracked),
        Ok(read) => match machine.on_read(&fresh[..read], socket) {
            Passage::Deliver => {
                buf.put_slice(&fresh[..read]);
                Ok(())
            }
            Passage::Withhold => Err(withheld()),
        },
        // The counters may say that something ended when there is nothing to read.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            machine.on_silent_stale();
            Err(not_writable())
        }
        Err(error) => {
            machine.on_error(errno_of(&error));
            Err(error)
        }
    }
}

fn would_block<T>(result: &io::Result<T>) -> bool {
    matches!(result, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

fn errno_of(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno)
}

impl AsyncRead for TrackedIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let io = self.get_mut();
        let mut tracked = io.tracker.lock();
        let (machine, _) = tracked.parts();
        let stream = match &mut io.stream {
            Some(stream) if !machine.is_taken_over() => stream,
            _ => return Poll::Ready(Err(taken_over())),
        };
        io.has_read = true;
        let start = buf.filled().len();
        match Pin::new(&mut *stream).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => Poll::Ready(on_read(&mut tracked, buf, start)),
            Poll::Ready(Err(error)) => {
                machine.on_error(errno_of(&error));
                Poll::Ready(Err(error))
            }
            Poll::Pending => stale_check(&mut tracked, stream, buf),
        }
    }
}

impl AsyncWrite for TrackedIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_with(cx, bytes.len(), |stream, cx| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let offered = bytes.iter().map(|slice| slice.len()).sum();
        self.get_mut()
            .poll_write_with(cx, offered, |stream, cx| stream.poll_write_vectored(cx, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The layer above flushes here once nothing is left to be written.
        if self.reports_flush {
            self.report_flush();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let io = self.get_mut();
        let mut tracked = io.tracker.lock();
        let Some(stream) = &mut io.stream else { return Poll::Ready(Ok(())) };
        match tracked.parts().0.before_shutdown() {
            OwnEnd::Send => Pin::new(stream).poll_shutdown(cx),
            OwnEnd::Suppress => Poll::Ready(Ok(())),
        }
    }
}

impl Drop for TrackedIo {
    fn drop(&mut self) {
        self.tracker.on_io_dropped(self.stream.take());
    }
}

impl fmt::Debug for TrackedIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackedIo").field("tracker", &self.tracker).finish_non_exhaustive()
    }
}

#[cold]
pub(super) fn taken_over() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the connection was taken over")
}

#[cold]
pub(super) fn withheld() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "an unsolicited response was withheld")
}

#[cold]
pub(super) fn not_writable() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the connection is not open for writing")
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::future::poll_fn;
    use std::io::Write;
    use std::net;

    use socket2::SockRef;
    use tokio::net::TcpListener;

    use super::*;
    use tower_resend_core::{ContractTrust, Outbound, Probe, Reuse, StaleReason, TcpState};

    /// A TrackedIo that is armed, and its peer.
    async fn armed() -> (TrackedIo, Arc<ConnTracker>, net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (peer, _) = listener.accept().await.unwrap();
        let (io, tracker) = TrackedIo::new(stream);
        tracker.arm(Outbound::new(ContractTrust::None, None)).unwrap();
        (io, tracker, peer.into_std().unwrap())
    }

    /// Waits until the kernel has heard of the connection's end. Tokio hears
    /// nothing of it, since the runtime does not turn.
    fn until_closed(tracker: &ConnTracker, state: TcpState) {
        while tracker.lock().parts().1.snapshot().unwrap().state != state {
            std::thread::yield_now();
        }
    }

    fn write(io: &mut TrackedIo, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        Pin::new(io).poll_write(cx, b"POST")
    }

    async fn read(io: &mut TrackedIo) -> io::Result<Vec<u8>> {
        let mut bytes = [0; 64];
        let mut buf = ReadBuf::new(&mut bytes);
        poll_fn(|cx| Pin::new(&mut *io).poll_read(cx, &mut buf)).await?;
        Ok(buf.filled().to_vec())
    }

    #[tokio::test]
    async fn a_write_error_is_held_back_while_there_is_something_to_read() {
        let (mut io, tracker, mut peer) = armed().await;
        poll_fn(|cx| write(&mut io, cx)).await.unwrap();
        peer.write_all(b"HTTP/1.1 413").unwrap();
        SockRef::from(&peer).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(peer);
        until_closed(&tracker, TcpState::Close);
        poll_fn(|cx| {
            assert!(write(&mut io, cx).is_pending());
            assert!(write(&mut io, cx).is_pending(), "and again");
            Poll::Ready(())
        })
        .await;
        assert_eq!(read(&mut io).await.unwrap(), b"HTTP/1.1 413");
        let error = poll_fn(|cx| write(&mut io, cx)).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
    }

    /// A failed write takes the socket's error, and the read then says end of
    /// stream, which would make a cut answer whole that ends with its connection.
    #[tokio::test]
    async fn attack_a_cut_is_no_end_of_stream_where_a_write_took_its_error() {
        for is_cut in [true, false] {
            let (mut io, _tracker, mut peer) = armed().await;
            poll_fn(|cx| write(&mut io, cx)).await.unwrap();
            peer.write_all(b"HTTP/1.1 200").unwrap();
            if is_cut {
                SockRef::from(&peer).set_linger(Some(std::time::Duration::ZERO)).unwrap();
            } else {
                // The control: all of the answer came, its FIN too.
                peer.shutdown(net::Shutdown::Write).unwrap();
            }
            drop(peer);
            poll_fn(|cx| {
                // Without a FIN the first write fails, and after one the second.
                while write(&mut io, cx).is_ready() {}
                Poll::Ready(())
            })
            .await;
            assert_eq!(read(&mut io).await.unwrap(), b"HTTP/1.1 200");
            let end = read(&mut io).await.map_err(|error| error.raw_os_error());
            assert_eq!(end, if is_cut { Err(Some(libc::ECONNRESET)) } else { Ok(vec![]) });
        }
    }

    #[tokio::test]
    async fn a_write_without_a_stale_check_makes_one() {
        let (mut io, tracker, peer) = armed().await;
        drop(peer);
        until_closed(&tracker, TcpState::Other(8));
        poll_fn(|cx| write(&mut io, cx)).await.unwrap_err();
        assert!(!tracker.is_written());
    }

    #[tokio::test]
    async fn a_read_that_would_wait_makes_the_stale_check() {
        let (mut io, tracker, peer) = armed().await;
        drop(peer);
        until_closed(&tracker, TcpState::Other(8));
        let mut bytes = [0; 64];
        let mut buf = ReadBuf::new(&mut bytes);
        let polled = poll_fn(|cx| Poll::Ready(Pin::new(&mut io).poll_read(cx, &mut buf))).await;
        assert!(matches!(polled, Poll::Ready(Ok(()))), "{polled:?}");
        assert!(buf.filled().is_empty());
        assert_eq!(tracker.reuse(), Reuse::Stale(StaleReason::Fin));
    }

    #[tokio::test]
    async fn no_fin_is_sent_while_a_request_is_unresolved() {
        let (mut io, tracker, _peer) = armed().await;
        poll_fn(|cx| Pin::new(&mut io).poll_shutdown(cx)).await.unwrap();
        poll_fn(|cx| write(&mut io, cx)).await.unwrap();
        poll_fn(|cx| Pin::new(&mut io).poll_shutdown(cx)).await.unwrap();
        assert_eq!(tracker.lock().parts().1.snapshot().unwrap().state, TcpState::Established);
        tracker.finish();
        poll_fn(|cx| Pin::new(&mut io).poll_shutdown(cx)).await.unwrap();
        assert_ne!(tracker.lock().parts().1.snapshot().unwrap().state, TcpState::Established);
    }

    #[tokio::test]
    async fn hyper_neither_reads_nor_writes_what_was_taken_over() {
        let (mut io, tracker, mut peer) = armed().await;
        peer.write_all(b"HTTP/1.1 200").unwrap();
        tracker.lock().parts().0.take_over();
        poll_fn(|cx| write(&mut io, cx)).await.unwrap_err();
        read(&mut io).await.unwrap_err();
        assert!(!tracker.is_written());
        assert_eq!(tracker.lock().parts().0.exchange_read(), 0);
    }
}

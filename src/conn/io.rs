//! The IO wrapper that keeps a connection's record: it counts, looks before a
//! request is written, and guards the first byte of an answer.

use std::fmt;
use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::tracker::{ConnTracker, State};
use tower_resend_core::fin_rule::StaleCheck;
use tower_resend_core::{ExchangePhase, StaleReason};

/// A TCP stream that keeps its [`ConnTracker`].
///
/// - It counts what is read and written, below TLS, and keeps the first errno.
/// - While it is *armed* it looks before each read that would wait: tokio's
///   readiness can lag behind the kernel, and hyper reads once more just before
///   it takes a request, so a FIN found here makes hyper hand the request back.
/// - At the first byte after a request it checks that some of the request was
///   acknowledged; if not, the byte answers nothing and is withheld.
/// - A write error is held back while there is something to read, such as the
///   413 that explains it; while no request is known to be on the connection
///   only as long as somebody reads.
/// - An end of the stream that hides an error, which a write took, is reported as
///   that error: a cut response that lasts until the close would look whole.
/// - It sends no FIN of its own while a request is unresolved: that FIN would
///   complete the request for a half-closed reader.
pub(crate) struct TrackedIo {
    /// Gone only while it is being dropped.
    stream: Option<TcpStream>,
    record: Arc<ConnTracker>,
    held_back: Option<io::Error>,
    /// Whether anybody tried to read since the error was held back.
    has_read: bool,
    /// Whether the last write was of a request under a promise.
    is_watched: bool,
}

impl TrackedIo {
    /// Wraps a stream that was just connected. Returns the record too.
    pub(crate) fn new(stream: TcpStream) -> (Self, Arc<ConnTracker>) {
        let record = Arc::new(ConnTracker::of(&stream));
        let meter = Self {
            stream: Some(stream),
            record: Arc::clone(&record),
            held_back: None,
            has_read: false,
            is_watched: false,
        };
        (meter, record)
    }

    /// Wraps a stream for a pool that announces no requests: the TrackedIo then
    /// looks whenever no request is known to be on the connection.
    pub(crate) fn unannounced(stream: TcpStream) -> (Self, Arc<ConnTracker>) {
        let (meter, record) = Self::new(stream);
        record.expect_no_announcements();
        (meter, record)
    }

    /// Returns the stream.
    pub(crate) fn stream(&self) -> Option<&TcpStream> {
        self.stream.as_ref()
    }

    /// Writes by `write`, unless the connection was taken over.
    ///
    /// The record is locked across the system call: whoever takes the
    /// connection over then knows that no byte is on its way uncounted.
    fn poll_write_with(
        &mut self,
        cx: &mut Context<'_>,
        offered: usize,
        write: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let mut state = self.record.lock();
        let stream = match &mut self.stream {
            Some(stream) if state.ledger.phase() != ExchangePhase::TakenOver => stream,
            _ => return Poll::Ready(Err(taken_over())),
        };
        // Hyper reads before it takes a request, but another thread can hand
        // one over just after that read.
        if state.ledger.needs_stale_check() && state.stale_check() == StaleCheck::Stale {
            return Poll::Ready(Err(not_writable()));
        }
        let held_back = self.held_back.take();
        let is_left_unread = held_back.is_some() && !self.has_read;
        let error = match held_back {
            Some(error) => error,
            None => match ready!(write(Pin::new(stream), cx)) {
                Ok(octets) => {
                    state.on_written(offered, octets);
                    self.is_watched = state.watch.is_some();
                    return Poll::Ready(Ok(octets));
                }
                Err(error) => {
                    state.on_error(&error);
                    error
                }
            },
        };
        // Without a request of which it is known that it waits for its answer
        // what writes may be a close: TLS above says that it ends, and reads
        // no more.
        let is_awaited = matches!(state.ledger.phase(), ExchangePhase::Armed | ExchangePhase::Sent);
        if !state.has_data() || (is_left_unread && !is_awaited) {
            return Poll::Ready(Err(error));
        }
        if !is_awaited {
            cx.waker().wake_by_ref();
        }
        // Hyper reads before it writes and comes back here when it has read
        // on; the waker is registered for reading.
        let _ = stream.poll_read_ready(cx);
        (self.held_back, self.has_read) = (Some(error), false);
        Poll::Pending
    }
}

/// Notes a read that filled `buf` from `start` on.
fn on_read(state: &mut State, buf: &mut ReadBuf<'_>, start: usize) -> io::Result<()> {
    if buf.filled().len() == start {
        return state.on_end();
    } else if state.on_read(&buf.filled()[start..]) {
        buf.set_filled(start);
        return Err(withheld());
    }
    Ok(())
}

/// The stale check: asks the kernel, since tokio knows of nothing to read.
fn stale_check(
    state: &mut State,
    stream: &TcpStream,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    if !state.looks() {
        return Poll::Pending;
    }
    let socket = SockRef::from(stream);
    let is_clear = match state.stale_check() {
        StaleCheck::Stale => false,
        StaleCheck::Clear(Ok(())) => true,
        // Without counters, what can be read tells the same, if less surely.
        StaleCheck::Clear(Err(_)) => would_block(&socket.peek(&mut [MaybeUninit::uninit()])),
    };
    if is_clear {
        return Poll::Pending;
    }
    Poll::Ready(read_unheard(state, &socket, buf))
}

/// Reads what tokio has not heard of.
#[cold]
fn read_unheard(state: &mut State, socket: &SockRef<'_>, buf: &mut ReadBuf<'_>) -> io::Result<()> {
    let mut fresh = [0; 4096];
    let room = fresh.len().min(buf.remaining());
    match (&**socket).read(&mut fresh[..room]) {
        Ok(0) => return state.on_end(),
        Ok(octets) => {
            if state.on_read(&fresh[..octets]) {
                return Err(withheld());
            }
            buf.put_slice(&fresh[..octets]);
        }
        Err(error) => {
            // The counters may say that something ended when there is nothing
            // to read: whatever it is, do not write to it.
            let is_silent = error.kind() == io::ErrorKind::WouldBlock;
            if is_silent && state.is_within_record() {
                state.ledger.on_found(StaleReason::Stray);
            }
            let error = if is_silent { not_writable() } else { error };
            state.on_error(&error);
            return Err(error);
        }
    }
    Ok(())
}

fn would_block<T>(result: &io::Result<T>) -> bool {
    matches!(result, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

impl AsyncRead for TrackedIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let meter = self.get_mut();
        let mut state = meter.record.lock();
        let stream = match &mut meter.stream {
            Some(stream) if state.ledger.phase() != ExchangePhase::TakenOver => stream,
            _ => return Poll::Ready(Err(taken_over())),
        };
        meter.has_read = true;
        let start = buf.filled().len();
        match Pin::new(&mut *stream).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => Poll::Ready(on_read(&mut state, buf, start)),
            Poll::Ready(Err(error)) => {
                state.on_error(&error);
                Poll::Ready(Err(error))
            }
            Poll::Pending => stale_check(&mut state, stream, buf),
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
        // Whoever is above flushes here once nothing is left to be written.
        if self.is_watched {
            self.record.lock().on_flush();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let meter = self.get_mut();
        let mut state = meter.record.lock();
        match (state.ledger.phase(), &mut meter.stream) {
            (ExchangePhase::Idle | ExchangePhase::Released, Some(stream)) => {
                if let Some(unannounced) = &mut state.unannounced {
                    unannounced.is_shut = true;
                }
                Pin::new(stream).poll_shutdown(cx)
            }
            (ExchangePhase::Armed | ExchangePhase::Sent | ExchangePhase::TakenOver, _)
            | (_, None) => Poll::Ready(Ok(())),
        }
    }
}

impl Drop for TrackedIo {
    fn drop(&mut self) {
        let (closing, waiters) = self.record.lock().on_meter_drop(self.stream.take());
        drop(closing);
        waiters.wake();
    }
}

impl fmt::Debug for TrackedIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackedIo").field("record", &self.record).finish_non_exhaustive()
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
    use tower_resend_core::TcpState;

    /// A TrackedIo that is armed and was looked at, and its peer.
    async fn armed() -> (TrackedIo, Arc<ConnTracker>, net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (peer, _) = listener.accept().await.unwrap();
        let (meter, record) = TrackedIo::new(stream);
        record.arm(crate::conn::ContractTrust::None, None).unwrap();
        (meter, record, peer.into_std().unwrap())
    }

    /// Waits until the kernel has heard of the connection's end. Tokio hears
    /// nothing of it, since the runtime does not turn.
    fn until_closed(record: &ConnTracker, state: TcpState) {
        while record.lock().snapshot().unwrap().state != state {
            std::thread::yield_now();
        }
    }

    fn write(meter: &mut TrackedIo, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        Pin::new(meter).poll_write(cx, b"POST")
    }

    async fn read(meter: &mut TrackedIo) -> io::Result<Vec<u8>> {
        let mut octets = [0; 64];
        let mut buf = ReadBuf::new(&mut octets);
        poll_fn(|cx| Pin::new(&mut *meter).poll_read(cx, &mut buf)).await?;
        Ok(buf.filled().to_vec())
    }

    #[tokio::test]
    async fn a_write_error_is_held_back_while_there_is_something_to_read() {
        let (mut meter, record, mut peer) = armed().await;
        poll_fn(|cx| write(&mut meter, cx)).await.unwrap();
        peer.write_all(b"HTTP/1.1 413").unwrap();
        SockRef::from(&peer).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(peer);
        until_closed(&record, TcpState::Close);
        poll_fn(|cx| {
            assert!(write(&mut meter, cx).is_pending());
            assert!(write(&mut meter, cx).is_pending(), "and again");
            Poll::Ready(())
        })
        .await;
        assert_eq!(read(&mut meter).await.unwrap(), b"HTTP/1.1 413");
        let error = poll_fn(|cx| write(&mut meter, cx)).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
    }

    /// A failed write takes the socket's error, and the read then says end of
    /// stream, which would make a cut answer whole that ends with its connection.
    #[tokio::test]
    async fn attack_a_cut_is_no_end_of_stream_where_a_write_took_its_error() {
        for is_cut in [true, false] {
            let (mut meter, _record, mut peer) = armed().await;
            poll_fn(|cx| write(&mut meter, cx)).await.unwrap();
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
                while write(&mut meter, cx).is_ready() {}
                Poll::Ready(())
            })
            .await;
            assert_eq!(read(&mut meter).await.unwrap(), b"HTTP/1.1 200");
            let end = read(&mut meter).await.map_err(|error| error.raw_os_error());
            assert_eq!(end, if is_cut { Err(Some(libc::ECONNRESET)) } else { Ok(vec![]) });
        }
    }

    #[tokio::test]
    async fn a_write_without_a_look_looks_first() {
        let (mut meter, record, peer) = armed().await;
        drop(peer);
        until_closed(&record, TcpState::Other(8));
        poll_fn(|cx| write(&mut meter, cx)).await.unwrap_err();
        assert!(!record.lock().ledger.is_written());
    }

    #[tokio::test]
    async fn a_read_that_would_wait_looks_first() {
        let (mut meter, record, peer) = armed().await;
        drop(peer);
        until_closed(&record, TcpState::Other(8));
        let mut octets = [0; 64];
        let mut buf = ReadBuf::new(&mut octets);
        let polled = poll_fn(|cx| Poll::Ready(Pin::new(&mut meter).poll_read(cx, &mut buf))).await;
        assert!(matches!(polled, Poll::Ready(Ok(()))), "{polled:?}");
        assert!(buf.filled().is_empty());
        assert_eq!(record.found(), Some(StaleReason::Fin));
    }

    #[tokio::test]
    async fn no_fin_is_sent_while_a_request_is_unresolved() {
        let (mut meter, record, _peer) = armed().await;
        poll_fn(|cx| Pin::new(&mut meter).poll_shutdown(cx)).await.unwrap();
        poll_fn(|cx| write(&mut meter, cx)).await.unwrap();
        poll_fn(|cx| Pin::new(&mut meter).poll_shutdown(cx)).await.unwrap();
        assert_eq!(record.lock().snapshot().unwrap().state, TcpState::Established);
        record.resolve();
        poll_fn(|cx| Pin::new(&mut meter).poll_shutdown(cx)).await.unwrap();
        assert_ne!(record.lock().snapshot().unwrap().state, TcpState::Established);
    }

    #[tokio::test]
    async fn nobody_reads_or_writes_what_was_taken_over() {
        let (mut meter, record, mut peer) = armed().await;
        peer.write_all(b"HTTP/1.1 200").unwrap();
        record.lock().ledger.take_over();
        poll_fn(|cx| write(&mut meter, cx)).await.unwrap_err();
        read(&mut meter).await.unwrap_err();
        assert!(!record.lock().ledger.is_written());
        assert_eq!(record.lock().ledger.exchange_read(), 0);
    }
}

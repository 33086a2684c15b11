//! The IO wrapper above TLS: reports what is plaintext, and obeys.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use super::io::{TrackedIo, not_writable, taken_over, withheld};
use super::tracker::ConnTracker;
use crate::tls::TlsError;
use tower_resend_core::{OwnEnd, Passage, TextCheck};

/// A TLS stream over a [`TrackedIo`] that reports its plaintext to the
/// connection's tracker.
///
/// Below TLS a session ticket, a key update and an alert look like a response.
/// The plaintext decides what is an answer and what is unsolicited.
///
/// While a request is unresolved it sends no close_notify of its own, as the
/// TrackedIo sends no FIN: what is written then is the request's.
pub(crate) struct TlsIo {
    tls: TlsStream<TrackedIo>,
    tracker: Arc<ConnTracker>,
    /// Whether a flush has to be reported.
    reports_flush: bool,
}

impl TlsIo {
    /// Reports what passes through `tls` to the tracker of its TrackedIo.
    pub(super) fn new(tls: TlsStream<TrackedIo>, tracker: Arc<ConnTracker>) -> Self {
        Self { tls, tracker, reports_flush: false }
    }

    /// Returns what is below TLS.
    pub(super) fn tracked_io(&self) -> &TrackedIo {
        self.tls.get_ref().0
    }

    /// The stale check before a request's first byte where no read made it, as
    /// the TrackedIo does; but what waits to be read may not be HTTP at all.
    fn stale_check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match Pin::new(&mut self.tls).poll_fill_buf(cx) {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(text)) if !text.is_empty() => {
                self.tracker.lock().parts().0.on_unasked_text();
            }
            Poll::Ready(end) => ended(&self.tracker, end.map(drop))?,
        }
        Err(not_writable())
    }

    fn poll_write_with(
        &mut self,
        cx: &mut Context<'_>,
        offered: usize,
        write: impl FnOnce(Pin<&mut TlsStream<TrackedIo>>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let check = self.tracker.lock().parts().0.before_text();
        match check {
            TextCheck::Go => {}
            TextCheck::CheckFirst => self.stale_check(cx)?,
            TextCheck::TakenOver => return Poll::Ready(Err(taken_over())),
        }
        self.reports_flush = true;
        let taken = ready!(write(Pin::new(&mut self.tls), cx))?;
        let mut tracked = self.tracker.lock();
        let (machine, socket) = tracked.parts();
        machine.on_text_written(offered, taken, socket);
        Poll::Ready(Ok(taken))
    }
}

/// Reports how a session ended. An error of TLS, such as the peer's alert, is
/// passed on in a form that has it among its sources: those of an [`io::Error`]
/// leave out the very error that it holds.
fn ended(tracker: &ConnTracker, end: io::Result<()>) -> io::Result<()> {
    let why = end.as_ref().err().and_then(TlsError::of_session);
    tracker.on_tls_end(why.clone());
    end.map_err(|error| match why {
        Some(why) => io::Error::new(error.kind(), why),
        None => error,
    })
}

impl AsyncRead for TlsIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let io = self.get_mut();
        // TLS may hold plaintext that arrived before.
        let is_taken_over = io.tracker.lock().parts().0.is_taken_over();
        if is_taken_over {
            return Poll::Ready(Err(taken_over()));
        }
        // One piece at a time: what arrives after it is judged by itself.
        let text = match ready!(Pin::new(&mut io.tls).poll_fill_buf(cx)) {
            Ok(text) if !text.is_empty() => &text[..text.len().min(buf.remaining())],
            end => return Poll::Ready(ended(&io.tracker, end.map(drop))),
        };
        let passage = {
            let mut tracked = io.tracker.lock();
            let (machine, socket) = tracked.parts();
            machine.on_text(text, socket)
        };
        let taken = text.len();
        if passage == Passage::Deliver {
            buf.put_slice(text);
        }
        Pin::new(&mut io.tls).consume(taken);
        Poll::Ready(match passage {
            Passage::Deliver => Ok(()),
            Passage::Withhold => Err(withheld()),
        })
    }
}

impl AsyncWrite for TlsIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_with(cx, bytes.len(), |tls, cx| tls.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let offered = bytes.iter().map(|slice| slice.len()).sum();
        self.get_mut().poll_write_with(cx, offered, |tls, cx| tls.poll_write_vectored(cx, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let io = self.get_mut();
        ready!(Pin::new(&mut io.tls).poll_flush(cx))?;
        if std::mem::take(&mut io.reports_flush) {
            io.tracker.lock().parts().0.on_text_flushed();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let io = self.get_mut();
        let end = io.tracker.lock().parts().0.before_close_notify();
        match end {
            OwnEnd::Send => Pin::new(&mut io.tls).poll_shutdown(cx),
            OwnEnd::Suppress => Poll::Ready(Ok(())),
        }
    }
}

impl fmt::Debug for TlsIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIo").field("tracker", &self.tracker).finish_non_exhaustive()
    }
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used, reason = "a test panics when something is in its way")]
mod tests {
    use std::future::poll_fn;
    use std::io::{Read, Write};
    use std::net;
    use std::time::Duration;

    use testkit::tls_origin::{Authority, Session};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::time;
    use crate::tls::Tls;
    use tower_resend_core::{
        Armed, ContractTrust, Layer, Outbound, Probe, Reuse, StaleReason, TcpState,
    };

    fn arm(tracker: &ConnTracker) -> Result<Armed, StaleReason> {
        tracker.arm(Outbound::new(ContractTrust::None, None))
    }

    /// A TlsIo whose exchange was armed, before its stale check.
    async fn armed() -> (TlsIo, Arc<ConnTracker>, Session, net::TcpStream) {
        let authority = Authority::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (peer, _) = listener.accept().await.unwrap();
        let mut peer = peer.into_std().unwrap();
        peer.set_nonblocking(false).unwrap();
        let server = authority.server();
        let accepted = tokio::task::spawn_blocking(move || (server.accept(&mut peer), peer));
        let (tracked_io, tracker) = TrackedIo::new(stream);
        tracker.expect(Layer::Tls);
        let tls = Tls::builder()
            .no_default_roots()
            .add_root(authority.root())
            .build()
            .unwrap()
            .connect("127.0.0.1", tracked_io)
            .await
            .unwrap();
        let (session, peer) = accepted.await.unwrap();
        arm(&tracker).unwrap();
        (TlsIo::new(tls, Arc::clone(&tracker)), tracker, session.unwrap(), peer)
    }

    /// Does what the client's kernel receives, and waits until it has. The
    /// runtime does not turn meanwhile.
    fn received(tracker: &ConnTracker, send: impl FnOnce()) {
        let received = || tracker.lock().parts().1.snapshot().unwrap().bytes_received;
        let before = received();
        send();
        while received() == before {
            std::thread::yield_now();
        }
    }

    async fn write(io: &mut TlsIo) -> io::Result<usize> {
        poll_fn(|cx| Pin::new(&mut *io).poll_write(cx, b"POST")).await
    }

    #[tokio::test]
    async fn a_write_checks_first_and_takes_in_what_is_not_plaintext() {
        let (mut io, tracker, mut session, mut peer) = armed().await;
        session.0.refresh_traffic_keys().unwrap();
        received(&tracker, || session.flush(&mut peer));
        assert_eq!(write(&mut io).await.unwrap(), 4);
        assert_eq!(tracker.reuse(), Reuse::Possible);
        assert_eq!(tracker.lock().parts().0.check(), Ok(()));
    }

    #[tokio::test]
    async fn a_write_checks_first_and_stops_at_close_notify_and_plaintext() {
        for found in [StaleReason::EndOfTls, StaleReason::Stray] {
            let (mut io, tracker, mut session, mut peer) = armed().await;
            received(&tracker, || match found {
                StaleReason::Stray => session.write(&mut peer, "HTTP/1.1 599 No\r\n\r\n"),
                _ => session.close(&mut peer),
            });
            write(&mut io).await.unwrap_err();
            assert_eq!(tracker.reuse(), Reuse::Stale(found));
            assert!(!tracker.is_written());
        }
    }

    #[tokio::test]
    async fn no_close_notify_is_sent_while_a_request_is_unresolved() {
        let (mut io, tracker, _session, _peer) = armed().await;
        io.shutdown().await.unwrap();
        assert!(!tracker.is_written());
        tracker.finish();
        io.shutdown().await.unwrap();
        assert!(tracker.is_written(), "the control: now there is one");
    }

    /// Hyper may hold a request already while TLS has not taken any of it.
    #[tokio::test]
    async fn plaintext_before_the_request_is_withheld() {
        let (mut io, tracker, mut session, mut peer) = armed().await;
        session.write(&mut peer, "HTTP/1.1 408 Request Timeout\r\n\r\n");
        let mut bytes = [0; 64];
        let mut buf = ReadBuf::new(&mut bytes);
        poll_fn(|cx| Pin::new(&mut io).poll_read(cx, &mut buf)).await.unwrap_err();
        assert!(buf.filled().is_empty());
        assert_eq!(tracker.reuse(), Reuse::Stale(StaleReason::Stray));
    }

    /// An upload that was answered early looks finished to hyper once TLS has
    /// all of it, which the kernel may not have.
    #[tokio::test]
    async fn no_request_follows_what_is_still_in_tls() {
        let (mut io, tracker, _session, mut peer) = armed().await;
        let chunk = [0; 16 * 1024];
        poll_fn(|cx| {
            while Pin::new(&mut io).poll_write(cx, &chunk).is_ready() {}
            assert!(Pin::new(&mut io).poll_flush(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        tracker.finish();
        assert_eq!(arm(&tracker), Err(StaleReason::Ended));

        // The control: once it is flushed, one may.
        let reads = tokio::task::spawn_blocking(move || {
            let mut chunk = [0; 1 << 16];
            while peer.read(&mut chunk).is_ok_and(|read| read > 0) {}
        });
        poll_fn(|cx| Pin::new(&mut io).poll_flush(cx)).await.unwrap();
        assert!(arm(&tracker).is_ok());
        drop(io);
        tracker.abort();
        reads.await.unwrap();
    }

    /// What TLS says by itself, such as an alert, is no part of the request.
    #[tokio::test]
    async fn an_alert_before_the_request_is_no_part_of_it() {
        let (mut io, tracker, mut session, mut peer) = armed().await;
        let mut records = session.records("HTTP/1.1 200 OK\r\n\r\n");
        *records.last_mut().unwrap() ^= 1;
        peer.write_all(&records).unwrap();
        let mut bytes = [0; 64];
        let mut buf = ReadBuf::new(&mut bytes);
        poll_fn(|cx| Pin::new(&mut io).poll_read(cx, &mut buf)).await.unwrap_err();
        assert!(session.read(&mut peer, &mut [0; 8]).is_err(), "the alert arrived");
        assert!(!tracker.is_written());
    }

    #[tokio::test]
    async fn a_close_does_not_wait_for_bytes_that_are_not_read() {
        let (mut io, tracker, mut session, mut peer) = armed().await;
        tracker.finish();
        peer.set_nodelay(true).unwrap();
        session.close(&mut peer);
        assert_eq!(io.read(&mut [0; 8]).await.unwrap(), 0);
        peer.write_all(b"!").unwrap();
        socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
        drop(peer);
        while tracker.lock().parts().1.snapshot().unwrap().state != TcpState::Close {
            tokio::task::yield_now().await;
        }
        assert!(tracker.lock().parts().1.has_data());
        let closed = time::timeout_at(time::now() + Duration::from_secs(10), io.shutdown()).await;
        closed.expect("the close_notify is given up").unwrap_err();
    }

    #[tokio::test]
    async fn plaintext_is_withheld_once_the_connection_is_taken_over() {
        let (mut io, tracker, mut session, mut peer) = armed().await;
        write(&mut io).await.unwrap();
        session.write(&mut peer, "HTTP/1.1 200 OK\r\n\r\n");
        tracker.lock().parts().0.take_over();
        let mut bytes = [0; 64];
        let mut buf = ReadBuf::new(&mut bytes);
        poll_fn(|cx| Pin::new(&mut io).poll_read(cx, &mut buf)).await.unwrap_err();
        assert!(buf.filled().is_empty());
    }
}

//! The thin layer above TLS that tells the record what is text of HTTP.

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
use tower_resend_core::ExchangePhase;

/// A TLS stream over a [`TrackedIo`] that reports its text to the connection's
/// record.
///
/// Below TLS a session ticket, a key update and an alert look like a response.
/// The text decides what is an answer and what is unsolicited.
///
/// While a request is unresolved it sends no close_notify of its own, as the
/// TrackedIo sends no FIN: what is written then is the request's.
pub(crate) struct TlsIo {
    tls: TlsStream<TrackedIo>,
    record: Arc<ConnTracker>,
    /// Whether the record waits to hear that all was flushed.
    is_unflushed: bool,
}

impl TlsIo {
    /// Reports what passes through `tls` to the record of its TrackedIo.
    pub(super) fn new(tls: TlsStream<TrackedIo>, record: Arc<ConnTracker>) -> Self {
        Self { tls, record, is_unflushed: false }
    }

    /// Returns what is below TLS.
    pub(super) fn meter(&self) -> &TrackedIo {
        self.tls.get_ref().0
    }

    /// Looks before a request's first byte is written where no read did, as
    /// the TrackedIo does; but what waits to be read may be none of HTTP.
    fn stale_check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match Pin::new(&mut self.tls).poll_fill_buf(cx) {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(text)) if !text.is_empty() => self.record.on_unasked_text(),
            Poll::Ready(end) => ended(&self.record, end.map(drop))?,
        }
        Err(not_writable())
    }

    fn poll_write_with(
        &mut self,
        cx: &mut Context<'_>,
        offered: usize,
        write: impl FnOnce(Pin<&mut TlsStream<TrackedIo>>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match self.record.on_text_offered() {
            None => return Poll::Ready(Err(taken_over())),
            Some(true) => self.stale_check(cx)?,
            Some(false) => {}
        }
        self.is_unflushed = true;
        let taken = ready!(write(Pin::new(&mut self.tls), cx))?;
        self.record.on_text_written(offered, taken);
        Poll::Ready(Ok(taken))
    }
}

/// Notes how a session ended. An error of TLS, such as the peer's alert, is given
/// on in a form that has it among its sources: those of an [`io::Error`] leave
/// out the very error that it holds.
fn ended(record: &ConnTracker, end: io::Result<()>) -> io::Result<()> {
    let why = end.as_ref().err().and_then(TlsError::of_session);
    record.on_tls_end(why.clone());
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
        let tap = self.get_mut();
        // TLS may hold text that arrived before.
        if tap.record.untaken().is_none() {
            return Poll::Ready(Err(taken_over()));
        }
        // One piece at a time: what arrives after it is judged by itself.
        let text = match ready!(Pin::new(&mut tap.tls).poll_fill_buf(cx)) {
            Ok(text) if !text.is_empty() => &text[..text.len().min(buf.remaining())],
            end => return Poll::Ready(ended(&tap.record, end.map(drop))),
        };
        let is_withheld = tap.record.on_text(text);
        if !is_withheld {
            buf.put_slice(text);
        }
        let octets = text.len();
        Pin::new(&mut tap.tls).consume(octets);
        Poll::Ready(if is_withheld { Err(withheld()) } else { Ok(()) })
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
        let tap = self.get_mut();
        ready!(Pin::new(&mut tap.tls).poll_flush(cx))?;
        if std::mem::take(&mut tap.is_unflushed) {
            tap.record.on_text_flushed();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tap = self.get_mut();
        let phase = tap.record.lock().ledger.phase();
        match phase {
            ExchangePhase::Idle | ExchangePhase::Released => {
                Pin::new(&mut tap.tls).poll_shutdown(cx)
            }
            ExchangePhase::Armed | ExchangePhase::Sent | ExchangePhase::TakenOver => {
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl fmt::Debug for TlsIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIo").field("record", &self.record).finish_non_exhaustive()
    }
}

#[cfg(all(test, target_os = "linux"))]
#[path = "../../crates/testkit/src/tls.rs"]
#[allow(clippy::unwrap_used, dead_code, unreachable_pub, reason = "a test's helper")]
mod support;

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used, reason = "a test panics when something is in its way")]
mod tests {
    use std::future::poll_fn;
    use std::io::{Read, Write};
    use std::net;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::support::{Authority, Session};
    use super::*;
    use crate::conn::ContractTrust;
    use crate::time;
    use tower_resend_core::{StaleReason, TcpState};

    /// A TlsIo whose exchange was armed and which has not looked yet.
    async fn armed() -> (TlsIo, Arc<ConnTracker>, Session, net::TcpStream) {
        let authority = Authority::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (peer, _) = listener.accept().await.unwrap();
        let mut peer = peer.into_std().unwrap();
        peer.set_nonblocking(false).unwrap();
        let server = authority.server();
        let accepted = tokio::task::spawn_blocking(move || (server.accept(&mut peer), peer));
        let (meter, record) = TrackedIo::new(stream);
        record.expect_tls();
        let tls = authority.client().build().unwrap().connect("127.0.0.1", meter).await.unwrap();
        let (session, peer) = accepted.await.unwrap();
        record.arm(ContractTrust::None, None).unwrap();
        (TlsIo::new(tls, Arc::clone(&record)), record, session.unwrap(), peer)
    }

    /// Does what the client's kernel receives, and waits until it has. The
    /// runtime does not turn meanwhile.
    fn received(record: &ConnTracker, send: impl FnOnce()) {
        let octets = || record.lock().snapshot().unwrap().bytes_received;
        let before = octets();
        send();
        while octets() == before {
            std::thread::yield_now();
        }
    }

    async fn write(tap: &mut TlsIo) -> io::Result<usize> {
        poll_fn(|cx| Pin::new(&mut *tap).poll_write(cx, b"POST")).await
    }

    #[tokio::test]
    async fn a_write_without_a_look_takes_in_what_is_no_text() {
        let (mut tap, record, mut session, mut peer) = armed().await;
        session.0.refresh_traffic_keys().unwrap();
        received(&record, || session.flush(&mut peer));
        assert_eq!(write(&mut tap).await.unwrap(), 4);
        assert_eq!(record.found(), None);
        assert_eq!(record.lock().ledger.check(), Ok(()));
    }

    #[tokio::test]
    async fn a_write_without_a_look_stops_at_a_close_notify_and_at_text() {
        for found in [StaleReason::EndOfTls, StaleReason::Stray] {
            let (mut tap, record, mut session, mut peer) = armed().await;
            received(&record, || match found {
                StaleReason::Stray => session.write(&mut peer, "HTTP/1.1 599 No\r\n\r\n"),
                _ => session.close(&mut peer),
            });
            write(&mut tap).await.unwrap_err();
            assert_eq!(record.found(), Some(found));
            assert!(!record.is_written());
        }
    }

    #[tokio::test]
    async fn no_close_notify_is_sent_while_a_request_is_unresolved() {
        let (mut tap, record, _session, _peer) = armed().await;
        tap.shutdown().await.unwrap();
        assert!(!record.is_written());
        record.resolve();
        tap.shutdown().await.unwrap();
        assert!(record.is_written(), "the control: now there is one");
    }

    /// Hyper may hold a request already while TLS has not taken any of it.
    #[tokio::test]
    async fn text_that_arrives_before_the_request_is_withheld() {
        let (mut tap, record, mut session, mut peer) = armed().await;
        session.write(&mut peer, "HTTP/1.1 408 Request Timeout\r\n\r\n");
        let mut octets = [0; 64];
        let mut buf = ReadBuf::new(&mut octets);
        poll_fn(|cx| Pin::new(&mut tap).poll_read(cx, &mut buf)).await.unwrap_err();
        assert!(buf.filled().is_empty());
        assert_eq!(record.found(), Some(StaleReason::Stray));
    }

    /// An upload that was answered early looks finished to hyper once TLS has
    /// all of it, which the kernel may not have.
    #[tokio::test]
    async fn no_request_follows_what_is_still_in_tls() {
        let (mut tap, record, _session, mut peer) = armed().await;
        let chunk = [0; 16 * 1024];
        poll_fn(|cx| {
            while Pin::new(&mut tap).poll_write(cx, &chunk).is_ready() {}
            assert!(Pin::new(&mut tap).poll_flush(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        record.resolve();
        assert_eq!(record.arm(ContractTrust::None, None), Err(StaleReason::Ended));

        // The control: once it is flushed, one may.
        let reads = tokio::task::spawn_blocking(move || {
            let mut chunk = [0; 1 << 16];
            while peer.read(&mut chunk).is_ok_and(|octets| octets > 0) {}
        });
        poll_fn(|cx| Pin::new(&mut tap).poll_flush(cx)).await.unwrap();
        assert_eq!(record.arm(ContractTrust::None, None), Ok(()));
        drop(tap);
        record.abort();
        reads.await.unwrap();
    }

    /// What TLS says by itself, such as an alert, is none of the request.
    #[tokio::test]
    async fn an_alert_before_the_request_is_not_the_requests() {
        let (mut tap, record, mut session, mut peer) = armed().await;
        let mut records = session.records("HTTP/1.1 200 OK\r\n\r\n");
        *records.last_mut().unwrap() ^= 1;
        peer.write_all(&records).unwrap();
        let mut octets = [0; 64];
        let mut buf = ReadBuf::new(&mut octets);
        poll_fn(|cx| Pin::new(&mut tap).poll_read(cx, &mut buf)).await.unwrap_err();
        assert!(session.read(&mut peer, &mut [0; 8]).is_err(), "the alert arrived");
        assert!(!record.is_written());
    }

    #[tokio::test]
    async fn a_close_does_not_wait_for_what_nobody_reads() {
        let (mut tap, record, mut session, mut peer) = armed().await;
        record.resolve();
        peer.set_nodelay(true).unwrap();
        session.close(&mut peer);
        assert_eq!(tap.read(&mut [0; 8]).await.unwrap(), 0);
        peer.write_all(b"!").unwrap();
        socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
        drop(peer);
        while record.lock().snapshot().unwrap().state != TcpState::Close {
            tokio::task::yield_now().await;
        }
        assert!(record.lock().has_data());
        let closed = time::timeout_at(time::now() + Duration::from_secs(10), tap.shutdown()).await;
        closed.expect("the close_notify is given up").unwrap_err();
    }

    #[tokio::test]
    async fn text_is_withheld_from_whom_the_connection_was_taken() {
        let (mut tap, record, mut session, mut peer) = armed().await;
        write(&mut tap).await.unwrap();
        session.write(&mut peer, "HTTP/1.1 200 OK\r\n\r\n");
        record.lock().ledger.take_over();
        let mut octets = [0; 64];
        let mut buf = ReadBuf::new(&mut octets);
        poll_fn(|cx| Pin::new(&mut tap).poll_read(cx, &mut buf)).await.unwrap_err();
        assert!(buf.filled().is_empty());
    }
}

//! The thin layer above TLS that tells the record what is text of HTTP.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use super::meter::{Meter, taken_over, withheld};
use super::record::Record;
use crate::classify::Phase;

/// A TLS stream over a [`Meter`] that reports its text to the connection's
/// record.
///
/// Below TLS a session ticket, a key update and an alert look like a response.
/// What is an answer, and what nobody asked for, is judged by the text.
///
/// While a request is unresolved it sends no close_notify of its own, as the
/// Meter sends no FIN: what is written then is the request's.
pub(super) struct Tap {
    tls: TlsStream<Meter>,
    record: Arc<Record>,
    /// Whether the last write was of a request under a promise.
    is_watched: bool,
}

impl Tap {
    /// Reports what passes through `tls` to the record of its Meter.
    pub(super) fn new(tls: TlsStream<Meter>, record: Arc<Record>) -> Self {
        Self { tls, record, is_watched: false }
    }

    fn poll_write_with(
        &mut self,
        offered: usize,
        write: impl FnOnce(Pin<&mut TlsStream<Meter>>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if self.record.untaken().is_none() {
            return Poll::Ready(Err(taken_over()));
        }
        let taken = ready!(write(Pin::new(&mut self.tls)))?;
        self.is_watched = self.record.on_text_written(offered, taken);
        Poll::Ready(Ok(taken))
    }
}

impl AsyncRead for Tap {
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
        let start = buf.filled().len();
        let read = ready!(Pin::new(&mut tap.tls).poll_read(cx, buf));
        let is_end = buf.filled().len() == start;
        if read.is_err() || is_end {
            tap.record.on_tls_end();
        } else if tap.record.on_text(&buf.filled()[start..]) {
            buf.set_filled(start);
            return Poll::Ready(Err(withheld()));
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Tap {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_with(bytes.len(), |tls| tls.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let offered = bytes.iter().map(|slice| slice.len()).sum();
        self.get_mut().poll_write_with(offered, |tls| tls.poll_write_vectored(cx, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tap = self.get_mut();
        ready!(Pin::new(&mut tap.tls).poll_flush(cx))?;
        if tap.is_watched {
            tap.record.on_text_flushed();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tap = self.get_mut();
        let phase = tap.record.lock().ledger.phase();
        match phase {
            Phase::Idle | Phase::Released => Pin::new(&mut tap.tls).poll_shutdown(cx),
            Phase::Armed | Phase::Sent | Phase::TakenOver => Poll::Ready(Ok(())),
        }
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").field("record", &self.record).finish_non_exhaustive()
    }
}

//! A connection as one type, whether it is under TLS or not.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::io::TrackedIo;
#[cfg(feature = "tls")]
use super::tls_io::TlsIo;
use super::tracker::ConnTracker;
#[cfg(feature = "tls")]
use crate::tls::{Tls, TlsError};
#[cfg(feature = "tls")]
use tower_resend_core::Layer;

/// A connection on which no request was sent yet.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) io: Io,
    pub(crate) tracker: Arc<ConnTracker>,
}

/// What hyper reads and writes.
#[derive(Debug)]
pub(crate) enum Io {
    Plain(TrackedIo),
    #[cfg(feature = "tls")]
    Tls(Box<TlsIo>),
}

#[cfg(feature = "tls")]
impl Connected {
    /// Makes TLS on a stream whose bytes are not HTTP so far.
    pub(crate) async fn secure(
        io: TrackedIo,
        tracker: Arc<ConnTracker>,
        tls: &Tls,
        host: &str,
    ) -> Result<Self, TlsError> {
        tracker.expect(Layer::Tls);
        let stream = tls.connect(host, io).await?;
        let io = Io::Tls(Box::new(TlsIo::new(stream, Arc::clone(&tracker))));
        Ok(Self { io, tracker })
    }
}

#[cfg(test)]
impl Connected {
    pub(super) fn plain(stream: TcpStream) -> Self {
        let (io, tracker) = TrackedIo::new(stream);
        Self { io: Io::Plain(io), tracker }
    }
}

impl Connected {
    /// Wraps a stream that was just connected for a pool that announces no
    /// requests.
    pub(crate) fn external(stream: TcpStream) -> Self {
        let (io, tracker) = TrackedIo::external(stream);
        Self { io: Io::Plain(io), tracker }
    }

    /// Returns `true` if the counters tell that the stream had been written to before
    /// it was wrapped.
    pub(crate) fn was_used(&self) -> bool {
        self.tracker.was_used()
    }

    /// Makes TLS on a connection on which nothing was sent yet.
    ///
    /// # Errors
    ///
    /// Why the handshake failed.
    #[cfg(feature = "tls")]
    pub(crate) async fn with_tls(self, tls: &Tls, host: &str) -> Result<Self, TlsError> {
        match self.io {
            Io::Plain(io) => Self::secure(io, self.tracker, tls, host).await,
            Io::Tls(_) => Ok(self),
        }
    }

    /// Returns the IO and its tracker.
    pub(crate) fn into_parts(self) -> (Io, Arc<ConnTracker>) {
        (self.io, self.tracker)
    }
}

impl Io {
    /// Returns the TCP stream.
    pub(crate) fn stream(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(io) => io.stream(),
            #[cfg(feature = "tls")]
            Self::Tls(io) => io.tracked_io().stream(),
        }
    }
}

/// Calls the same on what is there.
macro_rules! either {
    ($self:ident, $io:ident => $call:expr) => {
        match $self.get_mut() {
            Io::Plain(io) => {
                let $io = Pin::new(io);
                $call
            }
            #[cfg(feature = "tls")]
            Io::Tls(io) => {
                let $io = Pin::new(io);
                $call
            }
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, io => io.poll_read(cx, buf))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, io => io.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, io => io.poll_write_vectored(cx, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(io) => io.is_write_vectored(),
            #[cfg(feature = "tls")]
            Self::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, io => io.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, io => io.poll_shutdown(cx))
    }
}

//! A connection as HTTP sees it, above TLS if there is TLS; and as its service
//! sees it.
//!
//! ```text
//!   HTTP --> Connection --> [TLS] --> Socket        service --> Handle, Exchange
//!                |                      |                           |
//!                +----------------> CloseTracker <------------------+
//!                        (lock: CloseMachine, SO_LINGER, counters)
//! ```

mod exchange;
mod handle;
mod preface;
mod recheck;
mod socket;
mod staged_close;
mod tracked_body;
mod tracker;

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime;

pub use self::exchange::Exchange;
pub use self::handle::Handle;
use self::preface::Preface;
use self::recheck::Recheck;
pub use self::socket::Socket;
use self::staged_close::StagedClose;
pub use self::tracked_body::TrackedResponseBody;
pub(super) use self::tracker::ConnectionSettings;
use self::tracker::{CloseTracker, NextAction};
pub use self::tracker::{Counters, DispatchRefused};
use tower_resend_core::close::{CloseMachine, Event};

/// A stream that HTTP/1.1 is served on, and whose end says whether a request
/// was dispatched.
///
/// It parses no HTTP: it sees when bytes of a request arrive and when bytes of
/// a response have left, and its [`Handle`] tells it the rest. Serve it with
/// hyper, or with anything else that flushes what it writes and shuts down
/// what it ends.
///
/// Shutting it down is a staged close (S5): a closing response if one is owed,
/// the FIN, and then up to two seconds of reading on. If no reset can erase a
/// response, it is an ordinary close: a reset then answers a request that crosses
/// the FIN, and its client can prove something by that. If the connection is
/// dropped before it is closed, a task of the current runtime finishes the close.
///
/// Once the connection left HTTP/1.1, as a tunnel or for another protocol,
/// shutting it down sends only the FIN, and it can still be read.
pub struct Connection<S = Socket>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    /// `None` only while it is being dropped.
    stream: Option<S>,
    handle: Handle,
    preface: Preface,
    recheck: Recheck,
    closing: Option<StagedClose>,
}

impl<S> Connection<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    /// Returns the connection over `stream`, which is the [`Socket`] of this
    /// handle or has it below itself.
    pub fn new(stream: S, handle: Handle) -> Self {
        Self {
            stream: Some(stream),
            handle,
            preface: Preface::default(),
            recheck: Recheck::default(),
            closing: None,
        }
    }

    /// Returns the handle for the connection's service.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Returns the stream; `None` only while the connection is being dropped.
    pub fn get_ref(&self) -> Option<&S> {
        self.stream.as_ref()
    }

    fn tracker(&self) -> &Arc<CloseTracker> {
        self.handle.tracker()
    }

    /// Does what has to be done next; ready when the connection has ended.
    fn poll_next(&mut self, next: NextAction, cx: &mut Context<'_>) -> Poll<()> {
        match next {
            NextAction::Continue => self.recheck.stop(),
            NextAction::Recheck => {
                // Until it is pending: only then does the timer wake the task.
                while self.recheck.poll(cx).is_ready() {
                    if self.tracker().recheck() != NextAction::Recheck {
                        break;
                    }
                }
            }
            NextAction::Close => return self.poll_close(cx).map(drop),
        }
        Poll::Pending
    }

    /// The staged close.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closing.is_none() {
            match self.tracker().on_shutdown() {
                Some(order) => {
                    self.closing = Some(StagedClose::new(order, Arc::clone(self.tracker())));
                }
                // The reset follows when the connection is dropped.
                None => return Poll::Ready(Ok(())),
            }
        }
        match (&mut self.closing, &mut self.stream) {
            (Some(closing), Some(stream)) => closing.poll(stream, cx).map(Ok),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Writes by `write`, unless the connection is closing: then the closing
    /// response takes the place of what HTTP writes.
    fn poll_write_with(
        &mut self,
        cx: &mut Context<'_>,
        first: &[u8],
        len: usize,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        if !self.handle.tracker().on_write(first) {
            return Poll::Ready(Ok(len));
        }
        write(Pin::new(stream), cx)
    }
}

impl<S> AsyncRead for Connection<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let (None, Some(stream)) = (&this.closing, &mut this.stream) else {
            return this.poll_close(cx);
        };
        let start = buf.filled().len();
        match Pin::new(stream).poll_read(cx, buf) {
            Poll::Ready(Ok(())) if buf.filled().len() > start => {
                if this.preface.is_http2(&buf.filled()[start..]) {
                    this.handle.disarm();
                }
                if this.tracker().note(Event::Read) {
                    return Poll::Ready(Ok(()));
                }
                buf.set_filled(start);
                this.poll_close(cx)
            }
            Poll::Ready(Ok(())) => {
                this.tracker().note(Event::PeerEnded);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => {
                this.tracker().note(Event::PeerEnded);
                Poll::Ready(Err(error))
            }
            Poll::Pending => {
                let next = this.tracker().on_wait(cx);
                this.poll_next(next, cx).map(Ok)
            }
        }
    }
}

impl<S> AsyncWrite for Connection<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let write = |stream: Pin<&mut S>, cx: &mut Context<'_>| stream.poll_write(cx, bytes);
        self.get_mut().poll_write_with(cx, bytes, bytes.len(), write)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = bytes.iter().find(|slice| !slice.is_empty());
        let len = bytes.iter().map(|slice| slice.len()).sum();
        let write =
            |stream: Pin<&mut S>, cx: &mut Context<'_>| stream.poll_write_vectored(cx, bytes);
        self.get_mut().poll_write_with(cx, first.map_or(&[], |first| first), len, write)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let (None, Some(stream)) = (&this.closing, &mut this.stream) else {
            return Poll::Ready(Ok(()));
        };
        ready!(Pin::new(stream).poll_flush(cx))?;
        match this.tracker().on_flushed(cx) {
            // HTTP need not read after it has flushed.
            NextAction::Recheck => drop(this.poll_next(NextAction::Recheck, cx)),
            NextAction::Continue | NextAction::Close => {}
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.tracker().ask(CloseMachine::is_tunnel) {
            return this.poll_close(cx);
        }
        match &mut this.stream {
            Some(stream) if this.handle.tracker().note(Event::Shutdown) => {
                Pin::new(stream).poll_shutdown(cx)
            }
            // The reset follows when the connection is dropped.
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl<S> Drop for Connection<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    /// Leaves the rest of a close to a task: HTTP drops a connection that failed,
    /// or on which nothing was ever read, without shutting it down.
    fn drop(&mut self) {
        if self.closing.is_none() {
            let order = self.tracker().on_dropped();
            self.closing = order.map(|order| StagedClose::new(order, Arc::clone(self.tracker())));
        }
        let (Some(mut closing), Some(mut stream)) = (self.closing.take(), self.stream.take())
        else {
            return;
        };
        if !closing.is_before_fin() {
            return;
        }
        if let Ok(runtime) = runtime::Handle::try_current() {
            runtime.spawn(async move { poll_fn(|cx| closing.poll(&mut stream, cx)).await });
        }
    }
}

impl<S> fmt::Debug for Connection<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("handle", &self.handle).finish_non_exhaustive()
    }
}

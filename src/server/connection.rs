//! A connection as HTTP sees it: above TLS if there is TLS.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime;

use super::closing::Closing;
use super::handle::Handle;
use super::preface::Preface;
use super::recheck::Recheck;
use super::shared::{Next, Shared};
use super::socket::Socket;
use tower_resend_core::close::Event;

/// A stream that HTTP/1.1 is served on, and whose end says whether a request
/// was dispatched.
///
/// It reads no HTTP: it knows when bytes of a request arrive and when those of
/// a response have left, and its [`Handle`] tells it the rest. Serve it with
/// hyper, or with anything else that flushes what it writes and shuts down
/// what it ends.
///
/// Shutting it down is a staged close (S5): a closing response if one is owed,
/// the FIN, and then up to two seconds of reading on. Where a reset cannot erase
/// a response it is an ordinary close: a request that crosses the FIN is then
/// refused by a reset, which is what its client can prove something by. Dropping
/// the connection in the middle of all that leaves the rest to a task of the
/// runtime.
///
/// Once the connection left HTTP/1.1, as a tunnel or for another protocol,
/// shutting it down sends the FIN alone, and it can still be read.
pub struct Connection<S = Socket>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    /// Gone only while it is being dropped.
    stream: Option<S>,
    handle: Handle,
    preface: Preface,
    recheck: Recheck,
    closing: Option<Closing>,
}

impl<S> Connection<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    /// Returns the connection that `stream` carries, which is the [`Socket`] of
    /// this handle or has it below itself.
    pub fn new(stream: S, handle: Handle) -> Self {
        Self {
            stream: Some(stream),
            handle,
            preface: Preface::default(),
            recheck: Recheck::default(),
            closing: None,
        }
    }

    /// Returns what the connection's service needs.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Returns the stream.
    pub fn get_ref(&self) -> Option<&S> {
        self.stream.as_ref()
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.0
    }

    /// Does what has to be done next; ready when the connection has ended.
    fn poll_next(&mut self, next: Next, cx: &mut Context<'_>) -> Poll<()> {
        match next {
            Next::Go => self.recheck.stop(),
            Next::Recheck => {
                // The timer may have run out: it must have been polled after
                // it was set to be heard of.
                while self.recheck.poll(cx).is_ready() {
                    if self.shared().lock().next() != Next::Recheck {
                        break;
                    }
                }
            }
            Next::Close => return self.poll_close(cx).map(drop),
        }
        Poll::Pending
    }

    /// The staged close.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closing.is_none() {
            match self.shared().on_shutdown() {
                Some(closing) => self.closing = Some(closing),
                // The reset follows when the connection is dropped.
                None => return Poll::Ready(Ok(())),
            }
        }
        match (&mut self.closing, &mut self.stream) {
            (Some(closing), Some(stream)) => closing.poll(stream, cx).map(Ok),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Writes by `write`, unless the connection is closing: what HTTP says
    /// then, the closing response has said.
    fn poll_write_with(
        &mut self,
        cx: &mut Context<'_>,
        octets: &[u8],
        all: usize,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let shared = &self.handle.0;
        if !shared.on_write(octets) {
            return Poll::Ready(Ok(all));
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
                if this.shared().note(Event::Read) {
                    return Poll::Ready(Ok(()));
                }
                buf.set_filled(start);
                this.poll_close(cx)
            }
            Poll::Ready(Ok(())) => {
                this.shared().note(Event::PeerEnded);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => {
                this.shared().note(Event::PeerEnded);
                Poll::Ready(Err(error))
            }
            Poll::Pending => {
                let next = this.shared().on_wait(cx);
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
        let all = bytes.iter().map(|slice| slice.len()).sum();
        let write =
            |stream: Pin<&mut S>, cx: &mut Context<'_>| stream.poll_write_vectored(cx, bytes);
        self.get_mut().poll_write_with(cx, first.map_or(&[], |first| first), all, write)
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
        match this.shared().on_flushed(cx) {
            // HTTP need not read after it has flushed.
            Next::Recheck => drop(this.poll_next(Next::Recheck, cx)),
            Next::Go | Next::Close => {}
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.shared().lock().machine.is_tunnel() {
            return this.poll_close(cx);
        }
        match &mut this.stream {
            Some(stream) if this.handle.0.note(Event::Shutdown) => {
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
    /// Leaves what is left of a close to a task: HTTP drops a connection that
    /// failed, or on which nothing was ever read, without shutting it down.
    fn drop(&mut self) {
        if self.closing.is_none() {
            let shared = self.shared();
            let (leaves, ends) = {
                let state = shared.lock();
                (state.leaves_now(), state.machine.is_ended_tunnel())
            };
            self.closing = match (leaves, ends) {
                (true, _) => shared.on_shutdown(),
                (false, true) => Some(Closing::staged(Vec::new())),
                (false, false) => None,
            };
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

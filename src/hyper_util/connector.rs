//! The connector, and the connections that it makes.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ::hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use ::hyper_util::rt::TokioIo;
use http::Uri;
use http::uri::Scheme;
use hyper::rt::{Read, ReadBufCursor, Write};
use pin_project_lite::pin_project;
use tokio::net::TcpStream;
use tower::Service;

use super::handle::Handle;
use crate::chain::BoxError;
use crate::conn::{self, ConnTracker, Io};
use crate::connect::{ConnectOptions, connect_failure, has_sound_port, http_connector};
#[cfg(feature = "tls")]
use crate::time;
#[cfg(feature = "tls")]
use crate::tls::Tls;
use tower_resend_core::ConnectFailure;

/// Makes connections that leave evidence, for any legacy `Client`.
///
/// Goes where `HttpConnector` went, for `http` targets. With `tls` (feature) it
/// makes TLS connections too, with full evidence. Other TLS goes above it
/// ([`enforce_http`](Self::enforce_http)), and so do proxies and other
/// connectors; the connector that makes the TCP connections goes under it
/// ([`around`](Self::around)).
///
/// Each connection looks into the kernel whenever hyper finds nothing to read
/// while no request is known to be on it: one system call per such read, about
/// 0.15 microseconds. It works on every system; the evidence of [`with_evidence`] needs
/// Linux.
///
/// [`with_evidence`]: super::with_evidence
#[derive(Clone, Debug)]
pub struct Connector<C = HttpConnector> {
    inner: C,
    enforces_http: bool,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
}

impl Connector {
    /// Returns a connector with this crate's TCP settings: no Nagle delay,
    /// keepalive probes after 15 s, 10 s for a connect.
    pub fn new() -> Self {
        let options = ConnectOptions::default();
        let mut http = http_connector(&options);
        http.set_connect_timeout(Some(options.timeout));
        Self::around(http)
    }
}

impl Default for Connector {
    fn default() -> Self {
        Self::new()
    }
}

impl<C> Connector<C> {
    /// Makes its connections with `inner`, which yields TCP streams on which
    /// nothing was sent yet. One that opens tunnels, such as hyper-util's
    /// `Tunnel` and `SocksV5`, goes over this connector: the connections of one
    /// under it are refused, where the system tells that they were used.
    pub fn around(inner: C) -> Self {
        Self {
            inner,
            enforces_http: true,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Sets whether targets are refused whose scheme is not `http`, nor `https`
    /// where the connector has TLS of its own. They are, by default: what is sent
    /// to them (`wss` among others) would go in plain text. To be switched off
    /// **only** for whoever makes TLS above it, such as hyper-rustls.
    #[must_use]
    pub fn enforce_http(self, enforced: bool) -> Self {
        Self { enforces_http: enforced, ..self }
    }

    /// Makes the connections of `https` targets TLS connections.
    ///
    /// One handshake may take 10 s. Only HTTP/1.1 is offered.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(self, tls: Tls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Returns what a connection to a target needs besides TCP.
    fn above_tcp(&self, target: &Uri) -> TlsAbove {
        if !target.authority().is_none_or(has_sound_port) {
            return TlsAbove::Refused(ConnectError::no_port);
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls
            && target.scheme() == Some(&Scheme::HTTPS)
        {
            let host = target.host().unwrap_or_default().to_owned();
            return TlsAbove::Tls(tls.clone(), host);
        }
        // The legacy client names a scheme always; who asks without one means TCP.
        let is_plain = target.scheme().is_none_or(|scheme| *scheme == Scheme::HTTP);
        if is_plain || !self.enforces_http {
            TlsAbove::Nothing
        } else {
            TlsAbove::Refused(ConnectError::plain_text)
        }
    }
}

impl<C> Service<Uri> for Connector<C>
where
    C: Service<Uri>,
    C::Response: IntoTcpStream,
    C::Error: Into<BoxError>,
{
    type Response = TrackedStream;
    type Error = ConnectError;
    type Future = Connecting<C::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        self.inner.poll_ready(cx).map_err(ConnectError::new)
    }

    fn call(&mut self, target: Uri) -> Connecting<C::Future> {
        let above = self.above_tcp(&target);
        let is_refused = matches!(above, TlsAbove::Refused(_));
        Connecting { inner: (!is_refused).then(|| self.inner.call(target)), above }
    }
}

/// What is nothing but a TCP stream.
///
/// The stream must be all there is: an io that keeps bytes of its own would
/// lose them.
pub trait IntoTcpStream {
    /// Returns the stream.
    fn into_tcp_stream(self) -> TcpStream;
}

impl IntoTcpStream for TcpStream {
    fn into_tcp_stream(self) -> TcpStream {
        self
    }
}

impl IntoTcpStream for TokioIo<TcpStream> {
    fn into_tcp_stream(self) -> TcpStream {
        self.into_inner()
    }
}

pin_project! {
    /// The future of a connection.
    ///
    /// # Cancel safety
    ///
    /// That of the inner connector's future.
    #[must_use = "futures do nothing unless polled"]
    pub struct Connecting<F> {
        // None for a target that is refused.
        #[pin]
        inner: Option<F>,
        above: TlsAbove,
    }
}

/// What follows the TCP connection.
enum TlsAbove {
    Nothing,
    /// The target is not connected to, for this reason.
    Refused(fn() -> ConnectError),
    #[cfg(feature = "tls")]
    Tls(Tls, String),
    #[cfg(feature = "tls")]
    Handshake(Pin<Box<dyn Future<Output = Result<conn::Connected, ConnectError>> + Send + Sync>>),
}

impl<F, T, E> Future for Connecting<F>
where
    F: Future<Output = Result<T, E>>,
    T: IntoTcpStream,
    E: Into<BoxError>,
{
    type Output = Result<TrackedStream, ConnectError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        #[cfg(feature = "tls")]
        if let TlsAbove::Handshake(handshake) = this.above {
            return handshake.as_mut().poll(cx).map_ok(TrackedStream::new);
        }
        if let TlsAbove::Refused(why) = this.above {
            return Poll::Ready(Err(why()));
        }
        let Some(inner) = this.inner.as_pin_mut() else { return Poll::Pending };
        let connected = ready!(inner.poll(cx)).map_err(ConnectError::new)?;
        let connected = conn::Connected::external(connected.into_tcp_stream());
        // Its counters could not speak of a request, and would be taken for an end.
        if connected.was_used() {
            return Poll::Ready(Err(ConnectError::used()));
        }
        match std::mem::replace(this.above, TlsAbove::Nothing) {
            TlsAbove::Nothing | TlsAbove::Refused(_) => {
                Poll::Ready(Ok(TrackedStream::new(connected)))
            }
            #[cfg(feature = "tls")]
            TlsAbove::Tls(tls, host) => {
                let mut handshake = Box::pin(secure(connected, tls, host));
                let polled = handshake.as_mut().poll(cx).map_ok(TrackedStream::new);
                *this.above = TlsAbove::Handshake(handshake);
                polled
            }
            #[cfg(feature = "tls")]
            TlsAbove::Handshake(_) => Poll::Pending,
        }
    }
}

#[cfg(feature = "tls")]
async fn secure(
    connected: conn::Connected,
    tls: Tls,
    host: String,
) -> Result<conn::Connected, ConnectError> {
    let limit = time::now() + ConnectOptions::default().timeout;
    match time::timeout_at(limit, connected.with_tls(&tls, &host)).await {
        Ok(connected) => connected.map_err(|error| ConnectError {
            failure: if error.is_final() { ConnectFailure::Untrusted } else { ConnectFailure::Tls },
            source: error.into(),
        }),
        Err(_) => Err(ConnectError {
            failure: ConnectFailure::TimedOut,
            source: io::Error::from(io::ErrorKind::TimedOut).into(),
        }),
    }
}

impl<F> fmt::Debug for Connecting<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connecting").finish_non_exhaustive()
    }
}

/// A connection that keeps a record of what is sent and received on it.
pub struct TrackedStream {
    io: TokioIo<Io>,
    record: Arc<ConnTracker>,
}

impl TrackedStream {
    fn new(connected: conn::Connected) -> Self {
        let (io, record) = connected.into_parts();
        Self { io: TokioIo::new(io), record }
    }
}

impl Connection for TrackedStream {
    fn connected(&self) -> Connected {
        let stream = self.io.inner().stream();
        let connected = stream.map_or_else(Connected::new, Connection::connected);
        connected.extra(Handle::new(Arc::clone(&self.record)))
    }
}

impl Read for TrackedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for TrackedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl fmt::Debug for TrackedStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackedStream").field("peer", &self.record.peer()).finish_non_exhaustive()
    }
}

/// There is no connection: nothing was sent. The source is the inner
/// connector's error.
#[derive(Debug)]
pub struct ConnectError {
    failure: ConnectFailure,
    source: BoxError,
}

impl ConnectError {
    fn new(source: impl Into<BoxError>) -> Self {
        let source = source.into();
        Self { failure: connect_failure(&*source), source }
    }

    fn plain_text() -> Self {
        let source = "neither http nor https with TLS here: give the connector its own, or let it \
                      be under another's (enforce_http)";
        Self { failure: ConnectFailure::BadTarget, source: source.into() }
    }

    fn no_port() -> Self {
        let source = "the target's port is no port number";
        Self { failure: ConnectFailure::BadTarget, source: source.into() }
    }

    fn used() -> Self {
        let source = "octets were sent on the stream before: what opens tunnels goes over this \
                      connector, not under it";
        Self { failure: ConnectFailure::BadTarget, source: source.into() }
    }

    /// Returns why there is none.
    pub fn failure(&self) -> ConnectFailure {
        self.failure
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.failure, f)
    }
}

impl StdError for ConnectError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.source)
    }
}

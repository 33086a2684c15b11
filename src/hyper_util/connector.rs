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

use super::tracker_handle::TrackerHandle;
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
/// It replaces `HttpConnector`, for `http` targets. With the feature `tls` it makes TLS
/// connections too, with full evidence. Another TLS goes above it
/// ([`enforce_http`](Self::enforce_http)), as do proxies and other connectors. The
/// connector that makes the TCP connections goes under it ([`around`](Self::around)).
///
/// Whenever hyper finds nothing to read while no request is known to be on a connection,
/// the connection asks the kernel: one system call per such read, about 0.15 microseconds.
/// That works on every system; the evidence of [`with_evidence`] needs Linux.
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
    /// Makes its connections with `inner`, which yields TCP streams on which nothing was
    /// sent yet. A connector that opens tunnels, such as hyper-util's `Tunnel` and
    /// `SocksV5`, goes over this one. Under it its connections fail, where the system tells
    /// that they were used.
    pub fn around(inner: C) -> Self {
        Self {
            inner,
            enforces_http: true,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Sets whether a target fails whose scheme is neither `http` nor, where the connector
    /// has TLS of its own, `https`. Default: `true`, because requests to other targets (such
    /// as `wss`) would be sent in plaintext.
    ///
    /// Switch it off **only** where a connector above this one adds TLS, such as
    /// hyper-rustls.
    #[must_use]
    pub fn enforce_http(self, enforced: bool) -> Self {
        Self { enforces_http: enforced, ..self }
    }

    /// Connects to `https` targets by TLS.
    ///
    /// A handshake that takes over 10 s fails. ALPN offers HTTP/1.1 only.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(self, tls: Tls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Returns what a connection to a target needs above TCP.
    fn above_tcp(&self, target: &Uri) -> TlsAbove {
        if !target.authority().is_none_or(has_sound_port) {
            return TlsAbove::Unsupported(ConnectError::no_port);
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls
            && target.scheme() == Some(&Scheme::HTTPS)
        {
            let host = target.host().unwrap_or_default().to_owned();
            return TlsAbove::Tls(tls.clone(), host);
        }
        // The legacy client always names a scheme. A caller that names none means TCP.
        let is_plain = target.scheme().is_none_or(|scheme| *scheme == Scheme::HTTP);
        if is_plain || !self.enforces_http {
            TlsAbove::Nothing
        } else {
            TlsAbove::Unsupported(ConnectError::plain_text)
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
        let is_unsupported = matches!(above, TlsAbove::Unsupported(_));
        Connecting { inner: (!is_unsupported).then(|| self.inner.call(target)), above }
    }
}

/// A connector's stream that is nothing but a TCP stream.
///
/// The TCP stream must be all there is: an I/O type that buffers bytes would lose them.
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
        // `None` for a target that is not supported.
        #[pin]
        inner: Option<F>,
        above: TlsAbove,
    }
}

/// What has to be done above the TCP connection.
enum TlsAbove {
    Nothing,
    /// The target is one that this connector does not connect to, and why.
    Unsupported(fn() -> ConnectError),
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
        if let TlsAbove::Unsupported(why) = this.above {
            return Poll::Ready(Err(why()));
        }
        let Some(inner) = this.inner.as_pin_mut() else { return Poll::Pending };
        let connected = ready!(inner.poll(cx)).map_err(ConnectError::new)?;
        let connected = conn::Connected::external(connected.into_tcp_stream());
        // Its counters include bytes that are not ours, and prove nothing about a request.
        if connected.was_used() {
            return Poll::Ready(Err(ConnectError::used()));
        }
        match std::mem::replace(this.above, TlsAbove::Nothing) {
            TlsAbove::Nothing | TlsAbove::Unsupported(_) => {
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
            failure: error.connect_failure(),
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

/// A connection that tracks what is sent and received on it.
pub struct TrackedStream {
    io: TokioIo<Io>,
    tracker: Arc<ConnTracker>,
}

impl TrackedStream {
    fn new(connected: conn::Connected) -> Self {
        let (io, tracker) = connected.into_parts();
        Self { io: TokioIo::new(io), tracker }
    }
}

impl Connection for TrackedStream {
    fn connected(&self) -> Connected {
        let stream = self.io.inner().stream();
        let connected = stream.map_or_else(Connected::new, Connection::connected);
        connected.extra(TrackerHandle::new(Arc::clone(&self.tracker)))
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
        f.debug_struct("TrackedStream").field("peer", &self.tracker.peer()).finish_non_exhaustive()
    }
}

/// There is no connection, and nothing was sent. The source is the inner connector's
/// error.
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
        let source = "neither http nor https with TLS here: give the connector TLS of its own, or \
                      put it under another's (enforce_http)";
        Self { failure: ConnectFailure::BadTarget, source: source.into() }
    }

    fn no_port() -> Self {
        let source = "the target's port is no port number";
        Self { failure: ConnectFailure::BadTarget, source: source.into() }
    }

    fn used() -> Self {
        let source = "bytes were sent on the stream before: a connector that opens tunnels goes \
                      over this one, not under it";
        Self { failure: ConnectFailure::BadTarget, source: source.into() }
    }

    /// Returns why there is no connection.
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

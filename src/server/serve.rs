//! The server: accept, serve, drain.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, IntoFuture, Pending, pending};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tower::{BoxError, Service};

use super::buffer::{Buffering, RequestBody};
use super::drain::{Running, ShutdownMode};
use super::listener::Listener;
use super::report::Report;
use crate::time::LONGEST;
use tower_resend_core::contract::Hop;

/// Serves HTTP/1.1 with a service, such as an axum `Router`, whose clones share
/// the work.
///
/// The service gets requests with a [`RequestBody`] of hyper's [`Incoming`],
/// and the connection's [`Accepted`] among their extensions. Clients that know
/// the contract (`docs/contract.md`) are given it; others notice nothing.
///
/// Awaited, it serves until the signal of
/// [`with_graceful_shutdown`](Serve::with_graceful_shutdown) and the drain
/// after it, or for ever.
///
/// # Examples
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// use std::convert::Infallible;
/// use http::{Request, Response};
/// use http_body_util::Full;
/// use tower_resend::server::{self, Listener, RequestBody};
///
/// let app = tower::service_fn(|_: Request<RequestBody<_>>| async {
///     Ok::<_, Infallible>(Response::new(Full::new(bytes::Bytes::from("hello"))))
/// });
/// let report = server::serve(Listener::bind(([0, 0, 0, 0], 8080).into()).await?, app)
///     .with_graceful_shutdown(async { drop(tokio::signal::ctrl_c().await) })
///     .await?;
/// println!("{report}");
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
///
/// Dropping the future closes the listening socket and all connections, with
/// their requests cut off.
pub fn serve<S>(listener: Listener, service: S) -> Serve<SharedService<S>> {
    serve_make(listener, SharedService(service))
}

/// Does what [`serve`] does with a service for each connection, made of its
/// [`Accepted`].
///
/// For axum's `Router::into_make_service_with_connect_info`: the connect info
/// is a type of yours that implements axum's `Connected<Accepted>`, or, with
/// the feature `axum`, `SocketAddr`, the client's address.
///
/// A connection whose service cannot be made is closed.
pub fn serve_make<M>(listener: Listener, make: M) -> Serve<M> {
    Serve { listener, make, signal: pending(), settings: Settings::default() }
}

/// A server that is set up; awaiting it serves. Made by [`serve`].
#[must_use = "a server does nothing until it is awaited"]
pub struct Serve<M, F = Pending<ShutdownMode>> {
    listener: Listener,
    make: M,
    signal: F,
    settings: Settings,
}

/// What a server is told apart from its service.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) buffering: Buffering,
    pub(super) drain: Duration,
    pub(super) head: Duration,
    pub(super) connections: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            buffering: Buffering::default(),
            drain: Duration::from_secs(25),
            head: Duration::from_secs(60),
            connections: 10_000,
        }
    }
}

impl<M, F> Serve<M, F> {
    /// Drains and ends when the signal comes.
    ///
    /// The signal's output says whether the listening socket lives on in
    /// another process: `()` says that it does not, [`ShutdownMode::HandedOver`] that
    /// it does. The drain, in this order:
    ///
    /// 1. What waits in the accept queue is accepted, unless another process
    ///    will do that; then the listening socket is closed.
    /// 2. Requests that were not dispatched are refused. Idle connections are
    ///    closed, after a closing response where the client offered to
    ///    understand one. Those that were never used, those of step 1 among
    ///    them, are served one request if it comes within a second, as is a
    ///    request of a client without a contract that has begun to arrive.
    /// 3. Requests that were dispatched are answered, with `Connection: close`.
    /// 4. At the [deadline](Self::drain_deadline) what still runs is cut off.
    ///
    /// Connections that were upgraded, and tunnels, are the application's own:
    /// the drain neither waits for them nor ends them.
    pub fn with_graceful_shutdown<G>(self, signal: G) -> Serve<M, G>
    where
        G: Future<Output: Into<ShutdownMode>>,
    {
        let Self { listener, make, settings, .. } = self;
        Serve { listener, make, signal, settings }
    }

    /// Sets how long a drain may take; 25 s by default. What blocks its thread
    /// then is not waited for.
    pub fn drain_deadline(mut self, time: Duration) -> Self {
        self.settings.drain = time;
        self
    }

    /// Sets how requests are received whole.
    pub fn buffering(mut self, buffering: Buffering) -> Self {
        self.settings.buffering = buffering;
        self
    }

    /// Sets how long a connection may take for the head of its next request,
    /// idle time included, before it is closed; 60 s by default.
    pub fn head_deadline(mut self, time: Duration) -> Self {
        // hyper adds it to a time.
        self.settings.head = time.min(LONGEST);
        self
    }

    /// Sets how many connections are served at a time, at least 1; 10,000 by
    /// default. More wait in the accept queue.
    ///
    /// A client that does not read its answer holds a place until it goes: no
    /// timer resets a connection with a request dispatched (S8).
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.settings.connections = connections.max(1);
        self
    }
}

impl<M, F, S, RB> IntoFuture for Serve<M, F>
where
    M: Service<Accepted, Response = S> + Send + 'static,
    M::Error: Into<BoxError>,
    M::Future: Send + 'static,
    F: Future<Output: Into<ShutdownMode>> + Send + 'static,
    S: Service<Request<RequestBody<Incoming>>, Response = Response<RB>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    RB: Body + Send + 'static,
    RB::Data: Send,
    RB::Error: Into<BoxError>,
{
    /// What the drain did. No error is left to a server today; the type lets
    /// it stand where `axum::serve` stood.
    type Output = io::Result<Report>;
    type IntoFuture = ServeFuture;

    fn into_future(self) -> ServeFuture {
        let Self { listener, make, signal, settings } = self;
        let serving = Running::new(listener, make, settings);
        ServeFuture(Box::pin(async move { Ok(serving.until(signal).await) }))
    }
}

impl<M, F> fmt::Debug for Serve<M, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The future of [`Serve`].
pub struct ServeFuture(Pin<Box<dyn Future<Output = io::Result<Report>> + Send>>);

impl Future for ServeFuture {
    type Output = io::Result<Report>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for ServeFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeFuture").finish_non_exhaustive()
    }
}

/// A connection that was accepted: its two ends as the socket has them, never
/// what a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Accepted {
    peer: SocketAddr,
    hop: Hop,
}

impl Accepted {
    pub(super) fn new(peer: SocketAddr, hop: Hop) -> Self {
        Self { peer, hop }
    }

    /// Returns the client's address.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Returns the server's own address.
    pub fn local(&self) -> SocketAddr {
        self.hop.server()
    }
}

#[cfg(feature = "axum")]
impl axum::extract::connect_info::Connected<Accepted> for SocketAddr {
    fn connect_info(accepted: Accepted) -> Self {
        accepted.peer()
    }
}

/// Gives each connection a clone of one service.
#[derive(Clone, Copy, Debug)]
pub struct SharedService<S>(S);

impl<S: Clone> Service<Accepted> for SharedService<S> {
    type Response = S;
    type Error = Infallible;
    type Future = std::future::Ready<Result<S, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _accepted: Accepted) -> Self::Future {
        std::future::ready(Ok(self.0.clone()))
    }
}

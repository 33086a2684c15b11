//! The server: accept, serve, drain.

mod accept_loop;
mod connection;

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, IntoFuture, Pending, pending};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tower::{BoxError, Service};

pub use self::accept_loop::ShutdownMode;
use self::accept_loop::{AcceptLoop, ServeSettings};
pub use self::connection::Accepted;
use super::buffer::{Buffering, RequestBody};
use super::listener::Listener;
use super::report::Report;
use crate::time::LONGEST;

/// Serves HTTP/1.1 with a service, such as an axum `Router`. Each connection gets
/// a clone of it.
///
/// The service gets requests with a [`RequestBody`] of hyper's [`Incoming`],
/// and the connection's [`Accepted`] among their extensions. Clients that know
/// the contract (`docs/contract.md`) are offered it; others notice nothing.
///
/// Awaited, it serves until the signal of
/// [`with_graceful_shutdown`](Serve::with_graceful_shutdown) and through the drain
/// after it; without a signal, forever.
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
/// Dropping the future closes the listening socket and all connections, and cuts
/// off their requests.
pub fn serve<S>(listener: Listener, service: S) -> Serve<SharedService<S>> {
    serve_make(listener, SharedService(service))
}

/// Serves as [`serve`] does, with a service that `make` makes for each connection
/// from its [`Accepted`].
///
/// For axum's `Router::into_make_service_with_connect_info`: the connect info
/// is a type of yours that implements axum's `Connected<Accepted>`, or, with
/// the feature `axum`, `SocketAddr`, the client's address.
///
/// If no service can be made for a connection, it is closed.
pub fn serve_make<M>(listener: Listener, make: M) -> Serve<M> {
    Serve { listener, make, signal: pending(), settings: ServeSettings::default() }
}

/// A server that is set up; awaiting it serves. Made by [`serve`].
#[must_use = "a server does nothing until it is awaited"]
pub struct Serve<M, F = Pending<ShutdownMode>> {
    listener: Listener,
    make: M,
    signal: F,
    settings: ServeSettings,
}

impl<M, F> Serve<M, F> {
    /// Drains and ends when the signal comes (graceful shutdown).
    ///
    /// The signal's output says whether the listening socket lives on in
    /// another process: `()` says that it does not, [`ShutdownMode::HandedOver`] that
    /// it does. The drain, in this order:
    ///
    /// 1. The server accepts what waits in the accept queue, unless another process
    ///    will; then it closes the listening socket.
    /// 2. It refuses requests that are not dispatched, and closes idle connections,
    ///    after a closing response if the client offered to understand one. A
    ///    connection that was never used, those of step 1 included, is served one
    ///    request if that comes within a second. So is a request that has begun to
    ///    arrive from a client without a contract.
    /// 3. It answers requests that are dispatched, with `Connection: close`.
    /// 4. At the [deadline](Self::drain_deadline) it cuts off what still runs.
    ///
    /// Upgraded connections and tunnels belong to the application: the drain
    /// neither waits for them nor ends them.
    pub fn with_graceful_shutdown<G>(self, signal: G) -> Serve<M, G>
    where
        G: Future<Output: Into<ShutdownMode>>,
    {
        let Self { listener, make, settings, .. } = self;
        Serve { listener, make, signal, settings }
    }

    /// Sets how long a drain may take; 25 s by default. It does not wait longer for
    /// a service that blocks its thread.
    pub fn drain_deadline(mut self, time: Duration) -> Self {
        self.settings.drain_deadline = time;
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
        // hyper adds it to the current time, which would overflow.
        self.settings.head_deadline = time.min(LONGEST);
        self
    }

    /// Sets how many connections are served at a time, at least 1; 10,000 by
    /// default. More wait in the accept queue.
    ///
    /// A client that does not read its response counts until it goes: no timer
    /// resets a connection with a dispatched request (S8).
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.settings.max_connections = connections.max(1);
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
    /// What the drain did. It is never an error today; the type makes it a
    /// replacement for `axum::serve`.
    type Output = io::Result<Report>;
    type IntoFuture = ServeFuture;

    fn into_future(self) -> ServeFuture {
        let Self { listener, make, signal, settings } = self;
        let accept_loop = AcceptLoop::new(listener, make, settings);
        ServeFuture(Box::pin(async move { Ok(accept_loop.run(signal).await) }))
    }
}

impl<M, F> fmt::Debug for Serve<M, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The future of [`Serve`].
///
/// # Cancel safety
///
/// See [`serve`].
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

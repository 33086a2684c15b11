//! One connection of a server.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1::{self, UpgradeableConnection};
use hyper::service::Service as HttpService;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_util::sync::CancellationToken;
use tower::{BoxError, Layer, Service};

use crate::server::buffer::{Buffering, RequestBody};
use crate::server::conn::{Connection, Handle};
use crate::server::connection_table::EntryGuard;
use crate::server::dispatch::{Dispatch, DispatchBody, DispatchFuture, DispatchLayer};
use crate::time;
use tower_resend_core::close::Phase;
use tower_resend_core::contract::Hop;

/// What it takes to serve a connection.
pub(super) struct ServeConnection {
    pub(super) accepted: Accepted,
    pub(super) entry: EntryGuard,
    pub(super) buffering: Buffering,
    pub(super) head_deadline: Duration,
    pub(super) leaving: CancellationToken,
}

impl ServeConnection {
    pub(super) async fn run<F, S, E, RB>(self, connection: Connection, made: F)
    where
        F: Future<Output = Result<S, E>>,
        E: Into<BoxError>,
        S: Service<Request<RequestBody<Incoming>>, Response = Response<RB>>
            + Clone
            + Send
            + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        RB: Body + Send + 'static,
        RB::Data: Send,
        RB::Error: Into<BoxError>,
    {
        let service = match made.await {
            Ok(service) => service,
            Err(error) => {
                tracing::warn!(error = %error.into(), "no service could be made for a connection");
                return;
            }
        };
        let handle = connection.handle().clone();
        let layer = DispatchLayer::new(handle.clone())
            .with_buffering(self.buffering.clone())
            .with_entry(self.entry.entry().clone());
        let service = HyperService { inner: layer.layer(service), accepted: self.accepted };
        let http = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.head_deadline)
            .serve_connection(TokioIo::new(connection), service)
            .with_upgrades();
        self.drive(pin!(http), &handle).await;
    }

    /// Runs the connection, and makes it go away when the server leaves.
    async fn drive<C: HyperConnection>(self, mut http: Pin<&mut C>, handle: &Handle) {
        let entry = self.entry.entry();
        if before(self.leaving.cancelled(), http.as_mut()).await == Ended::Connection {
            return;
        }
        if handle.phase() != Phase::Closing {
            entry.set_open();
        }
        if !entry.has_begun() {
            // Its client has just connected, and knows of no contract: a FIN would
            // cross its request, and an ordinary client would fail it.
            if before(time::sleep(GRACE), http.as_mut()).await == Ended::Connection {
                return;
            }
            if entry.has_begun() {
                return end(http).await;
            }
        }
        handle.go_away();
        // An ordinary client would fail a request that has begun to arrive, and HTTP
        // would end the connection now.
        if handle.is_arriving()
            && before(time::sleep(GRACE), http.as_mut()).await == Ended::Connection
        {
            return;
        }
        http.as_mut().go_away();
        end(http).await;
    }
}

/// What ended first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Connection,
    Other,
}

/// Runs the connection until it or `other` ends.
async fn before<C: HyperConnection>(
    other: impl Future<Output = ()>,
    mut http: Pin<&mut C>,
) -> Ended {
    let mut other = pin!(other);
    poll_fn(|cx| match (http.as_mut().poll_end(cx), other.as_mut().poll(cx)) {
        (Poll::Ready(()), _) => Poll::Ready(Ended::Connection),
        (Poll::Pending, Poll::Ready(())) => Poll::Ready(Ended::Other),
        (Poll::Pending, Poll::Pending) => Poll::Pending,
    })
    .await
}

/// Runs the connection to its end.
async fn end<C: HyperConnection>(mut http: Pin<&mut C>) {
    poll_fn(|cx| http.as_mut().poll_end(cx)).await;
}

/// A connection of hyper's, whose own type is too long to repeat.
trait HyperConnection {
    /// Runs it; ready when it has ended, also by an error.
    fn poll_end(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()>;

    /// Ends it after the current request, if there is one.
    fn go_away(self: Pin<&mut Self>);
}

impl<S, RB> HyperConnection for UpgradeableConnection<TokioIo<Connection>, HyperService<S>>
where
    HyperService<S>: HttpService<Request<Incoming>, Response = Response<RB>>,
    <HyperService<S> as HttpService<Request<Incoming>>>::Error: Into<BoxError>,
    RB: Body + 'static,
    RB::Error: Into<BoxError>,
{
    fn poll_end(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Future::poll(self, cx).map(|ended| {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection failed");
            }
        })
    }

    fn go_away(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// The service of one connection, in hyper's form. The dispatch is called at once,
/// so that the connection learns of each request before it reads on.
struct HyperService<S> {
    inner: Dispatch<S>,
    accepted: Accepted,
}

impl<S, RB> HttpService<Request<Incoming>> for HyperService<S>
where
    S: Service<Request<RequestBody<Incoming>>, Response = Response<RB>> + Clone + Send + 'static,
    S::Future: Send,
    RB: Body + Send + 'static,
{
    type Response = Response<DispatchBody<RB>>;
    type Error = S::Error;
    type Future = DispatchFuture<RB, S::Error>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.accepted);
        self.inner.clone().call(request)
    }
}

/// An accepted connection: its two ends as the socket has them, never as a header
/// says.
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

/// How long a connection that was never used may take for its request once the
/// server drains, and one with part of a head for the rest: several round trips.
const GRACE: Duration = Duration::from_secs(1);

//! One connection of a server.

use std::future::{Future, poll_fn};
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

use super::buffer::RequestBody;
use super::connection::Connection;
use super::handle::Handle;
use super::layer::{Dispatch, DispatchFuture, DispatchLayer, ResponseBody};
use super::report::EntryGuard;
use super::serve::{Accepted, Settings};
use crate::time;
use tower_resend_core::close::Phase;

/// How long a connection that was never used may take for its request once the
/// server drains, and one with part of a head for the rest: a round trip and
/// some.
const GRACE: Duration = Duration::from_secs(1);

/// What it takes to serve a connection.
pub(super) struct ServeConnection {
    pub(super) accepted: Accepted,
    pub(super) seated: EntryGuard,
    pub(super) settings: Settings,
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
            .with_buffering(self.settings.buffering.clone())
            .with_seat(self.seated.seat().clone());
        let service = PerConnection { inner: layer.layer(service), accepted: self.accepted };
        let http = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.settings.head)
            .serve_connection(TokioIo::new(connection), service)
            .with_upgrades();
        self.drive(pin!(http), &handle).await;
    }

    /// Runs the connection, and makes it go away when the server leaves.
    async fn drive<C: Http>(self, mut http: Pin<&mut C>, handle: &Handle) {
        let seat = self.seated.seat();
        if before(self.leaving.cancelled(), http.as_mut()).await == Ended::Connection {
            return;
        }
        if handle.phase() != Phase::Closing {
            seat.find_open();
        }
        if !seat.has_begun() {
            // Its client has just connected and been told nothing: a FIN would
            // cross its request, and it may know no better than to fail.
            if before(time::sleep(GRACE), http.as_mut()).await == Ended::Connection {
                return;
            }
            if seat.has_begun() {
                return end(http).await;
            }
        }
        handle.go_away();
        // The client may know no better than to fail if it is told nothing of a
        // request that has begun to arrive. HTTP would end the connection.
        if handle.is_arriving()
            && before(time::sleep(GRACE), http.as_mut()).await == Ended::Connection
        {
            return;
        }
        http.as_mut().go_away();
        end(http).await;
    }
}

/// What came to its end first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Connection,
    Other,
}

/// Runs the connection until something else happens.
async fn before<C: Http>(other: impl Future<Output = ()>, mut http: Pin<&mut C>) -> Ended {
    let mut other = pin!(other);
    poll_fn(|cx| match (http.as_mut().poll_end(cx), other.as_mut().poll(cx)) {
        (Poll::Ready(()), _) => Poll::Ready(Ended::Connection),
        (Poll::Pending, Poll::Ready(())) => Poll::Ready(Ended::Other),
        (Poll::Pending, Poll::Pending) => Poll::Pending,
    })
    .await
}

/// Runs the connection to its end.
async fn end<C: Http>(mut http: Pin<&mut C>) {
    poll_fn(|cx| http.as_mut().poll_end(cx)).await;
}

/// A connection of hyper's.
trait Http {
    /// Runs it; ready when it has ended, whatever became of it.
    fn poll_end(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()>;

    /// Ends it after the request that is under way, if there is one.
    fn go_away(self: Pin<&mut Self>);
}

impl<S, RB> Http for UpgradeableConnection<TokioIo<Connection>, PerConnection<S>>
where
    PerConnection<S>: HttpService<Request<Incoming>, Response = Response<RB>>,
    <PerConnection<S> as HttpService<Request<Incoming>>>::Error: Into<BoxError>,
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

/// The service of one connection, as hyper wants it: called at once, so that
/// the connection learns of each request before it reads on.
struct PerConnection<S> {
    inner: Dispatch<S>,
    accepted: Accepted,
}

impl<S, RB> HttpService<Request<Incoming>> for PerConnection<S>
where
    S: Service<Request<RequestBody<Incoming>>, Response = Response<RB>> + Clone + Send + 'static,
    S::Future: Send,
    RB: Body + Send + 'static,
{
    type Response = Response<ResponseBody<RB>>;
    type Error = S::Error;
    type Future = DispatchFuture<RB, S::Error>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.accepted);
        self.inner.clone().call(request)
    }
}

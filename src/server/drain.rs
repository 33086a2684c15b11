//! The life of a server: accepting, and then the drain.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::{BoxError, Service, ServiceExt};

use super::buffer::RequestBody;
use super::connection::Connection;
use super::listener::Listener;
use super::report::{ConnectionTable, Report};
use super::serve::{Accepted, Settings};
use super::serve_connection::ServeConnection;
use crate::time;

/// How long a drain waits for the next connection of the accept queue. Enough
/// time for the runtime to ask the kernel again; no new peer is expected.
const QUEUE_WAIT: Duration = Duration::from_millis(10);
/// How many connections a drain takes from the accept queue at most: the
/// kernel's usual limit of its length (`net.core.somaxconn`).
const QUEUE_MOST: u64 = 4096;
/// How long a drain takes connections from the accept queue at most, where
/// more keep coming.
const QUEUE_TIME: Duration = Duration::from_secs(1);

/// How long a drain waits at its deadline for what it cut off to be dropped. A
/// service that blocks its thread cannot be stopped.
const CUT: Duration = Duration::from_millis(100);

/// What becomes of the listening socket when a server leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ShutdownMode {
    /// It is closed for good, after what waits in its accept queue was
    /// accepted.
    #[default]
    Alone,
    /// Another process has it open and accepts what waits; see
    /// [`handover`](super::handover).
    HandedOver,
}

impl From<()> for ShutdownMode {
    fn from((): ()) -> Self {
        Self::Alone
    }
}

/// A server while it runs.
pub(super) struct Running<M> {
    listener: Listener,
    make: M,
    settings: Settings,
    board: Arc<ConnectionTable>,
    connections: JoinSet<()>,
    leaving: CancellationToken,
}

impl<M, S, RB> Running<M>
where
    M: Service<Accepted, Response = S> + Send + 'static,
    M::Error: Into<BoxError>,
    M::Future: Send + 'static,
    S: Service<Request<RequestBody<Incoming>>, Response = Response<RB>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    RB: Body + Send + 'static,
    RB::Data: Send,
    RB::Error: Into<BoxError>,
{
    pub(super) fn new(listener: Listener, make: M, settings: Settings) -> Self {
        let board = Arc::default();
        let (connections, leaving) = (JoinSet::new(), CancellationToken::new());
        Self { listener, make, settings, board, connections, leaving }
    }

    /// Serves until the signal comes, and then drains.
    pub(super) async fn until<F>(mut self, signal: F) -> Report
    where
        F: Future<Output: Into<ShutdownMode>>,
    {
        let mut signal = pin!(signal);
        let leave = loop {
            match self.next(signal.as_mut()).await {
                Next::ShutdownMode(leave) => break leave,
                Next::Accepted(connection, peer) => {
                    self.start(connection, peer);
                }
            }
        };
        self.drain(leave).await
    }

    /// Waits for the signal or, with room for it, a connection.
    async fn next<F>(&mut self, mut signal: Pin<&mut F>) -> Next
    where
        F: Future<Output: Into<ShutdownMode>>,
    {
        let most = self.settings.connections;
        let Self { listener, make, connections, .. } = self;
        let mut accepting = pin!(accept(listener, make));
        poll_fn(|cx| {
            if let Poll::Ready(leave) = signal.as_mut().poll(cx) {
                return Poll::Ready(Next::ShutdownMode(leave.into()));
            }
            reap(connections, cx);
            if connections.len() >= most {
                return Poll::Pending;
            }
            accepting.as_mut().poll(cx).map(|(socket, peer)| Next::Accepted(socket, peer))
        })
        .await
    }

    fn start(&mut self, connection: Connection, peer: SocketAddr) {
        let accepted = Accepted::new(peer, connection.handle().hop());
        let serving = ServeConnection {
            accepted,
            seated: self.board.seat(connection.handle().clone()),
            settings: self.settings.clone(),
            leaving: self.leaving.clone(),
        };
        let made = self.make.call(accepted);
        self.connections.spawn(serving.run(connection, made));
    }

    async fn drain(mut self, leave: ShutdownMode) -> Report {
        self.board.begin_drain();
        let deadline = time::from_now(self.settings.drain);
        let from_queue = match leave {
            ShutdownMode::Alone => self.empty_queue().await,
            ShutdownMode::HandedOver => 0,
        };
        let Self { listener, board, mut connections, leaving, .. } = self;
        drop(listener);
        leaving.cancel();
        let report = match time::timeout_at(deadline, ended(&mut connections)).await {
            Ok(()) => board.report(from_queue),
            Err(_) => {
                let report = board.report(from_queue);
                connections.abort_all();
                let _ = time::timeout_at(time::from_now(CUT), ended(&mut connections)).await;
                report
            }
        };
        tracing::debug!(%report, "drained");
        report
    }

    /// Accepts what waits in the queue, since the kernel resets it when the
    /// socket is closed.
    async fn empty_queue(&mut self) -> u64 {
        let latest = time::now() + QUEUE_TIME;
        let mut taken = 0;
        while taken < QUEUE_MOST && time::now() < latest {
            // The wait lets the reactor run, which alone knows of connections
            // that came since it last did.
            let accepting = accept(&mut self.listener, &mut self.make);
            let Ok((connection, peer)) =
                time::timeout_at(time::now() + QUEUE_WAIT, accepting).await
            else {
                break;
            };
            taken += 1;
            self.start(connection, peer);
        }
        taken
    }
}

/// What comes next to a server that accepts.
enum Next {
    ShutdownMode(ShutdownMode),
    Accepted(Connection, SocketAddr),
}

/// Accepts a connection when a service can be made for it.
///
/// Cancel safe: the listener's own accept is, and readiness is asked first.
async fn accept<M>(listener: &mut Listener, make: &mut M) -> (Connection, SocketAddr)
where
    M: Service<Accepted>,
    M::Error: Into<BoxError>,
{
    while let Err(error) = make.ready().await.map(drop).map_err(Into::into) {
        tracing::warn!(%error, "no service can be made for a connection");
        time::sleep(Duration::from_secs(1)).await;
    }
    listener.accept().await
}

/// Waits for all connections to end.
async fn ended(connections: &mut JoinSet<()>) {
    while connections.join_next().await.is_some() {}
}

/// Forgets connections that ended. Their tasks do not panic unless a service
/// does, which then has said so itself.
fn reap(connections: &mut JoinSet<()>, cx: &mut Context<'_>) {
    while let Poll::Ready(Some(_)) = connections.poll_join_next(cx) {}
}

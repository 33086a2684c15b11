//! The life of a server: it accepts until the signal comes, and then drains.

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

use super::connection::{Accepted, ServeConnection};
use crate::server::buffer::{Buffering, RequestBody};
use crate::server::conn::Connection;
use crate::server::connection_table::ConnectionTable;
use crate::server::listener::Listener;
use crate::server::report::Report;
use crate::time;

/// A server while it runs.
pub(super) struct AcceptLoop<M> {
    listener: Listener,
    make: M,
    settings: ServeSettings,
    table: Arc<ConnectionTable>,
    connections: JoinSet<()>,
    leaving: CancellationToken,
}

impl<M, S, RB> AcceptLoop<M>
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
    pub(super) fn new(listener: Listener, make: M, settings: ServeSettings) -> Self {
        let (table, leaving) = (Arc::default(), CancellationToken::new());
        Self { listener, make, settings, table, connections: JoinSet::new(), leaving }
    }

    /// Serves until the signal comes, and then drains.
    pub(super) async fn run<F>(mut self, signal: F) -> Report
    where
        F: Future<Output: Into<ShutdownMode>>,
    {
        let mut signal = pin!(signal);
        let mode = loop {
            match self.next(signal.as_mut()).await {
                ServerEvent::Accepted(connection, peer) => self.start(connection, peer),
                ServerEvent::Shutdown(mode) => break mode,
            }
        };
        self.drain(mode).await
    }

    /// Waits for the signal or, while fewer than the limit are served, for a
    /// connection.
    async fn next<F>(&mut self, mut signal: Pin<&mut F>) -> ServerEvent
    where
        F: Future<Output: Into<ShutdownMode>>,
    {
        let max = self.settings.max_connections;
        let Self { listener, make, connections, .. } = self;
        let mut accepting = pin!(accept(listener, make));
        poll_fn(|cx| {
            if let Poll::Ready(mode) = signal.as_mut().poll(cx) {
                return Poll::Ready(ServerEvent::Shutdown(mode.into()));
            }
            reap(connections, cx);
            if connections.len() >= max {
                return Poll::Pending;
            }
            let accepted = accepting.as_mut().poll(cx);
            accepted.map(|(connection, peer)| ServerEvent::Accepted(connection, peer))
        })
        .await
    }

    fn start(&mut self, connection: Connection, peer: SocketAddr) {
        let accepted = Accepted::new(peer, connection.handle().hop());
        let serving = ServeConnection {
            accepted,
            entry: self.table.enter(connection.handle().clone()),
            buffering: self.settings.buffering.clone(),
            head_deadline: self.settings.head_deadline,
            leaving: self.leaving.clone(),
        };
        let made = self.make.call(accepted);
        self.connections.spawn(serving.run(connection, made));
    }

    async fn drain(mut self, mode: ShutdownMode) -> Report {
        self.table.begin_drain();
        let deadline = time::from_now(self.settings.drain_deadline);
        let from_queue = match mode {
            ShutdownMode::Alone => self.empty_queue().await,
            ShutdownMode::HandedOver => 0,
        };
        let Self { listener, table, mut connections, leaving, .. } = self;
        drop(listener);
        leaving.cancel();
        let report = match time::timeout_at(deadline, all_ended(&mut connections)).await {
            Ok(()) => table.report(from_queue),
            Err(_) => {
                let report = table.report(from_queue);
                connections.abort_all();
                let abort = time::from_now(ABORT_TIME);
                let _ = time::timeout_at(abort, all_ended(&mut connections)).await;
                report
            }
        };
        tracing::debug!(%report, "drained");
        report
    }

    /// Accepts what waits in the queue: the kernel resets it when the socket is
    /// closed. Returns how many connections that were.
    async fn empty_queue(&mut self) -> u64 {
        let latest = time::now() + QUEUE_TIME;
        let mut taken = 0;
        while taken < QUEUE_LENGTH && time::now() < latest {
            // The wait lets the reactor run: until it does, it does not know of
            // connections that came since its last turn.
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

/// The settings of a server.
#[derive(Clone, Debug)]
pub(super) struct ServeSettings {
    pub(super) buffering: Buffering,
    pub(super) drain_deadline: Duration,
    pub(super) head_deadline: Duration,
    pub(super) max_connections: usize,
}

impl Default for ServeSettings {
    fn default() -> Self {
        Self {
            buffering: Buffering::default(),
            drain_deadline: Duration::from_secs(25),
            head_deadline: Duration::from_secs(60),
            max_connections: 10_000,
        }
    }
}

/// What happens next to a server that accepts.
enum ServerEvent {
    Accepted(Connection, SocketAddr),
    Shutdown(ShutdownMode),
}

/// What becomes of the listening socket when a server leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ShutdownMode {
    /// The server accepts what waits in the accept queue, and closes the socket for
    /// good.
    #[default]
    Alone,
    /// Another process has the socket open and accepts what waits; see
    /// [`handover`](crate::server::handover).
    HandedOver,
}

impl From<()> for ShutdownMode {
    fn from((): ()) -> Self {
        Self::Alone
    }
}

/// Accepts a connection once a service can be made for it.
///
/// Cancel safe: the listener's own accept is, and readiness is asked first.
async fn accept<M>(listener: &mut Listener, make: &mut M) -> (Connection, SocketAddr)
where
    M: Service<Accepted>,
    M::Error: Into<BoxError>,
{
    while let Err(error) = make.ready().await.map(drop).map_err(Into::into) {
        tracing::warn!(%error, "no service can be made for a connection");
        time::sleep(MAKE_PAUSE).await;
    }
    listener.accept().await
}

/// Waits until all connections have ended.
async fn all_ended(connections: &mut JoinSet<()>) {
    while connections.join_next().await.is_some() {}
}

/// Removes the tasks of connections that have ended. A task panics only if a
/// service does, and the panic hook has reported that.
fn reap(connections: &mut JoinSet<()>, cx: &mut Context<'_>) {
    while let Poll::Ready(Some(_)) = connections.poll_join_next(cx) {}
}

/// The pause after a service could not be made.
const MAKE_PAUSE: Duration = Duration::from_secs(1);
/// How long a drain waits for the next connection of the accept queue: enough
/// for the runtime to ask the kernel again. No new peer is expected.
const QUEUE_WAIT: Duration = Duration::from_millis(10);
/// The most connections that a drain takes from the accept queue: the kernel's
/// usual limit of its length (`net.core.somaxconn`).
const QUEUE_LENGTH: u64 = 4096;
/// How long a drain takes connections from the accept queue if more keep coming.
const QUEUE_TIME: Duration = Duration::from_secs(1);
/// How long a drain waits, after its deadline, for aborted tasks to be dropped. A
/// service that blocks its thread cannot be stopped.
const ABORT_TIME: Duration = Duration::from_millis(100);

//! The server process: an axum application, served by this crate or by axum.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::routing::post;
use http_body_util::BodyExt;
use testkit::truth::Recorder;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tower_resend::server::handover::{self, Inherited};
use tower_resend::server::{self, ListenerOptions, ShutdownMode};

use super::args::Orders;

/// Serves until told to end (SIGTERM) or killed.
pub(super) fn main(orders: Orders) -> io::Result<()> {
    let inherited = handover::inherited()?;
    Builder::new_current_thread().enable_all().build()?.block_on(serve(orders, inherited))
}

async fn serve(orders: Orders, inherited: Inherited) -> io::Result<()> {
    let app = app(orders.handler)?;
    let mut told = signal(SignalKind::terminate())?;
    let socket = inherited.listeners.into_iter().next().map(|named| named.socket);
    if orders.plan.is_ours() {
        let options = ListenerOptions::new().reuse_port(true);
        let (listener, leave) = match socket {
            Some(socket) => (options.from_std(socket)?, ShutdownMode::HandedOver),
            None => (options.bind(orders.address).await?, ShutdownMode::Alone),
        };
        inherited.ready.report()?;
        let told = async move {
            told.recv().await;
            leave
        };
        let report = server::serve(listener, app).with_graceful_shutdown(told).await?;
        if !report.is_clean() {
            eprintln!("{report}");
        }
        return Ok(());
    }
    let socket = socket.ok_or_else(|| io::Error::other("the listening socket is missing"))?;
    let listener = tokio::net::TcpListener::from_std(socket)?;
    inherited.ready.report()?;
    let told = async move {
        told.recv().await;
    };
    axum::serve(listener, app).with_graceful_shutdown(told).await
}

#[derive(Debug)]
struct App {
    recorder: Recorder,
    time: Duration,
}

/// The same application, whatever serves it.
fn app(time: Duration) -> io::Result<Router> {
    let app = Arc::new(App { recorder: Recorder::from_stdout()?, time });
    Ok(Router::new().route("/orders/{id}", post(take)).with_state(app))
}

/// Takes an order up: recorded before anything else is done with it.
async fn take(
    State(app): State<Arc<App>>,
    Path(id): Path<u64>,
    request: Request<Body>,
) -> Result<String, StatusCode> {
    app.recorder.dispatch(id);
    let body = request.into_body().collect().await;
    body.map_err(|_| StatusCode::BAD_REQUEST)?;
    tokio::time::sleep(app.time).await;
    Ok(id.to_string())
}

//! The same application, served by this crate.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use testkit::truth::Recorder;
use tokio::sync::oneshot;
use tower::service_fn;
use tower_resend::server::{self, ListenerOptions, RequestBody};

use super::super::args::{Mode, Orders};
use super::message::id_of;
use super::{Control, Order, Reply};

/// Serves until told to drain, and then until every connection is closed.
///
/// The next server takes the address over while this one still drains: both
/// have it with `SO_REUSEPORT`.
pub(super) async fn serve(
    orders: Orders,
    recorder: Recorder,
    mut control: Control,
) -> io::Result<()> {
    let listener = ListenerOptions::new().reuse_port(true).bind(orders.address).await?;
    control.reply(Reply::Listening).await?;
    let app = Arc::new(App { handler: orders.handler, recorder });
    let service = service_fn(move |request| Arc::clone(&app).handle(request));
    let mut serving = server::serve(listener, service);
    if orders.mode == Mode::Idle {
        let idle = fastrand::Rng::with_seed(orders.seed).u64(10..=30);
        serving = serving.head_deadline(Duration::from_millis(idle));
    }
    let (leave, told) = oneshot::channel::<()>();
    tokio::spawn(async move {
        while let Some(order) = control.next().await {
            if order == Order::Drain {
                let _ = control.reply(Reply::Released).await;
                break;
            }
        }
        drop(leave);
        std::future::pending::<()>().await; // the control socket stays open
    });
    let told = async move {
        let _ = told.await;
    };
    serving.with_graceful_shutdown(told).await.map(drop)
}

struct App {
    handler: Duration,
    recorder: Recorder,
}

impl App {
    async fn handle(
        self: Arc<Self>,
        request: Request<RequestBody<Incoming>>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let id = id_of(request.uri().path());
        if let Some(id) = id {
            self.recorder.dispatch(id);
        }
        let (Some(id), Ok(_)) = (id, request.into_body().collect().await) else {
            let mut unknown = Response::default();
            *unknown.status_mut() = StatusCode::NOT_FOUND;
            return Ok(unknown);
        };
        tokio::time::sleep(self.handler).await;
        Ok(Response::new(Full::from(id.to_string())))
    }
}

//! A hyper server as anyone would write it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use testkit::truth::Recorder;
use tokio::net::{TcpListener, TcpStream};

use super::super::args::{Mode, Orders};
use super::message::id_of;
use super::{Control, Order, Reply};

/// Serves until told to drain, and then until every connection is closed.
pub(super) async fn serve(
    listener: TcpListener,
    orders: Orders,
    recorder: Recorder,
    control: &mut Control,
) -> io::Result<()> {
    let app = Arc::new(App { handler: orders.handler, recorder });
    let mut random = fastrand::Rng::with_seed(orders.seed);
    let graceful = GracefulShutdown::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let idle = (orders.mode == Mode::Idle).then(|| Duration::from_millis(random.u64(10..=30)));
                app.clone().start(stream, idle, &graceful);
            }
            order = control.next() => match order {
                Some(Order::Drain) => break,
                _ => continue,
            },
        }
    }
    drop(listener);
    control.reply(Reply::Released).await?;
    graceful.shutdown().await;
    Ok(())
}

struct App {
    handler: Duration,
    recorder: Recorder,
}

impl App {
    /// Serves one connection, which may be idle for so long at most.
    fn start(
        self: Arc<Self>,
        stream: TcpStream,
        idle: Option<Duration>,
        graceful: &GracefulShutdown,
    ) {
        let mut server = http1::Builder::new();
        if let Some(idle) = idle {
            server.timer(TokioTimer::new()).header_read_timeout(idle);
        }
        let service = service_fn(move |request| self.clone().handle(request));
        tokio::spawn(graceful.watch(server.serve_connection(TokioIo::new(stream), service)));
    }

    async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, hyper::Error> {
        let Some(id) = id_of(request.uri().path()) else {
            let mut unknown = Response::default();
            *unknown.status_mut() = StatusCode::NOT_FOUND;
            return Ok(unknown);
        };
        self.recorder.dispatch(id);
        request.into_body().collect().await?;
        tokio::time::sleep(self.handler).await;
        Ok(Response::new(Full::from(id.to_string())))
    }
}

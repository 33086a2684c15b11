//! The servers that are this program itself: a well-behaved one, which is the
//! origin behind proxies too, and bad ones.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{LocalSet, spawn_local};

use super::lossy::{self, Ends};
use super::server::Server;
use super::toys;
use super::truth::Recorder;

/// How long a handler works on a request.
pub(crate) const HANDLER: Duration = Duration::from_millis(3);

/// Serves as `name` says, until killed or told to stop.
pub(crate) fn serve(name: &str, listen: &str, idle: &str) -> io::Result<()> {
    let server = Server::ALL.into_iter().find(|server| server.name() == name);
    let ends = Ends::ALL.into_iter().find(|ends| ends.name() == name);
    let listen: SocketAddr = listen.parse().map_err(io::Error::other)?;
    let idle = Duration::from_millis(idle.parse().map_err(io::Error::other)?);
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind(listen).await?;
        let recorder = Rc::new(Recorder::from_stdout()?);
        if let Some(ends) = ends {
            return lossy::server::serve(ends, listener, recorder).await;
        }
        match server {
            Some(Server::Hyper) => well(listener, idle, recorder).await,
            Some(toy @ (Server::HalfCloses | Server::Resets | Server::Closes)) => {
                toys::serve(toy, listener, idle, recorder).await
            }
            _ => Err(io::Error::other(format!("{name} is not a server of this program"))),
        }
    })
}

/// A hyper server as anyone would write it, which stops gracefully on SIGUSR2.
async fn well(listener: TcpListener, idle: Duration, recorder: Rc<Recorder>) -> io::Result<()> {
    let mut stop = signal(SignalKind::user_defined2())?;
    let graceful = GracefulShutdown::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted?.0,
            _ = stop.recv() => break,
        };
        stream.set_nodelay(true)?;
        let recorder = Rc::clone(&recorder);
        let service = service_fn(move |request| handle(Rc::clone(&recorder), request));
        let mut server = http1::Builder::new();
        server.timer(TokioTimer::new()).header_read_timeout(idle);
        spawn_local(graceful.watch(server.serve_connection(TokioIo::new(stream), service)));
    }
    drop(listener);
    graceful.shutdown().await;
    Ok(())
}

async fn handle(
    recorder: Rc<Recorder>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let id = id_of(request.uri().path()).unwrap_or(0);
    recorder.dispatch(id);
    request.into_body().collect().await?;
    tokio::time::sleep(HANDLER).await;
    Ok(Response::new(Full::from(id.to_string())))
}

/// Finds a request's number in its path.
pub(crate) fn id_of(path: &str) -> Option<u64> {
    path.strip_prefix("/orders/")?.parse().ok()
}

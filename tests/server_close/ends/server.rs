//! The process that serves: plain hyper over the connections of this crate.
//!
//! It prints its address in its first line, and after that each request as it is
//! dispatched: `taken 3`. It answers each line that it reads with the state of its
//! latest connection: `state Idle armed`.

use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_resend::server::{
    CloseMode, Handle, Listener, ListenerOptions, RequestBody, TrackedResponseBody,
    serve as serve_all,
};

use super::Mode;
use super::counting;

/// How the latest connection stands.
pub(crate) type Latest = Arc<Mutex<Option<Box<dyn Fn() -> String + Send>>>>;

/// Serves until killed, or gracefully stopped by SIGTERM.
pub(crate) fn serve(mode: &str) -> io::Result<()> {
    let mode = Mode::of(mode).ok_or_else(|| io::Error::other("no such mode"))?;
    let latest = Latest::default();
    let asked = Arc::clone(&latest);
    std::thread::spawn(move || {
        for _ in io::stdin().lock().lines() {
            let state = asked.lock().unwrap().as_ref().map(|state| state());
            say(&format!("state {}", state.unwrap_or_default()));
        }
        // The parent is gone.
        std::process::exit(1);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let address: SocketAddr = ([127, 0, 0, 1], 0).into();
        match mode {
            Mode::Counting => counting::serve(address, latest).await,
            Mode::Rst => signalling(CloseMode::ResetBeforeDispatch, address, latest).await,
            Mode::Fin => signalling(CloseMode::FinBeforeDispatch, address, latest).await,
            Mode::Plain => signalling(CloseMode::Plain, address, latest).await,
            Mode::ServedRst => served(CloseMode::ResetBeforeDispatch, address).await,
            Mode::ServedFin => served(CloseMode::FinBeforeDispatch, address).await,
            Mode::ServedPlain => served(CloseMode::Plain, address).await,
        }
    })
}

/// Prints a line, in one system call.
pub(crate) fn say(line: &str) {
    let mut stdout = io::stdout().lock();
    stdout.write_all(format!("{line}\n").as_bytes()).unwrap();
    stdout.flush().unwrap();
}

async fn signalling(mode: CloseMode, address: SocketAddr, latest: Latest) -> io::Result<()> {
    let mut stop = signal(SignalKind::terminate())?;
    let mut listener: Listener = ListenerOptions::new().mode(mode).bind(address).await?;
    say(&listener.local_addr()?.to_string());
    let (leave, tasks) = (CancellationToken::new(), TaskTracker::new());
    loop {
        let connection = tokio::select! {
            (connection, _) = listener.accept() => connection,
            _ = stop.recv() => break,
        };
        let handle = connection.handle().clone();
        *latest.lock().unwrap() = Some(state_of(handle.clone()));
        let leave = leave.clone();
        tasks.spawn(async move {
            let served = handle.clone();
            let service = service_fn(move |request| respond(served.clone(), request));
            let http = http1::Builder::new().serve_connection(TokioIo::new(connection), service);
            let mut http = std::pin::pin!(http);
            tokio::select! {
                _ = http.as_mut() => return,
                () = leave.cancelled() => {}
            }
            handle.go_away();
            http.as_mut().graceful_shutdown();
            let _ = http.await;
        });
    }
    drop(listener);
    leave.cancel();
    tasks.close();
    tasks.wait().await;
    Ok(())
}

/// The same application, served by the crate's own server.
async fn served(mode: CloseMode, address: SocketAddr) -> io::Result<()> {
    let mut stop = signal(SignalKind::terminate())?;
    let listener = ListenerOptions::new().mode(mode).bind(address).await?;
    say(&listener.local_addr()?.to_string());
    let app = tower::service_fn(async |request: Request<RequestBody<Incoming>>| {
        work(request.uri().path(), std::future::pending()).await;
        Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::from("done")))
    });
    let signal = async move { stop.recv().await.unwrap_or_default() };
    serve_all(listener, app).with_graceful_shutdown(signal).await.map(drop)
}

fn state_of(handle: Handle) -> Box<dyn Fn() -> String + Send> {
    Box::new(move || {
        let counters = handle.counters();
        let armed = if counters.armed > counters.cleared { "armed" } else { "clear" };
        format!("{:?} {armed}", handle.phase())
    })
}

/// What a service has to do about its connection.
async fn respond(
    handle: Handle,
    request: Request<Incoming>,
) -> Result<Response<TrackedResponseBody<Full<Bytes>>>, hyper::Error> {
    let offer = handle.offer(&request);
    let mut exchange = handle.begin(offer);
    let (head, body) = request.into_parts();
    if !body.is_end_stream() {
        tokio::select! {
            body = body.collect() => drop(body?),
            () = handle.gone(), if offer.has_gone() => {}
        }
    }
    if !handle.is_going_away() {
        exchange.received();
    }
    let mut response = Response::new(Full::default());
    if exchange.dispatch().is_err() {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        if let Some(refusal) = exchange.refusal() {
            refusal.write(response.headers_mut()).unwrap();
        }
        return Ok(response.map(|body| exchange.answer(body)));
    }
    work(head.uri.path(), handle.gone()).await;
    *response.body_mut() = Full::from("done");
    if let Some(announcement) = exchange.announcement() {
        announcement.write(response.headers_mut()).unwrap();
    }
    Ok(response.map(|body| exchange.answer(body)))
}

/// The application: it prints that it has begun; `/held` works until the server
/// leaves, `/N` for a random time.
pub(crate) async fn work(path: &str, gone: impl Future<Output = ()>) {
    if path == "/held" {
        return gone.await;
    }
    if let Some(number) = path.strip_prefix("/order/") {
        say(&format!("taken {number}"));
        tokio::time::sleep(Duration::from_micros(fastrand::u64(0..2_000))).await;
    }
}

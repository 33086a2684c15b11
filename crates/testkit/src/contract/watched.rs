//! The crate's own server on loopback, which tells everything about its connections.

#![allow(clippy::unwrap_used, reason = "a test helper panics when it is in the way")]
#![allow(clippy::disallowed_methods, reason = "what happens is waited for in real time")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tower::{Layer, Service};
use tower_resend::server::{
    Connection, Counters, DispatchLayer, Handle, Listener, ListenerOptions, Phase, RequestBody,
};

/// The server. The application answers a GET and holds a POST.
pub struct Watched {
    address: SocketAddr,
    site: Arc<Site>,
    runtime: Option<Runtime>,
}

#[derive(Default)]
struct Site {
    handles: Mutex<Vec<Handle>>,
    has_post: Notify,
    /// Connections that no longer carry HTTP.
    ended: AtomicUsize,
}

impl Watched {
    pub fn start(options: ListenerOptions) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let site = Arc::new(Site::default());
        let listener = {
            let _guard = runtime.enter();
            options.from_std(socket).unwrap()
        };
        runtime.spawn(accept(Arc::clone(&site), listener));
        Self { address, site, runtime: Some(runtime) }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns once the application holds a POST.
    pub async fn has_post(&self) {
        self.site.has_post.notified().await;
    }

    /// Waits until every used connection is idle.
    pub async fn until_idle(&self) {
        self.until(|handle| handle.phase() == Phase::Idle).await;
    }

    /// Waits until every used connection is armed.
    pub async fn until_armed(&self) {
        self.until(|handle| handle.counters().armed > handle.counters().cleared).await;
    }

    /// Makes the server leave, and returns once all its connections have ended.
    pub async fn leave(&self) {
        self.site.handles.lock().unwrap().iter().for_each(Handle::go_away);
        while self.site.ended.load(Ordering::Acquire) < self.site.handles.lock().unwrap().len() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Ends as a killed process does: all sockets are closed.
    pub fn die(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Returns what happened on the used connections.
    pub fn counters(&self) -> Vec<Counters> {
        self.handles().iter().map(Handle::counters).collect()
    }

    async fn until(&self, is_so: impl Fn(&Handle) -> bool) {
        while !self.handles().iter().all(&is_so) || self.handles().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn handles(&self) -> Vec<Handle> {
        let handles = self.site.handles.lock().unwrap();
        handles.iter().filter(|handle| handle.counters().requests > 0).cloned().collect()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.die();
    }
}

async fn accept(site: Arc<Site>, mut listener: Listener) {
    loop {
        let (connection, _) = listener.accept().await;
        site.handles.lock().unwrap().push(connection.handle().clone());
        let site = Arc::clone(&site);
        tokio::spawn(async move {
            serve(Arc::clone(&site), connection).await;
            site.ended.fetch_add(1, Ordering::Release);
        });
    }
}

async fn serve(site: Arc<Site>, connection: Connection) {
    let handle = connection.handle().clone();
    let app = tower::service_fn(move |request: Request<RequestBody<Incoming>>| {
        let site = Arc::clone(&site);
        async move {
            if request.method() == Method::POST {
                site.has_post.notify_one();
                std::future::pending::<()>().await;
            }
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("ok"))))
        }
    });
    let service = DispatchLayer::new(handle.clone()).layer(app);
    let service = service_fn(move |request| service.clone().call(request));
    let http = http1::Builder::new().serve_connection(TokioIo::new(connection), service);
    let mut http = pin!(http);
    tokio::select! {
        _ = http.as_mut() => return,
        () = handle.gone() => http.as_mut().graceful_shutdown(),
    }
    let _ = http.await;
}

//! The crate's own server, which keeps its promise, at the server's end of a
//! wire: it can be made to stand still, and to end as a killed process does.

#![allow(clippy::unwrap_used, reason = "a test helper panics when it is in the way")]

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};
use tower::{Layer, Service};
use tower_resend::server::{
    Connection, Counters, DispatchLayer, Handle, ListenerOptions, Phase, RequestBody,
};

use crate::wire::Wire;

/// The length of the response to `/long`, which a client's kernel can hold.
pub const LONG: usize = 50_000;

/// What the application heard, and the connections that led to it.
#[derive(Clone, Default)]
struct Site {
    heads: Arc<Mutex<Vec<String>>>,
    handles: Arc<Mutex<Vec<Handle>>>,
    trusts_nat: bool,
}

/// A server on a thread of its own, which ends with it.
pub struct Server {
    site: Site,
    orders: Option<mpsc::UnboundedSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

enum Order {
    /// Stop answering once all used connections are idle, and armed or
    /// not.
    StandStill { armed: bool, done: oneshot::Sender<()> },
    /// End, so that the kernel closes all sockets but the listening one, and
    /// start again.
    DieAndStartAgain,
}

impl Server {
    /// Listens at the server's end of a wire; trusts its address translation or
    /// not.
    pub fn start(wire: &Wire, port: u16, trusts_nat: bool) -> Self {
        let address = (wire.server().address(), port);
        let listener = wire.server().run(|| TcpListener::bind(address)).unwrap();
        let (orders, received) = mpsc::unbounded_channel();
        let site = Site { trusts_nat, ..Site::default() };
        let thread = thread::spawn({
            let site = site.clone();
            move || run(&site, &listener, received)
        });
        Self { site, orders: Some(orders), thread: Some(thread) }
    }

    /// Waits until the used connections are armed: a reset says *not dispatched*.
    /// From then on the server does nothing.
    pub async fn stand_still_when_armed(&mut self) {
        self.stand_still(true).await;
    }

    /// Waits until the used connections are idle, and none is armed: their clients
    /// offered nothing to them.
    pub async fn stand_still_when_idle(&mut self) {
        self.stand_still(false).await;
    }

    async fn stand_still(&mut self, armed: bool) {
        let (done, stands_still) = oneshot::channel();
        self.order(Order::StandStill { armed, done });
        stands_still.await.unwrap();
    }

    /// Waits until a request waits in the kernel for the server.
    pub async fn until_a_request_arrived(&self, wire: &Wire) {
        while !wire.server().run(has_unread).unwrap() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub fn die_and_start_again(&mut self) {
        self.order(Order::DieAndStartAgain);
    }

    /// Returns the first lines of all requests that reached the application.
    pub fn heads(&self) -> Vec<String> {
        self.site.heads.lock().unwrap().clone()
    }

    fn order(&mut self, order: Order) {
        self.orders.as_ref().unwrap().send(order).ok().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.orders.take());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(!matches!(ended, Some(Err(_))) || thread::panicking(), "the server panicked");
    }
}

/// Returns `true` if an open connection of this thread's namespace has unread
/// bytes.
fn has_unread() -> std::io::Result<bool> {
    const ESTABLISHED: &str = "01";
    let table = std::fs::read_to_string("/proc/thread-self/net/tcp")?;
    Ok(table.lines().skip(1).any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let unread = fields[4].split_once(':').unwrap().1;
        fields[3] == ESTABLISHED && unread.bytes().any(|digit| digit != b'0')
    }))
}

fn run(site: &Site, listener: &TcpListener, mut orders: mpsc::UnboundedReceiver<Order>) {
    let mut runtime = serving(site, listener);
    while let Some(order) = runtime.block_on(orders.recv()) {
        match order {
            Order::StandStill { armed, done } => {
                runtime.block_on(until_idle(site, armed));
                let _ = done.send(());
                // The runtime does not turn while the thread waits here.
                if orders.blocking_recv().is_none() {
                    return;
                }
            }
            Order::DieAndStartAgain => {}
        }
        // All sockets are dropped, and no task runs any further.
        drop(runtime);
        site.handles.lock().unwrap().clear();
        runtime = serving(site, listener);
    }
}

fn serving(site: &Site, listener: &TcpListener) -> Runtime {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let listener = listener.try_clone().unwrap();
    runtime.spawn(accept(site.clone(), listener));
    runtime
}

async fn accept(site: Site, listener: TcpListener) {
    let options = ListenerOptions::new().trust_nat(site.trusts_nat);
    let mut listener = options.from_std(listener).unwrap();
    loop {
        let (connection, _) = listener.accept().await;
        tokio::spawn(serve(site.clone(), connection));
    }
}

async fn serve(site: Site, connection: Connection) {
    let handle = connection.handle().clone();
    site.handles.lock().unwrap().push(handle.clone());
    let heads = Arc::clone(&site.heads);
    let app = tower::service_fn(move |request: Request<RequestBody<Incoming>>| {
        let head = format!("{} {}", request.method(), request.uri());
        heads.lock().unwrap().push(head);
        let body = match request.uri().path() {
            "/long" => Bytes::from_static(&[b'x'; LONG]),
            _ => Bytes::from("ok"),
        };
        std::future::ready(Ok::<_, Infallible>(Response::new(Full::new(body))))
    });
    let service = DispatchLayer::new(handle).layer(app);
    let service = service_fn(move |request| service.clone().call(request));
    let _ = http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
}

async fn until_idle(site: &Site, armed: bool) {
    let is_so = |counters: &Counters| match armed {
        true => counters.armed > counters.cleared,
        false => counters.armed == 0,
    };
    let are_so = || {
        let handles = site.handles.lock().unwrap();
        let used =
            |handle: &&Handle| handle.counters().requests > 0 && handle.phase() != Phase::Closing;
        let is_idle = |handle: &Handle| armed || handle.phase() == Phase::Idle;
        let used: Vec<_> = handles.iter().filter(used).collect();
        let is_so = |handle: &&Handle| is_idle(handle) && is_so(&handle.counters());
        !used.is_empty() && used.iter().all(is_so)
    };
    while !are_so() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

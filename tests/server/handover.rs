//! A listening socket passes from process to process under load.
//!
//! The processes are this program again, as the test [`process`] with
//! [`GENERATION`] in its environment. They end with the standard input that
//! they share.

#![cfg(unix)]

use crate::site;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, exit};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use socket2::{Domain, Type};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tower_resend::server::handover::{NotReady, Successor, inherited, migrates_requests};
use tower_resend::server::{Listener, ListenerOptions, RequestBody, ShutdownMode, serve};

use self::site::{Client, End};

const GENERATION: &str = "TOWER_RESEND_TEST_GENERATION";
const WAY: &str = "TOWER_RESEND_TEST_WAY";
const LEDGER: &str = "TOWER_RESEND_TEST_LEDGER";
const HANDOVERS: u64 = 20;
const WORKERS: usize = 8;

/// How a port passes from process to process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// One listening socket, inherited.
    Inherited,
    /// A socket for each process (`SO_REUSEPORT`), whose queue is emptied
    /// before it is closed.
    Emptied(SocketAddr),
    /// The same, without emptying the queue.
    Closed(SocketAddr),
}

impl Way {
    fn from_env() -> Self {
        let way = std::env::var(WAY).expect("nothing fails on loopback");
        match way.split_once(' ') {
            Some(("emptied", address)) => Self::Emptied(address.parse().expect("well formed")),
            Some((_, address)) => Self::Closed(address.parse().expect("well formed")),
            None => Self::Inherited,
        }
    }

    /// The command that starts the next process.
    fn program(self, generation: u64) -> Command {
        let mut program = Command::new(std::env::current_exe().expect("nothing fails on loopback"));
        program.args(["handover::process", "--exact", "--nocapture"]).stdout(Stdio::null());
        program.env(GENERATION, generation.to_string());
        program.env(
            WAY,
            match self {
                Self::Inherited => "inherited".to_owned(),
                Self::Emptied(address) => format!("emptied {address}"),
                Self::Closed(address) => format!("closed {address}"),
            },
        );
        program
    }
}

// ===== a process =====

#[test]
fn process() {
    let Ok(generation) = std::env::var(GENERATION) else {
        return;
    };
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        exit(1);
    });
    let generation = generation.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run(generation));
    exit(0);
}

/// Serves until it is told to hand over and the next process is ready.
async fn run(generation: u64) {
    let way = Way::from_env();
    let mut inherited = inherited().expect("nothing fails on loopback");
    let shared = inherited.listeners.pop().map(|named| {
        assert_eq!(named.name.as_deref(), Some("test"));
        named.socket
    });
    let listener = match (way, &shared) {
        (Way::Emptied(address) | Way::Closed(address), _) => {
            ListenerOptions::new().reuse_port(true).bind(address).await.expect("a free port")
        }
        (Way::Inherited, Some(socket)) => {
            Listener::from_std(socket.try_clone().expect("nothing fails on loopback"))
                .expect("nothing fails on loopback")
        }
        (Way::Inherited, None) => panic!("nothing was inherited"),
    };
    inherited.ready.report().expect("nothing fails on loopback");
    let (tell, mut told) = mpsc::unbounded_channel();
    let app = tower::service_fn(move |request: Request<RequestBody<_>>| {
        let answer = answer(request.uri().path(), generation, &tell);
        async { Ok::<_, std::convert::Infallible>(answer) }
    });
    let signal = async move {
        while told.recv().await.is_some() {
            let sockets = shared.iter().map(|socket| ("test", socket));
            let next = Successor::start(way.program(generation + 1), sockets)
                .expect("a program that starts");
            if next.ready(Duration::from_secs(30)).await.is_ok() {
                break;
            }
        }
        match way {
            Way::Inherited => ShutdownMode::HandedOver,
            Way::Emptied(_) => ShutdownMode::Alone,
            Way::Closed(_) => {
                // Nothing is accepted in this thread meanwhile, so that
                // connections wait.
                std::thread::sleep(Duration::from_millis(20));
                ShutdownMode::HandedOver
            }
        }
    };
    let report = serve(listener, app)
        .with_graceful_shutdown(signal)
        .await
        .expect("nothing fails on loopback");
    assert!(report.is_clean(), "{report}");
}

/// The file in which a process records the orders that it dispatched.
fn ledger() -> PathBuf {
    std::env::var_os(LEDGER).expect("the first process has one").into()
}

fn write_down(order: &str) {
    let mut ledger = File::options().append(true).open(ledger()).expect("it was made");
    ledger.write_all(format!("{order}\n").as_bytes()).expect("nothing fails on loopback");
}

fn answer(path: &str, generation: u64, tell: &mpsc::UnboundedSender<()>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(generation.to_string()));
    if let Some(order) = path.strip_prefix("/order/") {
        write_down(order);
    }
    if let Some(wanted) = path.strip_prefix("/hand-over/") {
        match wanted == generation.to_string() {
            true => tell.send(()).expect("nothing fails on loopback"),
            false => *response.status_mut() = StatusCode::CONFLICT,
        }
    }
    response
}

// ===== the clients =====

/// One request of an ordinary client, on a connection of its own.
async fn ask(address: SocketAddr, path: &str) -> Result<String, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let mut client = Client(stream);
    client.get(path, "Connection: close\r\n").await;
    match client.rest().await {
        (response, End::Fin) if response.starts_with("http/1.1") => Ok(response),
        other => Err(format!("{other:?}")),
    }
}

async fn ask_until(address: SocketAddr, path: &str, is_right: impl Fn(&str) -> bool) {
    while !ask(address, path).await.is_ok_and(|response| is_right(&response)) {}
}

/// A port that stays free: the socket is bound.
fn port() -> (SocketAddr, socket2::Socket) {
    let socket =
        socket2::Socket::new(Domain::IPV4, Type::STREAM, None).expect("nothing fails on loopback");
    socket.set_reuse_address(true).expect("nothing fails on loopback");
    socket.set_reuse_port(true).expect("nothing fails on loopback");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    (
        socket
            .local_addr()
            .expect("a socket has an address")
            .as_socket()
            .expect("a socket has an address"),
        socket,
    )
}

/// Hands over this many times under load. Returns how many requests were answered,
/// and what went wrong.
async fn hand_over(handovers: u64, way: fn(SocketAddr) -> Way) -> (u64, Vec<String>) {
    let naive = |address, _| async move { ask(address, "/").await };
    hand_over_under(naive, Path::new("/dev/null"), handovers, way).await
}

/// Does the same under the load of `call`, which gets its number.
async fn hand_over_under<C>(
    call: impl Fn(SocketAddr, u64) -> C + Clone + Send + 'static,
    ledger: &Path,
    handovers: u64,
    way: fn(SocketAddr) -> Way,
) -> (u64, Vec<String>)
where
    C: Future<Output = Result<String, String>> + Send,
{
    let (address, socket) = port();
    let mut first = way(address).program(0);
    first.env(LEDGER, ledger);
    first.stdin(Stdio::piped());
    let passed = TcpListener::from(socket.try_clone().expect("nothing fails on loopback"));
    if way(address) == Way::Inherited {
        socket.listen(1024).expect("nothing fails on loopback");
    }
    let sockets = (way(address) == Way::Inherited).then_some(("test", &passed));
    let first = Successor::start(first, sockets).expect("a program that starts");
    let mut child = first.ready(Duration::from_secs(30)).await.expect("nothing fails on loopback");
    drop((socket, passed));
    let answered = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let mut workers = tokio::task::JoinSet::new();
    let begun = Arc::new(AtomicU64::new(0));
    for _ in 0..WORKERS {
        let (answered, stop) = (Arc::clone(&answered), Arc::clone(&stop));
        let (begun, call) = (Arc::clone(&begun), call.clone());
        workers.spawn(async move {
            let mut wrong = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                match call(address, begun.fetch_add(1, Ordering::Relaxed)).await {
                    Ok(_) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                    Err(why) => wrong.push(why),
                }
            }
            wrong
        });
    }
    for generation in 0..handovers {
        let path = format!("/hand-over/{generation}");
        ask_until(address, &path, |response| response.starts_with("http/1.1 200")).await;
        let next = format!("\r\n\r\n{}", generation + 1);
        ask_until(address, "/", |response| response.ends_with(&next)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let wrong = workers.join_all().await.concat();
    drop(child.stdin.take());
    child.wait().expect("nothing fails on loopback");
    (answered.load(Ordering::Relaxed), wrong)
}

// ===== tests =====

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hand_over_refuses_and_resets_no_connection() {
    let (answered, wrong) = hand_over(HANDOVERS, |_| Way::Inherited).await;
    println!("inherited: {answered} requests answered in {HANDOVERS} hand-overs");
    assert_eq!(wrong, [""; 0]);
    assert!(answered > HANDOVERS);
}

/// Sends orders with a client that pools its connections. Returns what went wrong,
/// orders that were dispatched twice included.
async fn order_through_hand_overs(client: OrderingClient) -> Vec<String> {
    let ledger = std::env::temp_dir().join(format!("tower-resend-{:x}", fastrand::u128(..)));
    File::create(&ledger).expect("there is room");
    let call = move |address, order| {
        let client = client.clone();
        async move { client.order(address, order).await }
    };
    let (answered, mut wrong) = hand_over_under(call, &ledger, HANDOVERS, |_| Way::Inherited).await;
    let dispatched = std::fs::read_to_string(&ledger).expect("it was written");
    std::fs::remove_file(&ledger).expect("it was written");
    let mut dispatched: Vec<_> = dispatched.lines().collect();
    let all = dispatched.len();
    dispatched.sort_unstable();
    dispatched.dedup();
    println!("{answered} orders answered in {HANDOVERS} hand-overs, {} failed", wrong.len());
    assert!(answered > HANDOVERS && dispatched.len() as u64 >= answered);
    wrong.extend((dispatched.len() != all).then(|| format!("{} doubled", all - dispatched.len())));
    wrong
}

/// A client that pools its connections.
#[derive(Clone)]
enum OrderingClient {
    Ours(Box<tower_resend::Client>),
    /// That of hyper-util, which does not resend.
    Hypers(Box<legacy::Client<HttpConnector, Full<Bytes>>>),
}

impl OrderingClient {
    async fn order(&self, address: SocketAddr, order: u64) -> Result<String, String> {
        let request = Request::post(format!("http://{address}/order/{order}"));
        let status = match self {
            Self::Ours(client) => {
                let request = request.body("pay").expect("well formed");
                let response = client.request(request).await.map_err(|why| why.to_string())?;
                let status = response.status();
                response.into_body().collect().await.map_err(|why| why.to_string())?;
                status
            }
            Self::Hypers(client) => {
                let request = request.body(Full::from("pay")).expect("well formed");
                let response = client.request(request).await.map_err(|why| why.to_string())?;
                let status = response.status();
                response.into_body().collect().await.map_err(|why| why.to_string())?;
                status
            }
        };
        let is_answered = status == StatusCode::OK;
        if is_answered { Ok(status.to_string()) } else { Err(status.to_string()) }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_with_pooled_connections_loses_and_doubles_nothing() {
    let client = OrderingClient::Ours(Box::default());
    assert_eq!(order_through_hand_overs(client).await, [""; 0]);
}

/// Not asserted either way, since a request need not cross a close: what the load
/// does to a client without the contract.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_without_the_contract_loses_some_requests() {
    let mut client = legacy::Client::builder(TokioExecutor::new());
    let client = client.retry_canceled_requests(false).build(HttpConnector::new());
    let wrong = order_through_hand_overs(OrderingClient::Hypers(Box::new(client))).await;
    assert!(wrong.iter().all(|why| !why.contains("doubled")), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_accept_queue_of_a_closed_reuseport_socket_is_reset() {
    let (answered, wrong) = hand_over(HANDOVERS, Way::Closed).await;
    println!("closed: {answered} requests answered, {} failed", wrong.len());
    let is_moved = migrates_requests() == Some(true);
    assert!(is_moved || !wrong.is_empty(), "the check sees what is lost");
}

/// What the kernel resets between the last accept and the close is counted, not
/// judged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drain_empties_its_own_accept_queue_before_closing() {
    let (answered, wrong) = hand_over(HANDOVERS, Way::Emptied).await;
    println!("emptied: {answered} requests answered, {} failed {wrong:?}", wrong.len());
    println!("the kernel migrates: {:?}", migrates_requests());
    assert!(answered > HANDOVERS);
}

#[tokio::test]
async fn successor_that_dies_before_it_is_ready_changes_nothing() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let listener = Listener::from_std(socket.try_clone().unwrap()).unwrap();
    let site = site::Site::on(listener, |server| server);
    let next = Successor::start(Command::new("true"), [("test", &socket)]).unwrap();
    assert!(matches!(next.ready(Duration::from_secs(30)).await, Err(NotReady::Ended(_))));
    assert!(ask(address, "/quick").await.is_ok());
    drop(site);
}

#[tokio::test]
async fn successor_that_is_not_ready_in_time_is_killed() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut program = Command::new("sleep");
    program.arg("1000");
    let next = Successor::start(program, [("test", &socket)]).unwrap();
    let late = next.ready(Duration::from_millis(20)).await;
    assert!(matches!(late, Err(NotReady::Late)));
}

#[test]
fn socket_name_with_a_colon_is_an_error() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(Successor::start(Command::new("true"), [("a:b", &socket)]).is_err());
}

//! What one small POST costs, side by side: `cargo bench -p tower-resend-benches --bench cost`.
//!
//! It prints user-space instructions and heap allocations for each request over one
//! kept-alive loopback connection, and the ratio of each to `benches/cost.txt`. It fails
//! if a row of ours is over 2 % worse beside the raw connection's; `UPDATE=1` rewrites the
//! file, so that a slip is seen in review.
//!
//! Each client runs in a process of its own, instructions under valgrind and allocations
//! without; the server is another process and is never counted. Every count is taken for
//! a short and a long run, and the difference divided by the requests between them, so
//! that start-up and connecting cancel out.

#![allow(unsafe_code, reason = "a counting global allocator cannot do without")]
#![allow(missing_docs, reason = "a program, not a library")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::error::Error;
use std::future::poll_fn;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitCode, Stdio, exit};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::{env, fmt, fs, thread};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tower::Service;
use tower_resend::pool::{Pool, PoolOptions};
use tower_resend::{Body, Client};

type Fallible<T> = Result<T, Box<dyn Error>>;

/// Requests in the short and in the long run.
const RUNS: [u64; 2] = [500, 2_500];
/// A count of ours may be this many times the one in the file.
const TOLERANCE: f64 = 1.02;
/// Set to 1 it rewrites the file.
const UPDATE: &str = "UPDATE";
/// No run of one client may take longer.
const PATIENCE: Duration = Duration::from_secs(20);
/// What a request cost when the file was last accepted.
const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/cost.txt");
/// Tells a child process what it is: see `main`.
const ROLE: &str = "COST_ROLE";
/// Set to 1 it makes a skipped count a failure.
const REQUIRE_ALL: &str = "RESEND_REQUIRE_ALL";
/// A JSON document of 100 bytes.
const ORDER: &[u8] = br#"{"order":"5b0c2f6e-8a41-4f1e-9d57-0a6c3f1b2e9d","item":"espresso machine","count":1,"price":"24.90"}"#;

fn main() -> ExitCode {
    let done = match env::var(ROLE) {
        Err(_) => compare(),
        Ok(role) => play(&role),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cost: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Plays a child's part: `server`, or `client LABEL REQUESTS ADDRESS`.
fn play(role: &str) -> Fallible<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    if role == "server" {
        return runtime.block_on(serve());
    }
    thread::spawn(|| {
        thread::sleep(PATIENCE);
        eprintln!("cost: no end after {PATIENCE:?}");
        exit(1)
    });
    let words: Vec<&str> = role.split(' ').collect();
    let ["client", label, requests, address] = words[..] else {
        return Err(format!("no such role: {role}").into());
    };
    let contender = Contender::ALL.into_iter().find(|c| c.label() == label);
    let contender = contender.ok_or("no such client")?;
    runtime.block_on(contender.run(requests.parse()?, address.parse()?))?;
    println!("{}", ALLOCATIONS.load(Relaxed));
    Ok(())
}

// ===== the clients =====

#[derive(Clone, Copy, Eq, PartialEq)]
enum Contender {
    Raw,
    HyperUtil,
    Pool,
    Client,
}

impl Contender {
    const ALL: [Self; 4] = [Self::Raw, Self::HyperUtil, Self::Pool, Self::Client];

    fn label(self) -> &'static str {
        match self {
            Self::Raw => "raw-hyper-connection",
            Self::HyperUtil => "hyper-util-client",
            Self::Pool => "tower-resend-pool",
            Self::Client => "tower-resend-client",
        }
    }

    async fn run(self, requests: u64, server: SocketAddr) -> Fallible<()> {
        match self {
            Self::Raw => run_raw(requests, server).await,
            Self::HyperUtil => run_hyper_util(requests, server).await,
            Self::Pool => run_pool(requests, server).await,
            Self::Client => run_client(requests, server).await,
        }
    }
}

async fn run_raw(requests: u64, server: SocketAddr) -> Fallible<()> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let uri = Uri::from_static("/orders");
    let host = HeaderValue::try_from(server.to_string())?;
    for _ in 0..requests {
        let mut request = order(&uri, Full::new(Bytes::from_static(ORDER)))?;
        request.headers_mut().insert(header::HOST, host.clone());
        sender.ready().await?;
        finish(sender.send_request(request).await?).await?;
    }
    Ok(())
}

async fn run_hyper_util(requests: u64, server: SocketAddr) -> Fallible<()> {
    let client = legacy::Client::builder(TokioExecutor::new()).build_http();
    let uri = Uri::try_from(format!("http://{server}/orders"))?;
    for _ in 0..requests {
        let request = order(&uri, Full::new(Bytes::from_static(ORDER)))?;
        finish(client.request(request).await?).await?;
    }
    Ok(())
}

/// The part of this crate's client below the resending layer.
async fn run_pool(requests: u64, server: SocketAddr) -> Fallible<()> {
    let mut pool = Pool::new(PoolOptions::new());
    let uri = Uri::try_from(format!("http://{server}/orders"))?;
    for _ in 0..requests {
        let request = order(&uri, Body::from(Bytes::from_static(ORDER)))?;
        poll_fn(|cx| pool.poll_ready(cx)).await?;
        finish(pool.call(request).await?).await?;
    }
    Ok(())
}

async fn run_client(requests: u64, server: SocketAddr) -> Fallible<()> {
    let client = Client::new();
    let uri = Uri::try_from(format!("http://{server}/orders"))?;
    for _ in 0..requests {
        let request = order(&uri, Body::from(Bytes::from_static(ORDER)))?;
        finish(client.request(request).await?).await?;
    }
    Ok(())
}

/// The same request for all clients.
fn order<B>(uri: &Uri, body: B) -> http::Result<Request<B>> {
    Request::post(uri.clone())
        .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .header(header::ACCEPT, HeaderValue::from_static("*/*"))
        .body(body)
}

/// Reads the response to its end, so that the connection can be used again.
async fn finish<B>(response: Response<B>) -> Fallible<()>
where
    B: http_body::Body + Unpin,
    B::Error: Error + 'static,
{
    let status = response.status();
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        frame?;
    }
    match status.is_success() {
        true => Ok(()),
        false => Err(format!("the server said {status}").into()),
    }
}

// ===== the server =====

/// Serves until the parent process is gone.
async fn serve() -> Fallible<()> {
    thread::spawn(|| {
        let end = std::io::stdin().read_to_end(&mut Vec::new());
        exit(i32::from(end.is_err()))
    });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service_fn(answer));
        tokio::spawn(connection);
    }
}

async fn answer(request: Request<Incoming>) -> hyper::Result<Response<Full<Bytes>>> {
    request.into_body().collect().await?;
    Ok(Response::new(Full::new(Bytes::from_static(b"accepted"))))
}

/// The server's process, ended with this value.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start() -> Fallible<Self> {
        let mut process = Command::new(env::current_exe()?)
            .env(ROLE, "server")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = process.stdout.take().ok_or("no output of the server")?;
        let mut address = String::new();
        BufReader::new(stdout).read_line(&mut address)?;
        let address = address.trim().to_owned();
        Ok(Self { process, address })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        if let Err(error) = self.process.wait() {
            eprintln!("cost: the server: {error}");
        }
    }
}

// ===== measuring =====

/// What one request costs.
struct Cost {
    contender: Contender,
    instructions: Count,
    allocations: Count,
}

type Count = Result<f64, Missing>;

/// Why there is no count.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Missing {
    Failed(String),
    Skipped(String),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(reason) => write!(f, "FAILED: {reason}"),
            Self::Skipped(reason) => write!(f, "SKIP: {reason}"),
        }
    }
}

impl Error for Missing {}

fn compare() -> Fallible<()> {
    let server = Server::start()?;
    let costs = Contender::ALL.map(|contender| Cost {
        contender,
        instructions: per_request(|requests| instructions(contender, requests, &server)),
        allocations: per_request(|requests| allocations(contender, requests, &server)),
    });
    let baseline = fs::read_to_string(BASELINE)?;
    report(&costs, &baseline);
    judge(&costs)?;
    match env::var_os(UPDATE).is_some_and(|value| value == "1") {
        true => update(&costs, &baseline),
        false => compare_with(&costs, &baseline),
    }
}

/// Returns a client's instructions and allocations in the file.
fn recorded(baseline: &str, label: &str) -> Option<[f64; 2]> {
    let mut words = baseline.lines().find(|line| line.starts_with(label))?.split_whitespace();
    words.next();
    Some([words.next()?.parse().ok()?, words.next()?.parse().ok()?])
}

/// Fails if a count of ours is worse than the file has it.
fn compare_with(costs: &[Cost], baseline: &str) -> Fallible<()> {
    // Another compiler moves the instructions of all rows; a slip of ours does not move
    // the raw connection's.
    let raw = costs.iter().find(|cost| matches!(cost.contender, Contender::Raw));
    let drift = raw.and_then(|raw| {
        let [recorded, _] = recorded(baseline, raw.contender.label())?;
        Some(raw.instructions.as_ref().ok()? / recorded)
    });
    let mut slips = Vec::new();
    for cost in costs {
        let label = cost.contender.label();
        if matches!(cost.contender, Contender::Raw | Contender::HyperUtil) {
            continue;
        }
        let recorded = recorded(baseline, label)
            .ok_or_else(|| format!("{BASELINE} has no row for {label}: {UPDATE}=1 writes one"))?;
        for (name, count, recorded) in [
            ("instructions", &cost.instructions, recorded[0] * drift.unwrap_or(1.0)),
            ("allocations", &cost.allocations, recorded[1]),
        ] {
            if let Ok(count) = count
                && *count > recorded * TOLERANCE
            {
                slips.push(format!("{label}: {count:.1} {name}, and not {recorded:.1}"));
            }
        }
    }
    match slips.is_empty() {
        true => Ok(()),
        false => Err(format!("{} ({UPDATE}=1 accepts it)", slips.join("; ")).into()),
    }
}

/// Writes the file anew, but for its comments.
fn update(costs: &[Cost], baseline: &str) -> Fallible<()> {
    let mut text = String::new();
    for line in baseline.lines().filter(|line| line.starts_with('#')) {
        text += &format!("{line}\n");
    }
    for Cost { contender, instructions, allocations } in costs {
        let [instructions, allocations] = [instructions, allocations].map(Clone::clone);
        let label = contender.label();
        text += &format!("{label:<21} {:>6.0} {:>5.1}\n", instructions?, allocations?);
    }
    Ok(fs::write(BASELINE, text)?)
}

fn per_request(count: impl Fn(u64) -> Fallible<u64>) -> Count {
    let difference = || -> Fallible<u64> {
        let [short, long] = [count(RUNS[0])?, count(RUNS[1])?];
        let none = "the long run cost less than the short one";
        long.checked_sub(short).ok_or_else(|| none.into())
    };
    match difference() {
        Ok(difference) => Ok(difference as f64 / (RUNS[1] - RUNS[0]) as f64),
        Err(error) => Err(match error.downcast::<Missing>() {
            Ok(missing) => *missing,
            Err(error) => Missing::Failed(error.to_string()),
        }),
    }
}

fn instructions(contender: Contender, requests: u64, server: &Server) -> Fallible<u64> {
    if let Err(error) = Command::new("valgrind").arg("--version").output() {
        let reason = format!("no instructions counted, valgrind does not start: {error}");
        return Err(Missing::Skipped(reason).into());
    }
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(env::current_exe()?);
    let output = run(valgrind, contender, requests, server)?;
    let collected = output.lines().find_map(|line| {
        let (_, count) = line.split_once("Collected :")?;
        count.trim().parse().ok()
    });
    collected.ok_or_else(|| "valgrind printed no count".into())
}

fn allocations(contender: Contender, requests: u64, server: &Server) -> Fallible<u64> {
    let plain = Command::new(env::current_exe()?);
    Ok(run(plain, contender, requests, server)?.trim().parse()?)
}

/// Runs a client to its end and returns all it printed.
fn run(
    mut command: Command,
    contender: Contender,
    requests: u64,
    server: &Server,
) -> Fallible<String> {
    let role = format!("client {} {requests} {}", contender.label(), server.address);
    let output = command.env(ROLE, role).stdin(Stdio::null()).output()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    match output.status.success() {
        true => Ok(text),
        false => Err(format!("{}: {text}", output.status).into()),
    }
}

fn report(costs: &[Cost], baseline: &str) {
    let bytes = ORDER.len();
    println!("one POST of {bytes} bytes over a kept-alive loopback connection");
    print_row("client", "instructions", "allocations");
    for cost in costs {
        let label = cost.contender.label();
        print_row(label, &show(&cost.instructions, 0), &show(&cost.allocations, 1));
        if let Some(recorded) = recorded(baseline, label) {
            let instructions = ratio(&cost.instructions, &Ok(recorded[0]));
            let allocations = ratio(&cost.allocations, &Ok(recorded[1]));
            print_row(&format!("{label} / cost.txt"), &instructions, &allocations);
        }
    }
    let Some((ours, others)) = costs.split_last() else {
        return;
    };
    for other in others {
        let label = format!("{} / {}", ours.contender.label(), other.contender.label());
        let instructions = ratio(&ours.instructions, &other.instructions);
        let allocations = ratio(&ours.allocations, &other.allocations);
        print_row(&label, &instructions, &allocations);
    }
}

fn print_row(label: &str, instructions: &str, allocations: &str) {
    println!("{label:<44}{instructions:>14}{allocations:>14}");
}

fn show(count: &Count, decimals: usize) -> String {
    match count {
        Ok(count) => format!("{count:.decimals$}"),
        Err(Missing::Failed(_)) => String::from("FAILED"),
        Err(Missing::Skipped(_)) => String::from("SKIP"),
    }
}

fn ratio(ours: &Count, other: &Count) -> String {
    match (ours, other) {
        (Ok(ours), Ok(other)) => format!("{:.3}", ours / other),
        (Err(_), _) | (_, Err(_)) => String::from("-"),
    }
}

/// Says why counts are missing, and whether that is a failure.
fn judge(costs: &[Cost]) -> Fallible<()> {
    let counts = costs.iter().flat_map(|c| [&c.instructions, &c.allocations]);
    let mut missing: Vec<&Missing> = counts.filter_map(|count| count.as_ref().err()).collect();
    missing.dedup();
    for reason in &missing {
        println!("{reason}");
    }
    let strict = env::var_os(REQUIRE_ALL).is_some_and(|value| value == "1");
    let fatal = |reason: &&Missing| strict || matches!(reason, Missing::Failed(_));
    match missing.iter().any(fatal) {
        true => Err("not everything could be counted".into()),
        false => Ok(()),
    }
}

// ===== counting allocations =====

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static COUNTING: Counting = Counting;

/// Counts every call that may hand out new memory.
struct Counting;

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller keeps to the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller keeps to the contract, which is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller keeps to the contract, which is the same.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps to the contract, which is the same.
        unsafe { System.dealloc(block, layout) }
    }
}

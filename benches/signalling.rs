//! What close signaling costs a server: `cargo bench -p tower-resend-benches --bench signalling`.
//!
//! It prints user-space instructions and system calls for each small POST over one
//! kept-alive loopback connection. Each server runs in a process of its own, under
//! valgrind and under strace; the client is another process and is never counted. Every
//! count is taken for a short and a long run, and the difference divided by the requests
//! between them.

#![allow(missing_docs, reason = "a program, not a library")]

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;
use std::{env, thread};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::runtime;
use tower_resend::server::{CloseMode, Handle, ListenerOptions, TrackedResponseBody};

type Fallible<T> = Result<T, Box<dyn Error>>;

/// Requests in the short and in the long run.
const RUNS: [u64; 2] = [200, 1_200];
/// Tells a child process which server it is.
const ROLE: &str = "SIGNALLING_ROLE";
/// Set to 1 it makes a skipped count a failure.
const REQUIRE_ALL: &str = "RESEND_REQUIRE_ALL";
const ANY: ([u8; 4], u16) = ([127, 0, 0, 1], 0);
const BODY: [u8; 100] = [b'x'; 100];

/// The servers, and whether the client makes an offer.
const CONTENDERS: [(&str, bool); 6] = [
    ("hyper", false),
    ("hyper", true),
    ("plain", false),
    ("plain", true),
    ("rst", true),
    ("fin", true),
];

fn main() -> ExitCode {
    let done = match env::var(ROLE) {
        Err(_) => compare(),
        Ok(role) => runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Into::into)
            .and_then(|runtime| runtime.block_on(serve(&role))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("signalling: {error}");
            ExitCode::FAILURE
        }
    }
}

// ===== the servers =====

/// Serves one connection to its end.
async fn serve(role: &str) -> Fallible<()> {
    let mode = match role {
        "rst" => CloseMode::ResetBeforeDispatch,
        "fin" => CloseMode::FinBeforeDispatch,
        "plain" => CloseMode::Plain,
        _ => return serve_bare().await,
    };
    let mut listener = ListenerOptions::new().mode(mode).bind(ANY.into()).await?;
    println!("{}", listener.local_addr()?);
    let (connection, _) = listener.accept().await;
    let handle = connection.handle().clone();
    let service = service_fn(move |request| respond(handle.clone(), request));
    http1::Builder::new().serve_connection(TokioIo::new(connection), service).await?;
    Ok(())
}

async fn respond(
    handle: Handle,
    request: Request<Incoming>,
) -> Result<Response<TrackedResponseBody<Full<Bytes>>>, hyper::Error> {
    let mut exchange = handle.begin(handle.offer(&request));
    request.into_body().collect().await?;
    exchange.received();
    let mut response = Response::new(Full::from("done"));
    if exchange.dispatch().is_ok() {
        // A response without it withdraws the promise, which is what is due.
        let _ = exchange.announce(response.headers_mut());
    }
    Ok(response.map(|body| exchange.answer(body)))
}

/// Hyper alone, which reads whole requests as well.
async fn serve_bare() -> Fallible<()> {
    let listener = TcpListener::bind(SocketAddr::from(ANY)).await?;
    println!("{}", listener.local_addr()?);
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    let service = service_fn(async |request: Request<Incoming>| {
        request.into_body().collect().await?;
        Ok::<_, hyper::Error>(Response::new(Full::<Bytes>::from("done")))
    });
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await?;
    Ok(())
}

// ===== measuring =====

fn compare() -> Fallible<()> {
    println!("a server's cost of one POST of {} bytes on a kept-alive connection", BODY.len());
    println!("{:24}{:>14}{:>14}", "server", "instructions", "system calls");
    let mut skipped = None;
    for (role, is_offered) in CONTENDERS {
        let instructions = per_request(|requests| instructions(role, is_offered, requests));
        let (calls, each) = match per_call(role, is_offered) {
            Ok((all, each)) => (Ok(all), each),
            Err(error) => (Err(error), String::new()),
        };
        let label = if is_offered { format!("{role}, offered") } else { role.to_owned() };
        let show = |count: &Fallible<f64>, decimals| match count {
            Ok(count) => format!("{count:.decimals$}"),
            Err(_) => String::from("SKIP"),
        };
        println!("{label:24}{:>14}{:>14}  {each}", show(&instructions, 0), show(&calls, 2));
        skipped = instructions.err().or_else(|| calls.err()).or(skipped);
    }
    let Some(why) = skipped else {
        return Ok(());
    };
    println!("SKIP: {why}");
    let is_strict = env::var_os(REQUIRE_ALL).is_some_and(|value| value == "1");
    if is_strict { Err(why) } else { Ok(()) }
}

fn per_request(count: impl Fn(u64) -> Fallible<u64>) -> Fallible<f64> {
    let [short, long] = [count(RUNS[0])?, count(RUNS[1])?];
    Ok((long as f64 - short as f64) / (RUNS[1] - RUNS[0]) as f64)
}

fn instructions(role: &str, is_offered: bool, requests: u64) -> Fallible<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    let text = run(valgrind, role, is_offered, requests)?;
    let collected = text.lines().find_map(|line| line.split_once("Collected :"));
    let (_, count) = collected.ok_or("valgrind printed no count")?;
    Ok(count.trim().parse()?)
}

/// Returns the system calls of one request, in all and by name.
fn per_call(role: &str, is_offered: bool) -> Fallible<(f64, String)> {
    let mut runs = Vec::new();
    for requests in RUNS {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-c"]);
        runs.push(run(strace, role, is_offered, requests)?);
    }
    let count = |text: &str, name: &str| -> f64 {
        let rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let row = rows.into_iter().find(|row| row.last() == Some(&name) && row.len() > 4);
        row.and_then(|row| row[3].parse().ok()).unwrap_or(0.0)
    };
    let each = |name| (count(&runs[1], name) - count(&runs[0], name)) / (RUNS[1] - RUNS[0]) as f64;
    let names = ["recvfrom", "sendto", "writev", "read", "epoll_wait", "setsockopt", "ioctl"];
    let named = names.into_iter().map(|name| (name, each(name))).filter(|(_, each)| *each > 0.005);
    let named: Vec<_> = named.map(|(name, each)| format!("{name} {each:.2}")).collect();
    Ok((each("total"), named.join(", ")))
}

/// Runs a server to its end and returns all that the tool around it printed.
fn run(mut tool: Command, role: &str, is_offered: bool, requests: u64) -> Fallible<String> {
    let name = tool.get_program().to_string_lossy().into_owned();
    let mut server = tool
        .arg(env::current_exe()?)
        .env(ROLE, role)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{name} does not start: {error}"))?;
    let stderr = server.stderr.take().ok_or("no errors of the server")?;
    let said = thread::spawn(move || {
        let mut text = String::new();
        BufReader::new(stderr).read_to_string(&mut text).map(|_| text)
    });
    let mut address = String::new();
    BufReader::new(server.stdout.take().ok_or("no output of the server")?)
        .read_line(&mut address)?;
    call(address.trim().parse()?, is_offered, requests)?;
    let status = server.wait()?;
    let text = said.join().map_err(|_| "what the server printed was not read")??;
    if status.success() { Ok(text) } else { Err(format!("{name}: {status}: {text}").into()) }
}

/// What a client that knows the contract adds to its requests.
fn offer(client: SocketAddr, server: SocketAddr) -> String {
    let hop = format!("hop=\"{client} {server}\"");
    format!("Connection: retry-contract\r\nRetry-Contract: {hop}, rst, fin, gone, half\r\n")
}

fn call(server: SocketAddr, is_offered: bool, requests: u64) -> Fallible<()> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let offer = match is_offered {
        true => offer(stream.local_addr()?, server),
        false => String::new(),
    };
    let head = format!("POST / HTTP/1.1\r\nHost: test\r\n{offer}Content-Length: 100\r\n\r\n");
    let request = [head.as_bytes(), &BODY].concat();
    let mut buffer = [0; 4096];
    for _ in 0..requests {
        stream.write_all(&request)?;
        let mut read = 0;
        while !buffer[..read].ends_with(b"done") {
            match stream.read(&mut buffer[read..])? {
                0 => return Err("the server closed".into()),
                bytes => read += bytes,
            }
        }
    }
    Ok(())
}

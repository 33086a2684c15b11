//! Three failures by name: each happens once, to one request.

use std::fmt;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use socket2::SockRef;
use testkit::demo::clients::End;
use testkit::demo::clients::ours::Client;
use testkit::demo::road::Road;
use tokio::runtime::Builder;
use tower_resend::Attempt;

use super::server::message::{GOING_AWAY, read_request};

/// A way in which a kept connection fails under the second request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    Reset,
    GracefulEof,
    GoingAway,
}

impl Failure {
    const ALL: [Self; 3] = [Self::Reset, Self::GracefulEof, Self::GoingAway];

    fn name(self) -> &'static str {
        match self {
            Self::Reset => "RST before the request was sent",
            Self::GracefulEof => "graceful EOF",
            Self::GoingAway => "a 599 received before the request",
        }
    }

    fn happen(self, mut stream: TcpStream) -> io::Result<()> {
        match self {
            Self::Reset => SockRef::from(&stream).set_linger(Some(Duration::ZERO)),
            Self::GracefulEof => Ok(()),
            Self::GoingAway => stream.write_all(GOING_AWAY),
        }
    }

    /// Whether the failure crosses the request on the way instead of preceding it.
    fn crosses(self, road: &Road) -> bool {
        self == Self::GracefulEof && road.is_wire()
    }
}

/// What became of the request.
#[derive(Debug)]
pub(super) struct Story {
    pub(super) name: &'static str,
    pub(super) attempts: Vec<String>,
    pub(super) end: String,
    pub(super) executed: u32,
    pub(super) went_well: bool,
}

/// Lets each of the three happen.
pub(super) fn tell(road: &Road) -> io::Result<Vec<Story>> {
    Failure::ALL.into_iter().map(|failure| tell_one(failure, road)).collect()
}

fn tell_one(failure: Failure, road: &Road) -> io::Result<Story> {
    let (executed, over) = (&AtomicU32::new(0), &AtomicBool::new(false));
    let (at, is_at) = channel();
    let (go, gone) = channel();
    let (failed, has_failed) = channel();
    let (end, attempts) = thread::scope(|scope| {
        let server = scope.spawn(move || {
            road.enter_server()?;
            let listener = TcpListener::bind((road.server_address().ip(), 0))?;
            let _ = at.send(listener.local_addr()?);
            let first = serve_first(&listener)?;
            let _ = gone.recv();
            failure.happen(first)?;
            let _ = failed.send(());
            serve_more(&listener, executed, over)
        });
        let client = scope.spawn(move || {
            road.enter_client()?;
            let address = is_at.recv().map_err(io::Error::other)?;
            let told = call(address, || {
                let _ = go.send(());
                if !failure.crosses(road) {
                    let _ = has_failed.recv();
                    thread::sleep(road.quiet_after());
                }
            });
            over.store(true, Ordering::SeqCst);
            TcpStream::connect(address)?; // so that the server looks
            told
        });
        let told = join(client)?;
        join(server).map(|()| told)
    })?;
    Ok(Story::new(failure, end, &attempts, executed.load(Ordering::SeqCst)))
}

pub(super) fn join<T>(thread: thread::ScopedJoinHandle<'_, io::Result<T>>) -> io::Result<T> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Answers one request and returns its connection.
fn serve_first(listener: &TcpListener) -> io::Result<TcpStream> {
    let (mut stream, _) = listener.accept()?;
    read_request(&mut stream)?;
    stream.write_all(ANSWER)?;
    Ok(stream)
}

/// Executes whatever arrives on further connections, until it is over.
fn serve_more(listener: &TcpListener, executed: &AtomicU32, over: &AtomicBool) -> io::Result<()> {
    thread::scope(|scope| {
        loop {
            let (mut stream, _) = listener.accept()?;
            if over.load(Ordering::SeqCst) {
                return Ok(());
            }
            scope.spawn(move || {
                while read_request(&mut stream).is_ok() {
                    executed.fetch_add(1, Ordering::SeqCst);
                    let _ = stream.write_all(ANSWER);
                }
            });
        }
    })
}

/// Makes a call, waits without a turn of the runtime, and makes the call that matters.
fn call(address: SocketAddr, between: impl Fn()) -> io::Result<(End, Vec<Attempt>)> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = Client::new();
        let uri: http::Uri =
            format!("http://{address}/orders/0").parse().map_err(io::Error::other)?;
        client.try_post(uri.clone(), "the first order".into()).await;
        between();
        Ok(client.try_post(uri, "the second order".into()).await)
    })
}

impl Story {
    fn new(failure: Failure, end: End, attempts: &[Attempt], executed: u32) -> Self {
        let describe = |attempt: &Attempt| match attempt.ground() {
            Some(ground) => format!("{attempt}; sent again on {}", ground.id()),
            None => attempt.to_string(),
        };
        let went_well = matches!(end, End::Answer { status: 200, .. }) && executed == 1;
        let end = match end {
            End::Answer { status, .. } => format!("answered {status}"),
            End::ConnectRefused => "no connection".into(),
            End::Failed(failure) => failure.text,
        };
        Self {
            name: failure.name(),
            attempts: attempts.iter().map(describe).collect(),
            end,
            executed,
            went_well,
        }
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\"{}\": {}, executed {} time(s)", self.name, self.end, self.executed)?;
        if self.attempts.is_empty() {
            writeln!(f, "    one attempt: the connection that failed was not used again")?;
        }
        for (number, attempt) in self.attempts.iter().enumerate() {
            writeln!(f, "    attempt {}: {attempt}", number + 1)?;
        }
        Ok(())
    }
}

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

//! Starts, restarts and kills server processes.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use testkit::demo::calls::Span;
use testkit::demo::road::Road;
use testkit::truth::Ledger;

use super::args::{Mode, Orders};
use super::server::{Order, Reply};

/// A thread that keeps a server running, or restarts it again and again.
pub(super) struct Supervisor<'scope> {
    stop: Sender<()>,
    thread: ScopedJoinHandle<'scope, io::Result<Vec<Span>>>,
}

impl<'scope> Supervisor<'scope> {
    /// Starts a server and returns once it listens.
    pub(super) fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        road: &'env Road,
        ledger: &'env Ledger,
        orders: Orders,
    ) -> io::Result<Self> {
        let (stop, stopped) = channel();
        let (ready, is_ready) = channel();
        let thread = scope.spawn(move || {
            road.enter_server()?;
            let mut crew = Crew::new(ledger, orders)?;
            let _ = ready.send(());
            let mut restarts = Vec::new();
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(crew.until_restart()) {
                restarts.push(crew.restart()?);
            }
            Ok(restarts)
        });
        match is_ready.recv() {
            Ok(()) => Ok(Self { stop, thread }),
            Err(_) => join(thread).and(Err(io::Error::other("the supervisor ended early"))),
        }
    }

    /// Kills every server, waits for their ends and returns when they were restarted.
    pub(super) fn stop(self) -> io::Result<Vec<Span>> {
        let _ = self.stop.send(());
        join(self.thread)
    }
}

fn join<T>(thread: ScopedJoinHandle<'_, io::Result<T>>) -> io::Result<T> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The server that listens, the one that will follow it, and those that drain.
struct Crew<'a> {
    ledger: &'a Ledger,
    orders: Orders,
    random: fastrand::Rng,
    serving: Server,
    next: Server,
    leaving: Vec<Server>,
}

impl<'a> Crew<'a> {
    fn new(ledger: &'a Ledger, orders: Orders) -> io::Result<Self> {
        let random = fastrand::Rng::with_seed(orders.seed);
        let mut serving = Server::spawn(ledger, &orders)?;
        serving.obey(Order::Listen)?;
        let next = Server::spawn(ledger, &orders)?;
        Ok(Self { ledger, orders, random, serving, next, leaving: Vec::new() })
    }

    /// Draws the time until the next restart: about 0.3 s.
    fn until_restart(&mut self) -> Duration {
        match self.orders.mode {
            Mode::Graceful | Mode::Sigkill => Duration::from_millis(self.random.u64(250..=350)),
            _ => Duration::MAX,
        }
    }

    /// Replaces the server by the one that stands by, and starts the next only
    /// then: its start would disturb the end of this one.
    ///
    /// Returns the time from just before the signal until the next one listens.
    fn restart(&mut self) -> io::Result<Span> {
        let from = Instant::now();
        match self.orders.mode {
            Mode::Graceful => self.serving.obey(Order::Drain)?,
            _ => self.serving.kill()?,
        }
        self.next.obey(Order::Listen)?;
        let to = Instant::now();
        self.orders.seed += 1;
        let after = Server::spawn(self.ledger, &self.orders)?;
        let next = std::mem::replace(&mut self.next, after);
        self.leaving.push(std::mem::replace(&mut self.serving, next));
        self.leaving.retain_mut(Server::is_leaving);
        Ok(Span { from, to })
    }
}

/// A server process. Dropping it kills it and waits for its end.
struct Server {
    process: Child,
    control: BufReader<UnixStream>,
    drains_since: Option<Instant>,
}

impl Server {
    /// Starts a process that stands by: it listens only when told so.
    ///
    /// Its standard input is a socket for orders, whose end is its end too, so
    /// that it never outlives this process; its standard output is the ledger.
    fn spawn(ledger: &Ledger, orders: &Orders) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_read_timeout(Some(Duration::from_secs(10)))?;
        let process = favoured(std::env::current_exe()?)
            .args(orders.to_args())
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(ledger.as_stdout()?)
            .spawn()?;
        Ok(Self { process, control: BufReader::new(ours), drains_since: None })
    }

    fn obey(&mut self, order: Order) -> io::Result<()> {
        writeln!(self.control.get_mut(), "{}", order.word())?;
        if order == Order::Drain {
            self.drains_since = Some(Instant::now());
        }
        let mut reply = String::new();
        self.control.read_line(&mut reply)?;
        match reply.trim_end() == Reply::to(order).word() {
            true => Ok(()),
            false => Err(io::Error::other(format!(
                "the server was told to {} and said {reply:?}",
                order.word()
            ))),
        }
    }

    fn kill(&mut self) -> io::Result<()> {
        self.process.kill()?;
        self.process.wait().map(drop)
    }

    /// Reaps the process if it has ended, or kills it if it does not end.
    fn is_leaving(&mut self) -> bool {
        let overdue =
            self.drains_since.is_none_or(|since| since.elapsed() > Duration::from_secs(2));
        !overdue && matches!(self.process.try_wait(), Ok(None))
    }
}

/// Returns the command of a server that other programs on this machine do not
/// keep from its work: a request that waits unread while its process is killed
/// is reset, and a busy machine would be measured instead of the clients.
fn favoured(program: impl AsRef<OsStr>) -> Command {
    if !nix::unistd::geteuid().is_root() {
        return Command::new(program);
    }
    // Both become the program, so that its process is the server's.
    let real_time =
        Command::new("chrt").args(["--fifo", "1", "true"]).stderr(Stdio::null()).status();
    let (favour, how): (_, &[_]) = match real_time {
        Ok(status) if status.success() => ("chrt", &["--fifo", "1"]),
        _ => ("nice", &["-n", "-10"]),
    };
    let mut command = Command::new(favour);
    command.args(how).arg(program);
    command
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

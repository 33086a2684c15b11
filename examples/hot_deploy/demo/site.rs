//! The process manager: holds the listening socket and replaces the server.

use std::io;
use std::net::TcpListener;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::truth::Ledger;
use tokio::runtime::{Builder, Runtime};
use tower_resend::server::handover::Successor;

use super::args::Orders;

/// How long a server may take to be ready, and to drain.
const PATIENCE: Duration = Duration::from_secs(30);

/// The server that serves, and what it takes to start the next.
pub(super) struct Site<'a> {
    start: Start<'a>,
    serving: Server,
}

impl<'a> Site<'a> {
    /// Starts the first server, on the calling thread's end of the road.
    pub(super) fn open(ledger: &'a Ledger, orders: Orders) -> io::Result<Self> {
        let start = Start::new(ledger, orders)?;
        let serving = start.server()?;
        Ok(Self { start, serving })
    }

    /// Starts a new server, and ends the old one once the new one is ready.
    pub(super) fn deploy(&mut self) -> io::Result<()> {
        let next = self.start.server()?;
        std::mem::replace(&mut self.serving, next).end(self.start.orders.plan.drains())
    }
}

struct Start<'a> {
    runtime: Runtime,
    ledger: &'a Ledger,
    orders: Orders,
    socket: Option<TcpListener>,
}

impl<'a> Start<'a> {
    fn new(ledger: &'a Ledger, orders: Orders) -> io::Result<Self> {
        let socket =
            orders.plan.inherits().then(|| TcpListener::bind(orders.address)).transpose()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, ledger, orders, socket })
    }

    /// Starts a server, and returns once it is ready to accept.
    fn server(&self) -> io::Result<Server> {
        let mut program = Command::new(std::env::current_exe()?);
        program.args(self.orders.to_args()).stdout(self.ledger.as_stdout()?);
        let sockets = self.socket.iter().map(|socket| ("http", socket));
        let successor = Successor::start(program, sockets)?;
        let ready = self.runtime.block_on(async { successor.ready(PATIENCE).await });
        ready.map(Server).map_err(io::Error::other)
    }
}

/// A server process. Dropping it kills it and waits for its end.
struct Server(Child);

impl Server {
    /// Ends the process, after a drain or at once, and waits for its end.
    fn end(mut self, drains: bool) -> io::Result<()> {
        if !drains {
            self.0.kill()?;
            return self.0.wait().map(drop);
        }
        // The pid is that of a child that was not waited for: it is still its own.
        kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM)?;
        let since = Instant::now();
        while self.0.try_wait()?.is_none() {
            if since.elapsed() > PATIENCE {
                return Err(io::Error::other("a server does not end its drain"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

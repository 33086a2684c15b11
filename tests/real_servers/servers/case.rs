//! One server and one event, under load.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use tower_resend::pool::{OriginTrust, PoolOptions};

use super::load::{Load, Pace};
use super::process::{Launch, Process};
use super::server::{Event, Server, Setup};
use super::site::{DELAY, Site};
use super::tally::Tally;
use super::truth::Ledger;

/// What is to be measured.
#[derive(Debug)]
pub(crate) struct Case<'a> {
    pub(crate) site: &'a Site,
    pub(crate) server: Server,
    pub(crate) event: Event,
    pub(crate) variant: Variant,
}

/// What is special about a case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Variant {
    #[default]
    Plain,
    /// The relay resets what it closes.
    NoLinger,
    /// The client is told that the origin dispatches nothing after its FIN.
    ClosedAfterFin,
}

/// Where things are once they run.
struct Running {
    public: SocketAddr,
    program: PathBuf,
    arguments: Vec<OsString>,
    log: PathBuf,
}

impl Case<'_> {
    /// Starts the server, lets the event happen under load, ends the server
    /// and counts.
    pub(crate) fn run(&self) -> io::Result<Tally> {
        let ledger = Ledger::new()?;
        let calls = thread::scope(|scope| {
            let (stop, stopped) = channel();
            let (ready, is_ready) = channel();
            let ledger = &ledger;
            let keeper = scope.spawn(move || {
                self.site.enter_server()?;
                self.keep(ledger, &stopped, |public| {
                    let _ = ready.send(public);
                })
            });
            let calls = is_ready.recv().ok().map(|public| {
                let load = scope.spawn(move || {
                    self.site.enter_client()?;
                    self.load(public).run()
                });
                join(load.join())
            });
            thread::sleep(DELAY * 6 + Duration::from_millis(50));
            drop(stop);
            join(keeper.join())?;
            calls.unwrap_or_else(|| Ok(Vec::new()))
        })?;
        Ok(Tally::new(&calls, &ledger.read()?))
    }

    /// Keeps the server running and lets the event happen again and again.
    fn keep(
        &self,
        ledger: &Ledger,
        stopped: &Receiver<()>,
        ready: impl FnOnce(SocketAddr),
    ) -> io::Result<()> {
        let origin = if self.server.is_proxy() { Some(self.start_origin(ledger)?) } else { None };
        let public = self.site.public_address()?;
        let setup = self.setup(public, origin.as_ref().map_or(public, |(at, _)| *at));
        let running = Running {
            public,
            program: self.server.program().map_err(io::Error::other)?,
            arguments: self.server.arguments(&setup, self.site.directory())?,
            log: self.site.directory().join("log"),
        };
        let mut process = self.start(&running, ledger)?;
        ready(public);
        let order = self.server.order(self.event);
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(self.period()) {
            let has_ended = match order {
                Some(order) => process.has_ended() || process.obey(order)?,
                None => process.has_ended(),
            };
            if has_ended {
                drop(process);
                process = self.start(&running, ledger)?;
            }
        }
        drop(process);
        thread::sleep(Duration::from_millis(30));
        Ok(())
    }

    fn start(&self, running: &Running, ledger: &Ledger) -> io::Result<Process> {
        let Running { public, program, arguments, log } = running;
        let stdout = if self.server.is_proxy() { Stdio::null() } else { ledger.as_stdout()? };
        Process::start(&Launch { program, arguments, listen: *public, log }, stdout)
    }

    /// Starts what proxies send requests to.
    fn start_origin(&self, ledger: &Ledger) -> io::Result<(SocketAddr, Process)> {
        let listen = Site::private_address()?;
        let setup = Setup { idle: Duration::from_secs(30), ..self.setup(listen, listen) };
        let launch = Launch {
            program: &Server::Hyper.program().map_err(io::Error::other)?,
            arguments: &Server::Hyper.arguments(&setup, self.site.directory())?,
            listen,
            log: &self.site.directory().join("log"),
        };
        Ok((listen, Process::start(&launch, ledger.as_stdout()?)?))
    }

    fn setup(&self, listen: SocketAddr, origin: SocketAddr) -> Setup {
        Setup {
            listen,
            origin,
            idle: if self.event == Event::Idle { IDLE } else { Duration::from_secs(5) },
            limit: if self.event == Event::Limit { 20 } else { 1_000_000 },
            no_linger: self.variant == Variant::NoLinger,
        }
    }

    fn load(&self, server: SocketAddr) -> Load {
        let pool = match self.variant {
            Variant::ClosedAfterFin => {
                let origin = server.to_string().parse().expect("an address is an authority");
                PoolOptions::new().trust(origin, OriginTrust::new().closed_after_fin())
            }
            Variant::Plain | Variant::NoLinger => PoolOptions::new(),
        };
        let is_aimed =
            self.event == Event::Idle && !matches!(self.server, Server::Resets | Server::Closes);
        let pace = match is_aimed {
            true => Pace::Aimed {
                guess: self.closes_after() - DELAY,
                crossings: 100,
                limit: Duration::from_secs(60),
            },
            false => Pace::Spread(Duration::from_secs(2)),
        };
        let first = NEXT.fetch_add(1_000_000, Ordering::Relaxed);
        Load { server, pool, pace, first }
    }

    /// How many times the event happens: some servers take long to start.
    fn period(&self) -> Duration {
        match self.server {
            Server::Node => PERIOD * 2,
            _ => PERIOD,
        }
    }

    /// After how long without a request the server ends a connection: some
    /// grant more than they are told to.
    fn closes_after(&self) -> Duration {
        match self.server {
            Server::Node => IDLE + Duration::from_secs(1),
            _ => IDLE,
        }
    }
}

fn join<T>(done: thread::Result<io::Result<T>>) -> io::Result<T> {
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Numbers are never used again.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// How many times an event happens.
const PERIOD: Duration = Duration::from_millis(250);

/// The idle timeout in the cases that are about it.
const IDLE: Duration = Duration::from_millis(300);

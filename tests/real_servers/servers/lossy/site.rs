//! The relay, the servers behind it, and where clients find them.

use std::ffi::OsString;
use std::fmt::Write;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use super::calls::{self, Call, Job};
use super::setting::{Ends, Setting};
use super::{DELAY, IDLE};
use crate::servers::process::{Launch, Process};
use crate::servers::server::{SERVE, Server};
use crate::servers::site::free_port;
use crate::servers::truth::{Ledger, Record};
use crate::servers::wire::Wire;

/// A relay at the servers' end of a wire.
pub(crate) struct Relay<'a> {
    pub(crate) wire: Wire,
    /// For its files.
    pub(crate) directory: &'a Path,
}

/// Where the relay listens for the server that ends so, and how it closes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Front {
    no_linger: bool,
    ends: Ends,
    pub(crate) address: SocketAddr,
}

impl Front {
    /// Returns `true` if calls of this setting belong here.
    pub(crate) fn is_for(&self, setting: &Setting) -> bool {
        self.no_linger == setting.no_linger && self.ends == setting.ends
    }
}

impl Relay<'_> {
    /// Starts everything, makes the calls and ends everything. Returns what
    /// clients and servers say.
    pub(crate) fn run(&self, jobs: Vec<Job>) -> io::Result<(Vec<Call>, Record)> {
        let ledger = Ledger::new()?;
        let calls = thread::scope(|scope| {
            let (stop, stopped) = channel();
            let (ready, is_ready) = channel();
            let ledger = &ledger;
            let keeper = scope.spawn(move || {
                self.wire.server().enter()?;
                self.keep(ledger, &stopped, |fronts| {
                    let _ = ready.send(fronts);
                })
            });
            let calls = is_ready.recv().ok().map(|fronts| {
                let calls = scope.spawn(|| {
                    self.wire.client().enter()?;
                    calls::make(jobs, fronts)
                });
                join(calls.join())
            });
            thread::sleep(DELAY * 6 + Duration::from_millis(50));
            drop(stop);
            join(keeper.join())?;
            calls.unwrap_or_else(|| Ok(Vec::new()))
        })?;
        Ok((calls, ledger.read()?))
    }

    /// Keeps the relay and the servers running until told to stop.
    fn keep(
        &self,
        ledger: &Ledger,
        stopped: &Receiver<()>,
        ready: impl FnOnce(Vec<Front>),
    ) -> io::Result<()> {
        let log = self.directory.join("log");
        let (mut fronts, mut servers, mut sections) = (Vec::new(), Vec::new(), String::new());
        for ends in Ends::ALL {
            let (server, process) = start(ends, ledger, &log)?;
            servers.push(process);
            for no_linger in [false, true] {
                let address = free_port(self.wire.server().address().into())?;
                let front = Front { no_linger, ends, address };
                fronts.push(front);
                write!(sections, "{}", section(front, server)).map_err(io::Error::other)?;
            }
        }
        let config = self.directory.join("lossy.cfg");
        fs::write(&config, format!("{}{sections}", defaults()))?;
        let relay = Launch {
            program: &Server::HaproxyTcp.program().map_err(io::Error::other)?,
            arguments: &["-W".into(), "-f".into(), config.into()],
            listen: fronts[0].address,
            log: &log,
        };
        let relay = Process::start(&relay, Stdio::null())?;
        ready(fronts);
        let _ = stopped.recv();
        drop(relay);
        // What the relay passed on is there: time to act on it.
        thread::sleep(Duration::from_millis(30));
        drop(servers);
        Ok(())
    }
}

/// Starts a server that acts on heads.
fn start(ends: Ends, ledger: &Ledger, log: &Path) -> io::Result<(SocketAddr, Process)> {
    let listen = free_port([127, 0, 0, 1].into())?;
    let never = "0".into();
    let arguments: [OsString; 4] =
        [SERVE.into(), ends.name().into(), listen.to_string().into(), never];
    let program = &Server::Hyper.program().map_err(io::Error::other)?;
    let launch = Launch { program, arguments: &arguments, listen, log };
    Ok((listen, Process::start(&launch, ledger.as_stdout()?)?))
}

fn defaults() -> String {
    format!(
        "global
    maxconn 4000
    nbthread 2
defaults
    mode tcp
    timeout connect 2s
    timeout client 20s
    timeout server {}ms
",
        IDLE.as_millis()
    )
}

fn section(front: Front, server: SocketAddr) -> String {
    let Front { no_linger, ends, address } = front;
    let no_linger = if no_linger { "    option nolinger\n" } else { "" };
    let port = address.port();
    format!(
        "listen {}-{port}\n    bind {address}\n{no_linger}    server origin {server}\n",
        ends.name()
    )
}

fn join<T>(done: thread::Result<io::Result<T>>) -> io::Result<T> {
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

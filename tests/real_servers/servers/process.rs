//! Server processes.
#![allow(unsafe_code, reason = "a server shall not outlive the test")]

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use socket2::{Domain, Socket, Type};

use super::server::{Order, To};

/// A running server with its workers. Dropping it kills all of them.
#[derive(Debug)]
pub(crate) struct Process(Child);

/// How to start a server.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    pub(crate) program: &'a Path,
    pub(crate) arguments: &'a [OsString],
    pub(crate) listen: SocketAddr,
    /// Where its complaints go.
    pub(crate) log: &'a Path,
}

impl Process {
    /// Starts a server and waits until it listens.
    ///
    /// The calling thread must outlive it: it ends with that thread.
    pub(crate) fn start(launch: &Launch<'_>, stdout: Stdio) -> io::Result<Self> {
        let until = Instant::now() + Duration::from_secs(10);
        // The last of the killed processes before may still be about to end.
        while let Err(why) = is_free(launch.listen) {
            if Instant::now() > until {
                return Err(why);
            }
            sleep(Duration::from_millis(1));
        }
        let log = File::options().create(true).append(true).open(launch.log)?;
        let mut command = Command::new(launch.program);
        command.args(launch.arguments).stdin(Stdio::null()).stdout(stdout).stderr(log);
        command.process_group(0);
        // SAFETY: between fork and exec only one system call is made, which allocates nothing.
        unsafe { command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGTERM)?)) };
        let mut process = Self(command.spawn()?);
        let until = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect_timeout(&launch.listen, Duration::from_secs(1)).is_err() {
            if process.has_ended() || Instant::now() > until {
                let log = fs::read_to_string(launch.log).unwrap_or_default();
                return Err(io::Error::other(format!("{:?} did not start: {log}", launch.program)));
            }
            sleep(Duration::from_millis(5));
        }
        Ok(process)
    }

    /// Sends a signal. Returns `true` if the server has ended afterwards.
    pub(crate) fn obey(&mut self, order: Order) -> io::Result<bool> {
        let main = self.id();
        match order.to {
            To::Main => kill(main, order.signal)?,
            To::All => killpg(main, order.signal)?,
            To::OneWorker => match workers(main)?.first() {
                // It may have ended in the meantime.
                Some(&worker) => drop(kill(worker, order.signal)),
                None => return Ok(self.has_ended()),
            },
        }
        let patience = if order.ends { Duration::from_secs(3) } else { Duration::from_millis(20) };
        let until = Instant::now() + patience;
        while !self.has_ended() {
            if Instant::now() > until {
                if order.ends {
                    self.end();
                }
                return Ok(order.ends);
            }
            sleep(Duration::from_millis(1));
        }
        Ok(true)
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }

    fn id(&self) -> Pid {
        Pid::from_raw(self.0.id().cast_signed())
    }

    /// Kills what is left of the server.
    fn end(&mut self) {
        let _ = killpg(self.id(), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Fails while the port has a listener. Does not listen itself, where
/// clients could come.
fn is_free(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())
}

/// Returns the processes that a server started.
fn workers(main: Pid) -> io::Result<Vec<Pid>> {
    let children = fs::read_to_string(format!("/proc/{main}/task/{main}/children"))?;
    Ok(children.split_whitespace().filter_map(|id| id.parse().ok()).map(Pid::from_raw).collect())
}

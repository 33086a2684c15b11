//! The server process: it listens at all doors, and each connection is a
//! process of its own, so that it can exit and be killed.
#![allow(unsafe_code, reason = "a process per connection is made by fork")]

use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::prctl::set_timerslack;
use nix::sys::time::TimeSpec;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

use super::board::{Board, DOORS, Visit};
use super::connection::Connection;
use super::peers::Peers;
use super::plan::{Mode, Plan};
use super::stream::Stream;
#[cfg(feature = "https")]
use testkit::stacks::origin::tls;

/// The port of the first door.
pub(crate) const FIRST_PORT: u16 = 20_000;

/// What the server is told by the process that started it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Orders {
    pub(crate) address: Ipv4Addr,
    pub(crate) peers: Peers,
    pub(crate) is_tls: bool,
}

/// What is below HTTP.
pub(crate) struct Below {
    #[cfg(feature = "https")]
    tls: Option<tls::Server>,
}

impl Below {
    /// Returns it, and the authority that vouches for the server.
    fn of(orders: Orders) -> io::Result<(Self, Option<Vec<u8>>)> {
        #[cfg(feature = "https")]
        {
            let authority = orders.is_tls.then(tls::Authority::new);
            let server = |authority: &tls::Authority| authority.server_at(orders.address.into());
            let root = authority.as_ref().map(|authority| authority.root().to_vec());
            Ok((Self { tls: authority.as_ref().map(server) }, root))
        }
        #[cfg(not(feature = "https"))]
        match orders.is_tls {
            true => Err(io::ErrorKind::Unsupported.into()),
            false => Ok((Self {}, None)),
        }
    }

    /// Does what comes before HTTP.
    pub(crate) fn begin(&self, stream: &mut Stream, patience: Duration) -> io::Result<()> {
        #[cfg(feature = "https")]
        if let Some(server) = &self.tls {
            return stream.shake_hands(server, patience);
        }
        let _ = (stream, patience);
        Ok(())
    }
}

/// One port.
struct Door {
    number: u16,
    listener: Option<TcpListener>,
    visit: Option<Visit>,
    connections: usize,
    /// When the listener closes with a connection in its queue.
    closes_at: Option<Instant>,
}

/// Serves until the control socket, which is standard input, ends; and then
/// until all connections have ended.
pub(crate) fn serve(orders: Orders) -> io::Result<()> {
    let _ = set_timerslack(1); // costs accuracy only
    let board = Board::from_stdout()?;
    let mut control = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut doors: Vec<_> =
        (0..DOORS).map(|number| Door::open(number, orders)).collect::<io::Result<_>>()?;
    let (below, root) = Below::of(orders)?;
    let root = root.unwrap_or_default();
    control.write_all(&[&(root.len() as u32).to_be_bytes()[..], &root].concat())?;
    while wait(&doors, &control) {
        for at in 0..doors.len() {
            if doors[at].closes_at.is_some_and(|at| at <= Instant::now()) {
                doors[at].renew(orders)?;
            }
            if let Some(connection) = doors[at].answer(&board, orders)? {
                // SAFETY: this process has one thread only.
                match unsafe { fork() }? {
                    ForkResult::Parent { .. } => drop(connection),
                    ForkResult::Child => {
                        drop((doors, control));
                        connection.serve(&board, &below);
                        std::process::exit(0);
                    }
                }
            }
        }
        while let Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) =
            waitpid(None, Some(WaitPidFlag::WNOHANG))
        {}
    }
    drop(doors);
    while waitpid(None, None).is_ok() {}
    Ok(())
}

impl Door {
    fn open(number: u16, orders: Orders) -> io::Result<Self> {
        let listener = Some(Self::listen(number, orders)?);
        Ok(Self { number, listener, visit: None, connections: 0, closes_at: None })
    }

    fn listen(number: u16, orders: Orders) -> io::Result<TcpListener> {
        let listener = TcpListener::bind((orders.address, FIRST_PORT + number))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }

    /// Closes the listener and opens a new one.
    fn renew(&mut self, orders: Orders) -> io::Result<()> {
        self.listener = None;
        match Self::listen(self.number, orders) {
            Ok(listener) => (self.listener, self.closes_at) = (Some(listener), None),
            // A connection's process that was just made still has the old one.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                self.closes_at = Some(Instant::now() + Duration::from_millis(1));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Accepts a connection if one is there and is to be accepted.
    fn answer(&mut self, board: &Board, orders: Orders) -> io::Result<Option<Connection>> {
        let (Some(listener), None) = (&self.listener, self.closes_at) else { return Ok(None) };
        let visit = board.visitor(self.number)?;
        if visit != self.visit {
            (self.visit, self.connections) = (visit, 0);
        }
        let plan = visit.map(|visit| Plan::of(visit.seed, orders.peers));
        if let Some(Plan { mode: Mode::AcceptQueue, close_after, .. }) = plan
            && self.connections == 0
        {
            if is_readable(listener) {
                self.connections = 1;
                self.closes_at = Some(Instant::now() + close_after);
            }
            return Ok(None);
        }
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(_) => return Ok(None), // a connection that was reset in the queue
        };
        let nth = self.connections;
        self.connections += 1;
        Ok(match (visit, plan) {
            (Some(visit), Some(plan)) => Some(Connection::new(stream, visit, nth, plan)?),
            _ => None,
        })
    }
}

/// Waits for a connection or a moment; false when the server shall end.
fn wait(doors: &[Door], control: &UnixStream) -> bool {
    let listening = doors.iter().filter(|door| door.closes_at.is_none());
    let mut fds: Vec<_> = listening
        .filter_map(|door| door.listener.as_ref())
        .map(|listener| PollFd::new(listener.as_fd(), PollFlags::POLLIN))
        .collect();
    fds.push(PollFd::new(control.as_fd(), PollFlags::POLLIN));
    let moment = doors.iter().filter_map(|door| door.closes_at).min();
    let limit = moment
        .map_or(Duration::from_millis(200), |at| at.saturating_duration_since(Instant::now()));
    let _ = ppoll(&mut fds, Some(TimeSpec::from_duration(limit)), None);
    fds.last().and_then(PollFd::revents).is_none_or(|events| events.is_empty())
}

fn is_readable(listener: &TcpListener) -> bool {
    let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    let now = TimeSpec::from_duration(Duration::ZERO);
    ppoll(&mut fds, Some(now), None).is_ok_and(|ready| ready > 0)
}

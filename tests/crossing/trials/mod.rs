//! Trials in which a request and the server's close cross on the wire.
//!
//! [`run`] lays a wire, starts the server as a process of its own at one end
//! and the client at the other. Every trial has parameters of its own
//! ([`plan`]); the server records on a shared [`board`] what its application
//! dispatched, and [`judge`] compares that with what the client concluded.
#![cfg(target_os = "linux")]
#![allow(unreachable_pub, reason = "shared between the modules of one test")]

pub(crate) mod args;
mod board;
mod broken;
mod client;
mod connection;
mod judge;
mod message;
mod own;
pub(crate) mod peers;
mod plan;
pub(crate) mod report;
mod server;
mod sets;
pub(crate) mod stack;
mod stream;
mod supervisor;
mod table;

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use args::Args;
use board::Board;
pub(crate) use judge::{Control, Trial};
use peers::Peers;
use plan::{DELAY, seed_of};
pub(crate) use plan::{Mode, Shape};
use server::Orders;
pub(crate) use sets::Set;
pub(crate) use table::{ANSWERED, Row, Table, UNENDED};

use testkit::wire::{Config, Unavailable, Wire};

/// Lays the wire of a set.
pub(crate) fn lay(set: Set, args: &Args) -> Result<Wire, Unavailable> {
    let wire = Config::default().seed(args.seed);
    Wire::new(match set.loss > 0.0 {
        // Every packet is one that others may pass, which doubles its delay: each takes 5 ms
        // and up to 10 more, whatever those before it take.
        true => wire.delay(DELAY / 2).reorder(1.0).jitter(DELAY * 2).loss(set.loss),
        false => wire.delay(DELAY),
    })
}

/// Runs a set of trials.
pub(crate) fn run(set: Set, args: &Args, wire: &Wire) -> io::Result<Vec<Trial>> {
    let board = Board::new(set.trials)?;
    let first = set.number << 32;
    let seeds = (0..set.trials)
        .map(|nth| args.replay.unwrap_or_else(|| seed_of(args.seed, first + nth)))
        .collect();
    let server = wire.server().run(|| Server::spawn(&board, wire, set))?;
    let work = client::Work {
        end: wire.client(),
        server: wire.server().address(),
        board,
        seeds,
        lanes: if set.stack.is_tls() { args.lanes.min(TLS_LANES) } else { args.lanes },
        peers: set.peers,
        root: server.root.clone(),
    };
    let (seen, board) = wire.client().run(|| (set.stack.run)(work))?;
    server.finish()?;
    seen.into_iter().map(|seen| Ok(Trial { truth: board.truth(seen.trial)?, seen })).collect()
}

/// Is the server process, until it is told to end.
pub(crate) fn serve(orders: Orders) -> io::Result<()> {
    match orders.peers {
        Peers::Own(_) if orders.is_tls => Err(io::Error::other("it speaks no TLS")),
        Peers::Own(_) => supervisor::serve(orders),
        Peers::Hostile | Peers::PremiseP1 | Peers::Broken => server::serve(orders),
    }
}

/// The server process; dropping it kills it.
struct Server {
    process: Child,
    control: Option<UnixStream>,
    /// The root certificate, if it speaks TLS.
    root: Vec<u8>,
}

impl Server {
    /// Starts it and waits until it listens.
    fn spawn(board: &Board, wire: &Wire, set: Set) -> io::Result<Self> {
        let (mut ours, theirs) = UnixStream::pair()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(format!("--serve={}", wire.server().address()));
        command.arg(format!("--server={}", set.peers));
        command.args(set.stack.is_tls().then_some("--tls"));
        let process =
            command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(board.as_stdout()?).spawn()?;
        ours.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut length = [0; 4];
        let mut server = Self { process, control: None, root: Vec::new() };
        // It listens.
        ours.read_exact(&mut length)?;
        server.root = vec![0; u32::from_be_bytes(length) as usize];
        ours.read_exact(&mut server.root)?;
        server.control = Some(ours);
        Ok(server)
    }

    /// Waits until every connection has ended: then the truth is whole.
    fn finish(mut self) -> io::Result<()> {
        self.control = None;
        match self.process.wait()? {
            status if status.success() => Ok(()),
            status => Err(io::Error::other(format!("the server ended with {status}"))),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A handshake costs milliseconds. A lane that waits for a processor writes later than
/// its plan says: after the close, and nothing crosses.
const TLS_LANES: u16 = 16;

//! The process that runs the crate's own server, a process for each trial, so
//! that it can be killed.
//!
//! The listening sockets are this process's and every server inherits one, so
//! that the next server of a trial answers the clients that the last one did not accept.
#![allow(unsafe_code, reason = "a process per server is made by fork")]

use std::io::{self, Write};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::sleep;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeSpec;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use super::board::{Board, DOORS, Visit};
use super::own;
use super::server::{FIRST_PORT, Orders};

/// One port, and the processes that serve it.
struct Door {
    number: u16,
    listener: TcpListener,
    visit: Option<Visit>,
    /// How many servers this visit has had before the current one.
    generation: u16,
    current: Option<Pid>,
    /// Those that leave, and no longer accept.
    leaving: Vec<Pid>,
}

/// Serves until the control socket, which is standard input, ends.
pub(crate) fn serve(orders: Orders) -> io::Result<()> {
    let board = Board::from_stdout()?;
    let mut control = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut doors: Vec<_> =
        (0..DOORS).map(|number| Door::open(number, orders)).collect::<io::Result<_>>()?;
    control.write_all(&[0; 4])?;
    while !has_ended(&control) {
        for at in 0..doors.len() {
            let visit = board.visitor(doors[at].number)?;
            doors[at].renew(visit, &board)?;
            let (Some(visit), None) = (visit, doors[at].current) else { continue };
            if doors[at].generation >= MOST {
                continue;
            }
            let listener = doors[at].listener.try_clone()?;
            let (number, generation) = (doors[at].number, doors[at].generation);
            // SAFETY: this process has one thread only.
            match unsafe { fork() }? {
                ForkResult::Parent { child } => doors[at].current = Some(child),
                ForkResult::Child => {
                    let _ = set_pdeathsig(Signal::SIGKILL);
                    drop((doors, control));
                    own::serve(listener, own::Post { board, number, visit, generation, orders });
                }
            }
            if generation == 0 {
                board.open(number, visit)?;
            }
        }
    }
    // Whatever a server took in, it has had the time to dispatch.
    sleep(Duration::from_millis(500));
    doors.iter_mut().for_each(Door::clear);
    Ok(())
}

impl Door {
    fn open(number: u16, orders: Orders) -> io::Result<Self> {
        let listener = TcpListener::bind((orders.address, FIRST_PORT + number))?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            number,
            listener,
            visit: None,
            generation: 0,
            current: None,
            leaving: Vec::new(),
        })
    }

    /// Notes which trial stands at the door, and whether its server is still there.
    fn renew(&mut self, visit: Option<Visit>, board: &Board) -> io::Result<()> {
        if visit != self.visit {
            self.clear();
            (self.visit, self.generation) = (visit, 0);
        }
        let (Some(pid), Some(visit)) = (self.current, visit) else { return Ok(()) };
        if !is_alive(pid) {
            (self.current, self.generation) = (None, self.generation + 1);
        } else if board.has_left(self.number, visit, self.generation)? {
            self.leaving.push(pid);
            (self.current, self.generation) = (None, self.generation + 1);
        }
        Ok(())
    }

    /// Ends all that serves here, and waits for that.
    fn clear(&mut self) {
        for pid in self.current.take().into_iter().chain(self.leaving.drain(..)) {
            let _ = kill(pid, Signal::SIGKILL);
            let _ = waitpid(pid, None);
        }
    }
}

fn is_alive(pid: Pid) -> bool {
    let status = waitpid(pid, Some(WaitPidFlag::WNOHANG));
    status.is_ok_and(|status| status.pid().is_none())
}

/// Waits a moment; true when the control socket has ended.
fn has_ended(control: &UnixStream) -> bool {
    let mut fds = [PollFd::new(control.as_fd(), PollFlags::POLLIN)];
    let moment = TimeSpec::from_duration(Duration::from_micros(300));
    ppoll(&mut fds, Some(moment), None).is_ok_and(|ready| ready > 0)
}

/// No trial has so many servers.
const MOST: u16 = 40;

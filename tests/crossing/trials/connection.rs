//! One connection at the server, in a process of its own.
#![allow(unsafe_code, reason = "a second holder of a socket is made by fork")]

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeSpec;
use nix::unistd::{ForkResult, fork, getpid};
use socket2::SockRef;

use super::board::{Board, Visit};
use super::broken::{Breach, refusal};
use super::message::{answer, is_warm_up, is_whole};
use super::plan::{DELAY, Mode, Plan, Reads};
use super::server::Below;
use super::stream::Stream;

/// A connection that was accepted, and what the server shall do with it.
pub(crate) struct Connection {
    stream: Stream,
    visit: Visit,
    nth: usize,
    plan: Plan,
}

/// What the application does with what it reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    TakesUp,
    Discards,
}

struct Application<'a> {
    connection: Connection,
    board: &'a Board,
    message: Vec<u8>,
    dispatched: u32,
    discarded: u32,
}

enum Got {
    Bytes,
    Nothing,
    End,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, visit: Visit, nth: usize, plan: Plan) -> io::Result<Self> {
        Ok(Self { stream: Stream::new(stream)?, visit, nth, plan })
    }

    /// Serves to the end; the process may end first.
    pub(crate) fn serve(mut self, board: &Board, below: &Below) {
        if below.begin(&mut self.stream, BEGINNING).is_err() {
            return;
        }
        if self.plan.asides.has_early_tickets {
            self.stream.send_tickets();
        }
        let again = self.plan.closes_again
            && self.plan.through == super::plan::Through::Client
            && self.nth < 3;
        let closes = self.nth == 0 || again;
        let warm_ups = if self.nth == 0 { self.plan.warm_ups } else { 0 };
        let mut application = Application {
            connection: self,
            board,
            message: Vec::new(),
            dispatched: 0,
            discarded: 0,
        };
        if closes {
            application.close(warm_ups);
        } else {
            application.answer_all();
        }
    }
}

impl Application<'_> {
    /// Answers request after request until the client closes.
    fn answer_all(&mut self) {
        let end = Instant::now() + PATIENCE;
        while self.wait(end) {
            match self.read(LARGE, Reading::TakesUp) {
                Got::End => return,
                Got::Bytes | Got::Nothing => {}
            }
            if is_whole(&self.message) {
                self.message.clear();
                self.respond();
            }
        }
    }

    fn close(mut self, warm_ups: u32) {
        if !(0..warm_ups).all(|_| self.warm_up()) {
            return;
        }
        // The next request could be here one round trip after the answer.
        let idle = if warm_ups > 0 { DELAY * 2 } else { Duration::ZERO };
        let asides = match self.connection.stream.is_tls() {
            true => self.connection.plan.asides.length(),
            false => Duration::ZERO,
        };
        let moment =
            Instant::now() + (idle + self.connection.plan.close_after).saturating_sub(asides);
        self.work_until(moment);
        if self.connection.stream.is_tls() {
            self.update_keys();
        }
        if self.connection.plan.reads == Reads::AtTheLastMoment {
            let bites = matches!(self.mode(), Mode::CloseUnread | Mode::Broken(Breach::Parts));
            let limit = if bites { self.bite() } else { LARGE };
            self.read(limit, Reading::TakesUp);
        }
        self.end();
    }

    fn warm_up(&mut self) -> bool {
        let end = Instant::now() + BEGINNING;
        while self.wait(end) {
            if matches!(self.read(LARGE, Reading::TakesUp), Got::End) {
                return false;
            }
            if is_whole(&self.message) {
                self.message.clear();
                self.respond();
                return true;
            }
        }
        false
    }

    /// Reads and answers, or does not, until the moment of the close.
    fn work_until(&mut self, moment: Instant) {
        if self.connection.plan.reads != Reads::Eagerly {
            return sleep_until(moment);
        }
        let mode = self.mode();
        while !is_whole(&self.message) && self.wait(moment) {
            let limit = match mode {
                Mode::CloseUnread | Mode::Broken(Breach::Parts) => self.bite(),
                Mode::CloseMidBody => self.connection.plan.cut.max(self.bite()),
                _ => LARGE,
            };
            let is_cut = limit < LARGE;
            match self.read(limit, Reading::TakesUp) {
                Got::End => std::process::exit(0),
                Got::Bytes if is_cut && self.dispatched as usize >= limit => return,
                Got::Bytes | Got::Nothing => {}
            }
        }
        if is_whole(&self.message) {
            let done = Instant::now() + self.connection.plan.service;
            let arms = mode == Mode::Broken(Breach::Counters);
            self.linger(arms.then_some(Duration::ZERO));
            sleep_until(moment.min(done));
            if done < moment {
                self.linger(None);
                self.respond();
            }
        }
        sleep_until(moment);
    }

    fn end(mut self) {
        if self.mode().speaks() {
            let (text, apart) =
                (self.connection.plan.unasked(), self.connection.plan.asides.splits);
            self.connection.stream.write_in_two(&text, apart, sleep);
        }
        if self.connection.stream.is_tls() && self.mode().can_say_goodbye() {
            self.say_goodbye();
        }
        match self.mode() {
            Mode::Close | Mode::CloseUnread | Mode::CloseMidBody | Mode::AcceptQueue => {}
            Mode::Close599 | Mode::Close408 => {}
            Mode::Broken(Breach::ClosesBusy) | Mode::Own(..) => {}
            Mode::ShutdownClose => self.shutdown(Shutdown::Write),
            Mode::ShutdownPauseClose => {
                self.shutdown(Shutdown::Write);
                sleep(Duration::from_millis(30));
            }
            Mode::Exit => std::process::exit(0),
            Mode::Kill | Mode::Broken(Breach::Counters | Breach::Parts) => {
                let _ = kill(getpid(), Signal::SIGKILL);
            }
            Mode::Broken(Breach::Refuses) => {
                let refusal = refusal(self.connection.stream.tcp()).unwrap_or_default();
                self.connection.stream.write(&refusal);
                self.read_on(LINGERS, Reading::TakesUp, false);
            }
            Mode::ShutdownBoth => {
                self.shutdown(Shutdown::Both);
                sleep(Duration::from_millis(20));
                self.read(LARGE, Reading::TakesUp);
            }
            Mode::CloseHeld => self.close_held(),
            Mode::Reset | Mode::Reset599 => self.linger(Some(Duration::ZERO)),
            Mode::ResetUrgent => {
                let _ = SockRef::from(self.connection.stream.tcp()).send_out_of_band(b"u");
                self.linger(Some(Duration::ZERO));
            }
            Mode::Linger | Mode::LingerTrusted => {
                self.shutdown(Shutdown::Write);
                self.read_on(LINGERS, Reading::Discards, false);
            }
            Mode::HalfClose => {
                self.shutdown(Shutdown::Write);
                self.read_on(LINGERS, Reading::TakesUp, false);
            }
            Mode::Late599 => self.read_on(LINGERS, Reading::TakesUp, false),
            Mode::PremiseP1 => {
                self.shutdown(Shutdown::Write);
                self.read_on(LINGERS, Reading::TakesUp, true);
                self.linger(Some(Duration::ZERO));
            }
        }
    }

    /// Closes, while a child that has the same socket reads on.
    fn close_held(&mut self) {
        // SAFETY: this process has one thread only.
        if let Ok(ForkResult::Child) = unsafe { fork() } {
            self.read_on(Duration::from_millis(60), Reading::TakesUp, false);
            std::process::exit(0);
        }
    }

    fn read_on(&mut self, limit: Duration, reading: Reading, once: bool) {
        let end = Instant::now() + limit;
        while self.wait(end) {
            match self.read(LARGE, reading) {
                Got::Bytes if once => return,
                Got::End => return,
                Got::Bytes | Got::Nothing => {}
            }
        }
    }

    /// Reads at most `limit` bytes, and records them before anything else.
    fn read(&mut self, limit: usize, reading: Reading) -> Got {
        let mut buffer = vec![0; limit];
        let bytes = match self.connection.stream.read(&mut buffer) {
            Ok(0) => return Got::End,
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Got::Nothing,
            Err(_) => return Got::End,
        };
        self.message.extend_from_slice(&buffer[..bytes]);
        if is_warm_up(&self.message) {
            return Got::Bytes;
        }
        match reading {
            Reading::TakesUp => self.dispatched += bytes as u32,
            Reading::Discards => self.discarded += bytes as u32,
        }
        let Visit { trial, .. } = self.connection.visit;
        self.board.record(trial, self.connection.nth, self.dispatched, self.discarded);
        Got::Bytes
    }

    /// The least that an application reads. A request that warms up can come to any
    /// connection but the first when the first is not given back in time, and is known by its
    /// first line.
    fn bite(&self) -> usize {
        if self.connection.nth == 0 { 1 } else { 16 }
    }

    /// Waits until there is something to read; false at the end.
    fn wait(&mut self, end: Instant) -> bool {
        if self.connection.stream.has_text() {
            return true;
        }
        let left = end.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(self.connection.stream.as_fd(), PollFlags::POLLIN)];
        ppoll(&mut fds, Some(TimeSpec::from_duration(left)), None).is_ok_and(|ready| ready > 0)
    }

    fn respond(&mut self) {
        let Connection { stream, visit, plan, .. } = &mut self.connection;
        let lines = match plan.mode {
            Mode::Broken(breach) => breach.announces(stream.tcp()).unwrap_or_default(),
            _ => String::new(),
        };
        stream.write(&answer(visit.trial, &lines));
    }

    fn update_keys(&mut self) {
        let Connection { stream, plan, .. } = &mut self.connection;
        let Plan { asides, mode, .. } = *plan;
        if let (Some(time), false) = (asides.updates_keys, matches!(mode, Mode::Broken(_))) {
            stream.update_keys();
            self.work_on(time);
        }
    }

    fn say_goodbye(&mut self) {
        if let Some(time) = self.connection.plan.asides.says_goodbye {
            self.connection.stream.close_notify();
            self.work_on(time);
        }
    }

    /// Reads on if the application reads eagerly, and all of it.
    fn work_on(&mut self, time: Duration) {
        let is_cut = matches!(self.mode(), Mode::CloseUnread | Mode::CloseMidBody);
        match self.connection.plan.reads {
            Reads::Eagerly if !is_cut => self.read_on(time, Reading::TakesUp, false),
            _ => sleep(time),
        }
    }

    fn shutdown(&self, how: Shutdown) {
        let _ = self.connection.stream.tcp().shutdown(how);
    }

    fn linger(&self, time: Option<Duration>) {
        let _ = SockRef::from(self.connection.stream.tcp()).set_linger(time);
    }

    fn mode(&self) -> Mode {
        self.connection.plan.mode
    }
}

fn sleep_until(moment: Instant) {
    sleep(moment.saturating_duration_since(Instant::now()));
}

/// As much as an application reads at once.
const LARGE: usize = 1 << 17;
/// How long a half-closed connection is read on. A request that is lost once or
/// twice is sent again by then, and is not refused after all.
const LINGERS: Duration = Duration::from_secs(1);
/// How long the next request of a connection is waited for.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long what comes before a trial's request is waited for: on a busy machine
/// clients get to it late, and a trial without it is spoilt.
const BEGINNING: Duration = Duration::from_secs(20);

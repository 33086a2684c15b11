//! Memory that client and server share: which trial is at which door, and
//! what the server's application really dispatched.
//!
//! A file in memory: what was written to it stays when the writer is killed
//! right afterwards.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::process::Stdio;

use nix::sys::memfd::{MFdFlags, memfd_create};

/// How many ports the server listens on. A trial has one for itself.
pub(crate) const DOORS: u16 = 256;
/// How many connections of a trial are told apart; later ones count as the last.
pub(crate) const CONNECTIONS: usize = 8;

/// The trial that stands there, the one that a server waits for, and the server that left last.
const DOOR: u64 = 32;
const CONNECTION: u64 = 8;
const TRIAL: u64 = CONNECTION * CONNECTIONS as u64;

/// A trial that stands at a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Visit {
    pub(crate) trial: u64,
    pub(crate) seed: u64,
}

/// What the application read of one trial's request, by connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Truth {
    pub(crate) dispatched: [u32; CONNECTIONS],
    pub(crate) discarded: [u32; CONNECTIONS],
}

impl Truth {
    /// Returns on how many connections the request was dispatched.
    pub(crate) fn times(&self) -> usize {
        self.dispatched.iter().filter(|&&bytes| bytes > 0).count()
    }
}

/// The shared memory.
#[derive(Debug)]
pub(crate) struct Board(File);

impl Board {
    /// Makes one for so many trials.
    pub(crate) fn new(trials: u64) -> io::Result<Self> {
        let file = memfd_create("board", MFdFlags::MFD_CLOEXEC)?;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let file = File::options().read(true).write(true).open(path)?;
        file.set_len(u64::from(DOORS) * DOOR + trials * TRIAL)?;
        Ok(Self(file))
    }

    /// Takes the one that came as standard output.
    pub(crate) fn from_stdout() -> io::Result<Self> {
        Ok(Self(io::stdout().as_fd().try_clone_to_owned()?.into()))
    }

    /// Returns it as a process's standard output.
    pub(crate) fn as_stdout(&self) -> io::Result<Stdio> {
        Ok(self.0.try_clone()?.into())
    }

    /// Sets the trial that stands at a door from now on.
    pub(crate) fn visit(&self, door: u16, visit: Visit) -> io::Result<()> {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&(visit.trial + 1).to_le_bytes());
        bytes[8..].copy_from_slice(&visit.seed.to_le_bytes());
        self.0.write_all_at(&bytes, u64::from(door) * DOOR)
    }

    /// Returns the trial that stands at a door.
    pub(crate) fn visitor(&self, door: u16) -> io::Result<Option<Visit>> {
        let mut bytes = [0; 16];
        self.0.read_exact_at(&mut bytes, u64::from(door) * DOOR)?;
        let [[trial, seed]] = bytes.as_chunks::<8>().0.as_chunks::<2>().0 else {
            return Ok(None);
        };
        let trial = u64::from_le_bytes(*trial).checked_sub(1);
        Ok(trial.map(|trial| Visit { trial, seed: u64::from_le_bytes(*seed) }))
    }

    /// Says that a server waits for a visitor.
    pub(crate) fn open(&self, door: u16, visit: Visit) -> io::Result<()> {
        self.0.write_all_at(&(visit.trial + 1).to_le_bytes(), u64::from(door) * DOOR + 16)
    }

    /// Returns `true` if a server waits for the trial.
    pub(crate) fn is_open(&self, door: u16, trial: u64) -> io::Result<bool> {
        self.number(u64::from(door) * DOOR + 16).map(|waits| waits == trial + 1)
    }

    /// Says that a visitor's nth server accepts no more.
    pub(crate) fn leave(&self, door: u16, visit: Visit, nth: u16) -> io::Result<()> {
        let left = mark(visit, nth).to_le_bytes();
        self.0.write_all_at(&left, u64::from(door) * DOOR + 24)
    }

    /// Returns `true` if a visitor's nth server accepts no more.
    pub(crate) fn has_left(&self, door: u16, visit: Visit, nth: u16) -> io::Result<bool> {
        self.number(u64::from(door) * DOOR + 24).map(|left| left == mark(visit, nth))
    }

    fn number(&self, at: u64) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.0.read_exact_at(&mut bytes, at)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Records what was read of a trial's request on its nth connection.
    pub(crate) fn record(&self, trial: u64, nth: usize, dispatched: u32, discarded: u32) {
        let mut bytes = [0; CONNECTION as usize];
        bytes[..4].copy_from_slice(&dispatched.to_le_bytes());
        bytes[4..].copy_from_slice(&discarded.to_le_bytes());
        let nth = nth.min(CONNECTIONS - 1) as u64;
        let at = u64::from(DOORS) * DOOR + trial * TRIAL + nth * CONNECTION;
        if self.0.write_all_at(&bytes, at).is_err() {
            std::process::abort(); // without the truth nothing else matters
        }
    }

    /// Returns what was read of a trial's request. Meaningful once the server
    /// that might still write has ended.
    pub(crate) fn truth(&self, trial: u64) -> io::Result<Truth> {
        let mut bytes = [0; TRIAL as usize];
        self.0.read_exact_at(&mut bytes, u64::from(DOORS) * DOOR + trial * TRIAL)?;
        let mut truth = Truth::default();
        for (nth, pair) in bytes.as_chunks::<8>().0.iter().enumerate() {
            let whole = u64::from_le_bytes(*pair);
            truth.dispatched[nth] = whole as u32;
            truth.discarded[nth] = (whole >> 32) as u32;
        }
        Ok(truth)
    }
}

/// A number that is never zero.
fn mark(visit: Visit, nth: u16) -> u64 {
    ((visit.trial + 1) << 16) + u64::from(nth)
}

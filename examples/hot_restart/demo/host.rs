//! When the machine did not run its own processors.
//!
//! The host of a virtual machine does not run its processors all the time; it
//! leaves one out for some milliseconds, without a sign. If that is the
//! processor of a server that is being killed, requests reach its kernel in
//! the meantime, are acknowledged, and will never be read. They were not taken
//! up, but no client can tell them from requests that were read. Such failures
//! say something of the host and nothing of a client, so restarts that the
//! host disturbed are told apart from the others.
//!
//! Whether it did is seen on the clock alone: on each processor a thread that
//! goes before every other program sleeps and wakes up all the time, and notes
//! when far more time passed than it slept. Then the processor was not run, or
//! the kernel kept it. What became of any request plays no part in it, and it
//! is the same for every client. (The kernel's own account of stolen time has
//! steps of 10 ms, and 2 ms matter here.)

use std::io;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::{Pid, gettid};
use testkit::demo::calls::Span;

/// What runs this machine's processors.
#[derive(Debug)]
pub(super) enum Host {
    Watched(Watchers),
    /// No restart is known to be disturbed then.
    Unwatched(String),
}

impl Host {
    pub(super) fn watch() -> Self {
        Watchers::start().map_or_else(|why| Self::Unwatched(why.to_string()), Self::Watched)
    }

    /// Returns the spans, since it was asked last, in which a processor was not run.
    pub(super) fn take_gaps(&self) -> Vec<Span> {
        match self {
            Self::Watched(watchers) => watchers.take_gaps(),
            Self::Unwatched(_) => Vec::new(),
        }
    }
}

/// The threads that watch the processors; they end when this is dropped.
#[derive(Debug)]
pub(super) struct Watchers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    gaps: Mutex<Vec<Span>>,
    stop: AtomicBool,
}

impl Watchers {
    /// Starts to watch every processor that this process may run on.
    ///
    /// # Errors
    ///
    /// Those of making a thread and of giving it its processor and its
    /// precedence; without these it would see other programs instead.
    fn start() -> io::Result<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0))?;
        let mut watchers = Self { shared: Arc::default(), threads: Vec::new() };
        for processor in (0..CpuSet::count()).filter(|&n| allowed.is_set(n) == Ok(true)) {
            watchers.add(processor)?;
        }
        Ok(watchers)
    }

    fn add(&mut self, processor: usize) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let (ready, is_ready) = std::sync::mpsc::channel();
        self.threads.push(thread::Builder::new().name("watcher".into()).spawn(move || {
            let favoured = take_precedence(processor);
            let watches = favoured.is_ok();
            let _ = ready.send(favoured);
            if watches {
                shared.watch();
            }
        })?);
        is_ready.recv().map_err(io::Error::other)?
    }

    fn take_gaps(&self) -> Vec<Span> {
        std::mem::take(&mut self.shared.gaps.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Watchers {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn watch(&self) {
        let mut from = Instant::now();
        while !self.stop.load(Ordering::Relaxed) {
            thread::sleep(NAP);
            let to = Instant::now();
            if to - from > GAP {
                let mut gaps = self.gaps.lock().unwrap_or_else(PoisonError::into_inner);
                gaps.push(Span { from, to });
            }
            from = to;
        }
    }
}

/// Ties the calling thread to a processor and lets it go before the servers,
/// which go before everything else.
fn take_precedence(processor: usize) -> io::Result<()> {
    let mut only = CpuSet::new();
    only.set(processor)?;
    sched_setaffinity(Pid::from_raw(0), &only)?;
    let thread = gettid().to_string();
    let done = Command::new("chrt")
        .args(["--fifo", "--pid", "2", &thread])
        .stderr(Stdio::null())
        .status()?;
    match done.success() {
        true => Ok(()),
        false => Err(io::Error::other("chrt may not give a thread real-time precedence")),
    }
}

/// How long a watcher sleeps.
const NAP: Duration = Duration::from_micros(250);
/// How late it may wake up. A server reads what arrives in less.
const GAP: Duration = Duration::from_millis(1);

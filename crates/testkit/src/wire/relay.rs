//! The thread that carries packets from one namespace to the other.

use std::collections::BinaryHeap;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::prctl::set_timerslack;
use nix::sys::time::TimeSpec;

use super::device::Tun;
use super::{Config, Nat};

/// A running relay; dropping it ends the thread.
#[derive(Debug)]
pub struct Relay {
    counters: Arc<[Counters; 2]>,
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    pub fn start(config: Config, client: Tun, server: Tun) -> io::Result<Self> {
        let counters = Arc::<[Counters; 2]>::default();
        let (stopped, stop) = io::pipe()?;
        let lanes = [(Way::ToServer, client), (Way::ToClient, server)]
            .map(|(way, source)| Lane::new(config, way, source));
        let thread = thread::Builder::new().name("wire".into()).spawn({
            let counters = Arc::clone(&counters);
            move || carry(lanes, &counters, &stopped)
        })?;
        Ok(Self { counters, stop: Some(stop), thread: Some(thread) })
    }

    pub fn counts(&self, way: Way) -> Counts {
        let counters = &self.counters[way as usize];
        Counts {
            sent: counters.sent.load(Ordering::Relaxed),
            lost: counters.lost.load(Ordering::Relaxed),
            overflowed: counters.overflowed.load(Ordering::Relaxed),
            delivered: counters.delivered.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        debug_assert!(!matches!(ended, Some(Err(_))), "the relay panicked");
    }
}

/// A direction on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client's end to the server's.
    ToServer,
    /// From the server's end to the client's.
    ToClient,
}

/// What happened to the packets of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Packets that an end sent.
    pub sent: u64,
    /// Packets that vanished because [`Config::loss`] says so, or because they
    /// do not pass a [`Nat`].
    pub lost: u64,
    /// Packets that vanished because the queue was full.
    pub overflowed: u64,
    /// Packets that reached the other end.
    pub delivered: u64,
}

#[derive(Debug, Default)]
struct Counters {
    sent: AtomicU64,
    lost: AtomicU64,
    overflowed: AtomicU64,
    delivered: AtomicU64,
}

fn carry(mut lanes: [Lane; 2], counters: &[Counters; 2], stopped: &PipeReader) {
    // Without this the kernel may add 50 us to every wait; failing to set it only costs accuracy.
    let _ = set_timerslack(1);
    while wait(&lanes, stopped) {
        for (lane, counters) in lanes.iter_mut().zip(counters) {
            lane.take_in(counters);
        }
        let [to_server, to_client] = &mut lanes;
        to_server.deliver(&to_client.source, &counters[Way::ToServer as usize]);
        to_client.deliver(&to_server.source, &counters[Way::ToClient as usize]);
    }
}

/// Waits for a packet to arrive or to fall due; false when the relay shall end.
fn wait(lanes: &[Lane; 2], stopped: &PipeReader) -> bool {
    let mut fds = [
        PollFd::new(lanes[0].source.as_fd(), PollFlags::POLLIN),
        PollFd::new(lanes[1].source.as_fd(), PollFlags::POLLIN),
        PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
    ];
    let next = lanes.iter().filter_map(Lane::next_due).min();
    let timeout =
        next.map(|due| TimeSpec::from_duration(due.saturating_duration_since(Instant::now())));
    // An interrupted wait is a wait that ended early, which does no harm.
    let _ = ppoll(&mut fds, timeout, None);
    fds[2].revents().is_some_and(|events| events.is_empty())
}

/// One direction: where packets come from, and those that are on their way.
struct Lane {
    source: Tun,
    way: Way,
    nat: Option<Nat>,
    dice: Dice,
    limit: usize,
    waiting: BinaryHeap<Packet>,
    number: u64,
}

impl Lane {
    fn new(config: Config, way: Way, source: Tun) -> Self {
        Self {
            source,
            way,
            nat: config.nat,
            dice: Dice::new(config, way),
            limit: config.queue,
            waiting: BinaryHeap::new(),
            number: 0,
        }
    }

    fn next_due(&self) -> Option<Instant> {
        self.waiting.peek().map(|packet| packet.due)
    }

    fn take_in(&mut self, counters: &Counters) {
        let mut buffer = [0; 2048];
        while let Ok(length) = self.source.receive(&mut buffer) {
            let packet = &buffer[..length];
            if packet.first().is_none_or(|byte| byte >> 4 != 4) {
                continue; // the kernel's own IPv6 chatter
            }
            add_one(&counters.sent);
            let Some(bytes) = self.translated(packet) else {
                add_one(&counters.lost);
                continue;
            };
            match self.dice.throw(Instant::now()) {
                None => add_one(&counters.lost),
                Some(_) if self.waiting.len() >= self.limit => add_one(&counters.overflowed),
                Some(due) => {
                    self.number += 1;
                    self.waiting.push(Packet { due, number: self.number, bytes });
                }
            }
        }
    }

    fn translated(&self, packet: &[u8]) -> Option<Box<[u8]>> {
        self.nat.map_or_else(|| Some(packet.into()), |nat| nat.translate(self.way, packet))
    }

    fn deliver(&mut self, to: &Tun, counters: &Counters) {
        while self.next_due().is_some_and(|due| due <= Instant::now()) {
            if let Some(packet) = self.waiting.pop() {
                let counter = if to.send(&packet.bytes).is_ok() {
                    &counters.delivered
                } else {
                    &counters.overflowed
                };
                add_one(counter);
            }
        }
    }
}

/// Decides each packet's fate; the same seed decides the same.
struct Dice {
    config: Config,
    random: fastrand::Rng,
    last: Option<Instant>,
}

impl Dice {
    fn new(config: Config, way: Way) -> Self {
        Self {
            config,
            random: fastrand::Rng::with_seed(config.seed.wrapping_mul(2) + way as u64),
            last: None,
        }
    }

    /// When the packet shall arrive; `None` loses it.
    fn throw(&mut self, now: Instant) -> Option<Instant> {
        // Always three draws, so that one setting does not shift the luck of another.
        let [lost, overtaken, jitter] = [(); 3].map(|()| self.random.f64());
        if lost < self.config.loss {
            return None;
        }
        let due = now + self.config.delay + self.config.jitter.mul_f64(jitter);
        if overtaken < self.config.reorder {
            return Some(due + self.config.delay.max(Duration::from_millis(1)));
        }
        let due = self.last.map_or(due, |last| due.max(last));
        self.last = Some(due);
        Some(due)
    }
}

/// A packet on its way; the greatest is the one that arrives first.
struct Packet {
    due: Instant,
    number: u64,
    bytes: Box<[u8]>,
}

impl Ord for Packet {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.due, other.number).cmp(&(self.due, self.number))
    }
}

impl PartialOrd for Packet {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Packet {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Packet {}

fn add_one(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

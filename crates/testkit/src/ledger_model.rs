//! A naive model of the ledger: it keeps the whole log of what was reported and
//! works every answer out of it anew.

use tower_resend_core::fin_rule::{ExchangeCounts, StaleCheck};
use tower_resend_core::{
    Acked, Errno, ExchangePhase, Ledger, Reply, Segments, Snapshot, StaleReason, TcpState,
    Unavailable,
};

/// What the owner of a socket reports or asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Arm,
    Resolve,
    Release,
    TakeOver,
    StaleCheck(Seen),
    Written(usize),
    /// Bytes read; where the ledger asks for it, they are judged by this.
    Read(usize, Seen),
    /// An unsolicited judgment.
    Reply(Seen),
    End,
    Error(Option<Errno>),
}

/// What the counters show, relative to what was written and read so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// All acknowledged, all read, conserved.
    Quiet,
    /// As quiet, but nothing acknowledged since the exchange began.
    NoneAcked,
    /// A FIN or a byte that was not read.
    Unread,
    /// Less received than was read.
    Unreceived,
    /// Closed.
    Closed,
    /// A byte that was never sent.
    Leaky,
    /// More acknowledged than was written.
    Overacked,
    /// Quiet, but the kernel does not count segments.
    Segmentless,
    /// No snapshot.
    Nothing,
}

pub const SEEN: [Seen; 9] = [
    Seen::Quiet,
    Seen::NoneAcked,
    Seen::Unread,
    Seen::Unreceived,
    Seen::Closed,
    Seen::Leaky,
    Seen::Overacked,
    Seen::Segmentless,
    Seen::Nothing,
];

/// What was done, as far as it had an effect.
#[derive(Clone, Debug)]
pub struct Model {
    calibration: Result<(), Unavailable>,
    log: Vec<Operation>,
}

impl Model {
    fn written(&self) -> u64 {
        self.sum(&self.log, |operation| match operation {
            Operation::Written(bytes) => *bytes,
            _ => 0,
        })
    }

    fn read(&self) -> u64 {
        self.sum(&self.log, |operation| match operation {
            Operation::Read(bytes, _) => *bytes,
            _ => 0,
        })
    }

    fn sum(&self, log: &[Operation], bytes: impl Fn(&Operation) -> usize) -> u64 {
        log.iter().map(|operation| bytes(operation) as u64).sum()
    }

    /// The log from the last arming on, and how much of it came before.
    pub fn exchange(&self) -> (usize, &[Operation]) {
        let live =
            self.log.iter().position(|o| matches!(o, Operation::Release | Operation::TakeOver));
        let until = live.unwrap_or(self.log.len());
        let armed = self.log[..until].iter().rposition(|o| *o == Operation::Arm);
        let start = armed.map_or(0, |at| at + 1);
        (start, &self.log[start..])
    }

    fn phase_after(log: &[Operation]) -> ExchangePhase {
        if log.contains(&Operation::TakeOver) {
            return ExchangePhase::TakenOver;
        }
        if log.contains(&Operation::Release) {
            return ExchangePhase::Released;
        }
        let begun = log.iter().rposition(|o| matches!(o, Operation::Arm | Operation::Resolve));
        match begun.map(|at| (log[at], &log[at..])) {
            Some((Operation::Arm, since)) if since.iter().any(writes) => ExchangePhase::Sent,
            Some((Operation::Arm, _)) => ExchangePhase::Armed,
            _ => ExchangePhase::Idle,
        }
    }

    fn phase(&self) -> ExchangePhase {
        Self::phase_after(&self.log)
    }

    fn counts(&self) -> ExchangeCounts {
        let (start, _) = self.exchange();
        let before = Self { log: self.log[..start].to_vec(), ..self.clone() };
        ExchangeCounts::new(1 + before.written(), self.written(), self.read())
    }

    /// How many writes there were: each is a segment.
    fn writes(&self) -> u32 {
        self.log.iter().filter(|operation| writes(operation)).count() as u32
    }

    /// In how many segments what was written since the stale check went out: as many
    /// as there were writes, if the stale check that vouches for the request saw all
    /// that came before acknowledged.
    fn segments(&self) -> Segments {
        let Some((at, seen)) = self.vouching_look() else { return Segments::Uncounted };
        let before = Self { log: self.log[..at].to_vec(), ..self.clone() };
        let is_counted = match seen {
            Seen::Quiet | Seen::Unreceived => true,
            // None acknowledged since the exchange began, and it just did.
            Seen::NoneAcked => before.written() + 1 == before.counts().base,
            _ => false,
        };
        match self.writes() - before.writes() {
            _ if !is_counted || self.check().is_err() => Segments::Uncounted,
            0 => Segments::Uncounted,
            1 => Segments::One,
            _ => Segments::Several,
        }
    }

    fn found(&self) -> Option<StaleReason> {
        (0..self.log.len()).find_map(|at| {
            let idle = matches!(
                Self::phase_after(&self.log[..at]),
                ExchangePhase::Idle | ExchangePhase::Armed
            );
            match self.log[at] {
                Operation::Read(bytes, _) if idle && bytes > 0 => Some(StaleReason::Stray),
                Operation::End if idle => Some(StaleReason::Fin),
                Operation::Error(_) if idle => Some(StaleReason::Reset),
                _ => None,
            }
        })
    }

    fn errno(&self) -> Option<Errno> {
        self.log.iter().find_map(|operation| match operation {
            Operation::Error(errno) => *errno,
            _ => None,
        })
    }

    /// What the counters show now.
    fn shown(&self, seen: Seen) -> Result<Snapshot, Unavailable> {
        let (written, read) = (self.written(), self.read());
        let mut snapshot = Snapshot::new(TcpState::Established);
        snapshot.bytes_acked = written + 1;
        snapshot.bytes_received = read;
        snapshot.bytes_sent = written;
        snapshot.data_segs_out = Some(self.writes());
        snapshot.total_retrans = Some(0);
        match seen {
            Seen::Quiet => {}
            Seen::Segmentless => snapshot.data_segs_out = None,
            Seen::NoneAcked => snapshot.bytes_acked = self.counts().base,
            Seen::Unread => snapshot.bytes_received += 1,
            Seen::Unreceived => snapshot.bytes_received = read.saturating_sub(1),
            Seen::Closed => snapshot.state = TcpState::Close,
            Seen::Leaky => snapshot.bytes_sent += 1,
            Seen::Overacked => snapshot.bytes_acked += 1,
            Seen::Nothing => return Err(Unavailable::Platform),
        }
        Ok(snapshot)
    }

    /// The stale check: what is seen decides, and the counters only if all is well.
    fn stale_check(&self, seen: Seen) -> StaleCheck {
        match seen {
            Seen::Unread | Seen::Closed => StaleCheck::Stale,
            Seen::Quiet | Seen::NoneAcked | Seen::Segmentless => StaleCheck::Clear(Ok(())),
            Seen::Unreceived if self.read() == 0 => StaleCheck::Clear(Ok(())),
            Seen::Unreceived | Seen::Leaky | Seen::Overacked => {
                StaleCheck::Clear(Err(Unavailable::NotConserved))
            }
            Seen::Nothing => StaleCheck::Clear(Err(Unavailable::Platform)),
        }
    }

    /// The last clear look between arming and the first byte counts.
    pub fn check(&self) -> Result<(), Unavailable> {
        match self.vouching_look() {
            Some((at, seen)) => {
                let before = Self { log: self.log[..at].to_vec(), ..self.clone() };
                match before.stale_check(seen) {
                    StaleCheck::Clear(check) => self.calibration.and(check),
                    StaleCheck::Stale => unreachable!("a stale look vouches for nothing"),
                }
            }
            None => Err(Unavailable::NotExamined),
        }
    }

    /// The last clear look between arming and the first byte, and its place.
    fn vouching_look(&self) -> Option<(usize, Seen)> {
        let (start, _) = self.exchange();
        let armed = |at: &usize| Self::phase_after(&self.log[..*at]) == ExchangePhase::Armed;
        let mut looks = (start..self.log.len()).filter(armed).filter_map(|at| match self.log[at] {
            Operation::StaleCheck(seen) => {
                match (Self { log: self.log[..at].to_vec(), ..self.clone() }).stale_check(seen) {
                    StaleCheck::Clear(_) => Some((at, seen)),
                    StaleCheck::Stale => None,
                }
            }
            _ => None,
        });
        looks.next_back()
    }

    /// The first judged bytes since arming say what all are.
    fn reply(&self) -> Reply {
        let (start, _) = self.exchange();
        let judged = (start..self.log.len()).find_map(|at| {
            let before = Self { log: self.log[..at].to_vec(), ..self.clone() };
            let mut now = before.clone();
            now.log.push(self.log[at]);
            match self.log[at] {
                Operation::Reply(seen) => Some((now, seen)),
                Operation::Read(bytes, seen) if bytes > 0 && before.awaits_judgement() => {
                    Some((now, seen))
                }
                _ => None,
            }
        });
        match judged {
            None => Reply::Nothing,
            Some((at, seen)) => match (at.check(), at.shown(seen)) {
                (Ok(()), Ok(shown))
                    if seen != Seen::Leaky && at.counts().acked(&shown) == Acked::None =>
                {
                    Reply::Stray
                }
                _ => Reply::Answer,
            },
        }
    }

    /// Whether bytes that arrive now are the first after the request.
    fn awaits_judgement(&self) -> bool {
        let exchange = self.counts();
        matches!(self.phase(), ExchangePhase::Sent | ExchangePhase::TakenOver)
            && exchange.written >= exchange.base
    }
}

pub fn writes(operation: &Operation) -> bool {
    matches!(operation, Operation::Written(bytes) if *bytes > 0)
}

/// Does the same to both, and compares what they say.
pub fn run(calibration: Result<(), Unavailable>, operations: &[Operation]) -> Model {
    let mut ledger = Ledger::new(calibration);
    let mut model = Model { calibration, log: Vec::new() };
    for &operation in operations {
        let before = model.clone();
        model.log.push(operation);
        match operation {
            Operation::Arm => ledger.arm(),
            Operation::Resolve => ledger.resolve(),
            Operation::Release => ledger.release(),
            Operation::TakeOver => ledger.take_over(),
            Operation::StaleCheck(seen) => {
                assert_eq!(ledger.on_stale_check(before.shown(seen)), before.stale_check(seen));
            }
            Operation::Written(bytes) => ledger.on_written(bytes),
            Operation::Read(bytes, seen) => {
                let first = before.reply() == Reply::Nothing;
                let expected = bytes > 0 && first && before.awaits_judgement();
                let asks = ledger.on_read(bytes);
                assert_eq!(asks, expected);
                if asks {
                    assert_eq!(ledger.on_reply(model.shown(seen)), model.reply());
                }
            }
            Operation::Reply(seen) => {
                assert_eq!(ledger.on_reply(model.shown(seen)), model.reply());
            }
            Operation::End => ledger.on_end(),
            Operation::Error(errno) => ledger.on_error(errno),
        }
        agree(&ledger, &model);
    }
    model
}

fn agree(ledger: &Ledger, model: &Model) {
    let (start, _) = model.exchange();
    let before = Model { log: model.log[..start].to_vec(), ..model.clone() };
    let exchange = model.counts();
    let known = ledger.exchange();
    assert_eq!(known.with_segment_base(None), exchange);
    let shown = model.shown(Seen::Quiet).expect("a snapshot");
    assert_eq!(known.segments(&shown), model.segments());
    assert_eq!(ledger.phase(), model.phase());
    assert_eq!(ledger.found(), model.found());
    assert_eq!(ledger.errno(), model.errno());
    assert_eq!(ledger.is_written(), exchange.written >= exchange.base);
    assert_eq!(ledger.check(), model.check());
    assert_eq!(ledger.reply(), model.reply());
    assert_eq!(ledger.exchange_read(), model.read() - before.read());
}

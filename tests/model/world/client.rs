//! One attempt of the client: the crate's ledger over a modeled socket, and
//! the steps in which its evidence is taken.

use tower_resend_core::fin_rule::{Fin, FinStep, LastRead, StaleCheck};
use tower_resend_core::{
    Answer, Early, EndedBy, Errno, Evidence, ExchangePhase, HandOff, Ledger, Reply, Settled,
    StaleReason, TcpEvidence, Unavailable,
};

use super::premises::Premises;
use super::rule::Rule;
use super::socket::{EARLIER, Socket};

/// One attempt: a socket, the crate's ledger of it, and how far its evidence is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Client {
    pub(crate) socket: Socket,
    ledger: Ledger,
    stage: Stage,
}

/// How far an attempt got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    /// About to check its idle connection.
    Idle,
    /// It writes and reads.
    Exchanging,
    /// It failed, or withheld a response: its connection is to be drained.
    Failed,
    /// Drained; the counters come next.
    Drained(LastRead),
    /// A FIN came, and what follows it is waited for.
    Settling(Fin),
}

/// What our side can do on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Act {
    StaleCheck,
    Write,
    /// Writes what then travels outside TCP.
    WriteBypassed,
    Read,
    Drain,
    /// Reads the counters. The state is read before them and may be older.
    Inspect {
        is_lagging: bool,
    },
    /// Waits no longer.
    GiveUp,
}

impl Client {
    /// Returns our side of a connection that carried an exchange before, for a
    /// request of so many segments.
    pub(crate) fn new(request: u8) -> Self {
        let mut client =
            Self { socket: Socket::new(request), ledger: Ledger::new(Ok(())), stage: Stage::Idle };
        let before = client.socket.snapshot(&Premises::HOLD, false);
        client.ledger.arm();
        let _ = client.ledger.on_stale_check(Err(Unavailable::NotExamined));
        client.ledger.on_written(EARLIER as usize);
        assert!(client.ledger.on_read(EARLIER as usize));
        assert_eq!(client.ledger.on_reply(Ok(before)), Reply::Answer);
        client.ledger.resolve();
        assert_eq!(client.ledger.phase(), ExchangePhase::Idle);
        client
    }

    pub(crate) fn options(&self, premises: &Premises) -> Vec<Act> {
        const INSPECT: [Act; 2] =
            [Act::Inspect { is_lagging: false }, Act::Inspect { is_lagging: true }];
        match self.stage {
            Stage::Idle => vec![Act::StaleCheck],
            Stage::Exchanging => {
                let mut options = vec![Act::GiveUp];
                if self.socket.wants_more() {
                    options.push(Act::Write);
                    options.extend(premises.bypass.then_some(Act::WriteBypassed));
                }
                if self.socket.clone().read() != Err(LastRead::WouldBlock) {
                    options.push(Act::Read);
                }
                options
            }
            Stage::Failed if self.ledger.reply() == Reply::Stray => vec![Act::Drain, Act::GiveUp],
            Stage::Failed => vec![Act::Drain],
            Stage::Drained(_) => INSPECT.to_vec(),
            Stage::Settling(_) => [&INSPECT[..], &[Act::GiveUp]].concat(),
        }
    }

    /// Does what it can. Returns the evidence once the attempt is over.
    pub(crate) fn act(&mut self, act: Act, rule: &Rule, premises: &Premises) -> Option<Evidence> {
        match (act, self.stage) {
            (Act::StaleCheck, _) => self.stale_check(premises),
            (Act::Write, _) => match self.socket.write() {
                Ok(()) => {
                    self.ledger.on_written(1);
                    None
                }
                Err(errno) => {
                    self.ledger.on_error(Some(errno));
                    self.fail()
                }
            },
            (Act::WriteBypassed, _) => {
                self.socket.written += 1;
                self.socket.bypassed += 1;
                self.ledger.on_written(1);
                None
            }
            (Act::Read, _) => self.read(premises),
            (Act::Drain, _) => {
                let last = self.drain(premises);
                self.stage = Stage::Drained(last);
                None
            }
            (Act::Inspect { is_lagging }, Stage::Drained(last)) => {
                self.inspect(last, rule, premises, is_lagging)
            }
            (Act::Inspect { is_lagging }, Stage::Settling(fin)) => {
                let snapshot = self.socket.snapshot(premises, is_lagging);
                let errno = self.first_errno();
                let step = rule.settle(&self.ledger.exchange(), &fin, &snapshot, errno);
                self.step(step)
            }
            (Act::GiveUp, Stage::Exchanging) => {
                let hand_off = self.hand_off();
                Some(Evidence::new(hand_off).with_ended_by(EndedBy::Deadline))
            }
            (Act::GiveUp, Stage::Settling(fin)) => {
                Some(self.conclude(TcpEvidence::Fin(fin.acked(), Settled::Unsettled)))
            }
            (Act::GiveUp, _) => Some(self.conclude(TcpEvidence::StillOpen)),
            (Act::Inspect { .. }, stage) => unreachable!("no counters wanted in {stage:?}"),
        }
    }

    fn stale_check(&mut self, premises: &Premises) -> Option<Evidence> {
        self.ledger.arm();
        let snapshot = self.socket.snapshot(premises, false);
        match self.ledger.on_stale_check(Ok(snapshot)) {
            StaleCheck::Stale => Some(Evidence::new(HandOff::HandedBack(StaleReason::Fin))),
            StaleCheck::Clear(_) => {
                self.stage = Stage::Exchanging;
                None
            }
        }
    }

    fn read(&mut self, premises: &Premises) -> Option<Evidence> {
        match self.socket.read() {
            Ok(_) if !self.ledger.is_written() => {
                Some(Evidence::new(HandOff::HandedBack(StaleReason::Stray)))
            }
            Ok(_) => match self.on_byte(premises) {
                Reply::Stray => self.fail(),
                _ => Some(Evidence::new(HandOff::Written).with_answer(Answer::Complete)),
            },
            Err(LastRead::Failed) => {
                self.first_errno();
                self.fail()
            }
            Err(_) => {
                self.ledger.on_end();
                self.fail()
            }
        }
    }

    fn on_byte(&mut self, premises: &Premises) -> Reply {
        if self.ledger.on_read(1) {
            return self.ledger.on_reply(Ok(self.socket.snapshot(premises, false)));
        }
        self.ledger.reply()
    }

    fn fail(&mut self) -> Option<Evidence> {
        self.ledger.take_over();
        self.stage = Stage::Failed;
        (!self.ledger.is_written()).then(|| Evidence::new(HandOff::NothingWritten))
    }

    fn drain(&mut self, premises: &Premises) -> LastRead {
        loop {
            match self.socket.read() {
                Ok(_) => {
                    self.on_byte(premises);
                }
                Err(LastRead::Failed) => {
                    self.first_errno();
                    return LastRead::Failed;
                }
                Err(last) => return last,
            }
        }
    }

    fn inspect(
        &mut self,
        last: LastRead,
        rule: &Rule,
        premises: &Premises,
        is_lagging: bool,
    ) -> Option<Evidence> {
        if let Err(why) = self.ledger.check() {
            return Some(self.conclude(TcpEvidence::Unavailable(why)));
        }
        if self.ledger.reply() == Reply::Answer {
            return Some(self.conclude(TcpEvidence::Unavailable(Unavailable::NotExamined)));
        }
        let snapshot = self.socket.snapshot(premises, is_lagging);
        let errno = self.first_errno();
        let step = rule.at_end(&self.ledger.exchange(), last, &snapshot, errno);
        self.step(step)
    }

    fn step(&mut self, step: FinStep) -> Option<Evidence> {
        match step {
            // After a withheld response the close is still to come.
            FinStep::Done(TcpEvidence::StillOpen) if self.ledger.reply() == Reply::Stray => {
                self.stage = Stage::Failed;
                None
            }
            FinStep::Done(kernel) => Some(self.conclude(kernel)),
            FinStep::Settle(fin) => {
                self.stage = Stage::Settling(fin);
                None
            }
            FinStep::Wait | FinStep::Closed(..) => None,
        }
    }

    pub(crate) fn is_written(&self) -> bool {
        self.ledger.is_written()
    }

    pub(crate) fn response_bytes(&self) -> u64 {
        self.ledger.exchange_read()
    }

    /// The first errno seen, the pending one if there was none.
    fn first_errno(&mut self) -> Option<Errno> {
        if self.ledger.errno().is_none() {
            let pending = self.socket.take_error();
            if pending.is_some() {
                self.ledger.on_error(pending);
            }
        }
        self.ledger.errno()
    }

    fn hand_off(&self) -> HandOff {
        if self.ledger.is_written() { HandOff::Written } else { HandOff::NothingWritten }
    }

    fn conclude(&self, kernel: TcpEvidence) -> Evidence {
        let answer = match self.ledger.reply() {
            Reply::Stray => Answer::Stray(Early::ClosingResponse),
            Reply::Answer => Answer::Begun,
            Reply::Nothing => Answer::Nothing,
        };
        Evidence::new(self.hand_off()).with_answer(answer).with_tcp(kernel)
    }
}

//! What is true of a connection, whatever its machine believes.

use super::contract_state::ContractTrust;
use super::fin_rule::LastRead;
use super::ledger::Reply;
use super::machine::ExchangeMachine;
use super::outcome::{TextCheck, WaitCheck, WriteCheck};
use super::snapshot::{Snapshot, TcpState};
use super::walk::{
    Age, Announced, Counted, Event, Outcome, Piece, Reading, Shown, World, closing_response,
    last_read,
};
use crate::fate::Errno;

/// Where the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    Idle,
    InExchange,
    TakenOver,
    Released,
}

/// How far the evidence was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Taking {
    Not,
    Begun,
    Waiting,
    Done,
}

/// What the server's word is worth, by the responses on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Word {
    NotYet,
    InForce,
    /// Nothing any more (C6).
    Nothing,
}

/// What is true of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Truth {
    pub(super) stage: Stage,
    pub(super) taking: Taking,
    pub(super) counted: Counted,
    pub(super) reads: u8,
    pub(super) texts: u8,
    /// An exchange is on the connection, taken over or not.
    pub(super) is_open: bool,
    /// Plaintext of the request was given to TLS, and TLS may hold some.
    pub(super) has_text: bool,
    pub(super) is_buffered: bool,
    pub(super) is_half_record: bool,
    /// The counters were found sound since the request was announced, and before
    /// any of it was written.
    pub(super) was_sound: bool,
    /// Whether the first bytes after the request were stray.
    pub(super) stray: Option<bool>,
    /// The first errno that the socket gave.
    pub(super) errno: Option<Errno>,
    pub(super) saw_fin: bool,
    /// Anything was heard of the peer's HTTP before the first exchange.
    pub(super) was_spoken_to: bool,
    /// Something was written or armed where no boundary can be known.
    pub(super) is_lost: bool,
    pub(super) word: Word,
    /// What is believed of the request on the connection.
    pub(super) trust: ContractTrust,
    pub(super) is_watched: bool,
}

impl Truth {
    pub(super) fn new() -> Self {
        Self {
            stage: Stage::Idle,
            taking: Taking::Not,
            counted: Counted::default(),
            reads: 0,
            texts: 0,
            is_open: false,
            has_text: false,
            is_buffered: false,
            is_half_record: false,
            was_sound: false,
            stray: None,
            errno: None,
            saw_fin: false,
            was_spoken_to: false,
            is_lost: false,
            word: Word::NotYet,
            trust: ContractTrust::None,
            is_watched: false,
        }
    }

    /// Takes note of what happened to `machine`; `after` is what became of it.
    pub(super) fn follow(
        &mut self,
        world: World,
        machine: &ExchangeMachine,
        event: Event,
        outcome: &Outcome,
        after: &ExchangeMachine,
    ) {
        if let Event::Wait(shown) | Event::Write(shown) = event {
            let is_before = self.stage == Stage::InExchange && self.own() == 0;
            self.was_sound |= is_before && self.is_sound(&shown.reading(&self.counted));
        }
        match event {
            Event::Arm(trust) if matches!(outcome.armed, Some(Ok(_))) => self.on_arm(trust),
            Event::Prime if matches!(outcome.armed, Some(Ok(_))) => {
                (self.trust, self.is_watched) = (ContractTrust::SameHop, false);
                self.begin();
            }
            Event::Write(_) if outcome.write == Some(WriteCheck::Go) => {
                let is_lost = world == World::External && self.stage == Stage::Idle;
                self.is_lost |= is_lost;
                (self.counted.written, self.counted.writes) =
                    (self.counted.written + 2, self.counted.writes + 1);
                if world.is_tls() && !self.has_text {
                    self.counted.before = self.counted.written;
                }
            }
            Event::Read(shown) => {
                self.was_spoken_to |= self.counted.arms == 0;
                self.judge(machine, &shown.reading(&self.counted));
                (self.counted.read, self.reads) = (self.counted.read + 1, self.reads + 1);
            }
            Event::ReadClosing => {
                self.judge(machine, &Shown::Quiet.reading(&self.counted));
                self.counted.read += closing_response().len() as u64;
                self.reads += 1;
            }
            Event::OnText(_) => {
                self.was_spoken_to |= self.counted.arms == 0;
                self.reads += 1;
                let reply = after.ledger().reply();
                let is_judged = reply != Reply::Nothing;
                self.stray = self.stray.or_else(|| is_judged.then_some(reply == Reply::Stray));
            }
            Event::Records(piece, _) => {
                (self.counted.read, self.reads) =
                    (self.counted.read + piece.bytes().len() as u64, self.reads + 1);
                self.is_half_record = piece == Piece::First;
            }
            Event::ReadError => {
                self.errno = self.errno.or(Some(Errno::ECONNRESET));
                self.was_spoken_to |= world.is_tls() && self.counted.arms == 0;
            }
            Event::ReadEnd(_) | Event::TlsEnd(_) => {
                self.was_spoken_to |= world.is_tls() && self.counted.arms == 0;
            }
            Event::Wait(_) if outcome.wait == Some(WaitCheck::Stale) => {
                self.was_spoken_to |= world.is_tls() && self.counted.arms == 0;
            }
            Event::Text if outcome.text != Some(TextCheck::TakenOver) => {
                self.is_lost |= world.is_external() && self.stage == Stage::Idle;
                (self.has_text, self.is_buffered) = (true, true);
                self.texts += 1;
            }
            Event::TextFlushed => self.is_buffered = false,
            Event::Response(announced) => self.on_response(announced),
            Event::Finish | Event::Answered(Age::Current, false)
                if self.stage == Stage::InExchange =>
            {
                (self.stage, self.is_open) = (Stage::Idle, false);
            }
            Event::Release | Event::Answered(Age::Current, true)
                if self.stage != Stage::TakenOver =>
            {
                (self.stage, self.is_open) = (Stage::Released, false);
            }
            Event::ArmTaken if outcome.id.is_none() => self.is_lost = true,
            Event::ArmTaken => self.begin(),
            Event::TakeOver => self.stage = Stage::TakenOver,
            Event::TakeOverIf(_) if outcome.takes_over => self.stage = Stage::TakenOver,
            Event::BeginSettling => {
                self.stage = Stage::TakenOver;
                self.taking = if outcome.tcp.is_some() { Taking::Done } else { Taking::Begun };
            }
            Event::Drained(last, shown) => self.on_drained(last, shown, outcome, after),
            Event::Settle(shown) => self.on_drained(last_read(shown), shown, outcome, after),
            Event::Deadline => self.taking = Taking::Done,
            _ => {}
        }
    }

    fn begin(&mut self) {
        (self.stage, self.is_open) = (Stage::InExchange, true);
        self.counted.arms += 1;
        self.counted.before = self.counted.written;
        (self.was_sound, self.stray, self.has_text) = (false, None, false);
    }

    fn on_arm(&mut self, trust: ContractTrust) {
        if !trust.believes() {
            self.word = Word::Nothing;
        }
        self.trust = match self.word {
            Word::Nothing if trust.believes() => ContractTrust::None,
            _ => trust,
        };
        self.is_watched = self.word == Word::InForce;
        self.begin();
    }

    fn on_response(&mut self, announced: Announced) {
        match (self.trust, announced) {
            (ContractTrust::None, _) => {}
            (_, Announced::Nothing) => self.word = Word::Nothing,
            (ContractTrust::Revoked, _) => {}
            (_, Announced::Promise) => self.word = Word::InForce,
            (_, Announced::Refusal) => {
                (self.word, self.stage) = (Word::InForce, Stage::TakenOver);
            }
        }
    }

    fn on_drained(
        &mut self,
        last: LastRead,
        shown: Shown,
        outcome: &Outcome,
        after: &ExchangeMachine,
    ) {
        let reading = shown.reading(&self.counted);
        let is_fin = reading.snapshot.is_ok_and(|it| it.bytes_received == self.counted.read + 1);
        self.saw_fin |= last == LastRead::End && is_fin;
        // It is not taken from the socket where it cannot matter.
        self.errno = self.errno.or_else(|| after.ledger().errno().and(reading.errno));
        self.taking = if outcome.tcp.is_some() { Taking::Done } else { Taking::Waiting };
    }

    /// Judges the first bytes that follow the request.
    fn judge(&mut self, machine: &ExchangeMachine, reading: &Reading) {
        if self.is_open && self.own() > 0 {
            let is_unacked = |it: Snapshot| {
                it.is_conserved(self.counted.written) && it.bytes_acked <= self.counted.before + 1
            };
            let is_stray =
                machine.ledger().check().is_ok() && reading.snapshot.is_ok_and(is_unacked);
            self.stray = self.stray.or(Some(is_stray));
        }
    }

    /// Returns `true` if the counters may speak of what is written next.
    fn is_sound(&self, reading: &Reading) -> bool {
        reading.snapshot.is_ok_and(|it| {
            it.state == TcpState::Established
                && it.is_conserved(self.counted.written)
                && it.bytes_received == self.counted.read
                && it.bytes_acked <= self.counted.written + 1
        })
    }

    /// Returns how much of the request the kernel has.
    pub(super) fn own(&self) -> u64 {
        self.counted.written - self.counted.before
    }

    /// Returns `true` if the owner of the socket can let this happen now. Few
    /// bytes and two exchanges keep the world small.
    pub(super) fn can(&self, event: Event) -> bool {
        let is_taken_over = self.stage == Stage::TakenOver;
        // A boundary that was lost is lost, whatever else happens.
        if self.is_lost && matches!(event, Event::Write(_) | Event::Text | Event::OnText(_)) {
            return false;
        }
        match event {
            Event::Arm(_) => self.counted.arms < 2 && self.stage != Stage::InExchange,
            Event::Prime => self.counted.arms == 0,
            Event::ArmTaken => self.counted.arms < 2,
            Event::Write(_) => self.counted.writes < 2,
            Event::Text => !self.is_buffered && self.texts < 2,
            Event::TextFlushed => self.is_buffered,
            Event::Read(_) | Event::ReadClosing | Event::OnText(_) => self.reads < 2,
            Event::Records(piece, _) => {
                self.reads < 2 && self.is_half_record == (piece == Piece::Rest)
            }
            Event::Response(_) => self.stage == Stage::InExchange && self.stray == Some(false),
            Event::ReadEnd(_) | Event::ReadError | Event::Wait(_) => !is_taken_over,
            Event::Finish | Event::Release | Event::BodyEnd | Event::Flush => true,
            Event::Shutdown | Event::UnaskedText | Event::TlsEnd(_) => true,
            Event::TakeOverIf(Age::Current) | Event::Answered(Age::Current, _) => {
                self.counted.arms > 0
            }
            Event::TakeOverIf(Age::Earlier) | Event::Answered(Age::Earlier, _) => {
                self.counted.arms > 1
            }
            Event::TakeOver => !is_taken_over,
            Event::BeginSettling => self.is_open && self.taking == Taking::Not,
            Event::Drained(..) => self.taking == Taking::Begun,
            Event::Settle(_) | Event::Deadline => self.taking == Taking::Waiting,
        }
    }
}

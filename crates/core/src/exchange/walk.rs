//! A small world for the exchange machine: what can happen to a connection, and
//! how its driver reports it.

use std::sync::OnceLock;
use std::time::Duration;

use http::Response;

use super::contract_state::ContractTrust;
use super::external::ExchangeId;
use super::fin_rule::LastRead;
use super::machine::{ExchangeMachine, Probe};
use super::outcome::{
    Armed, FailureKind, FinalHead, Layer, Outbound, OwnEnd, Passage, SettleStep, TextCheck,
    WaitCheck, WriteCheck,
};
use super::snapshot::{Snapshot, TcpState};
use crate::contract::Hop;
use crate::fate::{Alert, Contract, Errno, StaleReason, TcpEvidence, Unavailable};

/// Which connection is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum World {
    /// Our pool drives it, and asks for no contract.
    Plain,
    /// The same, and the counters were not those of a fresh connection.
    Uncalibrated,
    /// Our pool drives it, and asks for a contract.
    Contract,
    /// Our pool drives it, over TLS.
    Tls,
    /// Another pool drives it.
    External,
    /// Another pool drives it, over TLS.
    ExternalTls,
}

impl World {
    pub(super) const ALL: [Self; 6] = [
        Self::Plain,
        Self::Uncalibrated,
        Self::Contract,
        Self::Tls,
        Self::External,
        Self::ExternalTls,
    ];

    pub(super) fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::ExternalTls)
    }

    pub(super) fn is_external(self) -> bool {
        matches!(self, Self::External | Self::ExternalTls)
    }

    pub(super) fn machine(self) -> ExchangeMachine {
        let calibration = match self {
            Self::Uncalibrated => Err(Unavailable::Uncalibrated),
            _ => Ok(()),
        };
        let mut machine = ExchangeMachine::new(calibration, HOP.parse::<Hop>().ok());
        if self.is_tls() {
            machine.expect(Layer::Tls);
        }
        if self.is_external() {
            machine.expect_external_driver();
        }
        machine
    }

    /// What can happen, and what the socket shows when it does.
    pub(super) fn events(self) -> Vec<Event> {
        use Shown::{
            Bypassed, Data, Fin, NoneAcked, PartAcked, Quiet, Reset, ResetAfterFin, Unread,
        };
        let mut events = vec![Event::Shutdown, Event::TakeOver];
        // The counters can show anything where nothing else is there to vary.
        if matches!(self, Self::Plain | Self::Uncalibrated) {
            events.extend([Event::ReadError, Event::BeginSettling, Event::Deadline]);
            let ends = [NoneAcked, PartAcked, Fin, ResetAfterFin, Reset, Bypassed, Unread];
            events.extend([Quiet, NoneAcked, Data, Fin, Bypassed, Unread].map(Event::Wait));
            events.extend([Quiet, Data, Bypassed, Unread].map(Event::Write));
            events.extend([Quiet, NoneAcked, Bypassed, Unread].map(Event::Read));
            events.extend([Quiet, Fin, Reset].map(Event::ReadEnd));
            for last in [LastRead::End, LastRead::Failed, LastRead::WouldBlock] {
                events.extend(ends.map(|shown| Event::Drained(last, shown)));
            }
            events.extend(ends.map(Event::Settle));
        } else {
            let ends = [NoneAcked, ResetAfterFin, Reset];
            events.extend([Quiet, Data].map(Event::Wait));
            events.extend([Quiet, Data].map(Event::Write));
            if !self.is_tls() {
                events.extend([Event::ReadError, Event::BeginSettling, Event::Deadline]);
                events.push(Event::ReadEnd(Fin));
                events.extend(ends.map(|shown| Event::Drained(last_read(shown), shown)));
                events.extend(ends.map(Event::Settle));
            }
        }
        match self {
            Self::Plain | Self::Uncalibrated => {}
            Self::Contract | Self::External => {
                events.extend([Quiet, NoneAcked].map(Event::Read));
            }
            Self::Tls | Self::ExternalTls => {
                events.extend([Event::Text, Event::TextFlushed, Event::OnText(Quiet)]);
            }
        }
        match self {
            Self::Tls => events.extend([
                Event::UnaskedText,
                Event::Records(Piece::Whole, Quiet),
                Event::Records(Piece::First, NoneAcked),
                Event::Records(Piece::Rest, Quiet),
            ]),
            Self::ExternalTls => events.push(Event::TlsEnd(None)),
            _ => {}
        }
        if self.is_external() {
            events.push(Event::ArmTaken);
            for age in [Age::Current, Age::Earlier] {
                events.extend([Event::TakeOverIf(age), Event::Answered(age, false)]);
            }
            events.push(Event::Answered(Age::Current, true));
            return events;
        }
        events.extend([Event::Finish, Event::Release, Event::Arm(ContractTrust::None)]);
        if self == Self::Contract {
            let trusts = [ContractTrust::SameHop, ContractTrust::Revoked];
            events.extend(trusts.map(Event::Arm));
            events.extend([Event::Prime, Event::ReadClosing, Event::BodyEnd, Event::Flush]);
            let announced = [Announced::Nothing, Announced::Promise, Announced::Refusal];
            events.extend(announced.map(Event::Response));
        }
        events
    }
}

/// Something that happens to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Arm(ContractTrust),
    Prime,
    /// A read that would wait, and nothing can be read.
    Wait(Shown),
    /// Two bytes, if they may be written.
    Write(Shown),
    /// One byte of HTTP.
    Read(Shown),
    /// The head of a closing response that refuses the request.
    ReadClosing,
    ReadEnd(Shown),
    ReadError,
    BodyEnd,
    Flush,
    Shutdown,
    Response(Announced),
    Finish,
    Release,
    // Above TLS.
    Text,
    TextFlushed,
    UnaskedText,
    OnText(Shown),
    Records(Piece, Shown),
    TlsEnd(Option<Alert>),
    // Another pool.
    ArmTaken,
    TakeOverIf(Age),
    Answered(Age, bool),
    // The failure.
    TakeOver,
    BeginSettling,
    Drained(LastRead, Shown),
    Settle(Shown),
    Deadline,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Announced {
    Nothing,
    Promise,
    Refusal,
}

/// A piece of a record of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Whole,
    First,
    Rest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    Current,
    Earlier,
}

/// What the socket shows, apart from what our side counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Shown {
    /// All is acknowledged.
    Quiet,
    /// None of the request is.
    NoneAcked,
    /// A part of it is.
    PartAcked,
    /// A byte waits that was not read.
    Data,
    /// A FIN, and none of the request acknowledged.
    Fin,
    /// The same, and then a reset.
    ResetAfterFin,
    /// A reset.
    Reset,
    /// A byte that we did not write.
    Bypassed,
    /// No counters.
    Unread,
}

/// One reading of the socket.
pub(super) struct Reading {
    pub(super) snapshot: Result<Snapshot, Unavailable>,
    pub(super) errno: Option<Errno>,
}

impl Probe for Reading {
    fn snapshot(&mut self) -> Result<Snapshot, Unavailable> {
        self.snapshot
    }

    fn take_errno(&mut self) -> Option<Errno> {
        self.errno.take()
    }

    fn elapsed(&mut self) -> Duration {
        Duration::ZERO
    }
}

impl Shown {
    pub(super) fn reading(self, counted: &Counted) -> Reading {
        let mut snapshot = Snapshot::new(TcpState::Established);
        snapshot.bytes_sent = counted.written;
        snapshot.bytes_received = counted.read;
        snapshot.bytes_acked = counted.written + 1;
        snapshot.data_segs_out = Some(counted.writes);
        (snapshot.total_retrans, snapshot.probes) = (Some(0), Some(0));
        let mut errno = None;
        match self {
            Self::Quiet => {}
            Self::NoneAcked => snapshot.bytes_acked = counted.before + 1,
            Self::PartAcked => snapshot.bytes_acked = (counted.before + 2).min(counted.written + 1),
            Self::Data => snapshot.bytes_received += 1,
            Self::Fin | Self::ResetAfterFin => {
                snapshot.state = TcpState::Other(8);
                snapshot.bytes_received += 1;
                snapshot.bytes_acked = counted.before + 1;
            }
            Self::Reset => (snapshot.state, errno) = (TcpState::Close, Some(Errno::ECONNRESET)),
            Self::Bypassed => snapshot.bytes_sent += 1,
            Self::Unread => {
                let snapshot = Err(Unavailable::ShortInfo(1));
                return Reading { snapshot, errno };
            }
        }
        if self == Self::ResetAfterFin {
            (snapshot.state, errno) = (TcpState::Close, Some(Errno::EPIPE));
        }
        Reading { snapshot: Ok(snapshot), errno }
    }
}

/// What was counted of a connection, without the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Counted {
    /// Bytes in the kernel, and those of them before the request's first.
    pub(super) written: u64,
    pub(super) before: u64,
    pub(super) writes: u32,
    pub(super) read: u64,
    pub(super) arms: u8,
}

/// What the machine said. What an event does not ask is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) armed: Option<Result<Armed, StaleReason>>,
    pub(super) id: Option<ExchangeId>,
    pub(super) passage: Option<Passage>,
    pub(super) wait: Option<WaitCheck>,
    pub(super) write: Option<WriteCheck>,
    pub(super) text: Option<TextCheck>,
    pub(super) end: Option<OwnEnd>,
    pub(super) refuses: bool,
    pub(super) takes_over: bool,
    pub(super) tcp: Option<TcpEvidence>,
}

/// Lets an event happen to a machine as its driver does.
pub(super) fn play(machine: &mut ExchangeMachine, event: Event, counted: &Counted) -> Outcome {
    let mut outcome = Outcome::default();
    let reading = |shown: Shown| shown.reading(counted);
    let contract = Contract::none();
    match event {
        Event::Arm(trust) => outcome.armed = Some(machine.arm(Outbound::new(trust, Some(0)))),
        Event::Prime => {
            outcome.armed = Some(machine.arm(Outbound::primer(ContractTrust::SameHop)));
        }
        Event::Wait(shown) => {
            let check = machine.before_wait(&mut reading(shown));
            outcome.wait = Some(check);
            if check == WaitCheck::Stale {
                machine.on_silent_stale();
            }
        }
        Event::Write(shown) => {
            let check = machine.before_write(&mut reading(shown));
            outcome.write = Some(check);
            if check == WriteCheck::Go {
                machine.on_written(2, 2, &mut reading(shown));
            }
        }
        Event::Read(shown) => outcome.passage = Some(machine.on_read(b"x", &mut reading(shown))),
        Event::ReadClosing => {
            let mut quiet = reading(Shown::Quiet);
            outcome.passage = Some(machine.on_read(closing_response(), &mut quiet));
        }
        Event::ReadEnd(shown) => {
            let _ = machine.on_end(&mut reading(shown));
        }
        Event::ReadError => machine.on_error(Some(Errno::ECONNRESET)),
        Event::BodyEnd => machine.on_body_end(),
        Event::Flush => machine.on_flush(),
        Event::Shutdown => outcome.end = Some(machine.before_shutdown()),
        Event::Response(announced) => {
            if machine.on_response(response(announced)) == FinalHead::Refusal {
                outcome.refuses = true;
                machine.take_over();
                let read = machine.ledger().exchange_read();
                machine.after_refusal(read, true);
            }
        }
        Event::Finish => {
            machine.finish();
        }
        Event::Release => machine.release(),
        Event::Text => {
            let check = machine.before_text();
            outcome.text = Some(check);
            if check != TextCheck::TakenOver {
                machine.on_text_written(2, 2, &mut reading(Shown::Quiet));
            }
        }
        Event::TextFlushed => machine.on_text_flushed(),
        Event::UnaskedText => machine.on_unasked_text(),
        Event::OnText(shown) => outcome.passage = Some(machine.on_text(b"x", &mut reading(shown))),
        Event::Records(piece, shown) => {
            let _ = machine.on_read(piece.bytes(), &mut reading(shown));
        }
        Event::TlsEnd(alert) => machine.on_tls_end(alert),
        Event::ArmTaken => outcome.id = machine.arm_taken(),
        Event::TakeOverIf(age) => outcome.takes_over = machine.take_over_if(age.id(counted)),
        Event::Answered(age, is_upgrade) => {
            let _ = machine.on_answered(age.id(counted), is_upgrade);
        }
        Event::TakeOver => machine.take_over(),
        Event::BeginSettling => outcome.tcp = machine.begin_settling(),
        Event::Drained(last, shown) => {
            let mut probe = reading(shown);
            if let (LastRead::Failed, Some(errno)) = (last, probe.errno) {
                machine.on_drain_error(errno);
                probe.errno = None;
            }
            match machine.on_drained(last, &contract, &mut probe) {
                SettleStep::Done(tcp) => outcome.tcp = Some(tcp),
                SettleStep::Wait(_) => {}
            }
        }
        Event::Settle(shown) => {
            let drained = machine.awaits_end().then_some(last_read(shown));
            outcome.tcp = machine.settle(drained, &contract, &mut reading(shown));
        }
        Event::Deadline => outcome.tcp = Some(machine.on_settle_deadline()),
    }
    if let (Some(tcp), Event::Drained(..) | Event::Settle(_) | Event::Deadline) =
        (outcome.tcp, event)
    {
        // Whatever it is, it can be concluded.
        let _ = machine.conclude(FailureKind::Broken, tcp, &mut reading(Shown::Unread));
    }
    outcome
}

impl Piece {
    /// One record of TLS with one byte in it, whole or split in its header.
    pub(super) fn bytes(self) -> &'static [u8] {
        const RECORD: &[u8] = &[23, 3, 3, 0, 1, 0];
        match self {
            Self::Whole => RECORD,
            Self::First => &RECORD[..2],
            Self::Rest => &RECORD[2..],
        }
    }
}

impl Age {
    fn id(self, counted: &Counted) -> ExchangeId {
        let current = u64::from(counted.arms);
        match self {
            Self::Current => ExchangeId(current),
            Self::Earlier => ExchangeId(current.wrapping_sub(1)),
        }
    }
}

/// How a drain ends where the socket shows this.
pub(super) fn last_read(shown: Shown) -> LastRead {
    match shown {
        Shown::Fin | Shown::ResetAfterFin => LastRead::End,
        Shown::Reset => LastRead::Failed,
        _ => LastRead::WouldBlock,
    }
}

const HOP: &str = "10.1.2.3:50211 10.1.2.9:80";

fn response(announced: Announced) -> &'static Response<()> {
    static RESPONSES: OnceLock<[Response<()>; 3]> = OnceLock::new();
    let make = |member: Option<&str>| {
        let builder = Response::builder().status(503).header("connection", "close, retry-contract");
        match member {
            Some(member) => {
                builder.header("retry-contract", format!("hop=\"{HOP}\", max=1000, rst{member}"))
            }
            None => builder,
        }
        .body(())
        .expect("a response")
    };
    let all = RESPONSES.get_or_init(|| [make(None), make(Some("")), make(Some(", refused"))]);
    match announced {
        Announced::Nothing => &all[0],
        Announced::Promise => &all[1],
        Announced::Refusal => &all[2],
    }
}

pub(super) fn closing_response() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let field =
            format!("Connection: close, retry-contract\r\nRetry-Contract: hop=\"{HOP}\", refused");
        format!("HTTP/1.1 503 Leaving\r\n{field}\r\nContent-Length: 0\r\n\r\n").into_bytes()
    })
}

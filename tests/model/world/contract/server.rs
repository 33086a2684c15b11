//! The server's end of one connection: its kernel's socket, the linger of that
//! socket, and how far the request got on its way to the application.

use super::super::server::{REQUEST, Sent};
use super::clauses::{Clause, Mode, Peer};
use super::does::Does;
use super::promise::offered;
use super::{Contracted, Position};

/// The server's end, at the granularity at which a process can be killed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Server {
    peer: Peer,
    /// Whether the server takes its client for one that understands the contract.
    is_offered: bool,
    /// Bytes of a request that is received whole.
    max: u8,
    /// Bytes that arrived in order: RCV.NXT.
    arrived: u8,
    /// Whether the last byte arrived before the one in front of it.
    gap: bool,
    /// Bytes that were read from the socket.
    read: u8,
    socket: Socket,
    /// Whether the socket lingers for no time: its end is a reset.
    is_armed: bool,
    stage: Stage,
    /// Whether a response was written on this connection.
    has_answered: bool,
    /// Whether a byte of a response is not acknowledged (SIOCOUTQ).
    is_unacked: bool,
    /// The side that is about to refuse found that nothing is dispatched.
    is_checked: bool,
    pub(crate) has_refused: bool,
    pub(crate) is_dispatched: bool,
    /// A reset discarded a response that was complete.
    pub(crate) is_erased: bool,
    pub(crate) sent: Sent,
}

/// What a kernel does with bytes that arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Socket {
    Open,
    Closed,
    Gone,
}

/// How far the request got, and what the process still does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    /// Bytes are read into a buffer; the application knows of nothing.
    Receives,
    /// The linger is as it must be when the request is dispatched.
    Prepared,
    /// The framework has the request, and has not begun with it.
    HandedOver,
    /// The application runs.
    Serves,
    /// The kernel has the response.
    Answered,
    /// The kernel has a closing response that refuses the request.
    Refuses,
    /// A FIN was sent; what is read is thrown away.
    Lingers,
    /// The process is no more, or closed the socket.
    Gone,
}

use self::Stage::*;

impl Server {
    pub(crate) fn new(world: &Contracted, peer: Peer, position: Position, max: u8) -> Self {
        let offer = offered(world, peer);
        let is_reused = position == Position::Later;
        Self {
            peer,
            is_offered: offer.has_rst() && offer.has_fin() && offer.has_gone(),
            max,
            arrived: 0,
            gap: false,
            read: 0,
            socket: Socket::Open,
            is_armed: false,
            stage: Receives,
            has_answered: is_reused,
            is_unacked: is_reused,
            is_checked: false,
            has_refused: false,
            is_dispatched: false,
            is_erased: false,
            sent: Sent { acks: 1, fin: None, response: None, reset: false },
        }
    }

    /// Returns what the server can do now.
    pub(crate) fn options(&self, world: &Contracted) -> Vec<Does> {
        let is_gone = self.stage == Gone;
        let knows = 1 << self.arrived;
        let kernel = [
            (Does::Acknowledge, self.socket != Socket::Gone && self.sent.acks & knows == 0),
            (Does::Vanish, self.socket != Socket::Gone),
            (Does::Forget, self.socket == Socket::Closed),
            (Does::End, !is_gone),
            (Does::Read, !is_gone && self.arrived > self.read),
        ];
        let process = match (is_gone, self.peer) {
            (true, _) => Vec::new(),
            (false, Peer::Ours | Peer::BehindProxy) => self.contracted(world),
            (false, Peer::Stranger | Peer::Relay) => self.unbound(),
        };
        let can = kernel.into_iter().chain(process).filter(|(_, can)| *can);
        can.map(|(does, _)| does).collect()
    }

    /// What a server of ours does.
    fn contracted(&self, world: &Contracted) -> Vec<(Does, bool)> {
        let drops = |clause| world.drops(clause);
        let is_rst = world.mode == Mode::Rst;
        let is_late = drops(Clause::BeforeHandOver);
        let (at, armed) = (self.stage, self.is_armed);
        let is_silent = self.sent.response.is_none() && self.sent.fin.is_none();
        let is_acked = !self.is_unacked || drops(Clause::ArmedWhenAcked);
        let is_whole = self.is_whole() || (self.read > 0 && drops(Clause::WholeRequests));
        let is_idle =
            matches!(at, Receives | Answered) || (at == HandedOver && drops(Clause::ArmedByTakeUp));
        let is_refusable = match drops(Clause::OneLock) {
            true => self.is_checked,
            false => matches!(at, Receives | Prepared),
        };
        let after_fin = at == Lingers && drops(Clause::NothingAfterFin) && !self.has_refused;
        let arms = match is_rst {
            true => is_idle && self.has_answered && is_acked,
            false => is_late && at == Serves,
        };
        let disarms = match is_rst {
            true => at == Receives || (is_late && at == Serves),
            false => at == Answered || (at == Serves && drops(Clause::ArmedUntilResponse)),
        };
        let shuts = match is_rst {
            true => at != HandedOver,
            false => !matches!(at, Prepared | HandedOver | Serves) || drops(Clause::NoShutdown),
        };
        vec![
            (Does::Arm, arms && !armed && self.is_offered),
            (Does::Disarm, disarms && armed),
            (Does::Prepare, at == Receives && is_whole && !is_late),
            (Does::HandOver, at == Prepared || (is_late && at == Receives && is_whole)),
            (Does::Dispatch, at == HandedOver || (after_fin && is_whole && !self.is_dispatched)),
            (Does::Respond, at == Serves && is_silent),
            (Does::Check, drops(Clause::OneLock) && matches!(at, Receives | Prepared)),
            (Does::Refuse, is_refusable && is_silent && self.is_offered),
            (Does::Shutdown, shuts && at != Lingers && self.sent.fin.is_none()),
            (Does::Timer, at == Serves && drops(Clause::NoTimer)),
        ]
    }

    /// What others do: anything.
    fn unbound(&self) -> Vec<(Does, bool)> {
        let is_silent = self.sent.response.is_none() && self.sent.fin.is_none();
        vec![
            (Does::Arm, !self.is_armed),
            (Does::Respond, self.stage == Serves && is_silent),
            (Does::Shutdown, self.stage != Lingers && self.sent.fin.is_none()),
        ]
    }

    /// S1: whether the request may be dispatched.
    fn is_whole(&self) -> bool {
        self.read == REQUEST || (REQUEST > self.max && self.read > 0)
    }

    pub(crate) fn act(&mut self, does: Does, world: &Contracted) {
        match does {
            Does::Read => self.on_read(),
            Does::Arm => self.is_armed = true,
            Does::Disarm => self.is_armed = false,
            Does::Prepare => {
                (self.is_armed, self.stage) =
                    (world.mode == Mode::Fin && self.is_offered, Prepared);
            }
            Does::HandOver => self.stage = HandedOver,
            Does::Dispatch => {
                self.is_dispatched = true;
                if self.stage == HandedOver {
                    self.stage = Serves;
                }
            }
            Does::Respond => {
                self.respond();
                self.stage = Answered;
            }
            Does::Check => self.is_checked = true,
            Does::Refuse => {
                self.respond();
                (self.has_refused, self.is_armed) = (true, false);
                let goes_on = world.drops(Clause::NothingAfterRefused);
                if matches!(self.stage, Receives | Prepared) && !goes_on {
                    self.stage = Refuses;
                }
            }
            Does::Shutdown => {
                self.sent.fin = Some(self.send());
                self.stage = if self.stage == Serves { Serves } else { Lingers };
            }
            Does::End => self.end(),
            Does::Timer => self.reset(),
            Does::Vanish => (self.stage, self.socket) = (Gone, Socket::Gone),
            Does::Acknowledge => {
                self.send();
            }
            Does::Forget => self.socket = Socket::Gone,
        }
    }

    fn on_read(&mut self) {
        self.read += 1;
        let is_ours = matches!(self.peer, Peer::Ours | Peer::BehindProxy);
        if !is_ours && self.stage == Receives {
            (self.is_dispatched, self.stage) = (true, Serves);
        }
    }

    fn respond(&mut self) {
        self.sent.response = Some(self.send());
        (self.has_answered, self.is_unacked) = (true, true);
    }

    fn end(&mut self) {
        if self.is_armed || self.arrived > self.read {
            return self.reset();
        }
        (self.stage, self.socket) = (Gone, Socket::Closed);
        if self.sent.fin.is_none() {
            self.sent.fin = Some(self.send());
        }
    }

    /// Throws away what was not delivered, in both directions.
    fn reset(&mut self) {
        let is_answer = self.sent.response.is_some() && !self.has_refused;
        self.is_erased |=
            is_answer && self.is_unacked && self.peer == Peer::Ours && REQUEST <= self.max;
        self.sent.reset = true;
        (self.stage, self.socket) = (Gone, Socket::Gone);
    }

    /// Returns the acknowledgement that a segment carries that leaves now.
    fn send(&mut self) -> u8 {
        self.sent.acks |= 1 << self.arrived;
        self.arrived
    }

    /// A segment of the request arrives.
    pub(crate) fn on_segment(&mut self, segment: u8) {
        match self.socket {
            Socket::Open if segment == self.arrived => {
                self.arrived += if self.gap { 2 } else { 1 };
                self.gap = false;
            }
            Socket::Open if segment > self.arrived => self.gap = true,
            Socket::Open => {}
            Socket::Closed if segment < self.arrived => self.sent.acks |= 1 << self.arrived,
            Socket::Closed | Socket::Gone => {
                (self.socket, self.sent.reset) = (Socket::Gone, true);
            }
        }
        // It acknowledges all that its sender had read before.
        if self.sent.response.is_none() {
            self.is_unacked = false;
        }
    }

    /// The client's kernel acknowledges what it has received.
    pub(crate) fn on_ack(&mut self) {
        self.is_unacked = false;
    }

    pub(crate) fn wants_ack(&self) -> bool {
        self.is_unacked && self.socket != Socket::Gone
    }

    /// A probe of an idle connection arrives.
    pub(crate) fn on_probe(&mut self) {
        self.sent.reset |= self.socket == Socket::Gone;
    }

    /// Returns `true` if a client that offered nothing is treated as one that did.
    pub(super) fn speaks_unasked(&self) -> bool {
        self.peer == Peer::BehindProxy && (self.is_armed || self.has_refused)
    }

    /// Returns `true` if the client's kernel could still hear something new.
    pub(crate) fn is_gone(&self) -> bool {
        self.socket == Socket::Gone
    }
}

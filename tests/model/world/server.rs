//! The peer of one connection: its kernel's socket, and the application on it.

use super::premises::{AfterFin, PeerTcp, Premises};

/// Bytes of the request, at most; each is a segment of its own.
pub(crate) const REQUEST: u8 = 2;

/// The peer's socket, and what its application does with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Server {
    /// Bytes of the request.
    request: u8,
    /// Bytes that arrived in order: RCV.NXT.
    pub(crate) arrived: u8,
    /// Whether the last byte arrived before the one in front of it.
    gap: bool,
    /// Bytes that came in outside TCP.
    pub(crate) bypassed: u8,
    read: u8,
    read_bypassed: u8,
    /// Whether something was taken from the connection after its FIN had left.
    read_after_fin: bool,
    socket: Socket,
    app: App,
    pub(crate) sent: Sent,
}

/// What a kernel does with bytes that arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Socket {
    /// It takes them in.
    Open,
    /// Closed by its application (FIN-WAIT, TIME-WAIT): it acknowledges those
    /// it has had, and refuses new ones.
    Closed,
    /// There is none any more: it refuses all.
    Gone,
}

/// What an application does with its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum App {
    /// It reads and dispatches.
    Serves,
    /// It sent its FIN, and reads on and dispatches.
    HalfClosed,
    /// It sent its FIN, and reads on to throw away.
    Lingers,
    /// It closed, or is no more.
    Gone,
}

/// What a peer has sent so far. The network may deliver any of it at any time,
/// in any order, any number of times or never: that covers delay, reordering,
/// loss and retransmission.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sent {
    /// Which acknowledgements it sent: bit `n` for `n` bytes.
    pub(crate) acks: u8,
    /// Its FIN, and what that acknowledged when it first left.
    pub(crate) fin: Option<u8>,
    /// Its response of one byte, likewise.
    pub(crate) response: Option<u8>,
    pub(crate) reset: bool,
}

impl Sent {
    /// Returns the acknowledgements that segments sent since `first` carried.
    pub(crate) fn acks_since(&self, first: u8) -> impl Iterator<Item = u8> + use<> {
        let acks = self.acks;
        (first..=REQUEST).filter(move |ack| acks & (1 << ack) != 0)
    }
}

/// What a peer can do by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Does {
    /// Reads one segment. A server thereby dispatches it.
    Read,
    /// Reads a segment that came in outside TCP.
    ReadBypassed,
    /// Reads a segment that its kernel does not count as received yet.
    ReadAhead,
    /// Sends a response of one byte, before a request has come perhaps.
    Respond,
    /// Sends its FIN, and reads on to dispatch.
    HalfClose,
    /// Sends its FIN, and reads on to throw away.
    Linger,
    /// Closes, or exits, or is killed: with bytes unread that is a reset.
    Close,
    /// Resets.
    Reset,
    /// Loses power.
    Vanish,
    /// Its kernel sends an acknowledgement, or sends again what it had sent.
    Acknowledge,
    /// Its kernel forgets a connection that was closed.
    Forget,
}

impl Server {
    pub(crate) fn new(request: u8) -> Self {
        Self {
            request,
            arrived: 0,
            gap: false,
            bypassed: 0,
            read: 0,
            read_bypassed: 0,
            read_after_fin: false,
            socket: Socket::Open,
            app: App::Serves,
            sent: Sent { acks: 1, fin: None, response: None, reset: false },
        }
    }

    fn is_unread(&self) -> bool {
        self.arrived > self.read
    }

    /// Returns what the peer can do now. `acked` is what the client's kernel
    /// knows to be acknowledged.
    pub(crate) fn options(&self, premises: &Premises, acked: u8) -> Vec<Does> {
        let is_open = self.app != App::Gone;
        let has_sent_fin = self.sent.fin.is_some();
        let may = |ends| self.may_end(premises, acked, ends);
        let takes = self.app == App::Serves || self.takes_after_fin(premises);
        let options = [
            (Does::Read, self.arrived > self.read && (takes || self.app == App::Lingers)),
            (Does::ReadBypassed, self.bypassed > self.read_bypassed && takes),
            (Does::ReadAhead, self.gap && takes && premises.peer_tcp == PeerTcp::ReadsAhead),
            (Does::Respond, is_open && !has_sent_fin && self.sent.response.is_none()),
            (Does::HalfClose, is_open && !has_sent_fin && self.socket == Socket::Open),
            (Does::Linger, is_open && !has_sent_fin && self.socket == Socket::Open),
            (Does::Close, is_open && may(Does::Close)),
            (Does::Reset, is_open && may(Does::Reset)),
            (Does::Vanish, self.socket != Socket::Gone && may(Does::Vanish)),
            (Does::Acknowledge, self.socket != Socket::Gone && !self.has_acknowledged()),
            (Does::Forget, self.socket == Socket::Closed && may(Does::Forget)),
        ];
        options.into_iter().filter(|(_, can)| *can).map(|(does, _)| does).collect()
    }

    fn has_acknowledged(&self) -> bool {
        self.sent.acks & (1 << self.arrived) != 0
    }

    /// P1: a server that dispatched something after its FIN does not give the
    /// connection up before the client's TCP knows that it was received.
    fn may_end(&self, premises: &Premises, acked: u8, ends: Does) -> bool {
        let Some(fin) = self.sent.fin.filter(|_| self.read_after_fin) else { return true };
        match premises.after_fin {
            AfterFin::LoneAckArrivesFirst => {
                let is_closed_only = ends == Does::Close && !self.is_unread();
                acked > fin || is_closed_only || self.arrived > fin + 1
            }
            AfterFin::AckArrivesFirst | AfterFin::TakesUpNothing => acked > fin,
            AfterFin::AllAckedFirst => acked >= self.read,
            AfterFin::AckSentFirst => self.sent.acks_since(fin + 1).next().is_some(),
            AfterFin::ResetWaits => acked > fin || (ends == Does::Close && !self.is_unread()),
            AfterFin::AtAnyTime => true,
        }
    }

    /// Does what it can. Returns `true` if something was taken from the
    /// connection to be acted on.
    pub(crate) fn act(&mut self, does: Does, premises: &Premises) -> bool {
        match does {
            Does::Read => {
                self.read += 1;
                let takes = self.app != App::Lingers;
                self.read_after_fin |= takes && self.sent.fin.is_some();
                return takes;
            }
            Does::ReadBypassed => {
                self.read_bypassed += 1;
                return true;
            }
            Does::ReadAhead => return true,
            Does::Respond => self.sent.response = Some(self.send(premises)),
            Does::HalfClose => {
                self.app = App::HalfClosed;
                self.sent.fin = Some(self.send(premises));
            }
            Does::Linger => {
                self.app = App::Lingers;
                self.sent.fin = Some(self.send(premises));
            }
            Does::Close if self.is_unread() => self.reset(),
            Does::Close => {
                self.app = App::Gone;
                if self.socket == Socket::Open {
                    self.socket = Socket::Closed;
                    if self.sent.fin.is_none() {
                        self.sent.fin = Some(self.send(premises));
                    }
                }
            }
            Does::Reset => self.reset(),
            Does::Vanish => (self.app, self.socket) = (App::Gone, Socket::Gone),
            Does::Acknowledge => self.sent.acks |= 1 << self.arrived,
            Does::Forget => self.socket = Socket::Gone,
        }
        false
    }

    /// Returns the acknowledgement that a segment carries that leaves now.
    fn send(&mut self, premises: &Premises) -> u8 {
        if premises.peer_tcp == PeerTcp::StaleAck {
            return 0;
        }
        self.sent.acks |= 1 << self.arrived;
        self.arrived
    }

    fn reset(&mut self) {
        if self.socket == Socket::Open {
            self.sent.reset = true;
        }
        (self.app, self.socket) = (App::Gone, Socket::Gone);
    }

    /// Returns the segments whose arrival would change something, out of the
    /// `sent` that the client sent.
    pub(crate) fn deliverable(&self, sent: u8) -> impl Iterator<Item = u8> + use<> {
        let (arrived, gap, refused) = (self.arrived, self.gap, self.sent.reset);
        let is_open = self.socket == Socket::Open;
        (0..sent).filter(move |&segment| match is_open {
            true => segment == arrived || (segment > arrived && !gap),
            false => !refused,
        })
    }

    /// A segment of the request arrives.
    pub(crate) fn on_segment(&mut self, segment: u8) {
        match self.socket {
            Socket::Open if segment == self.arrived => {
                self.arrived += if self.gap { 2 } else { 1 };
                self.gap = false;
            }
            Socket::Open => self.gap = true,
            Socket::Closed if segment < self.arrived => self.sent.acks |= 1 << self.arrived,
            Socket::Closed | Socket::Gone => {
                self.sent.reset = true;
                self.socket = Socket::Gone;
            }
        }
    }

    fn takes_after_fin(&self, premises: &Premises) -> bool {
        self.app == App::HalfClosed && premises.after_fin != AfterFin::TakesUpNothing
    }

    /// Returns `true` if the application has read the whole request.
    pub(crate) fn has_all(&self) -> bool {
        self.read + self.read_bypassed == self.request
    }

    /// Returns `true` if the application is no more, or throws away.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self.app, App::Lingers | App::Gone)
    }

    /// Forgets what no longer matters once the client has let go: only what can
    /// still be dispatched does.
    pub(crate) fn forget_client(&mut self, can_be_dispatched: bool, premises: &Premises) {
        let takes = self.app == App::Serves || self.takes_after_fin(premises);
        let nothing = Self::new(self.request);
        *self = match takes && can_be_dispatched {
            true => {
                Self { app: App::Serves, sent: nothing.sent, read_after_fin: false, ..self.clone() }
            }
            false => Self { app: App::Gone, socket: Socket::Gone, ..nothing },
        };
    }
}

impl Does {
    pub(crate) fn is_read(self) -> bool {
        matches!(self, Self::Read | Self::ReadBypassed | Self::ReadAhead)
    }
}

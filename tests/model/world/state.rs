//! The states of the world, and its steps.

use tower_resend_core::{Errno, Fate, classify};

use super::World;
use super::client::{Act, Client};
use super::premises::Premises;
use super::server::{Does, Server};

/// A state of the world.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// Whether the peers are relays: what they read is dispatched by a server
    /// behind them, at any later time or never.
    pub(crate) relayed: bool,
    /// In how many segments the request goes out.
    request: u8,
    pub(crate) first: Connection,
    pub(crate) second: Option<Connection>,
    pub(crate) fates: [Option<Fate>; 2],
}

/// One connection, and what became of the request on it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Connection {
    /// Gone once the client has let go.
    pub(crate) client: Option<Client>,
    pub(crate) server: Server,
    /// How many segments the network has.
    pub(crate) sent: u8,
    /// Whether a relay has something of the request that it may pass on.
    pub(crate) is_held: bool,
    pub(crate) is_dispatched: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Attempt {
    First,
    Second,
}

/// One step of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The client acts.
    Client(Act),
    /// The client's kernel sends the next segment.
    ClientSends,
    /// The client's socket ends by a timer of its host.
    ClientTimer,
    /// A server, or a relay, acts.
    Server(Attempt, Does),
    /// A relay passes the request on, and a server dispatches it.
    Relays(Attempt),
    /// A segment of the request arrives.
    Segment(Attempt, u8),
    /// An acknowledgement arrives at the client.
    Ack(u8),
    /// The response arrives, with an acknowledgement.
    Response(u8),
    /// A FIN arrives, with an acknowledgement.
    Fin(u8),
    /// A reset arrives.
    Reset,
    /// Someone else in the client reads a byte.
    ReadElsewhere,
    /// Someone else in the client takes the pending error.
    ErrorElsewhere,
    /// A party that overheard a segment acts on it.
    Overhears(Attempt),
}

use self::Attempt::{First, Second};

impl Action {
    /// Returns `true` if it is of the first attempt, or of a second to which nothing
    /// happens.
    pub(crate) fn is_ordinary(&self) -> bool {
        match self {
            Self::Server(Second, does) => *does == Does::Read,
            Self::Server(First, _) | Self::Relays(_) | Self::Segment(..) => true,
            Self::Client(act) => matches!(act, Act::StaleCheck | Act::Write),
            Self::ClientSends => true,
            Self::Overhears(at) => *at == First,
            _ => false,
        }
    }
}

impl State {
    pub(crate) fn new(relayed: bool, request: u8) -> Self {
        let first = Connection::new(request);
        Self { relayed, request, first, second: None, fates: [None, None] }
    }

    /// Sends the request again, on another connection.
    pub(crate) fn send_again(&mut self) {
        self.second = Some(Connection::new(self.request));
    }

    pub(crate) fn is_dispatched_again(&self) -> bool {
        self.second.as_ref().is_some_and(|second| second.is_dispatched)
    }

    /// Returns the attempt that is not over yet, or was the last.
    pub(crate) fn under_way(&self) -> Attempt {
        if self.second.is_some() { Second } else { First }
    }

    pub(crate) fn at(&mut self, attempt: Attempt) -> &mut Connection {
        match (attempt, &mut self.second) {
            (Second, Some(second)) => second,
            _ => &mut self.first,
        }
    }

    pub(crate) fn current(&self) -> &Connection {
        self.second.as_ref().unwrap_or(&self.first)
    }

    /// Takes a step. Returns the fate of the attempt that it ended.
    pub(crate) fn step(&mut self, action: Action, world: &World) -> Option<Fate> {
        let relayed = self.relayed;
        match action {
            Action::Server(at, does) => {
                let connection = self.at(at);
                let takes = connection.server.act(does, &world.premises);
                if takes && (connection.server.has_all() || !world.premises.whole_messages) {
                    connection.is_held = relayed;
                    connection.is_dispatched |= !relayed;
                }
            }
            Action::Segment(at, segment) => self.at(at).server.on_segment(segment),
            Action::Relays(at) | Action::Overhears(at) => self.at(at).is_dispatched = true,
            _ => {
                let attempt = self.under_way();
                return self.at(attempt).client_step(action, world);
            }
        }
        None
    }
}

impl Connection {
    fn new(request: u8) -> Self {
        Self {
            client: Some(Client::new(request)),
            server: Server::new(request),
            sent: 0,
            is_held: false,
            is_dispatched: false,
        }
    }

    fn client_step(&mut self, action: Action, world: &World) -> Option<Fate> {
        let client = self.client.as_mut()?;
        let socket = &mut client.socket;
        match action {
            Action::Client(act) => {
                self.server.bypassed += u8::from(act == Act::WriteBypassed);
                let evidence = client.act(act, &world.rule, &world.premises)?;
                return Some(classify(&evidence, &world.rule.contract()));
            }
            Action::ClientSends => {
                socket.send();
                self.sent = socket.sent;
            }
            Action::ClientTimer => socket.end(Errno::ETIMEDOUT),
            Action::Ack(ack) => socket.on_ack(ack),
            Action::Response(ack) => {
                socket.on_ack(ack);
                socket.on_response();
            }
            Action::Fin(ack) => {
                socket.on_ack(ack);
                socket.on_fin(u8::from(self.server.sent.response.is_some()));
            }
            Action::Reset => socket.on_reset(),
            Action::ReadElsewhere => socket.read_elsewhere(),
            Action::ErrorElsewhere => {
                socket.take_error();
            }
            _ => unreachable!("{action:?} is none of the client's"),
        }
        None
    }

    /// Forgets what can no longer matter once the client has let go.
    pub(crate) fn forget(&mut self, premises: &Premises) {
        if self.client.is_some() {
            return;
        }
        let can_be_dispatched = !self.is_dispatched && (self.sent > 0 || self.server.bypassed > 0);
        self.server.forget_client(can_be_dispatched, premises);
        if self.is_dispatched || (self.server.is_done() && premises.no_replayer) {
            self.sent = 0;
        }
        self.is_held &= !self.is_dispatched;
    }
}

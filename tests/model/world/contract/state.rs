//! The states of the world, and its steps.

use tower_resend_core::{Answer, Evidence, Fate, HandOff, classify};

use super::super::client::{Act, Client};
use super::super::premises::Premises;
use super::super::rule::Rule;
use super::super::server::REQUEST;
use super::clauses::{Middlebox, Peer};
use super::does::Does;
use super::promise::{Belief, Close};
use super::server::Server;
use super::{Contracted, Position};

/// A state of the world: one attempt.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// Gone once the attempt is over.
    client: Option<Client>,
    belief: Belief,
    pub(crate) server: Server,
    /// Bytes of the request, a bit each, that a segment on its way carries.
    on_the_way: u8,
    close: Close,
    pub(crate) fate: Option<Fate>,
}

/// One step of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The client acts.
    Client(Act),
    /// The client's kernel sends the next segment.
    ClientSends,
    /// The client's kernel sends again what is not acknowledged.
    ClientRetransmits,
    /// The client's kernel asks whether the server is there.
    ClientProbes,
    /// The client's kernel acknowledges what it received, and that arrives.
    ClientAcks,
    /// The server acts.
    Server(Does),
    /// A segment of the request arrives.
    Segment(u8),
    /// An acknowledgement arrives at the client.
    Ack(u8),
    /// The response arrives, with an acknowledgement.
    Response(u8),
    /// A FIN arrives, with an acknowledgement.
    Fin(u8),
    /// A reset arrives.
    Reset,
    /// A reset arrives that the server did not send.
    InjectedReset,
}

impl State {
    pub(crate) fn new(world: &Contracted, peer: Peer, position: Position, max: u8) -> Self {
        Self {
            client: Some(Client::new(REQUEST)),
            belief: Belief::new(world, peer, position, max),
            server: Server::new(world, peer, position, max),
            on_the_way: 0,
            close: Close::default(),
            fate: None,
        }
    }

    pub(crate) fn actions(&self, world: &Contracted, to: &mut Vec<Action>) {
        // What is not sent again is of no interest.
        if self.fate.is_some_and(|fate| !fate.is_not_applied()) || self.is_decided() {
            return;
        }
        let is_heard = self.client.is_some();
        let options = self.server.options(world).into_iter();
        to.extend(options.filter(|does| is_heard || does.leads_on()).map(Action::Server));
        let segments = (0..REQUEST).filter(|segment| self.on_the_way & (1 << segment) != 0);
        to.extend(segments.map(Action::Segment));
        if let Some(client) = &self.client {
            self.client_actions(client, world, to);
        }
    }

    /// Whether the request is dispatched that is sent again: the worst there is.
    fn is_decided(&self) -> bool {
        self.fate.is_some() && self.server.is_dispatched
    }

    fn client_actions(&self, client: &Client, world: &Contracted, to: &mut Vec<Action>) {
        let (socket, sent) = (&client.socket, &self.server.sent);
        to.extend(of_interest(client).into_iter().map(Action::Client));
        let is_all_acked = socket.acked == socket.sent;
        let is_gone = self.server.is_gone();
        let mut when = |can: bool, action| to.extend(can.then_some(action));
        when(socket.can_send(), Action::ClientSends);
        when(!is_all_acked && socket.wants_reset(), Action::ClientRetransmits);
        let is_probing = is_gone && !sent.reset && is_all_acked && socket.wants_reset();
        when(is_probing, Action::ClientProbes);
        let has_all = socket.has_response() || sent.response.is_none();
        when(self.server.wants_ack() && has_all && socket.wants_reset(), Action::ClientAcks);
        when(socket.wants_reset() && sent.reset, Action::Reset);
        let injects = world.middlebox != Middlebox::None && socket.wants_reset();
        when(injects, Action::InjectedReset);
        for ack in sent.acks_since(0) {
            when(socket.is_news(ack), Action::Ack(ack));
        }
        if let (Some(first), true) = (sent.response, socket.wants_response()) {
            sent.acks_since(first).for_each(|ack| when(true, Action::Response(ack)));
        }
        if let (Some(first), true) = (sent.fin, socket.wants_fin()) {
            sent.acks_since(first).for_each(|ack| when(true, Action::Fin(ack)));
        }
    }

    pub(crate) fn step(&mut self, action: Action, world: &Contracted) {
        match action {
            Action::Server(does) => return self.server.act(does, world),
            Action::Segment(segment) => {
                self.on_the_way &= !(1 << segment);
                return self.server.on_segment(segment);
            }
            Action::ClientAcks => return self.server.on_ack(),
            _ => {}
        }
        let Some(client) = &mut self.client else { return };
        let socket = &mut client.socket;
        match action {
            Action::Client(act) => self.client_acts(act, world),
            Action::ClientSends => {
                self.on_the_way |= 1 << socket.sent;
                socket.send();
            }
            Action::ClientRetransmits => {
                self.close.is_retransmitted = true;
                self.on_the_way |= (socket.acked..socket.sent).fold(0, |bits, at| bits | 1 << at);
            }
            Action::ClientProbes => {
                self.close.is_probed = true;
                self.server.on_probe();
            }
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
            Action::InjectedReset => {
                self.close.is_late |= world.middlebox == Middlebox::Late;
                socket.on_reset();
            }
            Action::Server(_) | Action::Segment(_) | Action::ClientAcks => {}
        }
    }

    fn client_acts(&mut self, act: Act, world: &Contracted) {
        let Some(client) = &mut self.client else { return };
        let contract = self.belief.contract();
        let reads = matches!(act, Act::Read | Act::Drain) && client.socket.has_unread();
        let is_refusal = reads && self.server.has_refused && self.belief.believes_refusal;
        let evidence = match is_refusal && client.is_written() {
            true => Some(Evidence::new(HandOff::Written).with_answer(Answer::Refused)),
            false => client.act(act, &Rule { dropped: &[], stated: contract }, &PREMISES),
        };
        let bytes = client.response_bytes();
        if let Some(evidence) = evidence {
            let evidence = self.belief.limit(world, evidence, self.close, bytes);
            self.fate = Some(classify(&evidence, &contract));
            self.client = None;
        }
    }
}

/// The client gives up only where that may prove something, and the order in
/// which it reads the counters is walked by the other model.
fn of_interest(client: &Client) -> Vec<Act> {
    let mut acts = client.options(&PREMISES);
    let has_failed = acts.iter().any(|act| matches!(act, Act::Drain | Act::Inspect { .. }));
    acts.retain(|act| match act {
        Act::Inspect { is_lagging } => !is_lagging,
        Act::GiveUp => has_failed,
        _ => true,
    });
    acts
}

const PREMISES: Premises = Premises { bypass: false, ..Premises::HOLD };

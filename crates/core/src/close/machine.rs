//! The state of a connection, and what follows from it.

use crate::contract::Offer;

use super::event::{CloseMode, ClosingMessage, Event, Linger, Phase, Step};

/// How far what was written has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Octets {
    /// The peer has acknowledged all of it.
    #[default]
    Acked,
    /// The kernel has all of it.
    Unacked,
    /// Some of it may not have reached the kernel.
    Unflushed,
}

/// The state of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CloseMachine {
    pub(super) mode: CloseMode,
    pub(super) phase: Phase,
    pub(super) octets: Octets,
    pub(super) linger: Linger,
    /// What is said before the FIN; decided on entering [`Phase::Closing`].
    pub(super) farewell: ClosingMessage,
    /// The offer of the latest request (S6).
    pub(super) offer: Offer,
    /// Whether the latest complete response announced the mode (C6).
    pub(super) in_force: bool,
    /// Whether the response being made announces it.
    pub(super) announces: bool,
    /// Whether the whole of the current request was received.
    pub(super) is_whole: bool,
    /// Whether anything was written since the current request began, or was
    /// dispatched.
    pub(super) wrote: bool,
    /// Whether any of that reached the kernel: only then does a FIN come after
    /// a byte of the response.
    pub(super) reached: bool,
    /// Whether HTTP waited for another request after the latest response, so
    /// that it does not end the connection by itself.
    pub(super) waited: bool,
    /// Whether the latest response told the client that it is the last.
    pub(super) told: bool,
    /// Whether anything was ever read.
    pub(super) is_used: bool,
    /// Whether the client does not wait for responses, so that bytes of
    /// several requests cannot be told apart.
    pub(super) pipelines: bool,
    /// Whether it cannot be told when the request that was dispatched ends.
    pub(super) is_lost: bool,
    pub(super) leaves: bool,
    pub(super) peer_ended: bool,
    pub(super) is_closed: bool,
    /// Whether the client was refused: nothing is dispatched any more (S4).
    pub(super) refused: bool,
    /// Whether the connection left HTTP/1.1 with a request dispatched under `fin`
    /// of whose answer no byte has reached the kernel: until one has, a FIN
    /// would be taken for the request's refusal.
    pub(super) owes_reset: bool,
}

impl CloseMachine {
    /// Returns the machine of a connection that was just accepted. Its socket
    /// must be set to [`Linger::Off`].
    pub fn new(mode: CloseMode) -> Self {
        Self {
            mode,
            phase: Phase::Idle,
            octets: Octets::Acked,
            linger: Linger::Off,
            farewell: ClosingMessage::Silent,
            offer: Offer::none(),
            in_force: false,
            announces: false,
            is_whole: false,
            wrote: false,
            reached: false,
            waited: false,
            told: false,
            is_used: false,
            pipelines: false,
            is_lost: false,
            leaves: false,
            peer_ended: false,
            is_closed: false,
            refused: false,
            owes_reset: false,
        }
    }

    /// Returns where the connection stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Returns `true` if the server leaves.
    pub fn leaves(&self) -> bool {
        self.leaves
    }

    /// Returns `true` if the connection is being closed.
    pub fn is_closing(&self) -> bool {
        self.phase == Phase::Closing
    }

    /// Returns whether it has to be seen whether HTTP waits for another request:
    /// only then does the connection end with a closing response.
    pub fn must_be_seen_waiting(&self) -> bool {
        self.phase == Phase::Idle && self.is_used && !self.waited && self.offer.has_gone()
    }

    /// Returns whether the server leaves and no request is begun.
    pub fn is_leaving_idle(&self) -> bool {
        self.leaves && matches!(self.phase, Phase::Idle | Phase::Receiving)
    }

    /// Returns whether bytes that arrive now are served if the server leaves:
    /// no request is begun, and the client does not know what `refused` means.
    pub fn serves_what_arrives(&self) -> bool {
        self.phase == Phase::Idle && !self.offer.has_gone()
    }

    /// Returns whether the connection left HTTP/1.1.
    pub fn is_tunnel(&self) -> bool {
        self.phase == Phase::Disarmed
    }

    /// Returns whether the connection left HTTP/1.1, sent its FIN, and its peer
    /// may still send.
    pub fn is_ended_tunnel(&self) -> bool {
        self.is_tunnel() && self.is_closed && !self.peer_ended
    }

    /// Returns what is said before the FIN.
    pub fn farewell(&self) -> ClosingMessage {
        self.farewell
    }

    /// Returns whether a reset could erase a response that the peer still
    /// waits for: one that was given before its whole request was read, or
    /// while the next one was already there.
    ///
    /// Nobody else has something to lose: a peer whose next bytes arrive after
    /// the FIN has read the response before them.
    pub fn can_lose_response(&self) -> bool {
        self.pipelines || (self.is_used && !self.is_whole)
    }

    /// Returns the offer of the latest request (S6).
    pub fn offer(&self) -> Offer {
        self.offer
    }

    /// Returns whether the response that is being made announces the mode.
    pub fn announces(&self) -> bool {
        self.announces
    }

    /// Returns whether anything was written since the request was dispatched.
    pub fn wrote(&self) -> bool {
        self.wrote
    }

    /// Returns whether all that is missing is the peer's acknowledgement, so
    /// that it must be asked for.
    pub fn needs_recheck(&self) -> bool {
        self.octets == Octets::Unacked && self.linger == Linger::Off && self.may_reset()
    }

    /// Takes note of an event, and says what follows.
    ///
    /// If the socket refuses to be set as the step says, what the event
    /// announces must not happen, and [`Event::Broken`] is the next event.
    pub fn on(&mut self, event: Event) -> Step {
        let is_allowed = self.note(event);
        let linger = self.wanted();
        let change = (linger != self.linger).then_some(linger);
        self.linger = linger;
        Step { linger: change, is_allowed }
    }

    /// Linger is a function of the state.
    fn wanted(&self) -> Linger {
        let is_reset = match self.mode {
            _ if self.is_closed => return self.linger,
            CloseMode::Plain => false,
            CloseMode::ResetBeforeDispatch => self.octets == Octets::Acked && self.may_reset(),
            CloseMode::FinBeforeDispatch => self.must_reset(),
        };
        if is_reset { Linger::Zero } else { Linger::Off }
    }

    /// `rst`: no request is dispatched, and the client knows what a reset means.
    fn may_reset(&self) -> bool {
        let is_before_take_up =
            matches!(self.phase, Phase::Idle | Phase::Receiving | Phase::Head | Phase::Received);
        self.mode == CloseMode::ResetBeforeDispatch
            && is_before_take_up
            && self.is_certain()
            && self.in_force
            && self.offer.has_rst()
    }

    /// Returns whether the requests of the connection can be told apart, so that
    /// it is known of the current one that no part or copy of it was dispatched.
    pub fn is_certain(&self) -> bool {
        !self.pipelines && !self.is_lost
    }

    /// `fin`: a request is dispatched, and a FIN would be taken for its refusal.
    pub(super) fn must_reset(&self) -> bool {
        if self.phase == Phase::Disarmed {
            return self.owes_reset;
        }
        let is_open = self.phase != Phase::Closing;
        let is_dispatched =
            matches!(self.phase, Phase::Dispatched | Phase::Answered) || self.is_lost;
        is_open && is_dispatched && (self.in_force || self.announces)
    }
}

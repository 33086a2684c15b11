//! What a server's connection must do when it ends, at any moment: a pure
//! state machine of one connection. Events in, the state of `SO_LINGER` out.
//!
//! Linger is a *function of the state*, never of counters: nothing that is
//! counted elsewhere (requests begun, responses finished) can arm a connection
//! while a request on it is taken up.

#[cfg(test)]
mod exhaustive;

use crate::contract::Offer;

/// What the way in which a connection ends says of a request on it that has no
/// answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseMode {
    /// A reset says that the request was not taken up (`rst`; S2).
    ///
    /// The connection is set to be reset while no request is taken up and every
    /// response octet is acknowledged.
    #[default]
    ResetBeforeTakeUp,
    /// A FIN without a response says that the request was not taken up
    /// (`fin`).
    ///
    /// The connection is set to be reset from before a request is taken up
    /// until the whole response was handed to the kernel. This fails safe
    /// where something on the way resets connections of others.
    FinBeforeTakeUp,
    /// The end of a connection says nothing.
    Plain,
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Nothing of a request was read, or not since the last response.
    #[default]
    Idle,
    /// Some octets were read, which may be part of a request's head.
    Receiving,
    /// A request's head reached the service, its body is being buffered.
    Head,
    /// The whole request was received; it is not taken up.
    Received,
    /// The request was passed to the application.
    TakenUp,
    /// The response is complete as far as the service is concerned; part of
    /// it may not have reached the kernel.
    Answered,
    /// The connection is being closed; nothing is taken up any more.
    Closing,
    /// The connection left HTTP/1.1: it says nothing any more.
    Disarmed,
}

/// How far what was written has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Octets {
    /// The peer has acknowledged all of it.
    #[default]
    Acked,
    /// The kernel has all of it.
    Unacked,
    /// Some of it may not have reached the kernel.
    Unflushed,
}

/// What happened to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Event {
    /// HTTP waits for octets.
    Waited,
    /// Octets were read. Not allowed: they must not reach HTTP.
    Read,
    /// The peer has sent its FIN.
    PeerEnded,
    /// A request reached the service, with this offer (S6).
    Began(Offer),
    /// The whole of the request was received (S1).
    Received,
    /// The request is to be passed to the application, after the step that
    /// this gives was made (S3). Not allowed: it must not.
    TakeUp,
    /// A response head is made. Not allowed: it must not announce.
    Announce,
    /// The service made the whole of the response.
    Answered,
    /// The exchange ended without a response that the service knows of.
    Abandoned,
    /// Octets are about to be written. Not allowed: they must not be.
    Write,
    /// Everything that was written reached the kernel.
    Flushed,
    /// The peer has acknowledged everything.
    Acked,
    /// The server leaves.
    GoAway,
    /// HTTP ends the connection. Not allowed: no FIN must be sent.
    Shutdown,
    /// The connection leaves HTTP/1.1.
    Disarm,
    /// The socket refused a command.
    Broken,
    /// The socket is about to be closed.
    Closed,
}

/// The setting of `SO_LINGER`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Linger {
    /// The connection ends with a FIN.
    #[default]
    Off,
    /// The connection ends with a reset (`SO_LINGER` 1, 0).
    Zero,
}

/// What a server says before its FIN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Farewell {
    /// Nothing.
    #[default]
    Silent,
    /// The closing response, to a client that asked for it (S6).
    Refusal,
    /// The connection was never used: what the settings say.
    Unused,
}

/// What follows from an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) struct Step {
    /// Linger must be set to this before anything else happens.
    pub(super) linger: Option<Linger>,
    /// Whether what the event announces may happen.
    pub(super) is_allowed: bool,
}

/// The state of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Machine {
    mode: CloseMode,
    phase: Phase,
    octets: Octets,
    linger: Linger,
    /// What is said before the FIN; decided on entering [`Phase::Closing`].
    farewell: Farewell,
    /// The offer of the latest request (S6).
    offer: Offer,
    /// Whether the latest complete response announced the mode (C6).
    in_force: bool,
    /// Whether the response being made announces it.
    announces: bool,
    /// Whether the whole of the current request was received.
    is_whole: bool,
    /// Whether anything was written since the current request began, or was
    /// taken up.
    wrote: bool,
    /// Whether HTTP waited for another request after the latest response, so
    /// that it does not end the connection by itself.
    waited: bool,
    /// Whether the latest response told the client that it is the last.
    told: bool,
    /// Whether anything was ever read.
    is_used: bool,
    /// Whether the client does not wait for responses, so that octets of
    /// several requests cannot be told apart.
    pipelines: bool,
    /// Whether it cannot be told when the request that was taken up ends.
    is_lost: bool,
    leaves: bool,
    peer_ended: bool,
    is_closed: bool,
}

impl Machine {
    pub(super) fn new(mode: CloseMode) -> Self {
        Self {
            mode,
            phase: Phase::Idle,
            octets: Octets::Acked,
            linger: Linger::Off,
            farewell: Farewell::Silent,
            offer: Offer::none(),
            in_force: false,
            announces: false,
            is_whole: false,
            wrote: false,
            waited: false,
            told: false,
            is_used: false,
            pipelines: false,
            is_lost: false,
            leaves: false,
            peer_ended: false,
            is_closed: false,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    pub(super) fn leaves(&self) -> bool {
        self.leaves
    }

    pub(super) fn is_closing(&self) -> bool {
        self.phase == Phase::Closing
    }

    /// Returns whether it has to be seen whether HTTP waits for another request:
    /// only then does the connection end with a closing response.
    pub(super) fn must_be_seen_waiting(&self) -> bool {
        self.phase == Phase::Idle && self.is_used && !self.waited && self.offer.has_gone()
    }

    /// Returns whether the server leaves and no request is begun.
    pub(super) fn is_leaving_idle(&self) -> bool {
        self.leaves && matches!(self.phase, Phase::Idle | Phase::Receiving)
    }

    pub(super) fn farewell(&self) -> Farewell {
        self.farewell
    }

    pub(super) fn offer(&self) -> Offer {
        self.offer
    }

    /// Returns whether the response that is being made announces the mode.
    pub(super) fn announces(&self) -> bool {
        self.announces
    }

    /// Returns whether anything was written since the request was taken up.
    pub(super) fn wrote(&self) -> bool {
        self.wrote
    }

    /// Returns whether all that is missing is the peer's acknowledgement, so
    /// that it must be asked for.
    pub(super) fn needs_recheck(&self) -> bool {
        self.octets == Octets::Unacked && self.linger == Linger::Off && self.may_reset()
    }

    /// Takes note of an event.
    pub(super) fn on(&mut self, event: Event) -> Step {
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
            CloseMode::ResetBeforeTakeUp => self.octets == Octets::Acked && self.may_reset(),
            CloseMode::FinBeforeTakeUp => self.must_reset(),
        };
        if is_reset { Linger::Zero } else { Linger::Off }
    }

    /// `rst`: no request is taken up, and the client knows what a reset means.
    fn may_reset(&self) -> bool {
        let is_before_take_up =
            matches!(self.phase, Phase::Idle | Phase::Receiving | Phase::Head | Phase::Received);
        let is_certain = !self.pipelines && !self.is_lost;
        self.mode == CloseMode::ResetBeforeTakeUp
            && is_before_take_up
            && is_certain
            && self.in_force
            && self.offer.has_rst()
    }

    /// `fin`: a request is taken up, and a FIN would be taken for its refusal.
    fn must_reset(&self) -> bool {
        let is_open = !matches!(self.phase, Phase::Closing | Phase::Disarmed);
        let is_taken_up = matches!(self.phase, Phase::TakenUp | Phase::Answered) || self.is_lost;
        is_open && is_taken_up && (self.in_force || self.announces)
    }

    /// Returns whether what the event announces may happen.
    fn note(&mut self, event: Event) -> bool {
        if self.phase == Phase::Disarmed {
            return self.note_disarmed(event);
        }
        match event {
            Event::Waited => self.on_wait(),
            Event::Read => return self.on_read(),
            Event::PeerEnded => self.peer_ended = true,
            Event::Began(offer) => self.on_begin(offer),
            Event::Received => self.on_received(),
            Event::TakeUp => return self.on_take_up(),
            Event::Announce => return self.on_announce(),
            Event::Answered => self.on_answered(),
            Event::Abandoned if self.phase == Phase::TakenUp => self.is_lost = true,
            Event::Abandoned => self.on_answered(),
            Event::Write => return self.on_write(),
            Event::Flushed => self.on_flushed(),
            Event::Acked if self.octets == Octets::Unacked => self.octets = Octets::Acked,
            Event::Acked => {}
            Event::GoAway => self.on_go_away(),
            Event::Shutdown => return self.on_shutdown(),
            Event::Disarm => self.phase = Phase::Disarmed,
            Event::Broken => self.phase = Phase::Closing,
            Event::Closed => self.on_closed(),
        }
        true
    }

    /// A tunnel, or another protocol: nothing is promised, all is allowed.
    fn note_disarmed(&mut self, event: Event) -> bool {
        match event {
            Event::GoAway => self.leaves = true,
            Event::Closed => self.is_closed = true,
            Event::TakeUp => return !self.is_closed,
            Event::Announce => return false,
            _ => {}
        }
        true
    }

    fn on_wait(&mut self) {
        if self.phase == Phase::Idle {
            self.waited = true;
            if self.leaves {
                self.close(self.owed());
            }
        }
    }

    fn on_read(&mut self) -> bool {
        match self.phase {
            Phase::Closing => return false,
            Phase::Idle => (self.phase, self.waited) = (Phase::Receiving, true),
            Phase::Received | Phase::TakenUp | Phase::Answered if self.is_whole => {
                self.pipelines = true;
            }
            _ => {}
        }
        self.is_used = true;
        true
    }

    fn on_begin(&mut self, offer: Offer) {
        match self.phase {
            Phase::Closing => return,
            Phase::Receiving => {}
            // The response before it is still on its way.
            Phase::TakenUp | Phase::Answered => self.is_lost = true,
            _ => self.pipelines = true,
        }
        if matches!(self.phase, Phase::TakenUp | Phase::Answered) {
            self.in_force |= self.announces;
        }
        self.phase = Phase::Head;
        self.offer = offer;
        self.announces = false;
        self.is_whole = false;
        self.wrote = false;
        self.waited = false;
        self.told = false;
    }

    fn on_received(&mut self) {
        if self.phase == Phase::Head {
            self.phase = Phase::Received;
        }
        self.is_whole = true;
    }

    /// Whoever understands `refused` is refused once the server leaves (S4).
    fn on_take_up(&mut self) -> bool {
        let is_pending = matches!(self.phase, Phase::Head | Phase::Received);
        if !is_pending || self.is_closed || self.must_refuse() {
            self.told |= is_pending;
            return false;
        }
        self.phase = Phase::TakenUp;
        self.wrote = false;
        true
    }

    /// Returns whether the current request must be refused.
    pub(super) fn is_refused(&self) -> bool {
        let is_pending = matches!(self.phase, Phase::Head | Phase::Received);
        self.is_closing() || (is_pending && self.must_refuse())
    }

    fn must_refuse(&self) -> bool {
        self.leaves && self.offer.has_gone()
    }

    fn on_announce(&mut self) -> bool {
        let is_answering = matches!(self.phase, Phase::Head | Phase::Received | Phase::TakenUp);
        if !is_answering || self.pipelines || self.is_lost || self.offer == Offer::none() {
            return false;
        }
        self.told |= self.leaves;
        self.announces = match self.mode {
            CloseMode::Plain => false,
            CloseMode::ResetBeforeTakeUp => self.offer.has_rst(),
            CloseMode::FinBeforeTakeUp => self.offer.has_fin(),
        };
        true
    }

    fn on_answered(&mut self) {
        if matches!(self.phase, Phase::Head | Phase::Received | Phase::TakenUp) {
            self.phase = Phase::Answered;
            self.octets = Octets::Unflushed;
        }
    }

    fn on_write(&mut self) -> bool {
        if self.phase == Phase::Closing {
            return false;
        }
        self.wrote = true;
        self.waited = false;
        self.octets = Octets::Unflushed;
        true
    }

    /// A response of which nothing was written is still on its way to HTTP.
    fn on_flushed(&mut self) {
        let is_answered = self.phase == Phase::Answered;
        if self.octets != Octets::Unflushed || (is_answered && !self.wrote) {
            return;
        }
        self.octets = Octets::Unacked;
        if is_answered {
            self.phase = Phase::Idle;
            self.in_force = self.announces || (self.is_lost && self.in_force);
        }
    }

    /// A request that the service has is refused by the service, one that is
    /// taken up is answered; the rest ends here.
    fn on_go_away(&mut self) {
        self.leaves = true;
        let is_quiet = self.octets != Octets::Unflushed;
        match self.phase {
            Phase::Idle if is_quiet => self.close(self.owed()),
            Phase::Receiving if is_quiet && self.offer.has_gone() => self.close(self.owed()),
            _ => {}
        }
    }

    /// What has to be said if the connection ends now.
    fn owed(&self) -> Farewell {
        match self.phase {
            _ if self.peer_ended || self.told => Farewell::Silent,
            Phase::Idle if !self.is_used => Farewell::Unused,
            // HTTP that ends a connection by itself has told the client with the
            // response; HTTP that was told to leave just now has not.
            Phase::Idle | Phase::Receiving
                if (self.waited || self.leaves) && self.offer.has_gone() =>
            {
                Farewell::Refusal
            }
            _ => Farewell::Silent,
        }
    }

    fn close(&mut self, farewell: Farewell) {
        self.phase = Phase::Closing;
        self.farewell = farewell;
    }

    fn on_shutdown(&mut self) -> bool {
        if self.must_reset() && !self.wrote {
            return false;
        }
        if self.phase != Phase::Closing {
            self.close(self.owed());
        }
        true
    }

    /// Nothing is taken up on a connection whose end its peer may have seen.
    fn on_closed(&mut self) {
        self.is_closed = true;
    }
}

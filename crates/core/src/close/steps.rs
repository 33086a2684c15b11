//! What each event changes.

use crate::contract::Offer;

use super::event::{CloseMode, ClosingMessage, Event, Phase};
use super::machine::{CloseMachine, Octets};

impl CloseMachine {
    /// Returns whether what the event announces may happen.
    pub(super) fn note(&mut self, event: Event) -> bool {
        if self.phase == Phase::Disarmed {
            return self.note_disarmed(event);
        }
        match event {
            Event::Waited => self.on_wait(),
            Event::Read => return self.on_read(),
            Event::PeerEnded => self.peer_ended = true,
            Event::Began(offer) => self.on_begin(offer),
            Event::Received => self.on_received(),
            Event::Dispatch => return self.on_take_up(),
            Event::Announce => return self.on_announce(),
            Event::ConnectionCloseSent => self.told |= self.is_answering(),
            Event::Refused => self.refused = true,
            Event::Answered => self.on_answered(),
            Event::Abandoned if self.phase == Phase::Dispatched => self.is_lost = true,
            Event::Abandoned => self.on_answered(),
            Event::Write => return self.on_write(),
            Event::Flushed => self.on_flushed(),
            Event::Acked if self.octets == Octets::Unacked => self.octets = Octets::Acked,
            Event::Acked => {}
            Event::GoAway => self.on_go_away(),
            Event::GoAwayLater => self.leaves = true,
            Event::Shutdown => return self.on_shutdown(),
            Event::Disarm => self.on_disarm(),
            Event::Broken => self.phase = Phase::Closing,
            Event::Closed => self.on_closed(),
        }
        true
    }

    /// A connection that is closing stays so: it may have told its client that
    /// nothing is dispatched.
    fn on_disarm(&mut self) {
        if self.phase == Phase::Closing {
            return;
        }
        let is_fin = self.mode == CloseMode::FinBeforeDispatch;
        self.owes_reset = is_fin && self.must_reset() && !self.reached;
        self.in_force |= self.announces;
        self.phase = Phase::Disarmed;
    }

    /// A tunnel, or another protocol: nothing more is promised, all is allowed.
    /// What was promised before holds for a request until a byte of its answer
    /// has reached the kernel.
    fn note_disarmed(&mut self, event: Event) -> bool {
        match event {
            Event::GoAway | Event::GoAwayLater => self.leaves = true,
            Event::Closed => self.is_closed = true,
            Event::Dispatch if self.is_closed || self.refused => return false,
            Event::Dispatch => {
                self.owes_reset = self.mode == CloseMode::FinBeforeDispatch && self.in_force;
                self.wrote = false;
            }
            Event::Write => self.wrote = true,
            Event::Flushed if self.wrote => self.owes_reset = false,
            Event::Shutdown if self.owes_reset => return false,
            Event::Shutdown => self.is_closed = true,
            Event::PeerEnded => self.peer_ended = true,
            Event::Broken => self.phase = Phase::Closing,
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
            Phase::Received | Phase::Dispatched | Phase::Answered if self.is_whole => {
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
            Phase::Dispatched | Phase::Answered => self.is_lost = true,
            _ => self.pipelines = true,
        }
        if matches!(self.phase, Phase::Dispatched | Phase::Answered) {
            self.in_force |= self.announces;
        }
        self.phase = Phase::Head;
        self.offer = offer;
        self.announces = false;
        self.is_whole = false;
        (self.wrote, self.reached) = (false, false);
        self.waited = false;
        self.told = false;
    }

    fn on_received(&mut self) {
        if self.phase == Phase::Head {
            self.phase = Phase::Received;
        }
        self.is_whole = true;
    }

    /// Whoever understands `refused` is refused once the server leaves (S4), and
    /// so is every request after that.
    fn on_take_up(&mut self) -> bool {
        let is_pending = matches!(self.phase, Phase::Head | Phase::Received);
        self.refused |= is_pending && self.must_refuse();
        if !is_pending || self.is_closed || self.refused {
            self.told |= is_pending;
            return false;
        }
        self.phase = Phase::Dispatched;
        (self.wrote, self.reached) = (false, false);
        true
    }

    /// Returns whether the current request must be refused.
    pub fn is_refused(&self) -> bool {
        let is_pending = matches!(self.phase, Phase::Head | Phase::Received);
        self.is_closing() || (is_pending && self.must_refuse())
    }

    fn must_refuse(&self) -> bool {
        self.refused || (self.leaves && self.offer.has_gone() && self.is_certain())
    }

    fn on_announce(&mut self) -> bool {
        if !self.is_answering() || self.pipelines || self.is_lost || self.offer == Offer::none() {
            return false;
        }
        self.told |= self.leaves;
        self.announces = match self.mode {
            CloseMode::Plain => false,
            CloseMode::ResetBeforeDispatch => self.offer.has_rst(),
            CloseMode::FinBeforeDispatch => self.offer.has_fin(),
        };
        true
    }

    /// Returns whether a response can still be made.
    fn is_answering(&self) -> bool {
        matches!(self.phase, Phase::Head | Phase::Received | Phase::Dispatched)
    }

    fn on_answered(&mut self) {
        if self.is_answering() {
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
        self.reached |= self.wrote;
        if is_answered {
            self.phase = Phase::Idle;
            self.in_force = self.announces || (self.is_lost && self.in_force);
        }
    }

    /// A request that the service has is refused by the service, one that is
    /// dispatched is answered; the rest ends here.
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
    fn owed(&self) -> ClosingMessage {
        match self.phase {
            _ if self.peer_ended || self.told || !self.is_certain() => ClosingMessage::Silent,
            Phase::Idle if !self.is_used => ClosingMessage::Unused,
            // HTTP that ends a connection by itself has told the client with the
            // response; HTTP that was told to leave just now has not.
            Phase::Idle | Phase::Receiving
                if (self.waited || self.leaves) && self.offer.has_gone() =>
            {
                ClosingMessage::NoResend
            }
            _ => ClosingMessage::Silent,
        }
    }

    fn close(&mut self, farewell: ClosingMessage) {
        self.phase = Phase::Closing;
        self.farewell = farewell;
    }

    fn on_shutdown(&mut self) -> bool {
        if self.must_reset() && !self.reached {
            return false;
        }
        if self.phase != Phase::Closing {
            self.close(self.owed());
        }
        true
    }

    /// Nothing is dispatched on a connection whose end its peer may have seen.
    fn on_closed(&mut self) {
        self.is_closed = true;
    }
}

//! What the driver of a connection asks its machine.

use crate::contract::Offer;

use super::event::{ClosingMessage, Linger, Phase};
use super::machine::CloseMachine;
use super::state::{
    Availability, CloseStage, Delivery, EndNotice, NextRequest, Receipt, ResponseProgress,
    Tracking, Tunnel,
};

impl CloseMachine {
    /// Returns where the connection stands.
    pub fn phase(&self) -> Phase {
        match self.stage {
            CloseStage::Unused | CloseStage::Idle(_) => Phase::Idle,
            CloseStage::Receiving(_) => Phase::Receiving,
            CloseStage::Pending if self.request == Receipt::Whole => Phase::Received,
            CloseStage::Pending => Phase::Head,
            CloseStage::Dispatched => Phase::Dispatched,
            CloseStage::Answered => Phase::Answered,
            CloseStage::Closing(_) | CloseStage::Closed => Phase::Closing,
            CloseStage::Disarmed(_) => Phase::Disarmed,
        }
    }

    /// Returns `true` if the server leaves.
    pub fn is_leaving(&self) -> bool {
        self.server == Availability::Leaving
    }

    /// Returns `true` if the connection is being closed.
    pub fn is_closing(&self) -> bool {
        matches!(self.stage, CloseStage::Closing(_))
    }

    /// Returns `true` if HTTP must be polled again to see whether it waits for
    /// another request: only then does the connection end with a closing
    /// response.
    pub fn must_be_seen_waiting(&self) -> bool {
        self.stage == CloseStage::Idle(NextRequest::Unknown) && self.offer.has_gone()
    }

    /// Returns `true` if the server leaves and no request is begun.
    pub fn is_leaving_idle(&self) -> bool {
        let is_idle = matches!(
            self.stage,
            CloseStage::Unused | CloseStage::Idle(_) | CloseStage::Receiving(_)
        );
        self.is_leaving() && is_idle
    }

    /// Returns `true` if bytes that arrive now are served although the server
    /// leaves: no request is begun, and the client does not know what `refused`
    /// means.
    pub fn serves_what_arrives(&self) -> bool {
        matches!(self.stage, CloseStage::Unused | CloseStage::Idle(_)) && !self.offer.has_gone()
    }

    /// Returns `true` if the connection left HTTP/1.1.
    pub fn is_tunnel(&self) -> bool {
        matches!(self.stage, CloseStage::Disarmed(_))
    }

    /// Returns `true` if the connection left HTTP/1.1 and sent its FIN, and its
    /// peer may still send.
    pub fn is_ended_tunnel(&self) -> bool {
        self.stage == CloseStage::Disarmed(Tunnel::Ended) && self.end != EndNotice::PeerClosed
    }

    /// Returns `true` if the requests of the connection can be told apart, so that
    /// no part or copy of the latest one can have been dispatched before it.
    pub fn is_certain(&self) -> bool {
        self.tracking == Tracking::Exact
    }

    /// Returns what has to be said before the FIN. Silent until the connection
    /// is closing, and always in a tunnel.
    pub fn closing_message(&self) -> ClosingMessage {
        match self.stage {
            CloseStage::Closing(message) => message,
            _ => ClosingMessage::Silent,
        }
    }

    /// Returns `true` if a reset could erase a response that the peer still
    /// waits for: one that was given before its whole request was read, or
    /// while the next one was already there.
    ///
    /// Any other peer whose bytes arrive after the FIN has read the response
    /// before them, and loses nothing.
    pub fn can_lose_response(&self) -> bool {
        self.tracking.is_pipelined() || self.request == Receipt::Part
    }

    /// Returns the offer of the latest request (S6).
    pub fn offer(&self) -> Offer {
        self.offer
    }

    /// Returns `true` if the response that is being made announces the mode.
    pub fn announces(&self) -> bool {
        self.promise.is_announced()
    }

    /// Returns `true` if anything was written since the latest request began,
    /// or was dispatched.
    pub fn wrote(&self) -> bool {
        self.response != ResponseProgress::Nothing
    }

    /// Returns `true` if only the peer's acknowledgement is missing before the
    /// socket may be set, so that the kernel must be asked for it.
    pub fn needs_recheck(&self) -> bool {
        self.delivery == Delivery::Unacked && self.linger == Linger::Off && self.may_reset()
    }

    /// Returns `true` if the current request must be refused.
    pub fn is_refused(&self) -> bool {
        self.is_closing() || (self.stage == CloseStage::Pending && self.must_refuse())
    }
}

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

    /// Returns `true` if the server goes away.
    pub fn is_leaving(&self) -> bool {
        self.server == Availability::Leaving
    }

    /// Returns `true` if the connection is being closed.
    pub fn is_closing(&self) -> bool {
        matches!(self.stage, CloseStage::Closing(_))
    }

    /// Returns `true` if HTTP must be polled again to find out whether it waits for
    /// another request. Only if it does can the connection end with a closing
    /// response.
    pub fn must_be_seen_waiting(&self) -> bool {
        self.stage == CloseStage::Idle(NextRequest::Unknown) && self.offer.has_gone()
    }

    /// Returns `true` if the server goes away and no request is begun.
    pub fn is_leaving_idle(&self) -> bool {
        let is_idle = matches!(
            self.stage,
            CloseStage::Unused | CloseStage::Idle(_) | CloseStage::Receiving(_)
        );
        self.is_leaving() && is_idle
    }

    /// Returns `true` if bytes that arrive now are served although the server goes
    /// away: no request is begun, and the client does not understand `refused`.
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

    /// Returns what to say before the FIN: nothing until the connection is closing,
    /// and nothing in a tunnel.
    pub fn closing_message(&self) -> ClosingMessage {
        match self.stage {
            CloseStage::Closing(message) => message,
            _ => ClosingMessage::Silent,
        }
    }

    /// Returns `true` if a reset could erase a response that the peer has not read:
    /// one that was sent before its whole request was read, or while the next
    /// request was already there.
    ///
    /// Any other peer that sends bytes after our FIN has read the response before,
    /// and loses nothing.
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

    /// Returns `true` if only the peer's acknowledgement is missing to set the
    /// socket, so that the kernel must be asked for it.
    pub fn needs_recheck(&self) -> bool {
        self.delivery == Delivery::Unacked && self.linger == Linger::Off && self.may_reset()
    }

    /// Returns `true` if the current request must be refused.
    pub fn is_refused(&self) -> bool {
        self.is_closing() || (self.stage == CloseStage::Pending && self.must_refuse())
    }
}

//! The state of a connection, and what follows from each event.

use crate::contract::Offer;

use super::event::{CloseMode, CloseStep, ClosingMessage, Event, Linger};
use super::state::{
    Admission, Availability, CloseStage, Delivery, EndNotice, ModePromise, NextRequest, Receipt,
    ResponseProgress, Tracking, Tunnel,
};

/// The state of one connection.
///
/// It holds no socket and reads no clock. The connection's driver reports every
/// event to [`handle`](Self::handle), under the lock that also guards the socket,
/// and does what the [`CloseStep`] says before anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CloseMachine {
    pub(super) mode: CloseMode,
    pub(super) stage: CloseStage,
    pub(super) request: Receipt,
    pub(super) response: ResponseProgress,
    pub(super) delivery: Delivery,
    /// The offer of the latest request (S6).
    pub(super) offer: Offer,
    pub(super) promise: ModePromise,
    pub(super) end: EndNotice,
    pub(super) tracking: Tracking,
    pub(super) server: Availability,
    pub(super) admission: Admission,
    pub(super) linger: Linger,
}

impl CloseMachine {
    /// Returns the machine of a connection that was just accepted, whose socket is
    /// set to [`Linger::Off`].
    pub fn new(mode: CloseMode) -> Self {
        Self {
            mode,
            stage: CloseStage::Unused,
            request: Receipt::Nothing,
            response: ResponseProgress::Nothing,
            delivery: Delivery::Acked,
            offer: Offer::none(),
            promise: ModePromise::None,
            end: EndNotice::None,
            tracking: Tracking::Exact,
            server: Availability::Serving,
            admission: Admission::Open,
            linger: Linger::Off,
        }
    }

    /// Takes note of an event, and returns what the driver must do.
    ///
    /// If the socket cannot be set as the step says, what the event announces must
    /// not happen, and [`Event::Broken`] is the next event.
    pub fn handle(&mut self, event: Event) -> CloseStep {
        let is_allowed = match self.stage {
            CloseStage::Unused
            | CloseStage::Idle(_)
            | CloseStage::Receiving(_)
            | CloseStage::Pending
            | CloseStage::Dispatched
            | CloseStage::Answered => self.while_open(event),
            CloseStage::Closing(_) => self.while_closing(event),
            CloseStage::Disarmed(tunnel) => self.while_disarmed(tunnel, event),
            CloseStage::Closed => self.when_closed(event),
        };
        let linger = self.wanted_linger();
        let change = (linger != self.linger).then_some(linger);
        self.linger = linger;
        CloseStep { linger: change, is_allowed }
    }

    // ===== what each event changes =====

    /// Each of these returns `true` if what the event announces may happen.
    fn while_open(&mut self, event: Event) -> bool {
        match event {
            Event::Waited => self.on_wait(),
            Event::Read => self.on_read(),
            Event::PeerEnded => self.end = EndNotice::PeerClosed,
            Event::Began(offer) => self.on_begin(offer),
            Event::Received => self.request = Receipt::Whole,
            Event::Dispatch => return self.on_dispatch(),
            Event::Announce => return self.on_announce(),
            Event::ConnectionCloseSent if self.is_answering() => self.end.on_announced(),
            Event::ConnectionCloseSent => {}
            Event::Refused => self.admission = Admission::Refused,
            Event::Abandoned if self.stage == CloseStage::Dispatched => self.tracking.on_lost(),
            Event::Answered | Event::Abandoned => self.on_answered(),
            Event::Write => self.on_write(),
            Event::Flushed => self.on_flushed(),
            Event::Acked => self.on_acked(),
            Event::GoAway => self.on_go_away(),
            Event::GoAwayLater => self.server = Availability::Leaving,
            Event::Shutdown => return self.on_shutdown(),
            Event::Disarm => self.on_disarm(),
            Event::Broken => self.stage = CloseStage::Closing(ClosingMessage::Silent),
            Event::Closed => self.stage = CloseStage::Closed,
        }
        true
    }

    /// Nothing is dispatched on a connection whose end its peer may have seen, not
    /// even after it left HTTP/1.1: the client may have been refused. Leaving HTTP/1.1
    /// drops the closing response, which would be bytes of the tunnel.
    fn while_closing(&mut self, event: Event) -> bool {
        match event {
            Event::Read | Event::Dispatch | Event::Announce | Event::Write => return false,
            Event::PeerEnded => self.end = EndNotice::PeerClosed,
            Event::Received => self.request = Receipt::Whole,
            Event::Flushed => self.on_flushed(),
            Event::Acked => self.on_acked(),
            Event::Refused => self.admission = Admission::Refused,
            Event::GoAway | Event::GoAwayLater => self.server = Availability::Leaving,
            Event::Disarm => self.stage = CloseStage::Closing(ClosingMessage::Silent),
            Event::Closed => self.stage = CloseStage::Closed,
            Event::Waited
            | Event::Began(_)
            | Event::ConnectionCloseSent
            | Event::Answered
            | Event::Abandoned
            | Event::Shutdown
            | Event::Broken => {}
        }
        true
    }

    /// A tunnel, or another protocol: nothing more is promised. What was promised
    /// before holds for a request until some of its response reached the kernel.
    fn while_disarmed(&mut self, tunnel: Tunnel, event: Event) -> bool {
        match event {
            Event::Announce => return false,
            Event::PeerEnded => self.end = EndNotice::PeerClosed,
            Event::GoAway | Event::GoAwayLater => self.server = Availability::Leaving,
            Event::Dispatch => return self.on_dispatch_disarmed(tunnel),
            Event::Write => self.response.on_write(),
            Event::Flushed => self.on_flushed_disarmed(tunnel),
            Event::Shutdown if tunnel == Tunnel::Unanswered => return false,
            Event::Shutdown | Event::Closed => self.stage = CloseStage::Disarmed(Tunnel::Ended),
            Event::Broken if tunnel != Tunnel::Ended => {
                self.stage = CloseStage::Closing(ClosingMessage::Silent);
            }
            Event::Waited
            | Event::Read
            | Event::Began(_)
            | Event::Received
            | Event::ConnectionCloseSent
            | Event::Refused
            | Event::Answered
            | Event::Abandoned
            | Event::Acked
            | Event::Disarm
            | Event::Broken => {}
        }
        true
    }

    fn when_closed(&mut self, event: Event) -> bool {
        if matches!(event, Event::GoAway | Event::GoAwayLater) {
            self.server = Availability::Leaving;
        }
        !matches!(event, Event::Read | Event::Dispatch | Event::Announce | Event::Write)
    }

    /// Under `fin`, a FIN refuses a dispatched request until some of its response has
    /// reached the kernel, in a tunnel too.
    fn on_disarm(&mut self) {
        let is_unanswered = self.mode == CloseMode::FinBeforeDispatch
            && self.must_reset()
            && self.response != ResponseProgress::InKernel;
        // What the response that leaves HTTP announces may have been read.
        self.promise = self.promise.assumed_delivered();
        let tunnel = if is_unanswered { Tunnel::Unanswered } else { Tunnel::Open };
        self.stage = CloseStage::Disarmed(tunnel);
    }

    fn on_dispatch_disarmed(&mut self, tunnel: Tunnel) -> bool {
        if tunnel == Tunnel::Ended || self.admission == Admission::Refused {
            return false;
        }
        let is_promised = self.mode == CloseMode::FinBeforeDispatch && self.promise.is_in_force();
        let tunnel = if is_promised { Tunnel::Unanswered } else { Tunnel::Open };
        self.stage = CloseStage::Disarmed(tunnel);
        self.response = ResponseProgress::Nothing;
        true
    }

    fn on_flushed_disarmed(&mut self, tunnel: Tunnel) {
        if tunnel == Tunnel::Unanswered && self.response != ResponseProgress::Nothing {
            self.stage = CloseStage::Disarmed(Tunnel::Open);
        }
    }

    fn on_wait(&mut self) {
        match self.stage {
            CloseStage::Unused => {}
            CloseStage::Idle(_) => self.stage = CloseStage::Idle(NextRequest::Expected),
            _ => return,
        }
        if self.server == Availability::Leaving {
            self.close();
        }
    }

    fn on_read(&mut self) {
        if self.request == Receipt::Nothing {
            self.request = Receipt::Part;
        }
        match self.stage {
            CloseStage::Unused | CloseStage::Idle(_) => {
                self.stage = CloseStage::Receiving(NextRequest::Expected);
            }
            CloseStage::Pending | CloseStage::Dispatched | CloseStage::Answered
                if self.request == Receipt::Whole =>
            {
                self.tracking.on_pipelined();
            }
            _ => {}
        }
    }

    fn on_begin(&mut self, offer: Offer) {
        match self.stage {
            CloseStage::Receiving(_) => self.promise = self.promise.with_announcement(false),
            // The response before it is still on its way.
            CloseStage::Dispatched | CloseStage::Answered => {
                self.tracking.on_lost();
                self.promise = self.promise.assumed_delivered();
            }
            _ => {
                self.tracking.on_pipelined();
                self.promise = self.promise.with_announcement(false);
            }
        }
        self.stage = CloseStage::Pending;
        self.offer = offer;
        self.request = Receipt::Part;
        self.response = ResponseProgress::Nothing;
        self.end.on_begin();
    }

    /// A client that understands `refused` is refused once the server goes away
    /// (S4), and so is every later request.
    fn on_dispatch(&mut self) -> bool {
        if self.stage != CloseStage::Pending {
            return false;
        }
        if self.must_refuse() {
            self.admission = Admission::Refused;
            self.end.on_announced();
            return false;
        }
        self.stage = CloseStage::Dispatched;
        self.response = ResponseProgress::Nothing;
        true
    }

    fn on_announce(&mut self) -> bool {
        if !self.is_answering() || !self.is_certain() || self.offer == Offer::none() {
            return false;
        }
        if self.server == Availability::Leaving {
            self.end.on_announced();
        }
        self.promise = self.promise.with_announcement(match self.mode {
            CloseMode::Plain => false,
            CloseMode::ResetBeforeDispatch => self.offer.has_rst(),
            CloseMode::FinBeforeDispatch => self.offer.has_fin(),
        });
        true
    }

    fn on_answered(&mut self) {
        if self.is_answering() {
            self.stage = CloseStage::Answered;
            // HTTP has it, the kernel does not.
            self.delivery = Delivery::Unflushed;
        }
    }

    fn on_write(&mut self) {
        self.response.on_write();
        self.delivery = Delivery::Unflushed;
        if let CloseStage::Idle(next) | CloseStage::Receiving(next) = &mut self.stage {
            *next = NextRequest::Unknown;
        }
    }

    fn on_flushed(&mut self) {
        let is_answered = self.stage == CloseStage::Answered;
        // If none of the response was written, it is still on its way to HTTP.
        let is_early = is_answered && self.response == ResponseProgress::Nothing;
        if self.delivery != Delivery::Unflushed || is_early {
            return;
        }
        self.delivery = Delivery::Unacked;
        self.response.on_flushed();
        if is_answered {
            self.stage = CloseStage::Idle(NextRequest::Unknown);
            self.promise = self.promise.delivered(self.tracking);
        }
    }

    fn on_acked(&mut self) {
        if self.delivery == Delivery::Unacked {
            self.delivery = Delivery::Acked;
        }
    }

    /// The service refuses the request that it has, and a dispatched one is
    /// answered. A connection without either ends here.
    fn on_go_away(&mut self) {
        self.server = Availability::Leaving;
        let is_quiet = self.delivery != Delivery::Unflushed;
        match self.stage {
            CloseStage::Unused | CloseStage::Idle(_) if is_quiet => self.close(),
            CloseStage::Receiving(_) if is_quiet && self.offer.has_gone() => self.close(),
            _ => {}
        }
    }

    fn on_shutdown(&mut self) -> bool {
        if self.must_reset() && self.response != ResponseProgress::InKernel {
            return false;
        }
        self.close();
        true
    }

    fn close(&mut self) {
        self.stage = CloseStage::Closing(self.message_owed());
    }

    /// What has to be said if the connection ends now.
    fn message_owed(&self) -> ClosingMessage {
        // HTTP that ends a connection by itself has told the client with the
        // response; HTTP that was told to leave just now has not.
        let is_unannounced =
            |next| next == NextRequest::Expected || self.server == Availability::Leaving;
        match self.stage {
            _ if self.end != EndNotice::None || !self.is_certain() => ClosingMessage::Silent,
            CloseStage::Unused => ClosingMessage::Unused,
            CloseStage::Idle(next) | CloseStage::Receiving(next)
                if is_unannounced(next) && self.offer.has_gone() =>
            {
                ClosingMessage::ClosingResponse
            }
            _ => ClosingMessage::Silent,
        }
    }

    /// Linger is a function of the state.
    pub(super) fn wanted_linger(&self) -> Linger {
        let is_over =
            matches!(self.stage, CloseStage::Closed | CloseStage::Disarmed(Tunnel::Ended));
        let is_reset = match self.mode {
            _ if is_over => return self.linger,
            CloseMode::Plain => false,
            CloseMode::ResetBeforeDispatch => self.delivery == Delivery::Acked && self.may_reset(),
            CloseMode::FinBeforeDispatch => self.must_reset(),
        };
        if is_reset { Linger::Zero } else { Linger::Off }
    }

    /// `rst`: no request is dispatched, and the client knows what a reset means.
    pub(super) fn may_reset(&self) -> bool {
        let is_before_dispatch = match self.stage {
            CloseStage::Unused
            | CloseStage::Idle(_)
            | CloseStage::Receiving(_)
            | CloseStage::Pending => true,
            CloseStage::Dispatched
            | CloseStage::Answered
            | CloseStage::Closing(_)
            | CloseStage::Disarmed(_)
            | CloseStage::Closed => false,
        };
        self.mode == CloseMode::ResetBeforeDispatch
            && is_before_dispatch
            && self.is_certain()
            && self.promise.is_in_force()
            && self.offer.has_rst()
    }

    /// `fin`: a request is dispatched, and a FIN would be taken for its refusal.
    fn must_reset(&self) -> bool {
        let is_dispatched = match self.stage {
            CloseStage::Dispatched
            | CloseStage::Answered
            | CloseStage::Disarmed(Tunnel::Unanswered) => true,
            CloseStage::Unused
            | CloseStage::Idle(_)
            | CloseStage::Receiving(_)
            | CloseStage::Pending => self.tracking.is_lost(),
            CloseStage::Closing(_)
            | CloseStage::Disarmed(Tunnel::Open | Tunnel::Ended)
            | CloseStage::Closed => false,
        };
        is_dispatched && self.promise != ModePromise::None
    }

    pub(super) fn must_refuse(&self) -> bool {
        let is_leaving = self.server == Availability::Leaving;
        self.admission == Admission::Refused
            || (is_leaving && self.offer.has_gone() && self.is_certain())
    }

    /// Returns `true` if a response can still be made.
    fn is_answering(&self) -> bool {
        matches!(self.stage, CloseStage::Pending | CloseStage::Dispatched)
    }
}

//! The requests on a connection: how each begins, is answered, and ends.

use http::Response;

use super::contract_state::{Breach, ContractTrust, DrainNotice};
use super::external::{Boundaries, Driver, ExchangeId};
use super::ledger::ExchangePhase;
use super::machine::{ExchangeMachine, Keeps, Probe};
use super::outcome::{Armed, FinalHead, Leftover, Outbound, ResponseOutcome, Reuse};
use super::stream_kind::StreamKind;
use crate::contract::{
    ContractStatus, Hop, Ignored, Promise, RETRY_CONTRACT, accept_bound, closing_head,
};
use crate::fate::{Alert, Contract, HandOff, StaleReason, Unavailable};

impl ExchangeMachine {
    // ===== our pool =====

    /// A request is about to be handed over: what is written from here on is
    /// its own.
    ///
    /// # Errors
    ///
    /// Why the connection does not take it.
    #[inline]
    pub fn arm(&mut self, request: Outbound) -> Result<Armed, StaleReason> {
        if let Some(found) = self.ledger.found() {
            return Err(found);
        }
        let is_over =
            matches!(self.ledger.phase(), ExchangePhase::TakenOver | ExchangePhase::Released);
        if is_over || !self.stream.is_flushed() {
            return Err(StaleReason::Ended);
        }
        let is_first = self.contract.trust == ContractTrust::None;
        if request.is_primer {
            (self.contract.trust, self.contract.monitor) = (request.trust, None);
        } else {
            self.contract.begin(request.trust, request.body);
        }
        let (trust, watches_body) = (self.contract.trust, self.contract.monitor.is_some());
        // A first request has no promise, and may be refused all the same.
        self.keeps = match watches_body || (trust.believes() && is_first) {
            true => Keeps::All,
            false => Keeps::Nothing,
        };
        self.begin_exchange();
        let reads_contract = trust != ContractTrust::None;
        Ok(Armed { offers: trust.believes(), reads_contract, watches_body })
    }

    #[inline]
    pub(super) fn begin_exchange(&mut self) {
        self.ledger.arm();
        self.early.clear();
        self.stream.begin_exchange();
    }

    /// No further byte of the request's body will come.
    pub fn on_body_end(&mut self) {
        if let Some(monitor) = &mut self.contract.monitor {
            monitor.on_body_end();
        }
    }

    /// The head of a final response was parsed. The contract in it is in force
    /// from here on (C6).
    pub fn on_response<B>(&mut self, response: &Response<B>) -> FinalHead {
        if self.contract.trust == ContractTrust::None {
            return FinalHead::Answer;
        }
        // Of the few names there are, a comparison is cheaper than a hash.
        if !response.headers().keys().any(|name| name == RETRY_CONTRACT) {
            self.contract.status = ContractStatus::Ignored(Ignored::Absent);
            return FinalHead::Answer;
        }
        let Some(binding) = self.contract.trust.binding(self.contract.hop) else {
            return FinalHead::Answer;
        };
        let announced = accept_bound(response, &binding);
        self.contract.on_announcement(announced);
        match announced.is_ok_and(|promise| promise.is_refusal()) {
            true => FinalHead::Refusal,
            false => FinalHead::Answer,
        }
    }

    /// A connection whose response refuses its request was drained. Of the
    /// exchange `read_before` bytes had been read before; `is_whole` says
    /// whether hyper had read the response to its end.
    pub fn after_refusal(&mut self, read_before: u64, is_whole: bool) -> ResponseOutcome {
        // Under TLS an alert routinely follows a refusal, and cannot be told from
        // anything else that followed. A server that went on is then noticed only
        // by what came with the refusal.
        let is_readable = matches!(self.stream, StreamKind::Http);
        let went_on = is_whole && is_readable && self.ledger.exchange_read() > read_before;
        // If the exchange's bytes were kept, they tell whether more came with
        // the response.
        let _ = self.is_refused();
        if went_on {
            self.contract.breach = Breach::Seen;
        }
        match self.contract.breach {
            Breach::Seen => ResponseOutcome::BrokenRefusal,
            Breach::None => ResponseOutcome::Refusal,
        }
    }

    /// Returns `true` if the bytes that were kept of this exchange are a closing
    /// response that refuses its request (C8).
    ///
    /// One that is followed by more than its body breaks the promise (C9), and
    /// nothing that it says counts.
    pub(super) fn is_refused(&mut self) -> bool {
        let binding = self.contract.trust.binding(self.contract.hop);
        let (Some(binding), Some(head)) = (binding, self.early.head()) else {
            return false;
        };
        let Some(refusal) = closing_head(head, &binding) else {
            return false;
        };
        if refusal.body_length.is_some_and(|length| self.early.bytes_after_head() > length) {
            self.contract.breach = Breach::Seen;
        }
        self.contract.breach == Breach::None
    }

    /// The response's body failed, its head being there: by a reset the server
    /// may have broken its promise (C9).
    pub fn on_response_cut(&mut self, probe: &mut impl Probe) {
        if self.is_reset_forbidden(probe) {
            self.contract.breach = Breach::Seen;
        }
    }

    /// The answer was read to its end.
    #[inline]
    pub fn finish(&mut self) -> Reuse {
        self.ledger.resolve();
        self.reuse()
    }

    /// Returns the connection's fitness for another request, as far as is known.
    #[inline]
    pub fn reuse(&self) -> Reuse {
        match (self.ledger.found(), self.contract.drain) {
            (Some(found), _) => Reuse::Stale(found),
            (None, DrainNotice::Announced) => Reuse::Draining,
            (None, DrainNotice::None) => Reuse::Possible,
        }
    }

    /// The connection no longer speaks HTTP: an upgrade, or a tunnel.
    pub fn release(&mut self) {
        self.ledger.release();
    }

    // ===== another pool =====

    /// hyper took a request and has written nothing of it. `None` if the place
    /// where it begins cannot be known.
    ///
    /// hyper takes a request only once the one before is answered whole, so that
    /// this ends any exchange before it.
    pub fn arm_taken(&mut self) -> Option<ExchangeId> {
        let is_over =
            matches!(self.ledger.phase(), ExchangePhase::TakenOver | ExchangePhase::Released);
        let Driver::External(external) = &mut self.driver else { return None };
        let is_first = external.exchanges == 0;
        let was_spoken_to = is_first && self.stream.was_spoken_to(&self.ledger, external.last);
        if is_over || was_spoken_to || !self.stream.is_flushed() {
            external.boundaries = Boundaries::Lost;
        }
        if external.boundaries == Boundaries::Lost {
            return None;
        }
        external.exchanges += 1;
        external.last = None;
        let exchange = ExchangeId(external.exchanges);
        self.begin_exchange();
        Some(exchange)
    }

    /// Takes the connection over if this exchange is the one on it; returns
    /// whether it was.
    pub fn take_over_if(&mut self, exchange: ExchangeId) -> bool {
        let is_current = self.driver.is_current(exchange);
        if is_current {
            self.ledger.take_over();
        }
        is_current
    }

    /// This exchange was answered; what is left of the answer needs no guard.
    /// `is_upgrade` says that the connection no longer speaks HTTP.
    ///
    /// Returns what becomes of a stream that was parked for the evidence.
    pub fn on_answered(&mut self, exchange: ExchangeId, is_upgrade: bool) -> Leftover {
        if !self.driver.is_current(exchange) {
            return Leftover::Park;
        }
        match is_upgrade {
            true => self.ledger.release(),
            false => self.ledger.resolve(),
        }
        Leftover::Close
    }

    /// Returns what was read last from a connection whose requests are not
    /// announced.
    pub fn last_read(&self) -> Option<StaleReason> {
        self.driver.last()
    }

    // ===== questions =====

    /// Returns what was found while no request was on the connection.
    #[inline]
    pub fn found(&self) -> Option<StaleReason> {
        self.ledger.found()
    }

    /// Returns `true` if the kernel accepted any byte of the current request.
    pub fn is_written(&self) -> bool {
        self.ledger.is_written()
    }

    /// Returns how far the current request got.
    pub fn hand_off(&self) -> HandOff {
        if self.ledger.is_written() { HandOff::Written } else { HandOff::NothingWritten }
    }

    /// Returns what our side counted, and where its exchange stands.
    #[cfg(test)]
    pub(super) fn ledger(&self) -> &super::ledger::Ledger {
        &self.ledger
    }

    /// Returns the number of bytes that were read during the exchange.
    pub fn exchange_read(&self) -> u64 {
        self.ledger.exchange_read()
    }

    /// Checks that the kernel's counters may speak of the exchange's request.
    ///
    /// # Errors
    ///
    /// Why they may not.
    pub fn check(&self) -> Result<(), Unavailable> {
        self.ledger.check()
    }

    /// Returns the alert by which the peer refused TLS with us: another
    /// connection would end the same way.
    pub fn alert(&self) -> Option<Alert> {
        self.stream.alert()
    }

    /// Returns both ends of the connection, as our socket sees them (C2).
    pub fn hop(&self) -> Option<Hop> {
        self.contract.hop
    }

    /// Returns the contract that a failed request went out under, if its
    /// server had one, or why there was none.
    pub fn contract_status(&self) -> ContractStatus {
        self.contract.status()
    }

    /// Returns what the promise in force means for a request's fate.
    pub fn promised(&self) -> Contract {
        self.contract.status.promise().map(Promise::contract).unwrap_or_default()
    }

    /// Returns `true` if the server was seen breaking a promise (C9).
    pub fn has_broken_promise(&self) -> bool {
        self.contract.breach == Breach::Seen
    }
}

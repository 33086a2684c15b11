//! What is believed of a connection's promises, and what it has promised.

use super::limit_monitor::LimitMonitor;
use crate::contract::{ContractStatus, Hop, HopBinding, Ignored, Promise};

/// What is believed of a server's promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "a driver must handle each")]
pub enum ContractTrust {
    /// Nothing, and nothing is asked for.
    #[default]
    None,
    /// Nothing any more: the server has broken a promise (C9).
    Revoked,
    /// What the server says of the very connection (C2).
    SameHop,
    /// What the server says, whatever the addresses: the user trusts the
    /// translation.
    AnyHop,
}

impl ContractTrust {
    /// Returns `true` if a promise would be believed, so that it is asked for.
    pub fn believes(self) -> bool {
        matches!(self, Self::SameHop | Self::AnyHop)
    }

    /// Returns what a promise must be bound to; `None` if none is believed.
    pub fn binding(self, own: Option<Hop>) -> Option<HopBinding> {
        match self {
            Self::None | Self::Revoked => None,
            Self::SameHop => own.map(HopBinding::To),
            Self::AnyHop => Some(HopBinding::Trusted),
        }
    }
}

/// The contract of one connection. It exists once: here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ContractState {
    /// Both ends, as our socket sees them (C2).
    pub(super) hop: Option<Hop>,
    pub(super) trust: ContractTrust,
    /// The contract that the request on the connection went out under, and
    /// from its response on that of the next one (C6).
    pub(super) status: ContractStatus,
    /// There while a request is on its way under a promise. Boxed, since most
    /// requests go out under none.
    pub(super) monitor: Option<Box<LimitMonitor>>,
    pub(super) breach: Breach,
    pub(super) drain: DrainNotice,
}

/// Whether the server was seen breaking a promise (C9). It never unbreaks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Breach {
    None,
    Seen,
}

/// Whether the server announced that it goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum DrainNotice {
    None,
    Announced,
}

impl ContractState {
    pub(super) fn new(hop: Option<Hop>) -> Self {
        Self {
            hop,
            trust: ContractTrust::None,
            status: ContractStatus::FirstRequest,
            monitor: None,
            breach: Breach::None,
            drain: DrainNotice::None,
        }
    }

    /// Decides which contract the next request goes out under.
    #[inline]
    pub(super) fn begin(&mut self, trust: ContractTrust, body: Option<u64>) {
        self.trust = trust;
        match (trust, self.status) {
            (ContractTrust::None, _) => self.status = ContractStatus::NotOffered,
            (ContractTrust::Revoked, _) => self.status = ContractStatus::Distrusted,
            (
                ContractTrust::SameHop | ContractTrust::AnyHop,
                ContractStatus::FirstRequest | ContractStatus::InForce(_),
            ) => {}
            // A contract begins with the first response or never (C6).
            (ContractTrust::SameHop | ContractTrust::AnyHop, _) => self.trust = ContractTrust::None,
        }
        let promise = self.status.promise();
        self.monitor = promise.map(|promise| Box::new(LimitMonitor::new(*promise, body)));
    }

    /// Takes a promise, or why there is none, from a final response.
    pub(super) fn on_announcement(&mut self, announced: Result<Promise, Ignored>) {
        self.status = announced.map_or_else(ContractStatus::Ignored, ContractStatus::InForce);
        if announced.is_ok_and(|promise| promise.announced().has_drain()) {
            self.drain = DrainNotice::Announced;
        }
    }

    /// Returns the status for a failed request: what was promised, and which
    /// limit the failure did not keep.
    pub(super) fn status(&self) -> ContractStatus {
        let exceeded = self.monitor.as_ref().and_then(|monitor| monitor.exceeded());
        match (self.status, exceeded) {
            (ContractStatus::InForce(promise), Some(why)) => ContractStatus::Exceeded(promise, why),
            (status, _) => status,
        }
    }
}

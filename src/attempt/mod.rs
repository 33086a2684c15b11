//! Attempts, the token that collects them, and the errors that carry them.
//!
//! Evidence takes two ways through a stack: the [`AttemptToken`] in the request's
//! extensions, and the [`AttemptError`] that comes back. A layer between may lose
//! either, so that the resending layer asks whether they agree:
//! `AttemptToken::account_for` (`docs/adr/0003-two-evidence-channels.md`).

mod error;
mod freshness;
mod sent;
mod token;
mod untracked;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tower_resend_core::contract::ContractStatus;
use tower_resend_core::{
    Answer, Contract, EndedBy, Evidence, Fate, Ground, HandOff, Rules, classify,
};

pub(crate) use self::error::added;
pub use self::error::{AttemptError, ResponseBodyError};
pub(crate) use self::freshness::Freshness;
pub(crate) use self::sent::{IDEMPOTENCY_KEY, KeyPrint, Sent};
pub use self::token::AttemptToken;
pub(crate) use self::token::MAX_LISTED;

/// One hand-off of a request to one connection, and what became of it.
///
/// Failed connects and requests that a connection handed back are attempts too,
/// although no limit on attempts counts them. A call that lists more than 128
/// attempts may leave out failed connects, but none of the first 64 and the last 64
/// attempts.
#[derive(Clone, Debug)]
pub struct Attempt {
    evidence: Evidence,
    contract: Contract,
    fate: Fate,
    peer: Option<SocketAddr>,
    ground: Option<Ground>,
    contract_status: Option<Arc<ContractStatus>>,
    id: Id,
    is_told_by_error: bool,
    /// What was sent, where that is known.
    sent: Option<Sent>,
}

impl Attempt {
    /// Returns an attempt whose connection saw `evidence`, under a contract of that
    /// connection. Its fate is what [`classify`] makes of the two.
    #[inline]
    pub fn new(evidence: Evidence, contract: &Contract) -> Self {
        let fate = classify(&evidence, contract);
        let id = Id::of(fate);
        Self {
            evidence,
            contract: *contract,
            fate,
            peer: None,
            ground: None,
            contract_status: None,
            id,
            is_told_by_error: false,
            sent: None,
        }
    }

    /// Returns an attempt about which nothing was recorded. Its fate is unknown.
    pub fn unrecorded() -> Self {
        Self::new(Evidence::new(HandOff::Unrecorded), &Contract::none())
    }

    /// Returns the attempt behind a response, where it was not recorded.
    pub(crate) fn answered() -> Self {
        let evidence = Evidence::new(HandOff::Written).with_answer(Answer::Complete);
        Self::new(evidence, &Contract::none())
    }

    /// Declares that the transport reports this attempt by an [`AttemptError`], if it
    /// fails and its future is not dropped.
    ///
    /// An error without an `AttemptError` in its chain is then known to come from
    /// another hand-off, one that is not recorded, and no proof counts.
    #[must_use]
    #[inline]
    pub fn told_by_error(self) -> Self {
        Self { is_told_by_error: true, ..self }
    }

    /// Sets what was sent in this attempt.
    #[inline]
    pub(crate) fn sending(self, sent: Sent) -> Self {
        Self { sent: Some(sent), ..self }
    }

    /// Returns what was sent and may have been applied, where that is known.
    pub(crate) fn maybe_applied(&self) -> Option<Sent> {
        self.sent.filter(|_| !self.fate.is_not_applied())
    }

    /// Sets the address of the connection's peer.
    #[must_use]
    #[inline]
    pub fn with_peer(mut self, peer: Option<SocketAddr>) -> Self {
        self.peer = peer;
        self
    }

    /// Sets which contract the request was sent under, or why none.
    #[must_use]
    pub fn with_contract_status(mut self, status: ContractStatus) -> Self {
        self.contract_status = Some(Arc::new(status));
        self
    }

    /// Returns which contract the request was sent under, or why none; `None` where
    /// the attempt was answered or never sent.
    pub fn contract_status(&self) -> Option<&ContractStatus> {
        self.contract_status.as_deref()
    }

    /// Returns what the attempt's connection saw.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// Returns the outcome of this attempt at the server.
    pub fn fate(&self) -> Fate {
        self.fate
    }

    /// Returns the address that the attempt was sent to, if it was connected.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Returns the ground on which the request was sent again after this attempt, if
    /// it was.
    pub fn ground(&self) -> Option<Ground> {
        self.ground
    }

    /// Returns what the attempt's connection had promised.
    pub fn contract(&self) -> &Contract {
        &self.contract
    }

    /// Returns the attempt with the fate that a policy believes.
    pub(crate) fn believed_by(self, rules: &Rules) -> Self {
        Self { fate: rules.believed(self.fate), ..self }
    }

    pub(crate) fn set_ground(&mut self, ground: Ground) {
        self.ground = Some(ground);
    }

    /// Returns `true` if the request's own body ended the attempt.
    pub(crate) fn is_ended_by_body(&self) -> bool {
        self.evidence.ended_by == EndedBy::RequestBody
    }

    /// Writes the TLS alert by which the peer rejected this client, if there was one.
    pub(crate) fn write_alert(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.evidence.alert {
            Some(alert) => write!(f, "; the peer rejects this client by the TLS alert {alert}"),
            None => Ok(()),
        }
    }

    /// Returns what the attempt's text says beyond `said`.
    pub(crate) fn added_to(&self, said: &str) -> String {
        let cause = match self.fate {
            Fate::NotApplied(proof) => proof.to_string(),
            Fate::Unknown(doubt) => doubt.to_string(),
            // What a call's text begins with.
            Fate::ResponseLost => "response lost".to_owned(),
            Fate::Completed => "answered".to_owned(),
        };
        let counts = self.evidence.counts;
        let is_counted = counts.written == 0 || said.contains(&counts.to_string());
        let alert = self.evidence.alert;
        let is_alert_said = alert.is_none_or(|alert| said.contains(&alert.to_string()));
        match said.contains(&cause) && is_counted && is_alert_said {
            true => String::new(),
            false => self.to_string(),
        }
    }

    fn is_hand_back(&self) -> bool {
        matches!(self.evidence.hand_off, HandOff::HandedBack(_))
    }

    fn is_failed_connect(&self) -> bool {
        matches!(self.evidence.hand_off, HandOff::NotConnected(_))
    }

    /// Notes that the attempt was dropped because a deadline of ours had passed.
    fn end_by_deadline(&mut self) {
        let unrecorded = self.evidence.hand_off == HandOff::Unrecorded;
        if unrecorded || self.evidence.ended_by == EndedBy::Caller {
            self.evidence.ended_by = EndedBy::Deadline;
            self.fate = classify(&self.evidence, &self.contract);
        }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.evidence.counts;
        match counts.written {
            0 => write!(f, "{}", self.fate)?,
            _ => write!(f, "{} ({counts})", self.fate)?,
        }
        self.write_alert(f)
    }
}

/// Tells failed attempts from each other. A clone of an attempt has the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Id(u64);

impl Id {
    /// Of all attempts that were answered, because no error tells of those.
    const ANSWERED: Self = Self(0);

    fn of(fate: Fate) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        match fate {
            Fate::Completed => Self::ANSWERED,
            Fate::NotApplied(_) | Fate::ResponseLost | Fate::Unknown(_) => {
                Self(LAST.fetch_add(1, Ordering::Relaxed) + 1)
            }
        }
    }
}

/// The attempts behind a response that took more than one clean attempt, carried in
/// its extensions.
#[derive(Clone, Debug)]
pub(crate) struct Attempts(pub(crate) Arc<[Attempt]>);

/// Returns the attempts behind a response, oldest first.
///
/// Empty in the usual case: a single attempt that was answered.
pub fn attempts<B>(response: &http::Response<B>) -> &[Attempt] {
    response.extensions().get::<Attempts>().map_or(&[], |attempts| &attempts.0)
}

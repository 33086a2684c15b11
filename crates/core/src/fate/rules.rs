//! What the user decides about the safety of a resend: role, limits, classifier.

use std::fmt;
use std::sync::Arc;

use super::doubt::Doubt;
use super::evidence::{ConnectFailure, Evidence, HandOff};
use super::fate::Fate;
use super::rung::Rung;

/// What the user decides about the safety of a resend: the half of a policy that
/// has no clock.
///
/// By default a request that is proven unapplied is resent, an idempotent one is
/// repeated once, and everything else is reported with its doubt.
#[derive(Clone)]
#[must_use]
pub struct Rules {
    pub(super) role: Role,
    pub(super) max_attempts: u32,
    pub(super) max_idempotent_attempts: u32,
    pub(super) max_proven_resends: u32,
    pub(super) max_hand_backs: u32,
    pub(super) deduplicates: bool,
    pub(super) authenticated_only: bool,
    pub(super) classifier: Option<Arc<dyn Classifier>>,
}

impl Rules {
    /// Returns the default rules.
    pub fn new() -> Self {
        Self {
            role: Role::Client,
            max_attempts: 3,
            max_idempotent_attempts: 2,
            max_proven_resends: 16,
            max_hand_backs: 32,
            deduplicates: false,
            authenticated_only: false,
            classifier: None,
        }
    }

    /// Sets the role in which requests are sent. The default is [`Role::Client`].
    pub fn role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// Sets how many attempts there may be in all when a resend may repeat
    /// work (G5, G6, G7). The default is 3; 0 counts as 1.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts.max(1);
        self
    }

    /// Sets how many attempts there may be in all when idempotence alone is
    /// the ground (G6). The default is 2, one automatic resend, as RFC 9110
    /// 9.2.2 advises; 0 counts as 1. [`max_attempts`](Self::max_attempts)
    /// bounds it too.
    pub fn max_idempotent_attempts(mut self, attempts: u32) -> Self {
        self.max_idempotent_attempts = attempts.max(1);
        self
    }

    /// Sets how many resends there may be after a proof (G1 to G4) that the
    /// request was not applied. Hand-backs and failed connects do not count.
    /// The default is 16.
    pub fn max_proven_resends(mut self, resends: u32) -> Self {
        self.max_proven_resends = resends;
        self
    }

    /// Sets how often a connection may hand the request back. The default is 32.
    pub fn max_hand_backs(mut self, hand_backs: u32) -> Self {
        self.max_hand_backs = hand_backs;
        self
    }

    /// Returns how often a connection may hand the request back.
    pub fn hand_back_limit(&self) -> u32 {
        self.max_hand_backs
    }

    /// States that the origins deduplicate requests by their `Idempotency-Key`,
    /// durably and for at least as long as the deadline (G5). It changes nothing for
    /// requests without the field.
    ///
    /// **A wrong statement doubles requests.**
    pub fn origins_deduplicate(mut self) -> Self {
        self.deduplicates = true;
        self
    }

    /// Accepts no proof that an attacker on the path could have forged: a FIN, a
    /// reset, or anything received in plaintext. For hostile paths.
    ///
    /// Of the proofs only G1 remains: the request was never sent. A refusal (G3)
    /// inside TLS cannot be forged, but is not distinguished from one in
    /// plaintext. The grounds for a repeat (G5 to G7) are untouched. Without one of
    /// them the fate is *unknown*, by [`Doubt::Forgeable`], so that a caller that
    /// relies on the fate does not resend by hand either, and the decision is
    /// [`NoResend::Forgeable`](super::NoResend::Forgeable).
    pub fn require_authenticated_refusal(mut self) -> Self {
        self.authenticated_only = true;
        self
    }

    /// Returns the fate under these rules: if its proof could have been forged and
    /// no such proof is taken
    /// ([`require_authenticated_refusal`](Self::require_authenticated_refusal)), it
    /// is *unknown*, by [`Doubt::Forgeable`].
    pub fn believed(&self, fate: Fate) -> Fate {
        match fate {
            Fate::NotApplied(proof) if self.authenticated_only && proof.rung() != Rung::G1 => {
                Fate::Unknown(Doubt::Forgeable(proof))
            }
            other => other,
        }
    }

    /// Returns `true` if the origins are stated to deduplicate.
    pub fn deduplicates(&self) -> bool {
        self.deduplicates
    }

    /// Sets the user's own classifier.
    pub fn classifier(mut self, classifier: impl Classifier) -> Self {
        self.classifier = Some(Arc::new(classifier));
        self
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules")
            .field("role", &self.role)
            .field("max_attempts", &self.max_attempts)
            .field("max_idempotent_attempts", &self.max_idempotent_attempts)
            .field("max_proven_resends", &self.max_proven_resends)
            .field("max_hand_backs", &self.max_hand_backs)
            .field("deduplicates", &self.deduplicates)
            .field("authenticated_only", &self.authenticated_only)
            .finish_non_exhaustive()
    }
}

/// In which role requests are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// As the program that wants the response.
    #[default]
    Client,
    /// For another client. RFC 9110 9.2.2 forbids a proxy to resend a
    /// non-idempotent request automatically, so the only ground for one is G1: it
    /// was never sent.
    Proxy,
    /// For another client, with all grounds of [`Client`](Self::Client) by explicit
    /// choice.
    ProxyWithAllGrounds,
}

/// A user's own view of a failed attempt.
///
/// A classifier narrows what the evidence allows ([`Opinion::Forbidden`]), or
/// gives the caller's word where no other ground holds ([`Opinion::Resend`],
/// G7, the weakest ground).
pub trait Classifier: Send + Sync + 'static {
    /// Returns the opinion on an attempt that had this fate.
    ///
    /// It is asked about every attempt of the call, and about earlier ones again:
    /// what it says about one attempt does not count for another.
    fn opinion(&self, fate: &Fate, request: &RequestFacts) -> Opinion;
}

impl<F> Classifier for F
where
    F: Fn(&Fate, &RequestFacts) -> Opinion + Send + Sync + 'static,
{
    fn opinion(&self, fate: &Fate, request: &RequestFacts) -> Opinion {
        self(fate, request)
    }
}

/// What a user's classifier says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "three values: no opinion, resend, forbidden")]
pub enum Opinion {
    /// No opinion; the evidence decides.
    None,
    /// Send it again, for this reason (G7).
    Resend(&'static str),
    /// Do not send it again, for this reason. Wins over every ground.
    Forbidden(&'static str),
}

/// What is known of a request besides the fates of its attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RequestFacts {
    /// Whether sending it twice has the effect of sending it once.
    pub semantics: Semantics,
    /// Whether the origin recognizes a second copy.
    pub deduplication: Deduplication,
    /// Whether its body can be sent again.
    pub body: BodyState,
    /// Whether there is time for another attempt.
    pub time: Time,
    /// Whether another attempt could end differently.
    pub outlook: Outlook,
}

impl RequestFacts {
    /// Returns the facts of a request with these semantics, a body that can be
    /// sent again, no deduplication, time left and an open outlook.
    pub fn new(semantics: Semantics) -> Self {
        Self {
            semantics,
            deduplication: Deduplication::None,
            body: BodyState::Replayable,
            time: Time::Left,
            outlook: Outlook::Open,
        }
    }

    /// Sets whether the origin recognizes a second copy.
    #[must_use]
    pub fn with_deduplication(mut self, deduplication: Deduplication) -> Self {
        self.deduplication = deduplication;
        self
    }

    /// Sets whether the body can be sent again.
    #[must_use]
    pub fn with_body(mut self, body: BodyState) -> Self {
        self.body = body;
        self
    }

    /// Sets whether there is time for another attempt.
    #[must_use]
    pub fn with_time(mut self, time: Time) -> Self {
        self.time = time;
        self
    }

    /// Sets whether another attempt could end differently.
    #[must_use]
    pub fn with_outlook(mut self, outlook: Outlook) -> Self {
        self.outlook = outlook;
        self
    }

    /// Asks the rules' classifier, if there is one, about an attempt.
    pub(crate) fn opinion(&self, fate: &Fate, rules: &Rules) -> Opinion {
        rules.classifier.as_ref().map_or(Opinion::None, |asked| asked.opinion(fate, self))
    }
}

/// Whether sending a request twice has the effect of sending it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Semantics {
    /// No: POST, PATCH, CONNECT and every unknown method.
    NotIdempotent,
    /// Yes, by its method (RFC 9110 9.2.2).
    IdempotentMethod,
    /// Yes, because the caller marked it so.
    MarkedIdempotent,
}

impl Semantics {
    /// Returns the semantics of a method (RFC 9110 9.2.2). CONNECT and
    /// unknown methods are not idempotent.
    pub fn of(method: &http::Method) -> Self {
        use http::Method;
        match *method {
            Method::GET
            | Method::HEAD
            | Method::OPTIONS
            | Method::TRACE
            | Method::PUT
            | Method::DELETE => Self::IdempotentMethod,
            _ => Self::NotIdempotent,
        }
    }

    /// Returns `true` if sending the request twice has the effect of sending it
    /// once.
    pub fn is_idempotent(self) -> bool {
        match self {
            Self::NotIdempotent => false,
            Self::IdempotentMethod | Self::MarkedIdempotent => true,
        }
    }
}

/// Whether an origin recognizes a second copy of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Deduplication {
    /// No, or not stated.
    None,
    /// Yes, and every attempt carries the same key.
    Keyed,
}

/// Whether a request's body can be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BodyState {
    /// Yes.
    Replayable,
    /// No: it was a stream, and is gone.
    Gone,
    /// No: the body itself failed.
    Failed,
}

/// Whether there is time for another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "there is, or one of two limits is met")]
pub enum Time {
    /// Yes.
    Left,
    /// No: the deadline has passed, or would during the wait.
    Over,
    /// No: connects have failed for as long as the policy repeats them, or will have
    /// after the wait.
    OutOfPatience,
}

/// Whether another attempt could end differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "it could, or it could not")]
pub enum Outlook {
    /// Yes.
    Open,
    /// No: the request has no target that it could be sent to, or its target rejects
    /// this client.
    Permanent,
}

impl Outlook {
    /// Returns the outlook after attempts with this evidence.
    pub fn after<'a>(attempts: impl IntoIterator<Item = &'a Evidence>) -> Self {
        let is_permanent = |evidence: &Evidence| {
            evidence.alert.is_some()
                || matches!(
                    evidence.hand_off,
                    HandOff::NotConnected(
                        ConnectFailure::BadTarget
                            | ConnectFailure::Untrusted
                            | ConnectFailure::ProxyDenied
                    )
                )
        };
        match attempts.into_iter().any(is_permanent) {
            true => Self::Permanent,
            false => Self::Open,
        }
    }
}

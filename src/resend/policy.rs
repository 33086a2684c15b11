//! The user's decisions about resending: the safety rules, and time.

use std::time::Duration;

use tower_resend_core::{Classifier, Role, Rules};

/// The user's decisions about resending.
///
/// The default is safe: requests that are proven not to have been applied are resent,
/// idempotent ones once, and everything else is reported with its doubt.
#[derive(Clone, Debug)]
#[must_use]
pub struct Policy {
    rules: Rules,
    pub(super) deadline: Option<Duration>,
    pub(super) attempt_timeout: Option<Duration>,
    pub(super) connect_patience: Duration,
}

impl Policy {
    /// Returns the default policy.
    pub fn new() -> Self {
        Self {
            rules: Rules::new(),
            deadline: Some(Duration::from_secs(30)),
            attempt_timeout: None,
            connect_patience: Duration::from_secs(10),
        }
    }

    /// Returns the safety half.
    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Sets on whose behalf requests are sent. The default is [`Role::Client`].
    pub fn role(mut self, role: Role) -> Self {
        self.rules = self.rules.role(role);
        self
    }

    /// Sets how many attempts there may be in all when a resend may repeat
    /// work (G5, G6, G7). The default is 3; 0 counts as 1.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.rules = self.rules.max_attempts(attempts);
        self
    }

    /// Sets how many attempts there may be in all when idempotence alone is
    /// the ground (G6). The default is 2, one automatic resend, as RFC 9110
    /// 9.2.2 advises; 0 counts as 1. [`max_attempts`](Self::max_attempts)
    /// bounds it too.
    pub fn max_idempotent_attempts(mut self, attempts: u32) -> Self {
        self.rules = self.rules.max_idempotent_attempts(attempts);
        self
    }

    /// Sets how many resends there may be after a proof (G1 to G4) that the
    /// request was not applied. Hand-backs and failed connects do not count.
    /// The default is 16.
    pub fn max_proven_resends(mut self, resends: u32) -> Self {
        self.rules = self.rules.max_proven_resends(resends);
        self
    }

    /// Sets how often a connection may hand the request back. The default is 32.
    pub fn max_hand_backs(mut self, hand_backs: u32) -> Self {
        self.rules = self.rules.max_hand_backs(hand_backs);
        self
    }

    /// Sets the deadline over all attempts. The default is 30 seconds.
    ///
    /// It ends with the response's head and does not bound reading the body.
    /// A [`Deadline`](crate::resend::Deadline) among a request's extensions
    /// replaces it.
    pub fn deadline(mut self, deadline: impl Into<Option<Duration>>) -> Self {
        self.deadline = deadline.into();
        self
    }

    /// Sets how long one attempt may take until the response's head. The default is no
    /// limit.
    ///
    /// An attempt that times out after a byte reached the kernel is *unknown*.
    pub fn attempt_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.attempt_timeout = timeout.into();
        self
    }

    /// Sets for how long failed connects are repeated. The default is 10 seconds. The
    /// deadline bounds it too.
    pub fn connect_patience(mut self, patience: Duration) -> Self {
        self.connect_patience = patience;
        self
    }

    /// States that the origins behind this policy deduplicate requests by
    /// their `Idempotency-Key`, durably and for as long as the deadline lasts
    /// (G5). It changes nothing for requests without the field.
    ///
    /// A wrong statement doubles requests.
    pub fn origins_deduplicate(mut self) -> Self {
        self.rules = self.rules.origins_deduplicate();
        self
    }

    /// Accepts no proof that an attacker on the path could have forged: a FIN, a reset, or
    /// anything that came in plaintext. For hostile paths.
    ///
    /// The only proof that remains is G1: the request was never sent. A closing response
    /// (G3) inside TLS cannot be forged, but is not distinguished from one in plaintext. The
    /// grounds that allow a repeat (G5 to G7) still count. Without one of them the fate is
    /// *unknown*, by [`Doubt::Forgeable`](crate::fate::Doubt::Forgeable), so that a caller
    /// that relies on the fate does not resend the request by hand either. The error says
    /// [`NoResend::Forgeable`](crate::fate::NoResend::Forgeable).
    pub fn require_authenticated_refusal(mut self) -> Self {
        self.rules = self.rules.require_authenticated_refusal();
        self
    }

    /// Sets the user's own classifier (G7).
    pub fn classifier(mut self, classifier: impl Classifier) -> Self {
        self.rules = self.rules.classifier(classifier);
        self
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::new()
    }
}

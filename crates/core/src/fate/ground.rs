//! Why a resend is safe, and why there was none.

use super::bad_request::BadRequest;
use super::doubt::Doubt;
use super::proof::Proof;
use super::rung::Rung;
use super::texts::texts;

/// Why a resend is safe.
///
/// Grounds are ordered by strength, the strongest first. Their ids, G1 to G7,
/// are those of `docs/evidence.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
#[allow(clippy::exhaustive_enums, reason = "a new ground is a new design")]
pub enum Ground {
    /// G1 to G4: the request is proven not to have been applied.
    Proven(Proof),
    /// G5: the origin deduplicates by the idempotency key, which the first
    /// attempt carried too.
    Deduplicated,
    /// G6: the request is idempotent (RFC 9110 9.2.2), by its method or by the
    /// caller's mark.
    Idempotent,
    /// G7: a user's classifier says so, and this is its reason.
    CallerSays(&'static str),
}

impl Ground {
    /// Returns the ground's id, `"G1"` to `"G7"`.
    pub fn id(&self) -> &'static str {
        self.rung().id()
    }

    /// Returns `true` if a resend on this ground repeats no work at the server.
    pub fn is_proven(&self) -> bool {
        matches!(self, Self::Proven(_))
    }
}

texts! {
    impl Ground {
        /// Returns the rung of the ladder of grounds that this ground stands on.
        rung: Rung;

        Self::Proven(proof) => proof.rung(),
            "{} {proof}" with proof.id(),
            proof.explain();
        Self::Deduplicated => Rung::G5,
            "G5 deduplicated by its idempotency key",
            "The origin deduplicates by the idempotency key that every attempt carries (G5, \
             deduplicated).";
        Self::Idempotent => Rung::G6,
            "G6 idempotent",
            "The request is idempotent, so repeating it has the effect of sending it once (G6; RFC \
             9110 9.2.2).";
        Self::CallerSays(reason) => Rung::G7,
            "G7 the caller says: {reason}",
            "The caller's own classifier says that this request may be sent again (G7, the \
             caller's word).";
    }
}

/// Whether to send a request again: the ground, the weakest of all attempts', or
/// why not.
pub type Decision = Result<Ground, NoResend>;

/// Why there was no resend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NoResend {
    /// A proof is missing, and no other ground holds for this attempt.
    Doubt(Doubt),
    /// A final response was begun and then lost, and no other ground holds.
    ResponseLost,
    /// An attempt was answered, and no ground to repeat it holds.
    Answered,
    /// The proof is enough for a client, but a proxy may resend a non-idempotent
    /// request only if it was never sent (RFC 9110 9.2.2).
    Proxy,
    /// The policy takes no proof that an attacker on the path could have forged,
    /// and no other ground holds.
    Forgeable(Proof),
    /// The request's body cannot be sent again.
    BodyNotReplayable,
    /// The request's own body failed.
    BodyFailed,
    /// The limit of attempts is used up.
    Attempts(u32),
    /// The deadline over all attempts has passed, or would during the wait.
    Deadline,
    /// Connects have failed for as long as the caller repeats them, or will have
    /// after the wait.
    ConnectPatience,
    /// A user's classifier forbids it, and this is its reason.
    Forbidden(&'static str),
    /// Another attempt would end the same way: the request has no target that it
    /// could be sent to, or its target rejects TLS with this client.
    Permanent,
    /// The request's head and body contradict each other: the next attempt would
    /// not send it either.
    NotSendable(BadRequest),
    /// Another resending layer above this one decides.
    StandsDown,
    /// The inner service failed before it could take the request, or take it
    /// again.
    NotReady,
}

texts! {
    impl NoResend {
        /// Returns a stable, low-cardinality name for metrics and logs; of a doubt, its
        /// own.
        name: &'static str;

        Self::Doubt(doubt) => doubt.name(),
            "{doubt}",
            doubt.explain();
        Self::ResponseLost => "response_lost",
            "its response was lost",
            "The server answered and the response was lost, so the request was worked on (G5 to G7 \
             could still allow a repeat).";
        Self::Answered => "answered",
            "an attempt was answered",
            "An attempt was answered, so the request was worked on (G5 to G7 could still allow a \
             repeat).";
        Self::Proxy => "proxy",
            "a proxy may not resend it",
            "A proxy must not resend a non-idempotent request that may have left it (RFC 9110 \
             9.2.2).";
        Self::Forgeable(proof) => "forgeable",
            "its proof is not authenticated ({proof}), which the policy requires",
            "The proof did not come inside TLS, and the policy requires an authenticated refusal.";
        Self::BodyNotReplayable => "body_not_replayable",
            "its body cannot be sent again",
            "The body was a stream that is gone; see replay_streams.";
        Self::BodyFailed => "body_failed",
            "its own body failed",
            "The request's own body failed, so there is no whole request to send.";
        Self::Attempts(limit) => "attempts",
            "the limit of {limit} attempts is used up",
            "The limit of attempts is used up.";
        Self::Deadline => "deadline",
            "the deadline leaves no time",
            "The deadline over all attempts leaves no time for another.";
        Self::ConnectPatience => "connect_patience",
            "connects failed for all of connect_patience",
            "Connects have failed for as long as they are repeated; see connect_patience.";
        Self::Forbidden(reason) => "forbidden",
            "forbidden by the caller: {reason}",
            "The caller's own classifier forbids it, and forbidden wins.";
        Self::Permanent => "permanent",
            "that would end the same way",
            "There is no target that it could be sent to, or none that takes this client, and \
             there would be none the next time.";
        Self::NotSendable(_) => "not_sendable",
            "it would not be sent the next time either",
            "The request's head and body contradict each other, and would the next time.";
        Self::StandsDown => "stands_down",
            "a layer above decides",
            "A resending layer above this one decides, so this one stands down.";
        Self::NotReady => "not_ready",
            "the inner service is not ready for more",
            "The inner service failed before it could take the request, so there was nothing to \
             send it with.";
    }
}

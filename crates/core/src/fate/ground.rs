//! Why a resend is safe, and why there was none.

use std::fmt;

use super::bad_request::BadRequest;
use super::doubt::Doubt;
use super::proof::Proof;
use super::rung::Rung;

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
    /// Returns the rung of the ladder of grounds that this ground stands on.
    pub fn rung(&self) -> Rung {
        match self {
            Self::Proven(proof) => proof.rung(),
            Self::Deduplicated => Rung::G5,
            Self::Idempotent => Rung::G6,
            Self::CallerSays(_) => Rung::G7,
        }
    }

    /// Returns the ground's id, `"G1"` to `"G7"`.
    pub fn id(&self) -> &'static str {
        self.rung().id()
    }

    /// Returns whether a resend on this ground repeats no work at the server.
    pub fn is_proven(&self) -> bool {
        matches!(self, Self::Proven(_))
    }

    /// Explains the ground in one sentence and names its rule.
    pub fn explain(&self) -> &'static str {
        match self {
            Self::Proven(proof) => proof.explain(),
            Self::Deduplicated => {
                "The origin deduplicates by the idempotency key that every attempt carries (G5, deduplicated)."
            }
            Self::Idempotent => {
                "The request is idempotent, so repeating it has the effect of sending it once (G6; RFC 9110 9.2.2)."
            }
            Self::CallerSays(_) => {
                "The caller's own classifier says that this request may be sent again (G7, the caller's word)."
            }
        }
    }
}

impl fmt::Display for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proven(proof) => write!(f, "{} {proof}", proof.rung().id()),
            Self::Deduplicated => f.write_str("G5 deduplicated by its idempotency key"),
            Self::Idempotent => f.write_str("G6 idempotent"),
            Self::CallerSays(reason) => write!(f, "G7 the caller says: {reason}"),
        }
    }
}

/// Whether to send a request again: on which ground, the weakest that was
/// needed, or why not.
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
    /// The ground would do for a client, but a proxy may resend a
    /// non-idempotent request only if it was never sent (RFC 9110 9.2.2).
    Proxy,
    /// The policy takes no proof that somebody on the way could have forged,
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
    /// The request names no target that it could be sent to, or one that refuses
    /// TLS with us.
    Permanent,
    /// The request's head and body contradict each other: it would not be sent the
    /// next time either.
    NotSendable(BadRequest),
    /// Another resending layer above this one decides.
    StandsDown,
    /// The inner service failed before it could take the request, or take it
    /// again.
    NotReady,
}

impl NoResend {
    /// Explains the refusal in one sentence and names its rule.
    pub fn explain(&self) -> &'static str {
        match self {
            Self::Doubt(doubt) => doubt.explain(),
            Self::ResponseLost => {
                "The server answered and the response was lost, so the request was worked on (G5 to G7 could still allow a repeat)."
            }
            Self::Answered => {
                "An attempt was answered, so the request was worked on (G5 to G7 could still allow a repeat)."
            }
            Self::Proxy => {
                "A proxy must not resend a non-idempotent request that may have left it (RFC 9110 9.2.2)."
            }
            Self::Forgeable(_) => {
                "The proof did not come inside TLS, and the policy requires an authenticated refusal."
            }
            Self::BodyNotReplayable => "The body was a stream that is gone; see replay_streams.",
            Self::BodyFailed => {
                "The request's own body failed, so there is no whole request to send."
            }
            Self::Attempts(_) => "The limit of attempts is used up.",
            Self::Deadline => "The deadline over all attempts leaves no time for another.",
            Self::ConnectPatience => {
                "Connects have failed for as long as they are repeated; see connect_patience."
            }
            Self::Forbidden(_) => "The caller's own classifier forbids it, and forbidden wins.",
            Self::Permanent => {
                "There is no target that it could be sent to, or none that takes this client, and there would be none the next time."
            }
            Self::NotSendable(_) => {
                "The request's head and body contradict each other, and would the next time."
            }
            Self::StandsDown => {
                "A resending layer above this one decides, so this one stands down."
            }
            Self::NotReady => {
                "The inner service failed before it could take the request, so there was nothing to send it with."
            }
        }
    }
}

impl fmt::Display for NoResend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Doubt(doubt) => write!(f, "{doubt}"),
            Self::ResponseLost => f.write_str("its response was lost"),
            Self::Answered => f.write_str("an attempt was answered"),
            Self::Proxy => f.write_str("a proxy may not resend it"),
            Self::Forgeable(proof) => {
                write!(f, "its proof is not authenticated ({proof}), which the policy requires")
            }
            Self::BodyNotReplayable => f.write_str("its body cannot be sent again"),
            Self::BodyFailed => f.write_str("its own body failed"),
            Self::Attempts(limit) => write!(f, "the limit of {limit} attempts is used up"),
            Self::Deadline => f.write_str("the deadline leaves no time"),
            Self::ConnectPatience => f.write_str("connects failed for all of connect_patience"),
            Self::Forbidden(reason) => write!(f, "forbidden by the caller: {reason}"),
            Self::NotSendable(_) => f.write_str("it would not be sent the next time either"),
            Self::Permanent => f.write_str("that would end the same way"),
            Self::StandsDown => f.write_str("a layer above decides"),
            Self::NotReady => f.write_str("the inner service is not ready for more"),
        }
    }
}

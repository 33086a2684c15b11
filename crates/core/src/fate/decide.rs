//! From the fates of all attempts to a decision.

use std::borrow::Cow;

use super::bad_request::BadRequest;
use super::doubt::Doubt;
use super::evidence::{Evidence, HandOff};
use super::fate::Fate;
use super::ground::{Decision, Ground, NoResend};
use super::proof::Proof;
use super::rules::{BodyState, Deduplication, Opinion, Outlook, RequestFacts, Role, Rules, Time};
use super::rung::Rung;

/// The fates of all attempts of one call so far, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    fates: Vec<Fate>,
}

impl History {
    /// Returns the history of a call without attempts.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an attempt that had this fate.
    pub fn push(&mut self, fate: Fate) {
        self.fates.push(fate);
    }

    /// Returns the fate of the call: the weakest of its attempts' fates.
    pub fn fate(&self) -> Option<Fate> {
        self.fates.iter().copied().reduce(Fate::weaker)
    }

    /// Returns the fates, oldest first.
    pub fn fates(&self) -> &[Fate] {
        &self.fates
    }

    /// Returns the history as the rules see it.
    fn under(&self, rules: &Rules) -> Cow<'_, Self> {
        match rules.authenticated_only {
            true => Cow::Owned(self.fates.iter().map(|fate| rules.believed(*fate)).collect()),
            false => Cow::Borrowed(self),
        }
    }

    fn count(&self, counts: impl Fn(&Fate) -> bool) -> u32 {
        u32::try_from(self.fates.iter().filter(|fate| counts(fate)).count()).unwrap_or(u32::MAX)
    }

    /// Counts attempts that may have been applied.
    fn unproven(&self) -> u32 {
        self.count(|fate| !fate.is_not_applied())
    }

    /// Counts attempts that were sent and are proven unapplied: failed connects and
    /// hand-backs are not among them.
    fn proven(&self) -> u32 {
        self.count(|fate| fate.is_not_applied() && !is_unsent(fate))
    }

    fn hand_backs(&self) -> u32 {
        self.count(|fate| matches!(fate, Fate::NotApplied(Proof::HandedBack(_))))
    }

    /// Returns why the request can never be sent, if it cannot.
    fn not_sendable(&self) -> Option<BadRequest> {
        self.fates.iter().find_map(|fate| match fate {
            Fate::NotApplied(Proof::NotSendable(why)) => Some(*why),
            _ => None,
        })
    }

    fn misdirections(&self) -> u32 {
        self.count(|fate| matches!(fate, Fate::NotApplied(Proof::Misdirected)))
    }
}

impl FromIterator<Fate> for History {
    fn from_iter<I: IntoIterator<Item = Fate>>(fates: I) -> Self {
        Self { fates: fates.into_iter().collect() }
    }
}

/// Decides whether a request whose attempts are `history` may be sent again.
///
/// A resend needs a ground for **every** earlier attempt; the weakest of them is
/// the decision's. Safety is judged first: that a ground is missing comes before
/// a missing body, attempt or time. A request that was not attempted yet has
/// nothing to resend: [`NoResend::Attempts`].
pub fn decide(history: &History, request: &RequestFacts, rules: &Rules) -> Decision {
    let history = &*history.under(rules);
    let mut weakest: Option<Ground> = None;
    let mut missing: Option<NoResend> = None;
    for fate in history.fates() {
        let opinion = request.opinion(fate, rules);
        if let Opinion::Forbidden(reason) = opinion {
            return Err(NoResend::Forbidden(reason));
        }
        match ground(fate, request, rules, opinion) {
            Ok(ground) => weakest = Some(weakest.map_or(ground, |other| weaker(other, ground))),
            // The first one is reported, but a later attempt may be forbidden.
            Err(why) => missing = missing.or(Some(why)),
        }
    }
    match (weakest, missing) {
        (_, Some(why)) => Err(why),
        (None, None) => Err(NoResend::Attempts(0)),
        (Some(ground), None) => {
            check_hindrances(history, request, rules, ground)?;
            Ok(ground)
        }
    }
}

/// Returns the strongest ground to repeat an attempt that had this fate.
fn ground(
    fate: &Fate,
    request: &RequestFacts,
    rules: &Rules,
    opinion: Opinion,
) -> Result<Ground, NoResend> {
    let missing = match fate {
        Fate::NotApplied(proof) if may_resend_proven(*proof, request, rules.role) => {
            return Ok(Ground::Proven(*proof));
        }
        Fate::NotApplied(_) => NoResend::Proxy,
        Fate::Unknown(Doubt::Forgeable(proof)) => NoResend::Forgeable(*proof),
        Fate::Unknown(doubt) => NoResend::Doubt(*doubt),
        Fate::ResponseLost => NoResend::ResponseLost,
        Fate::Completed => NoResend::Answered,
    };
    repeat(request, rules.role, opinion).ok_or(missing)
}

/// Returns the ground to repeat a request that may have been applied.
fn repeat(request: &RequestFacts, role: Role, opinion: Opinion) -> Option<Ground> {
    let is_idempotent = request.semantics.is_idempotent();
    match role {
        Role::Client | Role::ProxyWithAllGrounds => {}
        Role::Proxy if is_idempotent => {}
        Role::Proxy => return None,
    }
    match (request.deduplication, opinion) {
        (Deduplication::Keyed, _) => Some(Ground::Deduplicated),
        (Deduplication::None, _) if is_idempotent => Some(Ground::Idempotent),
        (Deduplication::None, Opinion::Resend(reason)) => Some(Ground::CallerSays(reason)),
        (Deduplication::None, Opinion::None | Opinion::Forbidden(_)) => None,
    }
}

/// Returns `true` if the role allows a resend on this proof (RFC 9110 9.2.2).
fn may_resend_proven(proof: Proof, request: &RequestFacts, role: Role) -> bool {
    match role {
        Role::Client | Role::ProxyWithAllGrounds => true,
        Role::Proxy => proof.rung() == Rung::G1 || request.semantics.is_idempotent(),
    }
}

/// Checks what can speak against a resend that is safe.
fn check_hindrances(
    history: &History,
    request: &RequestFacts,
    rules: &Rules,
    ground: Ground,
) -> Result<(), NoResend> {
    if let Some(why) = history.not_sendable() {
        return Err(NoResend::NotSendable(why));
    }
    match request.body {
        BodyState::Failed => return Err(NoResend::BodyFailed),
        BodyState::Gone => return Err(NoResend::BodyNotReplayable),
        BodyState::Replayable => {}
    }
    let limit = match ground {
        Ground::Proven(_) => u32::MAX,
        Ground::Idempotent => rules.max_idempotent_attempts.min(rules.max_attempts),
        Ground::Deduplicated | Ground::CallerSays(_) => rules.max_attempts,
    };
    if history.unproven() >= limit {
        return Err(NoResend::Attempts(limit));
    }
    if history.proven() > rules.max_proven_resends {
        return Err(NoResend::Attempts(rules.max_proven_resends.saturating_add(1)));
    }
    if history.hand_backs() > rules.max_hand_backs {
        return Err(NoResend::Attempts(rules.max_hand_backs));
    }
    // A 421 permits one resend: a second one says that no connection is right.
    if history.misdirections() > 1 {
        return Err(NoResend::Attempts(2));
    }
    match (request.time, request.outlook) {
        (Time::Over, _) => Err(NoResend::Deadline),
        (Time::OutOfPatience, _) => Err(NoResend::ConnectPatience),
        (Time::Left, Outlook::Permanent) => Err(NoResend::Permanent),
        (Time::Left, Outlook::Open) => Ok(()),
    }
}

/// Returns the weaker of two grounds; on a tie the earlier one, `one`.
fn weaker(one: Ground, other: Ground) -> Ground {
    if other.rung() > one.rung() { other } else { one }
}

fn is_unsent(fate: &Fate) -> bool {
    matches!(
        fate,
        Fate::NotApplied(Proof::HandedBack(_) | Proof::NotConnected(_) | Proof::NotSendable(_))
    )
}

/// Returns `true` if an attempt counts against a limit of attempts. A failed
/// connect, a hand-back and a request that cannot be sent do not.
pub fn counts_as_attempt(evidence: &Evidence) -> bool {
    !matches!(
        evidence.hand_off,
        HandOff::NotConnected(_) | HandOff::HandedBack(_) | HandOff::NotSendable(_)
    )
}

//! All attempts of one call so far, and whether another may follow.

use std::borrow::Cow;

use super::bad_request::BadRequest;
use super::doubt::Doubt;
use super::evidence::Evidence;
use super::fate::Fate;
use super::ground::{Decision, Ground, NoResend};
use super::proof::Proof;
use super::rules::{
    BodyState, Deduplication, Opinion, Outlook, RequestFacts, Role, Rules, Semantics, Time,
};
use super::rung::Rung;

/// The fates of all attempts of one call so far, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    fates: Vec<Fate>,
}

impl History {
    /// Returns the history of a call that has not been attempted.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an attempt that had this fate.
    pub fn push(&mut self, fate: Fate) {
        self.fates.push(fate);
    }

    /// Returns the fate of the last attempt.
    pub fn last(&self) -> Option<Fate> {
        self.fates.last().copied()
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

    /// Attempts that may have been applied.
    fn unproven(&self) -> u32 {
        self.count(|fate| !fate.is_not_applied())
    }

    /// Attempts that were sent and proven unapplied: connects that failed and
    /// hand-backs do not count.
    fn proven(&self) -> u32 {
        self.count(|fate| fate.is_not_applied() && !is_unsent(fate))
    }

    fn hand_backs(&self) -> u32 {
        self.count(|fate| matches!(fate, Fate::NotApplied(Proof::HandedBack(_))))
    }

    /// Returns why the request can never be sent, if that is so.
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
    let mut weakest: Option<Decision> = None;
    for fate in history.fates() {
        let opinion = request.opinion(fate, rules);
        if let Opinion::Forbidden(reason) = opinion {
            return Err(NoResend::Forbidden(reason));
        }
        let ground = ground(fate, request, rules, opinion);
        weakest = Some(match weakest {
            None => ground,
            Some(Ok(other)) => ground.map(|ground| weaker(other, ground)),
            Some(missing @ Err(_)) => missing,
        });
    }
    let ground = weakest.unwrap_or(Err(NoResend::Attempts(0)))?;
    match hindrance(history, request, rules, ground) {
        Some(why) => Err(why),
        None => Ok(ground),
    }
}

/// Returns the strongest ground to repeat an attempt that had this fate.
fn ground(
    fate: &Fate,
    request: &RequestFacts,
    rules: &Rules,
    opinion: Opinion,
) -> Result<Ground, NoResend> {
    let refusal = match fate {
        Fate::NotApplied(proof) if may_resend_proven(*proof, request, rules.role) => {
            return Ok(Ground::Proven(*proof));
        }
        Fate::NotApplied(_) => NoResend::Proxy,
        Fate::Unknown(Doubt::Forgeable(proof)) => NoResend::Forgeable(*proof),
        Fate::Unknown(doubt) => NoResend::Doubt(*doubt),
        Fate::ResponseLost => NoResend::ResponseLost,
        Fate::Completed => NoResend::Answered,
    };
    repeat(request, rules.role, opinion).ok_or(refusal)
}

/// Returns the ground to repeat a request that may have been applied.
fn repeat(request: &RequestFacts, role: Role, opinion: Opinion) -> Option<Ground> {
    let is_idempotent = request.semantics != Semantics::NotIdempotent;
    if role == Role::Proxy && !is_idempotent {
        return None;
    }
    match (request.deduplication, opinion) {
        (Deduplication::Keyed, _) => Some(Ground::Deduplicated),
        (Deduplication::None, _) if is_idempotent => Some(Ground::Idempotent),
        (Deduplication::None, Opinion::Resend(reason)) => Some(Ground::CallerSays(reason)),
        (Deduplication::None, Opinion::None | Opinion::Forbidden(_)) => None,
    }
}

fn may_resend_proven(proof: Proof, request: &RequestFacts, role: Role) -> bool {
    match role {
        Role::Client | Role::ProxyWithAllGrounds => true,
        Role::Proxy => proof.rung() == Rung::G1 || request.semantics != Semantics::NotIdempotent,
    }
}

/// Returns what else than safety speaks against a resend.
fn hindrance(
    history: &History,
    request: &RequestFacts,
    rules: &Rules,
    ground: Ground,
) -> Option<NoResend> {
    if let Some(why) = history.not_sendable() {
        return Some(NoResend::NotSendable(why));
    }
    match request.body {
        BodyState::Failed => return Some(NoResend::BodyFailed),
        BodyState::Gone => return Some(NoResend::BodyNotReplayable),
        BodyState::Replayable => {}
    }
    let limit = match ground {
        Ground::Proven(_) => u32::MAX,
        Ground::Idempotent => rules.max_idempotent_attempts.min(rules.max_attempts),
        Ground::Deduplicated | Ground::CallerSays(_) => rules.max_attempts,
    };
    if history.unproven() >= limit {
        return Some(NoResend::Attempts(limit));
    }
    if history.proven() > rules.max_proven_resends {
        return Some(NoResend::Attempts(rules.max_proven_resends.saturating_add(1)));
    }
    if history.hand_backs() > rules.max_hand_backs {
        return Some(NoResend::Attempts(rules.max_hand_backs));
    }
    if history.misdirections() > 1 {
        return Some(NoResend::Attempts(2));
    }
    match (request.time, request.outlook) {
        (Time::Over, _) => Some(NoResend::Deadline),
        (Time::OutOfPatience, _) => Some(NoResend::ConnectPatience),
        (Time::Left, Outlook::Permanent) => Some(NoResend::Permanent),
        (Time::Left, Outlook::Open) => None,
    }
}

fn weaker(one: Ground, other: Ground) -> Ground {
    if other.rung() > one.rung() { other } else { one }
}

fn is_unsent(fate: &Fate) -> bool {
    matches!(
        fate,
        Fate::NotApplied(Proof::HandedBack(_) | Proof::NotConnected(_) | Proof::NotSendable(_))
    )
}

/// Returns whether an attempt counts against any limit of attempts: failed
/// connects, hand-backs and what cannot be sent do not.
pub fn counts_as_attempt(evidence: &Evidence) -> bool {
    use super::evidence::HandOff;
    !matches!(
        evidence.hand_off,
        HandOff::NotConnected(_) | HandOff::HandedBack(_) | HandOff::NotSendable(_)
    )
}

//! The token that collects the attempts of one call.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Request;

use super::{Attempt, Freshness};
use crate::time::Instant;
use tower_resend_core::{EndedBy, Fate, Ground, Proof, Rules};

/// The record of one call's hand-offs, carried in a request's extensions.
///
/// [`ResendLayer`](crate::ResendLayer) puts a token into each request that it sends. This
/// crate's transports record every hand-off in it, those of redirected or refreshed
/// requests too, where the layers between keep extensions.
///
/// A transport of your own can record hand-offs in the same way: remove the token from
/// the request's extensions, call [`record`] when the fate of a hand-off is known, and
/// fail with an [`AttemptError`](crate::AttemptError), where there is an example. Drop the
/// token before you return the outcome. While a clone of it is alive after the attempt
/// has failed, the layer assumes that a copy of the request may yet be sent, and resends
/// on no proof.
///
/// A clone is another handle to the same record.
///
/// [`record`]: Self::record
#[derive(Clone)]
pub struct AttemptToken(Arc<Inner>);

#[derive(Default)]
struct Inner {
    log: Mutex<AttemptLog>,
    /// The log has a requirement of freshness. Set under its lock, read without it: the
    /// first hand-off of a call, usually the only one, need not take it.
    has_freshness: AtomicBool,
}

impl AttemptToken {
    /// Returns a token with an empty record.
    pub fn new() -> Self {
        Self(Arc::default())
    }

    /// Returns a token with an empty record, for a call that connections may hand back
    /// this many times.
    pub(crate) fn with_max_hand_backs(hand_backs: u32) -> Self {
        let log = AttemptLog { max_hand_backs: Some(hand_backs), ..AttemptLog::default() };
        Self(Arc::new(Inner { log: Mutex::new(log), has_freshness: AtomicBool::new(false) }))
    }

    /// Records a hand-off.
    ///
    /// If it follows one that is proven not to have been applied, and that no layer has
    /// resent, then the transport itself resent it on that proof.
    #[inline]
    pub fn record(&self, attempt: Attempt) {
        self.lock().follow_with(attempt);
    }

    /// Records that a connection handed the request back. Returns `true` if the transport
    /// may hand it to another one.
    ///
    /// Nothing else ends a transport's own series of hand-backs. All hand-backs of the
    /// call count, as they do in the decision.
    pub(crate) fn record_hand_back(&self, attempt: Attempt) -> bool {
        let mut log = self.lock();
        log.follow_with(attempt);
        let hand_backs = log.iter_mut().filter(|attempt| attempt.is_hand_back()).count();
        let limit = log.max_hand_backs.unwrap_or_else(|| Rules::new().hand_back_limit());
        u32::try_from(hand_backs).is_ok_and(|hand_backs| hand_backs <= limit)
    }

    /// Records a hand-off that the record lacks. That it follows others says nothing of
    /// them.
    pub(crate) fn complete_with(&self, attempt: Attempt) {
        self.lock().push(attempt);
    }

    /// Returns how many hand-offs are recorded.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Returns `true` if no hand-off is recorded.
    pub fn is_empty(&self) -> bool {
        self.lock().first.is_none()
    }

    /// Returns all hand-offs, oldest first.
    pub fn attempts(&self) -> Vec<Attempt> {
        let log = self.lock();
        log.first.iter().chain(&log.more).cloned().collect()
    }

    /// Gives a request back whose body was not touched.
    ///
    /// It must be as it was received: method, target and header fields too. Where the
    /// resending layer above has no copy of the body, it sends this request again or
    /// hands it to the caller with the error, with the head that it had in that layer.
    ///
    /// The layer takes the body only if no layer between has changed it, because it would
    /// be changed twice. A [`Body`](crate::Body) is recognized. For another type that is
    /// not `Clone`, any change of the head counts as a change of the body; a layer that
    /// changes only the bytes of such a body belongs above the resending layer.
    pub fn give_back<B: Send + 'static>(&self, mut request: Request<B>) {
        request.extensions_mut().remove::<Self>();
        // An earlier one is dropped after the guard: its body is foreign code.
        let _before = self.lock().returned.replace(Box::new(request));
    }

    /// Takes a request that was given back, if it has a body of this type.
    pub fn take_back<B: Send + 'static>(&self) -> Option<Request<B>> {
        let returned = self.lock().returned.take()?;
        returned.downcast().ok().map(|request| *request)
    }

    /// Returns `true` if the token is held elsewhere: by a copy of the request that may
    /// yet be sent, or by a hand-off that has not ended.
    ///
    /// Ask before you read the record that is to be judged.
    pub(crate) fn is_held_elsewhere(&self) -> bool {
        // Nothing but the life of the token's clones tells of a copy of the request
        // (docs/adr/0003).
        let is_held = Arc::strong_count(&self.0) > 1;
        // The count is loaded relaxed. What the last other holder recorded before it
        // dropped its clone must be visible to the reads that follow.
        fence(Ordering::Acquire);
        is_held
    }

    /// Returns `true` if the hand-offs after the first `start` prove that nothing was
    /// applied.
    pub(crate) fn is_unapplied(&self, start: usize) -> bool {
        self.lock().iter_mut().skip(start).all(|attempt| attempt.fate.is_not_applied())
    }

    /// Returns `true` if the hand-offs after the first `start` prove that nothing was
    /// applied, although one of them was answered: a layer got that answer and may have
    /// sent something elsewhere since, which is not recorded.
    pub(crate) fn is_answered_unapplied(&self, start: usize) -> bool {
        let mut log = self.lock();
        let mut answered = false;
        let unapplied = log.iter_mut().skip(start).all(|attempt| {
            answered |= attempt.fate == Fate::NotApplied(Proof::Misdirected);
            attempt.fate.is_not_applied()
        });
        answered && unapplied
    }

    /// Returns `true` if the last hand-off, which is none of the first `start`, was
    /// answered by a 421.
    pub(crate) fn is_misdirected(&self, start: usize) -> bool {
        let log = self.lock();
        let last = log.more.last().or(log.first.as_ref());
        log.len() > start
            && last.is_some_and(|last| last.fate == Fate::NotApplied(Proof::Misdirected))
    }

    /// Returns `true` if nothing more happened than that one hand-off, if it was recorded
    /// at all, was answered.
    #[inline]
    pub(crate) fn is_clean(&mut self) -> bool {
        let is_clean = |log: &AttemptLog| {
            let only = log.first.as_ref();
            log.more.is_empty() && only.is_none_or(|only| only.fate == Fate::Completed)
        };
        // The request is gone, and its clone of the token with it, unless a layer kept one.
        match Arc::get_mut(&mut self.0) {
            Some(inner) => is_clean(inner.log.get_mut().unwrap_or_else(PoisonError::into_inner)),
            None => is_clean(&self.lock()),
        }
    }

    /// Returns `true` if this attempt, which failed, is recorded.
    pub(super) fn has(&self, attempt: &Attempt) -> bool {
        self.lock().iter_mut().any(|recorded| recorded.id == attempt.id)
    }

    /// Returns what ended the last hand-off, if an error would have told of it.
    pub(super) fn end_told_by_error(&self) -> Option<EndedBy> {
        let mut log = self.lock();
        let last = log.iter_mut().last().filter(|last| last.is_told_by_error);
        last.map(|last| last.evidence.ended_by)
    }

    /// Requires more of the next connection after one failed at `failed_at`: after the
    /// first failure that it was alive since, later that it was never used.
    pub(crate) fn want_alive(&self, failed_at: Instant) {
        let mut log = self.lock();
        log.freshness = log.freshness.after_failure(failed_at);
        self.0.has_freshness.store(true, Ordering::Release);
    }

    /// Requires a connection that was never used and is made from `now` on, unless our
    /// own transport required something since the attempt under way `began`: it knows
    /// better when that attempt failed.
    pub(crate) fn want_unused(&self, began: Instant, now: Instant) {
        let mut log = self.lock();
        if log.freshness.since().is_none_or(|since| since < began) {
            log.freshness = Freshness::UnusedSince(now);
            self.0.has_freshness.store(true, Ordering::Release);
        }
    }

    /// Returns what is required of the next connection.
    #[inline]
    pub(crate) fn freshness(&self) -> Freshness {
        match self.0.has_freshness.load(Ordering::Acquire) {
            true => self.lock().freshness,
            false => Freshness::Any,
        }
    }

    /// Notes that the hand-offs after the first `start` which were dropped were dropped
    /// because a deadline of ours had passed.
    pub(crate) fn end_by_deadline(&self, start: usize) {
        self.lock().iter_mut().skip(start).for_each(Attempt::end_by_deadline);
    }

    /// Notes the ground on which the request is sent again after the hand-offs from
    /// `start` on. Returns how many hand-offs are recorded afterwards: some failed
    /// connects may be dropped from the record, because only time limits those.
    pub(crate) fn resent_on(&self, start: usize, ground: Ground) -> usize {
        let mut log = self.lock();
        let hand_offs = log.iter_mut().skip(start).filter(|attempt| attempt.ground.is_none());
        hand_offs.for_each(|attempt| attempt.set_ground(ground));
        log.shorten();
        log.len()
    }

    #[inline]
    fn lock(&self) -> MutexGuard<'_, AttemptLog> {
        self.0.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for AttemptToken {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for AttemptToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AttemptToken").field(&self.attempts()).finish()
    }
}

#[derive(Default)]
struct AttemptLog {
    /// The first hand-off is kept in place: most calls have no second.
    first: Option<Attempt>,
    more: Vec<Attempt>,
    returned: Option<Box<dyn Any + Send>>,
    /// Which connections the next hand-off may use.
    freshness: Freshness,
    /// How often connections may hand the request back; `None` for the default.
    max_hand_backs: Option<u32>,
}

impl AttemptLog {
    #[inline]
    fn push(&mut self, attempt: Attempt) {
        match self.first {
            None => self.first = Some(attempt),
            Some(_) => self.more.push(attempt),
        }
    }

    /// Adds a hand-off that follows the last one.
    #[inline]
    fn follow_with(&mut self, attempt: Attempt) {
        // Nearly always it is the only one, and is then built where it stays.
        if self.first.is_none() {
            self.first = Some(attempt);
            return;
        }
        if let Some(last) = self.iter_mut().last()
            && let (None, Some(proof)) = (last.ground, last.fate.proof())
        {
            last.set_ground(Ground::Proven(proof));
        }
        self.more.push(attempt);
    }

    fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.len()
    }

    /// Drops failed connects from the middle of a very long record. Those sent nothing,
    /// whatever else is listed.
    fn shorten(&mut self) {
        if self.len() <= MAX_LISTED {
            return;
        }
        let last = self.more.len().saturating_sub(LISTED_AT_EACH_END);
        let mut index = 0;
        self.more.retain(|attempt| {
            index += 1;
            index < LISTED_AT_EACH_END || index > last || !attempt.is_failed_connect()
        });
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Attempt> {
        self.first.iter_mut().chain(&mut self.more)
    }
}

/// A call that has more attempts than this may leave failed connects out.
pub(crate) const MAX_LISTED: usize = 128;

/// How many attempts are always listed, counted from the first and from the last.
const LISTED_AT_EACH_END: usize = MAX_LISTED / 2;

#[cfg(test)]
mod tests {
    use super::*;
    use tower_resend_core::{Contract, Evidence, HandOff, StaleReason};

    fn hand_back(token: &AttemptToken) -> bool {
        let evidence = Evidence::new(HandOff::HandedBack(StaleReason::Fin));
        token.record_hand_back(Attempt::new(evidence, &Contract::none()))
    }

    #[test]
    fn a_token_without_a_policy_allows_32_hand_backs() {
        let token = AttemptToken::new();
        assert!((0..32).all(|_| hand_back(&token)));
        assert!(!hand_back(&token));
    }

    #[test]
    fn all_hand_backs_of_a_call_count_against_its_limit() {
        let token = AttemptToken::with_max_hand_backs(2);
        assert!(hand_back(&token));
        token.record(Attempt::unrecorded());
        assert!(hand_back(&token));
        assert!(!hand_back(&token));
        assert!(!hand_back(&AttemptToken::with_max_hand_backs(0)));
    }

    #[test]
    fn a_freshness_requirement_is_seen_by_every_clone() {
        let token = AttemptToken::new();
        let other = token.clone();
        assert_eq!(other.freshness(), Freshness::Any);
        let now = crate::time::now();
        token.want_alive(now);
        assert_eq!(other.freshness(), Freshness::AliveSince(now));
        other.want_unused(now, now);
        assert_eq!(token.freshness(), Freshness::AliveSince(now), "asked for since then");
    }
}

//! Attempts, and the token that carries their record through a stack.

mod freshness;
mod sent;

use std::any::Any;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Request;

pub(crate) use self::freshness::Freshness;
pub(crate) use self::sent::{IDEMPOTENCY_KEY, KeyPrint, Sent};
use crate::time::Instant;
use tower_resend_core::contract::ContractStatus;
use tower_resend_core::{
    Answer, Contract, EndedBy, Evidence, Fate, Ground, HandOff, Proof, Rules, classify,
};

/// One hand-off of a request to one connection, and what became of it.
///
/// Failed connects and requests that a connection handed back are listed too,
/// although no limit of attempts counts them. Where over 128 are listed, failed
/// connects before and after which 64 others stand may be left out.
#[derive(Clone, Debug)]
pub struct Attempt {
    evidence: Evidence,
    contract: Contract,
    fate: Fate,
    peer: Option<SocketAddr>,
    ground: Option<Ground>,
    standing: Option<Arc<ContractStatus>>,
    id: Id,
    /// Whether it is one of this crate's own transports.
    is_ours: bool,
    /// What was sent, where that is known.
    sent: Option<Sent>,
}

/// Tells attempts that failed from each other; a copy is the same attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Id(u64);

impl Id {
    /// Of attempts that were answered: no error tells of those.
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

impl Attempt {
    /// Returns an attempt of which its connection saw `evidence`, under a
    /// contract of that connection.
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
            standing: None,
            id,
            is_ours: false,
            sent: None,
        }
    }

    /// Returns an attempt about which nothing was recorded.
    pub fn unrecorded() -> Self {
        Self::new(Evidence::new(HandOff::Unrecorded), &Contract::none())
    }

    /// Returns the attempt behind a response, where it was not recorded.
    pub(crate) fn answered() -> Self {
        let evidence = Evidence::new(HandOff::Written).with_answer(Answer::Complete);
        Self::new(evidence, &Contract::none())
    }

    /// Says that it is an attempt of this crate's own transports. Those fail with
    /// an error that tells of it, unless they are given up.
    #[inline]
    pub(crate) fn of_ours(self) -> Self {
        Self { is_ours: true, ..self }
    }

    /// Sets what was sent in this attempt.
    #[inline]
    pub(crate) fn sending(self, sent: Sent) -> Self {
        Self { sent: Some(sent), ..self }
    }

    /// Returns what was sent that may have been applied, where that is known.
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
    pub fn with_standing(mut self, standing: ContractStatus) -> Self {
        self.standing = Some(Arc::new(standing));
        self
    }

    /// Returns which contract the request was sent under, or why none; nothing
    /// where the attempt was answered or never sent.
    pub fn standing(&self) -> Option<&ContractStatus> {
        self.standing.as_deref()
    }

    /// Returns what the attempt's connection saw.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// Returns what became of this attempt at the server.
    pub fn fate(&self) -> Fate {
        self.fate
    }

    /// Returns the address that the attempt was sent to, if it was connected.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Returns the ground on which the request was sent again after this
    /// attempt, if it was.
    pub fn ground(&self) -> Option<Ground> {
        self.ground
    }

    /// Returns what the attempt's connection had promised.
    pub fn contract(&self) -> &Contract {
        &self.contract
    }

    /// Returns the attempt as a policy sees it.
    pub(crate) fn believed_by(self, rules: &Rules) -> Self {
        Self { fate: rules.believed(self.fate), ..self }
    }

    pub(crate) fn set_ground(&mut self, ground: Ground) {
        self.ground = Some(ground);
    }

    /// Returns whether the request's own body ended the attempt.
    pub(crate) fn is_ended_by_body(&self) -> bool {
        self.evidence.ended_by == EndedBy::RequestBody
    }

    /// Writes that the peer refused TLS with us, if it did.
    pub(crate) fn write_alert(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.evidence.alert {
            Some(alert) => write!(f, "; the peer refuses this client by the TLS alert {alert}"),
            None => Ok(()),
        }
    }

    fn is_failed_connect(&self) -> bool {
        matches!(self.evidence.hand_off, HandOff::NotConnected(_))
    }

    /// Says that what dropped the attempt was a deadline of ours.
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

/// The record of one call's hand-offs, carried in a request's extensions.
///
/// [`ResendLayer`](crate::ResendLayer) puts a token into each request that it
/// sends, and this crate's transport records every hand-off in it, those of
/// redirected or refreshed inner requests too where the layers between keep
/// extensions. A transport of one's own can record hand-offs in the same way:
/// take the token from the request's extensions and call [`record`]. Drop it
/// before the outcome is given: while anybody else has the token after its
/// attempt has failed, the layer takes it that a copy of the request may yet be
/// sent, and resends on no proof.
///
/// Cloning gives another handle to the same record.
///
/// [`record`]: Self::record
#[derive(Clone)]
pub struct AttemptToken(Arc<Mutex<AttemptLog>>);

#[derive(Default)]
struct AttemptLog {
    /// The first hand-off is kept in place: most calls have no second.
    first: Option<Attempt>,
    more: Vec<Attempt>,
    returned: Option<Box<dyn Any + Send>>,
    /// Which connections the next hand-off may use.
    freshness: Freshness,
    /// How often connections may hand the request back; none for the default.
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
    fn follow_with(&mut self, attempt: Attempt) {
        if let Some(last) = self.iter_mut().last()
            && let (None, Some(proof)) = (last.ground, last.fate.proof())
        {
            last.set_ground(Ground::Proven(proof));
        }
        self.push(attempt);
    }

    fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.len()
    }

    /// Forgets the failed connects in the middle, if there are very many
    /// hand-offs. Nothing was sent by those, whatever else is listed.
    fn shorten(&mut self) {
        if self.len() <= MOST_LISTED {
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

/// How many hand-offs are always listed, from the first and from the last on.
const LISTED_AT_EACH_END: usize = MOST_LISTED / 2;

/// How many hand-offs are listed before any is left out.
pub(crate) const MOST_LISTED: usize = 128;

impl AttemptToken {
    /// Returns a token with an empty record.
    pub fn new() -> Self {
        Self(Arc::default())
    }

    /// Returns an empty token for a call that connections may hand back so often.
    pub(crate) fn with_max_hand_backs(hand_backs: u32) -> Self {
        let log = AttemptLog { max_hand_backs: Some(hand_backs), ..AttemptLog::default() };
        Self(Arc::new(Mutex::new(log)))
    }

    /// Records a hand-off.
    ///
    /// If it follows one that is proven not to have been applied, and that no
    /// layer has resent, then the transport itself resent it on that proof.
    #[inline]
    pub fn record(&self, attempt: Attempt) {
        self.lock().follow_with(attempt);
    }

    /// Records a hand-off that a connection handed back. Returns `true` if the
    /// transport may hand the request to another connection.
    ///
    /// This is the one place that ends a transport's own series of hand-backs. It
    /// counts as the decision after it does: all hand-backs of the call.
    pub(crate) fn record_hand_back(&self, attempt: Attempt) -> bool {
        let mut log = self.lock();
        log.follow_with(attempt);
        let is_hand_back =
            |attempt: &&mut Attempt| matches!(attempt.evidence.hand_off, HandOff::HandedBack(_));
        let hand_backs = log.iter_mut().filter(is_hand_back).count();
        let limit = log.max_hand_backs.unwrap_or_else(|| Rules::new().hand_back_limit());
        u32::try_from(hand_backs).is_ok_and(|hand_backs| hand_backs <= limit)
    }

    /// Records a hand-off that the record lacks. That it follows others says
    /// nothing of them.
    pub(crate) fn complete_with(&self, attempt: Attempt) {
        self.lock().push(attempt);
    }

    /// Returns how many hand-offs are recorded.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Returns whether no hand-off is recorded.
    pub fn is_empty(&self) -> bool {
        self.lock().first.is_none()
    }

    /// Returns whether the hand-offs after the first `start` prove that nothing
    /// was applied.
    pub(crate) fn is_unapplied(&self, start: usize) -> bool {
        self.lock().iter_mut().skip(start).all(|attempt| attempt.fate.is_not_applied())
    }

    /// Returns whether this hand-off, which failed, is recorded.
    pub(crate) fn has(&self, attempt: &Attempt) -> bool {
        self.lock().iter_mut().any(|recorded| recorded.id == attempt.id)
    }

    /// Returns how the last hand-off ended, if this crate's transports made it:
    /// one that failed is told of by their error, one that was given up by none.
    pub(crate) fn end_of_ours(&self) -> Option<EndedBy> {
        let mut record = self.lock();
        record.iter_mut().last().filter(|last| last.is_ours).map(|last| last.evidence.ended_by)
    }

    /// Returns `true` if the token is held elsewhere: by a copy of the request that
    /// may yet be sent, or by a hand-off that has not ended.
    ///
    /// Ask before the record is read that is judged.
    pub(crate) fn is_held_elsewhere(&self) -> bool {
        let is_held = Arc::strong_count(&self.0) > 1;
        // The count is loaded relaxed. What the last other holder recorded before it
        // dropped its clone must be visible to the reads that follow.
        fence(Ordering::Acquire);
        is_held
    }

    /// Returns all hand-offs, oldest first.
    pub fn attempts(&self) -> Vec<Attempt> {
        let record = self.lock();
        record.first.iter().chain(&record.more).cloned().collect()
    }

    /// Gives a request back whose body was not touched.
    ///
    /// It must be as it was received: method, target and header fields too.
    /// Where the resending layer above has no copy of the body it sends this
    /// very request again, or hands it to the caller with the error; with the
    /// head that it had there, and only if no layer between has changed the
    /// body, which would change it twice. (A [`Body`](crate::Body) that was
    /// changed is known. For other types that are not `Clone` any change of the
    /// head counts as one; a layer that changes their bytes alone belongs above
    /// the resending layer.)
    pub fn give_back<B: Send + 'static>(&self, mut request: Request<B>) {
        request.extensions_mut().remove::<Self>();
        // One that was there goes where nothing is locked: its body is foreign code.
        let _before = self.lock().returned.replace(Box::new(request));
    }

    /// Takes a request that was given back.
    pub fn take_back<B: Send + 'static>(&self) -> Option<Request<B>> {
        let returned = self.lock().returned.take()?;
        returned.downcast().ok().map(|request| *request)
    }

    /// Asks for other connections after one failed at `failed_at`: after the
    /// first failure such as were alive since, then such as were never used.
    pub(crate) fn want_alive(&self, failed_at: Instant) {
        let mut log = self.lock();
        log.freshness = log.freshness.after_failure(failed_at);
    }

    /// Asks for connections that were never used and are made from `now` on,
    /// unless our own transport asked for something since the attempt under
    /// way `began`: it knows better when that failed.
    pub(crate) fn want_unused(&self, began: Instant, now: Instant) {
        let mut log = self.lock();
        if log.freshness.since().is_none_or(|since| since < began) {
            log.freshness = Freshness::UnusedSince(now);
        }
    }

    /// Returns which connections the next hand-off may use.
    pub(crate) fn freshness(&self) -> Freshness {
        self.lock().freshness
    }

    /// Returns whether the last hand-off, which is none of the first `start`,
    /// was answered by a 421.
    pub(crate) fn is_misdirected(&self, start: usize) -> bool {
        let record = self.lock();
        let last = record.more.last().or(record.first.as_ref());
        record.len() > start
            && last.is_some_and(|last| last.fate == Fate::NotApplied(Proof::Misdirected))
    }

    /// Returns whether the hand-offs after the first `start` prove that nothing
    /// was applied, although one of them was answered: a layer got that answer
    /// and may have sent something elsewhere since, which is not recorded.
    pub(crate) fn is_answered_unapplied(&self, start: usize) -> bool {
        let mut record = self.lock();
        let mut answered = false;
        let unapplied = record.iter_mut().skip(start).all(|attempt| {
            answered |= attempt.fate == Fate::NotApplied(Proof::Misdirected);
            attempt.fate.is_not_applied()
        });
        answered && unapplied
    }

    /// Returns whether nothing more happened than that one hand-off, if it was
    /// recorded at all, was answered.
    #[inline]
    pub(crate) fn is_clean(&self) -> bool {
        let record = self.lock();
        record.more.is_empty()
            && record.first.as_ref().is_none_or(|only| only.fate == Fate::Completed)
    }

    /// Says that the hand-offs after the first `start` which were dropped were
    /// dropped by a deadline of ours.
    pub(crate) fn end_by_deadline(&self, start: usize) {
        self.lock().iter_mut().skip(start).for_each(Attempt::end_by_deadline);
    }

    /// Notes the ground on which the request is sent again after the hand-offs
    /// from `start` on. Returns how many hand-offs are recorded then: of very
    /// many failed connects only the first and the last are kept, since no limit
    /// but time counts those.
    pub(crate) fn resent_on(&self, start: usize, ground: Ground) -> usize {
        let mut record = self.lock();
        let hand_offs = record.iter_mut().skip(start).filter(|attempt| attempt.ground.is_none());
        hand_offs.for_each(|attempt| attempt.set_ground(ground));
        record.shorten();
        record.len()
    }

    #[inline]
    fn lock(&self) -> MutexGuard<'_, AttemptLog> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

/// The attempts behind a response that took more than one clean attempt,
/// carried in its extensions.
#[derive(Clone, Debug)]
pub(crate) struct Attempts(pub(crate) Arc<[Attempt]>);

/// Returns the attempts behind a response, oldest first.
///
/// Empty for the usual case, a single attempt that was answered at once.
pub fn attempts<B>(response: &http::Response<B>) -> &[Attempt] {
    response.extensions().get::<Attempts>().map_or(&[], |attempts| &attempts.0)
}

//! Decides which request gets how much of the memory budget, which waits, and
//! which has to give way. Pure: times are arguments, and nothing waits here.
//!
//! # Rules
//!
//! 1. A claim is charged for bytes that have arrived, never for bytes that were
//!    declared. The sum never exceeds the budget.
//! 2. Part of the budget is for small requests only, and one peer has at most its
//!    share of it, with the same part for its small ones. Only a claim that would
//!    otherwise be alone in its share may take more: each request of the budget's
//!    size can be received.
//! 3. A claim that asks for more than there is waits. The oldest request comes first,
//!    since it is the closest to its end. A request that waits keeps younger ones
//!    of its kind waiting, and small ones outside their own part; one that waits
//!    for its peer's share, only those of the same peer.
//! 4. While others wait, a claim whose peer has sent nothing for the *stall limit*
//!    is refused, the one that has been silent longest first.
//! 5. If every claim that holds memory waits for more, none can end. Then the
//!    youngest of them is refused, until the oldest fits. So one always ends.
//! 6. A claim that is whole is never refused: it ends when its service takes the
//!    body.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::usage::{BudgetLimits, Peer, Size, Usage};
use crate::time::Instant;

/// The number of a claim: a greater one is younger.
pub(super) type ClaimId = u64;

/// What one peer has.
#[derive(Debug, Default)]
struct PeerUsage {
    usage: Usage,
    claims: usize,
}

#[derive(Clone, Copy, Debug)]
struct Claim {
    peer: Peer,
    size: Size,
    bytes: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its peer has more to send, and last sent some then.
    Arriving(Instant),
    /// It asks for so many bytes more, and is of that size with them.
    Waiting(u64, Size),
    Whole,
    Refused,
}

/// What became of what a claim asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClaimStatus {
    Granted,
    Waiting,
    Refused,
}

/// What keeps a claim waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Full {
    All,
    Peer(Peer),
}

/// All claims on one budget.
#[derive(Debug)]
pub(super) struct AdmissionControl {
    limits: BudgetLimits,
    claims: BTreeMap<ClaimId, Claim>,
    small_waiting: BTreeSet<ClaimId>,
    large_waiting: BTreeSet<ClaimId>,
    all: Usage,
    peers: HashMap<Peer, PeerUsage>,
    next: ClaimId,
    /// When the next claim may be refused for its silence, if others still wait.
    again: Option<Instant>,
    /// Before then no claim can have been silent for too long.
    calm: Option<Instant>,
}

impl AdmissionControl {
    pub(super) fn new(limits: BudgetLimits) -> Self {
        Self {
            limits,
            claims: BTreeMap::new(),
            small_waiting: BTreeSet::new(),
            large_waiting: BTreeSet::new(),
            all: Usage::default(),
            peers: HashMap::new(),
            next: 0,
            again: None,
            calm: None,
        }
    }

    /// Adds a claim that holds nothing.
    pub(super) fn enter(&mut self, peer: Peer, now: Instant) -> ClaimId {
        let id = self.next;
        self.next += 1;
        let state = State::Arriving(now);
        self.claims.insert(id, Claim { peer, size: Size::Small, bytes: 0, state });
        self.peers.entry(peer).or_default().claims += 1;
        id
    }

    /// Asks for more bytes, for a request that is of this size with them: none if
    /// what has arrived needs no more memory. Returns the claims to wake.
    pub(super) fn ask(
        &mut self,
        id: ClaimId,
        bytes: u64,
        size: Size,
        now: Instant,
    ) -> Vec<ClaimId> {
        let claim = self.claims.get(&id).copied();
        let Some(claim) = claim.filter(|claim| matches!(claim.state, State::Arriving(_))) else {
            return Vec::new();
        };
        if bytes == 0 {
            self.set(id, State::Arriving(now));
            return Vec::new();
        }
        if self.first_waiting().is_none() && self.check(&claim, bytes, size, false).is_ok() {
            self.grant(id, bytes, size, now);
            return Vec::new();
        }
        self.set(id, State::Waiting(bytes, size));
        self.settle(now)
    }

    /// Returns where a claim stands, and when [`settle`](Self::settle) has to be
    /// called again if it is the first of those that wait.
    pub(super) fn status(&self, id: ClaimId) -> (ClaimStatus, Option<Instant>) {
        match self.claims.get(&id).map(|claim| claim.state) {
            Some(State::Arriving(_) | State::Whole) => (ClaimStatus::Granted, None),
            Some(State::Waiting(..)) => {
                (ClaimStatus::Waiting, self.again.filter(|_| self.first_waiting() == Some(id)))
            }
            Some(State::Refused) | None => (ClaimStatus::Refused, None),
        }
    }

    /// The whole request has arrived. Returns the claims to wake.
    pub(super) fn complete(&mut self, id: ClaimId, now: Instant) -> Vec<ClaimId> {
        self.set(id, State::Whole);
        self.settle(now)
    }

    /// Gives back what the claim holds. Returns the claims to wake.
    pub(super) fn leave(&mut self, id: ClaimId, now: Instant) -> Vec<ClaimId> {
        self.set(id, State::Refused);
        let Some(claim) = self.claims.remove(&id) else {
            return Vec::new();
        };
        self.change_usage(claim.peer, |usage| {
            let (held, leaving) = usage.of(claim.size);
            *held -= claim.bytes;
            *leaving -= claim.bytes;
        });
        if let Some(of_peer) = self.peers.get_mut(&claim.peer) {
            of_peer.claims -= 1;
            if of_peer.claims == 0 {
                self.peers.remove(&claim.peer);
            }
        }
        self.settle(now)
    }

    /// Returns how many bytes are held.
    pub(super) fn held(&self) -> u64 {
        self.all.sum()
    }

    /// Does what is due: grants in order, and refuses claims that have to give way.
    /// Returns the claims to wake.
    pub(super) fn settle(&mut self, now: Instant) -> Vec<ClaimId> {
        let mut woken = Vec::new();
        let (before, timer) = (self.first_waiting(), self.again.take());
        let mut blocked = Blocked::default();
        let mut from = 0;
        while let Some(id) = self.waiting_from(from, &blocked) {
            from = id + 1;
            let Some(claim) = self.claims.get(&id).copied() else {
                continue;
            };
            let State::Waiting(bytes, size) = claim.state else {
                continue;
            };
            if blocked.blocks(claim.peer, size) {
                continue;
            }
            match self.check(&claim, bytes, size, blocked.is_large) {
                Ok(()) => {
                    self.grant(id, bytes, size, now);
                    woken.push(id);
                }
                Err(full) => {
                    blocked.add(full, size);
                    self.make_way(id, full, now, &mut woken);
                }
            }
        }
        // The first that waits keeps the timer for all.
        let first = self.first_waiting();
        if let Some(first) = first.filter(|_| first != before || self.again != timer) {
            woken.push(first);
        }
        woken
    }

    fn first_waiting(&self) -> Option<ClaimId> {
        let firsts = [self.small_waiting.first(), self.large_waiting.first()];
        firsts.into_iter().flatten().min().copied()
    }

    fn waiting_from(&self, from: ClaimId, blocked: &Blocked) -> Option<ClaimId> {
        let small = self.small_waiting.range(from..).next().filter(|_| !blocked.is_small);
        let large = self.large_waiting.range(from..).next().filter(|_| !blocked.is_large);
        small.into_iter().chain(large).min().copied()
    }

    /// Fails with what keeps a claim from so many bytes more. Behind a large request
    /// that waits, a small one gets only what is reserved for small ones.
    fn check(&self, claim: &Claim, bytes: u64, size: Size, behind_large: bool) -> Result<(), Full> {
        let whole = claim.bytes + bytes;
        let of_peer = self.peers.get(&claim.peer).map_or_else(Usage::default, |peer| peer.usage);
        if !of_peer.without(claim.size, claim.bytes).fits(size, whole, self.limits.of_peer()) {
            return Err(Full::Peer(claim.peer));
        }
        let others = self.all.without(claim.size, claim.bytes);
        let is_within = others.sum() + whole <= self.limits.all;
        let is_reserved = !behind_large || others.small + whole <= self.limits.for_small;
        let fits = others.fits(size, whole, self.limits.of_all());
        if is_within && is_reserved && fits { Ok(()) } else { Err(Full::All) }
    }

    fn grant(&mut self, id: ClaimId, bytes: u64, size: Size, now: Instant) {
        self.set(id, State::Arriving(now));
        let Some(claim) = self.claims.get_mut(&id) else {
            return;
        };
        let before = *claim;
        (claim.bytes, claim.size) = (before.bytes + bytes, size);
        self.change_usage(before.peer, |usage| {
            *usage.of(before.size).0 -= before.bytes;
            *usage.of(size).0 += before.bytes + bytes;
            usage.arriving += usize::from(before.bytes == 0 && bytes > 0);
        });
    }

    /// Refuses claims in favor of one that has to wait, if nothing but a refusal can
    /// give it what it asks for.
    fn make_way(&mut self, id: ClaimId, full: Full, now: Instant, woken: &mut Vec<ClaimId>) {
        loop {
            let Some(shortage) = self.shortage(id, full) else {
                return;
            };
            let usage = self.usage(full);
            if usage.arriving == 0 && usage.whole > 0 {
                return;
            }
            if let Some(calm) = self.calm.filter(|&calm| usage.arriving > 0 && now < calm) {
                return self.look_again(calm);
            }
            let scan = self.scan(id, full, shortage);
            self.calm = scan.since.map(|since| since + self.limits.stall);
            let victim = match scan.stalest {
                Some((since, _)) if since + self.limits.stall > now => {
                    return self.look_again(since + self.limits.stall);
                }
                Some((_, stalest)) => stalest,
                // The others end by themselves, or are older and come first.
                None if scan.has_others => return,
                // With no other claim it does not fit even alone.
                None => scan.youngest.unwrap_or(id),
            };
            self.set(victim, State::Refused);
            woken.push(victim);
        }
    }

    fn look_again(&mut self, at: Instant) {
        self.again = Some(self.again.map_or(at, |again| again.min(at)));
    }

    /// Returns what a waiting claim still lacks once all refused claims have left.
    fn shortage(&self, id: ClaimId, full: Full) -> Option<Shortage> {
        let claim = self.claims.get(&id)?;
        let State::Waiting(bytes, size) = claim.state else {
            return None;
        };
        let others = self.usage(full).without(claim.size, claim.bytes).after_leaving();
        let whole = claim.bytes + bytes;
        let bound = match full {
            Full::All => self.limits.of_all(),
            Full::Peer(_) => self.limits.of_peer(),
        };
        let is_over = full == Full::All && others.sum() + whole > self.limits.all;
        if !is_over && others.fits(size, whole, bound) {
            return None;
        }
        let is_of_large = size == Size::Large && !others.fits_large(whole, bound);
        Some(if is_of_large { Shortage::OfLarge } else { Shortage::OfAll })
    }

    fn usage(&self, full: Full) -> Usage {
        match full {
            Full::All => self.all,
            Full::Peer(peer) => self.peers.get(&peer).map_or_else(Usage::default, |of| of.usage),
        }
    }

    /// Looks for claims that could give way to `id`.
    fn scan(&self, id: ClaimId, full: Full, shortage: Shortage) -> Scan {
        let mut scan = Scan::default();
        for (&other, claim) in &self.claims {
            if let State::Arriving(since) = claim.state
                && claim.bytes > 0
            {
                scan.since = Some(scan.since.map_or(since, |least| least.min(since)));
            }
            let is_there = match full {
                Full::All => true,
                Full::Peer(peer) => claim.peer == peer,
            };
            let helps = claim.size == Size::Large || shortage == Shortage::OfAll;
            if other == id || claim.bytes == 0 || !is_there || !helps {
                continue;
            }
            match claim.state {
                State::Arriving(since) if scan.stalest.is_none_or(|(least, _)| since < least) => {
                    scan.stalest = Some((since, other));
                }
                State::Waiting(..) if other > id => scan.youngest = Some(other),
                State::Waiting(..) | State::Whole => scan.has_others = true,
                State::Arriving(_) | State::Refused => {}
            }
        }
        scan
    }

    /// Changes a claim's state, and everything that is derived from it.
    fn set(&mut self, id: ClaimId, state: State) {
        let Some(claim) = self.claims.get_mut(&id) else {
            return;
        };
        let (before, peer, size, bytes) = (claim.state, claim.peer, claim.size, claim.bytes);
        claim.state = state;
        match before {
            State::Waiting(_, Size::Small) => drop(self.small_waiting.remove(&id)),
            State::Waiting(_, Size::Large) => drop(self.large_waiting.remove(&id)),
            State::Arriving(_) | State::Whole | State::Refused => {}
        }
        match state {
            State::Waiting(_, Size::Small) => drop(self.small_waiting.insert(id)),
            State::Waiting(_, Size::Large) => drop(self.large_waiting.insert(id)),
            State::Arriving(_) | State::Whole | State::Refused => {}
        }
        let holds = usize::from(bytes > 0);
        self.change_usage(peer, |usage| {
            match before {
                State::Arriving(_) => usage.arriving -= holds,
                State::Whole => usage.whole -= holds,
                State::Refused => *usage.of(size).1 -= bytes,
                State::Waiting(..) => {}
            }
            match state {
                State::Arriving(_) => usage.arriving += holds,
                State::Whole => usage.whole += holds,
                State::Refused => *usage.of(size).1 += bytes,
                State::Waiting(..) => {}
            }
        });
    }

    fn change_usage(&mut self, peer: Peer, change: impl Fn(&mut Usage)) {
        change(&mut self.all);
        if let Some(of_peer) = self.peers.get_mut(&peer) {
            change(&mut of_peer.usage);
        }
    }
}

/// What a claim lacks: bytes of any kind, or of those for large requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shortage {
    OfAll,
    OfLarge,
}

/// The claims that could give way.
#[derive(Debug, Default)]
struct Scan {
    /// The beginning of the longest silence of all, also where a refusal would not
    /// help.
    since: Option<Instant>,
    stalest: Option<(Instant, ClaimId)>,
    /// The youngest of those that wait and are younger.
    youngest: Option<ClaimId>,
    /// Other claims have what is missing, and must not be refused for it.
    has_others: bool,
}

/// The claims that have to wait because older ones do.
#[derive(Debug, Default)]
struct Blocked {
    is_small: bool,
    is_large: bool,
    /// The peers whose large, or all, requests wait.
    peers: HashMap<Peer, Size>,
}

impl Blocked {
    fn add(&mut self, full: Full, size: Size) {
        match full {
            Full::All => {
                self.is_large = true;
                self.is_small |= size == Size::Small;
            }
            Full::Peer(peer) => {
                self.peers
                    .entry(peer)
                    .and_modify(|least| *least = (*least).min(size))
                    .or_insert(size);
            }
        }
    }

    fn blocks(&self, peer: Peer, size: Size) -> bool {
        self.peers.get(&peer).is_some_and(|&least| size >= least)
    }
}

#[cfg(test)]
mod tests;

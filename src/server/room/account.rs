//! Who has how much of the room, who waits, and who has to give way. Pure: the
//! time is told, nothing waits here.
//!
//! # Rules
//!
//! 1. A place is charged for bytes that have arrived, never for ones that were
//!    declared. The sum never exceeds the room.
//! 2. A part of the room is for small requests only, and one peer has a part of
//!    it at most, with the same share for its small ones. Only a place that would
//!    otherwise be alone in its part may take more: each request of the room's
//!    size can be received.
//! 3. Who asks for more than there is waits. The oldest request comes first,
//!    since it is the closest to its end. A request that waits keeps younger ones
//!    of its kind waiting, and small ones outside their own part; one that waits
//!    for its peer's part, only those of the same peer.
//! 4. While others wait, a place whose peer has sent nothing for the *stall
//!    limit* is refused, the one that has been silent longest first.
//! 5. Where each place that has a part waits for more, none can end. Then the
//!    youngest of them is refused, until the oldest has room. So one ends always.
//!
//! A request that was received whole is never refused: it ends when its service
//! takes its body.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::part::{Bounds, Part, Peer, Size};
use crate::time::Instant;

/// A place, numbered by age.
pub(super) type Id = u64;

/// What is known of a peer.
#[derive(Debug, Default)]
struct OfPeer {
    part: Part,
    places: usize,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    peer: Peer,
    size: Size,
    bytes: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its peer has to send more, and last did then.
    Arriving(Instant),
    /// It wants so many bytes more, and is of that size then.
    Waiting(u64, Size),
    Whole,
    Refused,
}

/// Where a place stands with what it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContractStatus {
    Granted,
    Waits,
    Refused,
}

/// What keeps a place waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Full {
    All,
    Peer(Peer),
}

/// The account of a room.
#[derive(Debug)]
pub(super) struct Account {
    bounds: Bounds,
    places: BTreeMap<Id, Place>,
    small_waiting: BTreeSet<Id>,
    large_waiting: BTreeSet<Id>,
    all: Part,
    peers: HashMap<Peer, OfPeer>,
    next: Id,
    /// When the next place may be refused for its silence, if others wait.
    again: Option<Instant>,
    /// No place has been silent for too long before then.
    calm: Option<Instant>,
}

impl Account {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            places: BTreeMap::new(),
            small_waiting: BTreeSet::new(),
            large_waiting: BTreeSet::new(),
            all: Part::default(),
            peers: HashMap::new(),
            next: 0,
            again: None,
            calm: None,
        }
    }

    /// Adds a place that holds nothing.
    pub(super) fn enter(&mut self, peer: Peer, now: Instant) -> Id {
        let id = self.next;
        self.next += 1;
        let state = State::Arriving(now);
        self.places.insert(id, Place { peer, size: Size::Small, bytes: 0, state });
        self.peers.entry(peer).or_default().places += 1;
        id
    }

    /// Asks for more bytes, for a request that is of this size with them. None are
    /// asked for where what has arrived needs no more. Returns who has to be woken.
    pub(super) fn ask(&mut self, id: Id, bytes: u64, size: Size, now: Instant) -> Vec<Id> {
        let place = self.places.get(&id).copied();
        let Some(place) = place.filter(|place| matches!(place.state, State::Arriving(_))) else {
            return Vec::new();
        };
        if bytes == 0 {
            self.set(id, State::Arriving(now));
            return Vec::new();
        }
        if self.first_waiting().is_none() && self.room_for(&place, bytes, size, false).is_ok() {
            self.grant(id, bytes, size, now);
            return Vec::new();
        }
        self.set(id, State::Waiting(bytes, size));
        self.settle(now)
    }

    /// Returns where a place stands, and when [`settle`](Self::settle) has to be
    /// called again if it is the first of those that wait.
    pub(super) fn standing(&self, id: Id) -> (ContractStatus, Option<Instant>) {
        match self.places.get(&id).map(|place| place.state) {
            Some(State::Arriving(_) | State::Whole) => (ContractStatus::Granted, None),
            Some(State::Waiting(..)) => {
                (ContractStatus::Waits, self.again.filter(|_| self.first_waiting() == Some(id)))
            }
            Some(State::Refused) | None => (ContractStatus::Refused, None),
        }
    }

    /// All of the request is there. Returns who has to be woken.
    pub(super) fn complete(&mut self, id: Id, now: Instant) -> Vec<Id> {
        self.set(id, State::Whole);
        self.settle(now)
    }

    /// Gives back what the place holds. Returns who has to be woken.
    pub(super) fn leave(&mut self, id: Id, now: Instant) -> Vec<Id> {
        self.set(id, State::Refused);
        let Some(place) = self.places.remove(&id) else {
            return Vec::new();
        };
        self.in_parts(place.peer, |part| {
            let (held, leaving) = part.of(place.size);
            *held -= place.bytes;
            *leaving -= place.bytes;
        });
        if let Some(of_peer) = self.peers.get_mut(&place.peer) {
            of_peer.places -= 1;
            if of_peer.places == 0 {
                self.peers.remove(&place.peer);
            }
        }
        self.settle(now)
    }

    /// Returns how many bytes are held.
    pub(super) fn held(&self) -> u64 {
        self.all.sum()
    }

    /// Does what is due: grants in order, and refuses who has to give way.
    /// Returns who has to be woken.
    pub(super) fn settle(&mut self, now: Instant) -> Vec<Id> {
        let mut woken = Vec::new();
        let (before, timer) = (self.first_waiting(), self.again.take());
        let mut blocked = Blocked::default();
        let mut from = 0;
        while let Some(id) = self.waiting_from(from, &blocked) {
            from = id + 1;
            let Some(place) = self.places.get(&id).copied() else {
                continue;
            };
            let State::Waiting(bytes, size) = place.state else {
                continue;
            };
            if blocked.blocks(place.peer, size) {
                continue;
            }
            match self.room_for(&place, bytes, size, blocked.is_large) {
                Ok(()) => {
                    self.grant(id, bytes, size, now);
                    woken.push(id);
                }
                Err(full) => {
                    blocked.add(full, size);
                    self.make_room(id, full, now, &mut woken);
                }
            }
        }
        // Whoever is first keeps the time for all.
        let first = self.first_waiting();
        if let Some(first) = first.filter(|_| first != before || self.again != timer) {
            woken.push(first);
        }
        woken
    }

    fn first_waiting(&self) -> Option<Id> {
        let firsts = [self.small_waiting.first(), self.large_waiting.first()];
        firsts.into_iter().flatten().min().copied()
    }

    fn waiting_from(&self, from: Id, blocked: &Blocked) -> Option<Id> {
        let small = self.small_waiting.range(from..).next().filter(|_| !blocked.is_small);
        let large = self.large_waiting.range(from..).next().filter(|_| !blocked.is_large);
        small.into_iter().chain(large).min().copied()
    }

    /// Returns what keeps a place from so many bytes more. Behind a large request
    /// that waits, a small one gets what is for small ones only.
    fn room_for(
        &self,
        place: &Place,
        bytes: u64,
        size: Size,
        behind_large: bool,
    ) -> Result<(), Full> {
        let whole = place.bytes + bytes;
        let of_peer = self.peers.get(&place.peer).map_or_else(Part::default, |peer| peer.part);
        if !of_peer.without(place.size, place.bytes).has_room(size, whole, self.bounds.of_peer()) {
            return Err(Full::Peer(place.peer));
        }
        let others = self.all.without(place.size, place.bytes);
        let is_within = others.sum() + whole <= self.bounds.all;
        let is_reserved = !behind_large || others.small + whole <= self.bounds.for_small;
        let has_room = others.has_room(size, whole, self.bounds.of_all());
        if is_within && is_reserved && has_room { Ok(()) } else { Err(Full::All) }
    }

    fn grant(&mut self, id: Id, bytes: u64, size: Size, now: Instant) {
        self.set(id, State::Arriving(now));
        let Some(place) = self.places.get_mut(&id) else {
            return;
        };
        let before = *place;
        (place.bytes, place.size) = (before.bytes + bytes, size);
        self.in_parts(before.peer, |part| {
            *part.of(before.size).0 -= before.bytes;
            *part.of(size).0 += before.bytes + bytes;
            part.arriving += usize::from(before.bytes == 0 && bytes > 0);
        });
    }

    /// Sees to it that there will be room for a place that has to wait, if that
    /// can only come by a refusal.
    fn make_room(&mut self, id: Id, full: Full, now: Instant, woken: &mut Vec<Id>) {
        loop {
            let Some(shortage) = self.shortage(id, full) else {
                return;
            };
            let part = self.part(full);
            if part.arriving == 0 && part.whole > 0 {
                return;
            }
            if let Some(calm) = self.calm.filter(|&calm| part.arriving > 0 && now < calm) {
                return self.look_again(calm);
            }
            let scan = self.scan(id, full, shortage);
            self.calm = scan.since.map(|since| since + self.bounds.stall);
            let victim = match scan.stalest {
                Some((since, _)) if since + self.bounds.stall > now => {
                    return self.look_again(since + self.bounds.stall);
                }
                Some((_, stalest)) => stalest,
                // They end, or are older, and are seen to before.
                None if scan.has_others => return,
                // Where there is no other, it does not even fit alone.
                None => scan.youngest.unwrap_or(id),
            };
            self.set(victim, State::Refused);
            woken.push(victim);
        }
    }

    fn look_again(&mut self, at: Instant) {
        self.again = Some(self.again.map_or(at, |again| again.min(at)));
    }

    /// Returns what is missing for a waiting place, once those who were refused
    /// have left; nothing if that is all it needs.
    fn shortage(&self, id: Id, full: Full) -> Option<Shortage> {
        let place = self.places.get(&id)?;
        let State::Waiting(bytes, size) = place.state else {
            return None;
        };
        let others = self.part(full).without(place.size, place.bytes).after_leaving();
        let whole = place.bytes + bytes;
        let bound = match full {
            Full::All => self.bounds.of_all(),
            Full::Peer(_) => self.bounds.of_peer(),
        };
        let is_over = full == Full::All && others.sum() + whole > self.bounds.all;
        if !is_over && others.has_room(size, whole, bound) {
            return None;
        }
        let is_of_large = size == Size::Large && !others.has_room_for_large(whole, bound);
        Some(if is_of_large { Shortage::OfLarge } else { Shortage::OfAll })
    }

    fn part(&self, full: Full) -> Part {
        match full {
            Full::All => self.all,
            Full::Peer(peer) => self.peers.get(&peer).map_or_else(Part::default, |of| of.part),
        }
    }

    /// Looks for whoever could give way to `id`.
    fn scan(&self, id: Id, full: Full, shortage: Shortage) -> Scan {
        let mut scan = Scan::default();
        for (&other, place) in &self.places {
            if let State::Arriving(since) = place.state
                && place.bytes > 0
            {
                scan.since = Some(scan.since.map_or(since, |least| least.min(since)));
            }
            let is_there = match full {
                Full::All => true,
                Full::Peer(peer) => place.peer == peer,
            };
            let helps = place.size == Size::Large || shortage == Shortage::OfAll;
            if other == id || place.bytes == 0 || !is_there || !helps {
                continue;
            }
            match place.state {
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

    /// Changes a place's state, and all that is known from it.
    fn set(&mut self, id: Id, state: State) {
        let Some(place) = self.places.get_mut(&id) else {
            return;
        };
        let (before, peer, size, bytes) = (place.state, place.peer, place.size, place.bytes);
        place.state = state;
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
        self.in_parts(peer, |part| {
            match before {
                State::Arriving(_) => part.arriving -= holds,
                State::Whole => part.whole -= holds,
                State::Refused => *part.of(size).1 -= bytes,
                State::Waiting(..) => {}
            }
            match state {
                State::Arriving(_) => part.arriving += holds,
                State::Whole => part.whole += holds,
                State::Refused => *part.of(size).1 += bytes,
                State::Waiting(..) => {}
            }
        });
    }

    fn in_parts(&mut self, peer: Peer, change: impl Fn(&mut Part)) {
        change(&mut self.all);
        if let Some(of_peer) = self.peers.get_mut(&peer) {
            change(&mut of_peer.part);
        }
    }
}

/// What is missing: bytes of any kind, or of those for large requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shortage {
    OfAll,
    OfLarge,
}

/// Who could give way.
#[derive(Debug, Default)]
struct Scan {
    /// The longest silence of all, whether or not it would help.
    since: Option<Instant>,
    stalest: Option<(Instant, Id)>,
    /// Of those that wait and are younger.
    youngest: Option<Id>,
    /// Somebody has what is missing, and is not to be refused for it.
    has_others: bool,
}

/// Who has to wait because somebody older does.
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

//! The account, told what happens and when.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::time::now;

const STALL: Duration = Duration::from_secs(1);
const BOUNDS: Bounds = Bounds { all: 100, for_small: 20, per_peer: 40, stall: STALL };

fn peer(n: u8) -> Peer {
    Peer::of(Ipv4Addr::new(192, 0, 2, n).into())
}

/// An account, and its clock.
struct Desk {
    account: Account,
    now: Instant,
}

impl Desk {
    fn new(bounds: Bounds) -> Self {
        Self { account: Account::new(bounds), now: now() }
    }

    /// A request of `n`'s that asks for so much at once.
    fn begin(&mut self, n: u8, bytes: u64, size: Size) -> Id {
        let id = self.account.enter(peer(n), self.now);
        self.ask(id, bytes, size);
        id
    }

    fn ask(&mut self, id: Id, bytes: u64, size: Size) {
        self.account.ask(id, bytes, size, self.now);
        self.check();
    }

    fn leave(&mut self, id: Id) {
        self.account.leave(id, self.now);
        self.check();
    }

    fn complete(&mut self, id: Id) {
        self.account.complete(id, self.now);
        self.check();
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.account.settle(self.now);
        self.check();
    }

    fn standing(&self, id: Id) -> ContractStatus {
        self.account.standing(id).0
    }

    /// What is written down twice is the same, and within the room.
    fn check(&self) {
        let Account { places, small_waiting, large_waiting, all, peers, .. } = &self.account;
        let mut sums: HashMap<Option<Peer>, Part> = HashMap::new();
        for (id, place) in places {
            for key in [None, Some(place.peer)] {
                let part = sums.entry(key).or_default();
                let (held, leaving) = part.of(place.size);
                *held += place.bytes;
                *leaving += if place.state == State::Refused { place.bytes } else { 0 };
                let holds = usize::from(place.bytes > 0);
                part.arriving += holds * usize::from(matches!(place.state, State::Arriving(_)));
                part.whole += holds * usize::from(place.state == State::Whole);
            }
            let waits = |size| matches!(place.state, State::Waiting(_, of) if of == size);
            assert_eq!(small_waiting.contains(id), waits(Size::Small));
            assert_eq!(large_waiting.contains(id), waits(Size::Large));
        }
        assert_eq!(*all, sums.remove(&None).unwrap_or_default());
        for (peer, of_peer) in peers {
            assert_eq!(of_peer.part, sums.remove(&Some(*peer)).unwrap_or_default());
        }
        assert!(sums.is_empty());
        assert!(all.sum() <= self.account.bounds.all, "{all:?}");
    }
}

#[test]
fn a_peer_is_an_address_or_a_network_of_one() {
    let of = |address: &str| Peer::of(address.parse().unwrap());
    assert_eq!(of("::ffff:192.0.2.7"), of("192.0.2.7"));
    assert_eq!(of("2001:db8:1:2::3"), of("2001:db8:1:2:ffff::"));
    assert_ne!(of("2001:db8:1:2::3"), of("2001:db8:1:3::3"));
    assert_ne!(of("192.0.2.7"), of("192.0.2.8"));
}

#[test]
fn what_has_not_arrived_costs_nothing() {
    let mut desk = Desk::new(BOUNDS);
    for n in 0..200 {
        desk.account.enter(peer(n), desk.now);
    }
    let one = desk.begin(201, 40, Size::Large);
    assert_eq!((desk.standing(one), desk.account.held()), (ContractStatus::Granted, 40));
}

#[test]
fn a_part_is_for_small_requests_only() {
    let mut desk = Desk::new(BOUNDS);
    for n in 0..2 {
        let one = desk.begin(n, 40, Size::Large);
        desk.complete(one);
    }
    let large = desk.begin(3, 1, Size::Large);
    let small = desk.begin(4, 20, Size::Small);
    assert_eq!(
        [large, small].map(|id| desk.standing(id)),
        [ContractStatus::Waits, ContractStatus::Granted]
    );
    // Nor does a small one take what a large one waits for.
    desk.complete(small);
    let more = desk.begin(5, 1, Size::Small);
    desk.leave(0);
    assert_eq!(
        [large, more].map(|id| desk.standing(id)),
        [ContractStatus::Granted, ContractStatus::Granted]
    );
}

#[test]
fn a_peer_has_its_part_and_its_only_request_may_have_more() {
    let mut desk = Desk::new(BOUNDS);
    let only = desk.begin(1, 60, Size::Large);
    desk.complete(only);
    let (second, small) = (desk.begin(1, 1, Size::Large), desk.begin(1, 1, Size::Small));
    let other = desk.begin(2, 20, Size::Large);
    assert_eq!(desk.standing(only), ContractStatus::Granted);
    assert_eq!([second, small].map(|id| desk.standing(id)), [ContractStatus::Waits; 2]);
    assert_eq!(
        desk.standing(other),
        ContractStatus::Granted,
        "who waits for his own part waits alone"
    );
    desk.leave(only);
    assert_eq!([second, small].map(|id| desk.standing(id)), [ContractStatus::Granted; 2]);
}

/// 32 of 40 are for large ones: those that hold all of it leave room for a small one.
#[test]
fn a_peer_has_a_part_for_small_requests_too() {
    let mut desk = Desk::new(BOUNDS);
    for _ in 0..2 {
        let one = desk.begin(1, 16, Size::Large);
        desk.complete(one);
    }
    let (large, small) = (desk.begin(1, 1, Size::Large), desk.begin(1, 8, Size::Small));
    assert_eq!(
        [large, small].map(|id| desk.standing(id)),
        [ContractStatus::Waits, ContractStatus::Granted]
    );
}

#[test]
fn a_silent_peer_gives_way_once_others_wait() {
    let mut desk = Desk::new(BOUNDS);
    let silent = desk.begin(1, 40, Size::Large);
    desk.pass(10 * STALL);
    assert_eq!(desk.standing(silent), ContractStatus::Granted, "nobody waits");
    let heard = desk.begin(2, 40, Size::Large);
    let waits = desk.begin(3, 40, Size::Large);
    assert_eq!(
        [silent, heard, waits].map(|id| desk.standing(id)),
        [ContractStatus::Refused, ContractStatus::Granted, ContractStatus::Waits]
    );
    desk.leave(silent);
    assert_eq!(desk.standing(waits), ContractStatus::Granted);
}

#[test]
fn who_is_heard_of_is_not_silent() {
    let mut desk = Desk::new(BOUNDS);
    let [first, second] = [1, 2].map(|n| desk.begin(n, 40, Size::Large));
    let waits = desk.begin(3, 40, Size::Large);
    let (_, again) = desk.account.standing(waits);
    assert_eq!(again, Some(desk.now + STALL));
    desk.pass(STALL / 2);
    desk.ask(first, 0, Size::Large);
    desk.pass(STALL / 2);
    assert_eq!(
        [first, second, waits].map(|id| desk.standing(id)),
        [ContractStatus::Granted, ContractStatus::Refused, ContractStatus::Waits]
    );
}

#[test]
fn where_all_wait_the_youngest_gives_way_to_the_oldest() {
    let mut desk = Desk::new(BOUNDS);
    let ids = [1, 2, 3, 4].map(|n| desk.begin(n, 20, Size::Large));
    for id in ids {
        desk.ask(id, 20, Size::Large);
    }
    assert_eq!(
        ids.map(|id| desk.standing(id)),
        [
            ContractStatus::Waits,
            ContractStatus::Waits,
            ContractStatus::Waits,
            ContractStatus::Refused
        ]
    );
    desk.leave(ids[3]);
    assert_eq!(desk.standing(ids[0]), ContractStatus::Granted);
    desk.complete(ids[0]);
    assert_eq!([ids[1], ids[2]].map(|id| desk.standing(id)), [ContractStatus::Waits; 2]);
    desk.leave(ids[0]);
    assert_eq!([ids[1], ids[2]].map(|id| desk.standing(id)), [ContractStatus::Granted; 2]);
}

/// The oldest waits for all, a younger one of its peer for their part.
#[test]
fn nobody_gives_way_to_a_younger_one() {
    let mut desk = Desk::new(BOUNDS);
    let served = [(2, 40), (3, 20)].map(|(n, bytes)| desk.begin(n, bytes, Size::Large));
    served.iter().for_each(|&id| desk.complete(id));
    let (old, young) = (desk.begin(1, 10, Size::Large), desk.begin(1, 5, Size::Small));
    desk.ask(old, 15, Size::Large);
    desk.ask(young, 30, Size::Small);
    assert_eq!([old, young].map(|id| desk.standing(id)), [ContractStatus::Waits; 2]);
    desk.leave(served[1]);
    assert_eq!(
        [old, young].map(|id| desk.standing(id)),
        [ContractStatus::Granted, ContractStatus::Waits]
    );
}

#[test]
fn what_is_larger_than_the_room_is_refused_at_once() {
    let mut desk = Desk::new(BOUNDS);
    let other = desk.begin(1, 10, Size::Large);
    let large = desk.begin(2, 60, Size::Large);
    desk.ask(large, 41, Size::Large);
    desk.complete(other);
    desk.leave(other);
    assert_eq!(desk.standing(large), ContractStatus::Refused);
    desk.leave(large);
    assert_eq!(desk.account.held(), 0);
}

/// A request that is being received, as the test knows it.
#[derive(Clone, Copy, Debug)]
struct Request {
    id: Id,
    left: u64,
    size: Size,
    is_silent: bool,
    is_whole: bool,
}

#[derive(Clone, Debug)]
enum Act {
    Begin { peer: u8, bytes: u64, is_silent: bool },
    Arrive { which: usize, bytes: u64 },
    Cancel { which: usize },
    Serve { which: usize },
    Pass { tenths: u32 },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        (0..6_u8, 1..60_u64, any::<bool>()).prop_map(|(peer, bytes, is_silent)| Act::Begin {
            peer,
            bytes,
            is_silent
        }),
        (any::<usize>(), 1..30_u64).prop_map(|(which, bytes)| Act::Arrive { which, bytes }),
        any::<usize>().prop_map(|which| Act::Cancel { which }),
        any::<usize>().prop_map(|which| Act::Serve { which }),
        (1..20_u32).prop_map(|tenths| Act::Pass { tenths }),
    ];
    proptest::collection::vec(act, 1..120)
}

fn size_of(bytes: u64) -> Size {
    if bytes <= 5 { Size::Small } else { Size::Large }
}

/// Does one act; [`Desk::check`] is called after each.
fn act(desk: &mut Desk, requests: &mut Vec<Request>, act: Act) {
    let pick = |which: usize, of: usize| (of > 0).then(|| which % of);
    match act {
        Act::Begin { peer: n, bytes, is_silent } => {
            let id = desk.account.enter(peer(n), desk.now);
            let size = size_of(bytes);
            requests.push(Request { id, left: bytes, size, is_silent, is_whole: false });
        }
        Act::Arrive { which, bytes } => {
            if let Some(at) = pick(which, requests.len()) {
                arrive(desk, &mut requests[at], bytes);
            }
        }
        Act::Cancel { which } => {
            if let Some(at) = pick(which, requests.len()) {
                let gone = requests.swap_remove(at);
                desk.leave(gone.id);
            }
        }
        Act::Serve { which } => {
            if let Some(at) = pick(which, requests.len())
                && requests[at].is_whole
            {
                let served = requests.swap_remove(at);
                desk.leave(served.id);
            }
        }
        Act::Pass { tenths } => desk.pass(STALL * tenths / 10),
    }
}

fn arrive(desk: &mut Desk, request: &mut Request, bytes: u64) {
    if request.is_whole || desk.standing(request.id) != ContractStatus::Granted {
        return;
    }
    let bytes = bytes.min(request.left);
    if bytes > 0 {
        desk.ask(request.id, bytes, request.size);
        request.left -= bytes;
    }
    if request.left == 0 && desk.standing(request.id) == ContractStatus::Granted {
        desk.complete(request.id);
        request.is_whole = true;
    }
}

/// Lets all that is left end, and returns who was received and who was refused.
fn run_out(desk: &mut Desk, mut requests: Vec<Request>) -> (Vec<Id>, Vec<Id>) {
    let (mut received, mut refused) = (Vec::new(), Vec::new());
    let mut idle = 0;
    while !requests.is_empty() {
        let before = requests.len();
        for at in (0..requests.len()).rev() {
            if !requests[at].is_silent {
                arrive(desk, &mut requests[at], 7);
            }
            let request = requests[at];
            let is_refused = desk.standing(request.id) == ContractStatus::Refused;
            if is_refused || request.is_whole {
                let ends = if request.is_whole { &mut received } else { &mut refused };
                ends.push(request.id);
                desk.leave(request.id);
                requests.swap_remove(at);
            }
        }
        desk.pass(STALL / 2);
        idle = if requests.len() == before { idle + 1 } else { 0 };
        // A silent request that no other waits for may stay until its own deadline.
        if idle > 40 {
            assert!(requests.iter().all(|request| request.is_silent), "{requests:?}");
            requests.drain(..).for_each(|request| desk.leave(request.id));
        }
    }
    (received, refused)
}

proptest! {
    /// Whatever happens: never more than the room, nothing left at the end, and
    /// whoever sends all of its request is answered.
    #[test]
    fn the_room_is_never_exceeded_and_always_returns_to_nothing(todo in acts()) {
        let mut desk = Desk::new(BOUNDS);
        let mut requests = Vec::new();
        for todo in todo {
            act(&mut desk, &mut requests, todo);
        }
        run_out(&mut desk, requests);
        prop_assert_eq!(desk.account.held(), 0);
        prop_assert!(desk.account.peers.is_empty() && desk.account.places.is_empty());
        prop_assert_eq!(desk.account.first_waiting(), None);
    }

    /// However many ask at once for a part and wait for more: the oldest is
    /// received, and all end.
    #[test]
    fn of_those_that_all_wait_the_oldest_is_received(
        sizes in proptest::collection::vec((0..6_u8, 1..90_u64), 1..40),
    ) {
        let mut desk = Desk::new(BOUNDS);
        let begin = |(n, bytes): (u8, u64)| {
            let id = desk.account.enter(peer(n), desk.now);
            let size = size_of(bytes);
            Request { id, left: bytes, size, is_silent: false, is_whole: false }
        };
        let requests: Vec<_> = sizes.into_iter().map(begin).collect();
        let (oldest, count) = (requests[0].id, requests.len());
        let (received, refused) = run_out(&mut desk, requests);
        prop_assert_eq!(received.len() + refused.len(), count);
        prop_assert!(received.contains(&oldest), "{:?}", refused);
    }
}

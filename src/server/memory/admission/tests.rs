//! The admission control, told what happens and when.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::time::now;

const STALL: Duration = Duration::from_secs(1);
const LIMITS: BudgetLimits = BudgetLimits { all: 100, for_small: 20, per_peer: 40, stall: STALL };

fn peer(n: u8) -> Peer {
    Peer::of(Ipv4Addr::new(192, 0, 2, n).into())
}

/// An admission control, and its clock.
struct Clocked {
    admission: AdmissionControl,
    now: Instant,
}

impl Clocked {
    fn new(limits: BudgetLimits) -> Self {
        Self { admission: AdmissionControl::new(limits), now: now() }
    }

    /// Begins a request of peer `n` that asks for so much at once.
    fn begin(&mut self, n: u8, bytes: u64, size: Size) -> ClaimId {
        let id = self.admission.enter(peer(n), self.now);
        self.ask(id, bytes, size);
        id
    }

    fn ask(&mut self, id: ClaimId, bytes: u64, size: Size) {
        self.admission.ask(id, bytes, size, self.now);
        self.check();
    }

    fn leave(&mut self, id: ClaimId) {
        self.admission.leave(id, self.now);
        self.check();
    }

    fn complete(&mut self, id: ClaimId) {
        self.admission.complete(id, self.now);
        self.check();
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.admission.settle(self.now);
        self.check();
    }

    fn status(&self, id: ClaimId) -> ClaimStatus {
        self.admission.status(id).0
    }

    /// Checks that what is recorded twice is the same, and within the budget.
    fn check(&self) {
        let AdmissionControl { claims, small_waiting, large_waiting, all, peers, .. } =
            &self.admission;
        let mut sums: HashMap<Option<Peer>, Usage> = HashMap::new();
        for (id, claim) in claims {
            for key in [None, Some(claim.peer)] {
                let usage = sums.entry(key).or_default();
                let (held, leaving) = usage.of(claim.size);
                *held += claim.bytes;
                *leaving += if claim.state == State::Refused { claim.bytes } else { 0 };
                let holds = usize::from(claim.bytes > 0);
                usage.arriving += holds * usize::from(matches!(claim.state, State::Arriving(_)));
                usage.whole += holds * usize::from(claim.state == State::Whole);
            }
            let waits = |size| matches!(claim.state, State::Waiting(_, of) if of == size);
            assert_eq!(small_waiting.contains(id), waits(Size::Small));
            assert_eq!(large_waiting.contains(id), waits(Size::Large));
        }
        assert_eq!(*all, sums.remove(&None).unwrap_or_default());
        for (peer, of_peer) in peers {
            assert_eq!(of_peer.usage, sums.remove(&Some(*peer)).unwrap_or_default());
        }
        assert!(sums.is_empty());
        assert!(all.sum() <= self.admission.limits.all, "{all:?}");
    }
}

#[test]
fn peer_is_an_ipv4_address_or_an_ipv6_network() {
    let of = |address: &str| Peer::of(address.parse().unwrap());
    assert_eq!(of("::ffff:192.0.2.7"), of("192.0.2.7"));
    assert_eq!(of("2001:db8:1:2::3"), of("2001:db8:1:2:ffff::"));
    assert_ne!(of("2001:db8:1:2::3"), of("2001:db8:1:3::3"));
    assert_ne!(of("192.0.2.7"), of("192.0.2.8"));
}

#[test]
fn bytes_that_have_not_arrived_cost_nothing() {
    let mut clocked = Clocked::new(LIMITS);
    for n in 0..200 {
        clocked.admission.enter(peer(n), clocked.now);
    }
    let one = clocked.begin(201, 40, Size::Large);
    assert_eq!((clocked.status(one), clocked.admission.held()), (ClaimStatus::Granted, 40));
}

#[test]
fn part_of_the_budget_is_for_small_requests_only() {
    let mut clocked = Clocked::new(LIMITS);
    for n in 0..2 {
        let one = clocked.begin(n, 40, Size::Large);
        clocked.complete(one);
    }
    let large = clocked.begin(3, 1, Size::Large);
    let small = clocked.begin(4, 20, Size::Small);
    assert_eq!(
        [large, small].map(|id| clocked.status(id)),
        [ClaimStatus::Waiting, ClaimStatus::Granted]
    );
    // And a small one does not take what a large one waits for.
    clocked.complete(small);
    let more = clocked.begin(5, 1, Size::Small);
    clocked.leave(0);
    assert_eq!(
        [large, more].map(|id| clocked.status(id)),
        [ClaimStatus::Granted, ClaimStatus::Granted]
    );
}

#[test]
fn peer_has_its_share_and_its_only_request_may_have_more() {
    let mut clocked = Clocked::new(LIMITS);
    let only = clocked.begin(1, 60, Size::Large);
    clocked.complete(only);
    let (second, small) = (clocked.begin(1, 1, Size::Large), clocked.begin(1, 1, Size::Small));
    let other = clocked.begin(2, 20, Size::Large);
    assert_eq!(clocked.status(only), ClaimStatus::Granted);
    assert_eq!([second, small].map(|id| clocked.status(id)), [ClaimStatus::Waiting; 2]);
    assert_eq!(
        clocked.status(other),
        ClaimStatus::Granted,
        "a claim that waits for its peer's share blocks no other peer"
    );
    clocked.leave(only);
    assert_eq!([second, small].map(|id| clocked.status(id)), [ClaimStatus::Granted; 2]);
}

/// 32 of 40 bytes are for large requests: if they hold all of those, a small one fits.
#[test]
fn part_of_a_peers_share_is_for_small_requests_only() {
    let mut clocked = Clocked::new(LIMITS);
    for _ in 0..2 {
        let one = clocked.begin(1, 16, Size::Large);
        clocked.complete(one);
    }
    let (large, small) = (clocked.begin(1, 1, Size::Large), clocked.begin(1, 8, Size::Small));
    assert_eq!(
        [large, small].map(|id| clocked.status(id)),
        [ClaimStatus::Waiting, ClaimStatus::Granted]
    );
}

#[test]
fn silent_peer_gives_way_once_others_wait() {
    let mut clocked = Clocked::new(LIMITS);
    let silent = clocked.begin(1, 40, Size::Large);
    clocked.pass(10 * STALL);
    assert_eq!(clocked.status(silent), ClaimStatus::Granted, "no other waits");
    let heard = clocked.begin(2, 40, Size::Large);
    let waits = clocked.begin(3, 40, Size::Large);
    assert_eq!(
        [silent, heard, waits].map(|id| clocked.status(id)),
        [ClaimStatus::Refused, ClaimStatus::Granted, ClaimStatus::Waiting]
    );
    clocked.leave(silent);
    assert_eq!(clocked.status(waits), ClaimStatus::Granted);
}

#[test]
fn peer_that_sends_is_not_silent() {
    let mut clocked = Clocked::new(LIMITS);
    let [first, second] = [1, 2].map(|n| clocked.begin(n, 40, Size::Large));
    let waits = clocked.begin(3, 40, Size::Large);
    let (_, again) = clocked.admission.status(waits);
    assert_eq!(again, Some(clocked.now + STALL));
    clocked.pass(STALL / 2);
    clocked.ask(first, 0, Size::Large);
    clocked.pass(STALL / 2);
    assert_eq!(
        [first, second, waits].map(|id| clocked.status(id)),
        [ClaimStatus::Granted, ClaimStatus::Refused, ClaimStatus::Waiting]
    );
}

#[test]
fn youngest_gives_way_to_oldest_when_all_wait() {
    let mut clocked = Clocked::new(LIMITS);
    let ids = [1, 2, 3, 4].map(|n| clocked.begin(n, 20, Size::Large));
    for id in ids {
        clocked.ask(id, 20, Size::Large);
    }
    assert_eq!(
        ids.map(|id| clocked.status(id)),
        [ClaimStatus::Waiting, ClaimStatus::Waiting, ClaimStatus::Waiting, ClaimStatus::Refused]
    );
    clocked.leave(ids[3]);
    assert_eq!(clocked.status(ids[0]), ClaimStatus::Granted);
    clocked.complete(ids[0]);
    assert_eq!([ids[1], ids[2]].map(|id| clocked.status(id)), [ClaimStatus::Waiting; 2]);
    clocked.leave(ids[0]);
    assert_eq!([ids[1], ids[2]].map(|id| clocked.status(id)), [ClaimStatus::Granted; 2]);
}

/// The oldest waits for the budget, a younger one of its peer for their share.
#[test]
fn no_claim_gives_way_to_a_younger_one() {
    let mut clocked = Clocked::new(LIMITS);
    let served = [(2, 40), (3, 20)].map(|(n, bytes)| clocked.begin(n, bytes, Size::Large));
    served.iter().for_each(|&id| clocked.complete(id));
    let (old, young) = (clocked.begin(1, 10, Size::Large), clocked.begin(1, 5, Size::Small));
    clocked.ask(old, 15, Size::Large);
    clocked.ask(young, 30, Size::Small);
    assert_eq!([old, young].map(|id| clocked.status(id)), [ClaimStatus::Waiting; 2]);
    clocked.leave(served[1]);
    assert_eq!(
        [old, young].map(|id| clocked.status(id)),
        [ClaimStatus::Granted, ClaimStatus::Waiting]
    );
}

#[test]
fn request_larger_than_the_budget_is_refused_at_once() {
    let mut clocked = Clocked::new(LIMITS);
    let other = clocked.begin(1, 10, Size::Large);
    let large = clocked.begin(2, 60, Size::Large);
    clocked.ask(large, 41, Size::Large);
    clocked.complete(other);
    clocked.leave(other);
    assert_eq!(clocked.status(large), ClaimStatus::Refused);
    clocked.leave(large);
    assert_eq!(clocked.admission.held(), 0);
}

/// A request that is being received, as the test knows it.
#[derive(Clone, Copy, Debug)]
struct Request {
    id: ClaimId,
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

/// Does one act; [`Clocked::check`] is called after each.
fn act(clocked: &mut Clocked, requests: &mut Vec<Request>, act: Act) {
    let pick = |which: usize, of: usize| (of > 0).then(|| which % of);
    match act {
        Act::Begin { peer: n, bytes, is_silent } => {
            let id = clocked.admission.enter(peer(n), clocked.now);
            let size = size_of(bytes);
            requests.push(Request { id, left: bytes, size, is_silent, is_whole: false });
        }
        Act::Arrive { which, bytes } => {
            if let Some(at) = pick(which, requests.len()) {
                arrive(clocked, &mut requests[at], bytes);
            }
        }
        Act::Cancel { which } => {
            if let Some(at) = pick(which, requests.len()) {
                let gone = requests.swap_remove(at);
                clocked.leave(gone.id);
            }
        }
        Act::Serve { which } => {
            if let Some(at) = pick(which, requests.len())
                && requests[at].is_whole
            {
                let served = requests.swap_remove(at);
                clocked.leave(served.id);
            }
        }
        Act::Pass { tenths } => clocked.pass(STALL * tenths / 10),
    }
}

fn arrive(clocked: &mut Clocked, request: &mut Request, bytes: u64) {
    if request.is_whole || clocked.status(request.id) != ClaimStatus::Granted {
        return;
    }
    let bytes = bytes.min(request.left);
    if bytes > 0 {
        clocked.ask(request.id, bytes, request.size);
        request.left -= bytes;
    }
    if request.left == 0 && clocked.status(request.id) == ClaimStatus::Granted {
        clocked.complete(request.id);
        request.is_whole = true;
    }
}

/// Runs all requests to their end. Returns those received and those refused.
fn run_out(clocked: &mut Clocked, mut requests: Vec<Request>) -> (Vec<ClaimId>, Vec<ClaimId>) {
    let (mut received, mut refused) = (Vec::new(), Vec::new());
    let mut idle = 0;
    while !requests.is_empty() {
        let before = requests.len();
        for at in (0..requests.len()).rev() {
            if !requests[at].is_silent {
                arrive(clocked, &mut requests[at], 7);
            }
            let request = requests[at];
            let is_refused = clocked.status(request.id) == ClaimStatus::Refused;
            if is_refused || request.is_whole {
                let ends = if request.is_whole { &mut received } else { &mut refused };
                ends.push(request.id);
                clocked.leave(request.id);
                requests.swap_remove(at);
            }
        }
        clocked.pass(STALL / 2);
        idle = if requests.len() == before { idle + 1 } else { 0 };
        // A silent request that no other waits for may stay until its own deadline.
        if idle > 40 {
            assert!(requests.iter().all(|request| request.is_silent), "{requests:?}");
            requests.drain(..).for_each(|request| clocked.leave(request.id));
        }
    }
    (received, refused)
}

proptest! {
    /// Whatever happens: never more than the budget, nothing left at the end, and
    /// every request that is sent whole ends.
    #[test]
    fn budget_is_never_exceeded_and_always_returns_to_zero(todo in acts()) {
        let mut clocked = Clocked::new(LIMITS);
        let mut requests = Vec::new();
        for todo in todo {
            act(&mut clocked, &mut requests, todo);
        }
        run_out(&mut clocked, requests);
        prop_assert_eq!(clocked.admission.held(), 0);
        prop_assert!(clocked.admission.peers.is_empty() && clocked.admission.claims.is_empty());
        prop_assert_eq!(clocked.admission.first_waiting(), None);
    }

    /// However many hold some and wait for more: the oldest is received, and all
    /// end.
    #[test]
    fn oldest_is_received_when_all_wait(
        sizes in proptest::collection::vec((0..6_u8, 1..90_u64), 1..40),
    ) {
        let mut clocked = Clocked::new(LIMITS);
        let begin = |(n, bytes): (u8, u64)| {
            let id = clocked.admission.enter(peer(n), clocked.now);
            let size = size_of(bytes);
            Request { id, left: bytes, size, is_silent: false, is_whole: false }
        };
        let requests: Vec<_> = sizes.into_iter().map(begin).collect();
        let (oldest, count) = (requests[0].id, requests.len());
        let (received, refused) = run_out(&mut clocked, requests);
        prop_assert_eq!(received.len() + refused.len(), count);
        prop_assert!(received.contains(&oldest), "{:?}", refused);
    }
}

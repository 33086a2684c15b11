//! The origins that a pool saw breaking a contract (C9): none of them gets
//! another from it.
//!
//! An origin is never forgotten: one that was would be trusted again, and a
//! broken promise doubles requests. Nor may the memory grow with the origins that
//! somebody else chooses, such as the targets of a sender of webhooks, or end in
//! distrusting all of them. So what is kept is a Bloom filter: of fixed size,
//! nothing is ever taken out of it, and it errs to one side only, by distrusting
//! an origin that is honest. That costs such an origin its contract, never a
//! request. With 5,000 liars it happens to one origin in a hundred million, with
//! 100,000 to one in a thousand. The hashes are keyed at random, so that
//! an attacker cannot choose origins that collide with another one.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use http::uri::Authority;

/// Bits of the filter: 256 KiB, which only a pool has that met a liar.
const BITS: u64 = 1 << 21;
/// Bits of one origin.
const BITS_EACH: u64 = 4;

/// The origins that one pool no longer believes.
#[derive(Default)]
pub(super) struct Distrusted {
    /// None before anybody was noted: the usual answer is one load.
    filter: OnceLock<Box<[AtomicU64]>>,
    hasher: RandomState,
}

/// What a pool thinks of one origin.
#[derive(Clone, Debug)]
pub(super) struct Reputation {
    of_pool: Arc<Distrusted>,
    bits: [u64; BITS_EACH as usize],
}

impl Reputation {
    /// Returns that of an authority, however it is written.
    pub(super) fn of(authority: &Authority, of_pool: &Arc<Distrusted>) -> Self {
        let origin = Origin::of(authority);
        let hash = |salt: u8| of_pool.hasher.hash_one((&origin, salt));
        let (first, step) = (hash(0), hash(1) | 1);
        let bit = |n: usize| first.wrapping_add(step.wrapping_mul(n as u64)) % BITS;
        Self { of_pool: Arc::clone(of_pool), bits: std::array::from_fn(bit) }
    }

    /// Notes that the origin broke a contract.
    pub(super) fn spoil(&self) {
        let filter = self.of_pool.filter.get_or_init(|| {
            let words = 0..BITS / u64::from(u64::BITS);
            words.map(|_| AtomicU64::new(0)).collect()
        });
        for (word, mask) in self.places(filter) {
            word.fetch_or(mask, Ordering::Release);
        }
    }

    /// Returns `true` if the origin is no longer believed.
    pub(super) fn is_spoiled(&self) -> bool {
        self.of_pool.filter.get().is_some_and(|filter| {
            self.places(filter).all(|(word, mask)| word.load(Ordering::Acquire) & mask != 0)
        })
    }

    fn places<'a>(
        &self,
        filter: &'a [AtomicU64],
    ) -> impl Iterator<Item = (&'a AtomicU64, u64)> + use<'a> {
        self.bits.into_iter().filter_map(move |bit| {
            let word = usize::try_from(bit / u64::from(u64::BITS)).ok()?;
            Some((filter.get(word)?, 1 << (bit % u64::from(u64::BITS))))
        })
    }
}

impl fmt::Debug for Distrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_any = self.filter.get().is_some();
        f.debug_struct("Distrusted").field("has_any", &has_any).finish_non_exhaustive()
    }
}

/// Whom an authority names, however it is written: without userinfo, with the
/// port. Two that are one too often are distrusted together, which is safe.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Origin {
    host: Host,
    port: u16,
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum Host {
    Address(IpAddr),
    Name(String),
}

impl Origin {
    fn of(authority: &Authority) -> Self {
        let host = authority.host();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let host = match bare.parse::<IpAddr>() {
            Ok(address) => Host::Address(address.to_canonical()),
            Err(_) => Host::Name(host.trim_end_matches('.').to_ascii_lowercase()),
        };
        Self { host, port: authority.port_u16().unwrap_or(80) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(authority: &str, pool: &Arc<Distrusted>) -> Reputation {
        Reputation::of(&authority.parse().unwrap(), pool)
    }

    #[test]
    fn an_authority_is_one_however_it_is_written() {
        for (noted, asked) in [
            ("h.example", "h.example:80"),
            ("h.example:80", "H.Example"),
            ("me:pw@h.example", "h.example."),
            ("[::1]:80", "[0:0::1]"),
            ("[::ffff:192.0.2.1]", "192.0.2.1:80"),
        ] {
            let pool = Arc::default();
            of(noted, &pool).spoil();
            assert!(of(asked, &pool).is_spoiled(), "{noted} {asked}");
            assert!(!of("h.example:81", &pool).is_spoiled());
            assert!(!of("g.example", &pool).is_spoiled());
        }
    }

    #[test]
    fn attack_thousands_of_liars_silence_no_honest_origin_and_stay_silenced() {
        let pool = Arc::default();
        let honest: Vec<_> =
            (0..1_000).map(|n| of(&format!("honest-{n}.example"), &pool)).collect();
        let liars: Vec<_> = (0..5_000).map(|n| of(&format!("liar-{n}.example"), &pool)).collect();
        assert!(!liars.iter().chain(&honest).any(Reputation::is_spoiled), "the control");
        for liar in &liars {
            liar.spoil();
        }
        assert!(liars.iter().all(Reputation::is_spoiled));
        assert!(!honest.iter().any(Reputation::is_spoiled));
        // However it is met again.
        assert!(of("Liar-4999.example:80", &pool).is_spoiled());
    }

    #[test]
    fn what_one_pool_saw_is_not_held_against_an_origin_by_another() {
        let [pool, other] = [Arc::default(), Arc::default()];
        of("h.example", &pool).spoil();
        assert!(of("h.example", &pool).is_spoiled());
        assert!(!of("h.example", &other).is_spoiled());
    }
}

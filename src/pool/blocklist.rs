//! The origins whose promises a pool no longer believes (C9).
//!
//! An origin gets here when a pool sees it break a contract, and stays for the
//! life of that pool: a forgotten one would be trusted again, and a broken promise
//! doubles requests. Another pool knows nothing of it.
//!
//! The memory must not grow with origins that an outsider chooses, such as the
//! targets of a webhook sender, nor may such a list end in blocking all of them. So
//! the list is a Bloom filter: of fixed size, nothing is ever taken out of it, and
//! it errs to one side only, by blocking an origin that is honest. That costs such
//! an origin its contract, never a request. With 5,000 liars it happens to one
//! origin in a hundred million, with 100,000 to one in a thousand. The hashes are
//! keyed at random, so that an attacker cannot choose origins that collide with
//! another one.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use http::uri::Authority;

/// Bits of the filter: 256 KiB, allocated when the first origin is blocked.
const BITS: u64 = 1 << 21;
/// Bits set for one origin.
const BITS_EACH: u64 = 4;

/// The origins whose promises one pool no longer believes.
#[derive(Default)]
pub(super) struct Blocklist {
    /// Empty until an origin is blocked, so that the usual check is one load.
    filter: OnceLock<Box<[AtomicU64]>>,
    hasher: RandomState,
}

/// The place of one origin in a pool's blocklist.
#[derive(Clone, Debug)]
pub(super) struct BlocklistEntry {
    blocklist: Arc<Blocklist>,
    bits: [u64; BITS_EACH as usize],
}

impl BlocklistEntry {
    /// Returns the entry of an authority, however it is written.
    pub(super) fn of(authority: &Authority, blocklist: &Arc<Blocklist>) -> Self {
        let origin = Origin::of(authority);
        let hash = |salt: u8| blocklist.hasher.hash_one((&origin, salt));
        let (first, step) = (hash(0), hash(1) | 1);
        let bit = |n: usize| first.wrapping_add(step.wrapping_mul(n as u64)) % BITS;
        Self { blocklist: Arc::clone(blocklist), bits: std::array::from_fn(bit) }
    }

    /// Blocks the origin for the life of the pool: it broke a contract.
    pub(super) fn block(&self) {
        let filter = self.blocklist.filter.get_or_init(|| {
            let words = 0..BITS / u64::from(u64::BITS);
            words.map(|_| AtomicU64::new(0)).collect()
        });
        for (word, mask) in self.words(filter) {
            word.fetch_or(mask, Ordering::Release);
        }
    }

    /// Returns `true` if the origin is blocked.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocklist.filter.get().is_some_and(|filter| {
            self.words(filter).all(|(word, mask)| word.load(Ordering::Acquire) & mask != 0)
        })
    }

    fn words<'a>(
        &self,
        filter: &'a [AtomicU64],
    ) -> impl Iterator<Item = (&'a AtomicU64, u64)> + use<'a> {
        self.bits.into_iter().filter_map(move |bit| {
            let word = usize::try_from(bit / u64::from(u64::BITS)).ok()?;
            Some((filter.get(word)?, 1 << (bit % u64::from(u64::BITS))))
        })
    }
}

impl fmt::Debug for Blocklist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_any = self.filter.get().is_some();
        f.debug_struct("Blocklist").field("has_any", &has_any).finish_non_exhaustive()
    }
}

/// What an authority names, however it is written: without userinfo, with the
/// port. Two origins that are taken for one are blocked together, which is safe.
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

    fn of(authority: &str, pool: &Arc<Blocklist>) -> BlocklistEntry {
        BlocklistEntry::of(&authority.parse().unwrap(), pool)
    }

    #[test]
    fn an_authority_is_one_origin_however_it_is_written() {
        for (noted, asked) in [
            ("h.example", "h.example:80"),
            ("h.example:80", "H.Example"),
            ("me:pw@h.example", "h.example."),
            ("[::1]:80", "[0:0::1]"),
            ("[::ffff:192.0.2.1]", "192.0.2.1:80"),
        ] {
            let pool = Arc::default();
            of(noted, &pool).block();
            assert!(of(asked, &pool).is_blocked(), "{noted} {asked}");
            assert!(!of("h.example:81", &pool).is_blocked());
            assert!(!of("g.example", &pool).is_blocked());
        }
    }

    #[test]
    fn attack_thousands_of_liars_block_no_honest_origin() {
        let pool = Arc::default();
        let honest: Vec<_> =
            (0..1_000).map(|n| of(&format!("honest-{n}.example"), &pool)).collect();
        let liars: Vec<_> = (0..5_000).map(|n| of(&format!("liar-{n}.example"), &pool)).collect();
        assert!(!liars.iter().chain(&honest).any(BlocklistEntry::is_blocked), "the control");
        for liar in &liars {
            liar.block();
        }
        assert!(liars.iter().all(BlocklistEntry::is_blocked));
        assert!(!honest.iter().any(BlocklistEntry::is_blocked));
        assert!(of("Liar-4999.example:80", &pool).is_blocked());
    }

    #[test]
    fn an_origin_is_blocked_by_the_pool_that_saw_it_only() {
        let [pool, other] = [Arc::default(), Arc::default()];
        of("h.example", &pool).block();
        assert!(of("h.example", &pool).is_blocked());
        assert!(!of("h.example", &other).is_blocked());
    }
}

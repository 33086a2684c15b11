//! The limits of a memory budget, and what is held of it.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// The client of a connection: an IPv4 address, or the /64 network of an IPv6
/// address, since one host can have all of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::server) struct Peer(IpAddr);

impl Peer {
    pub(in crate::server) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        })
    }
}

/// The class of a request, by its length as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::server) enum Size {
    Small,
    Large,
}

/// The limits of a memory budget, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) struct BudgetLimits {
    pub(in crate::server) all: u64,
    /// The part of `all` that is for small requests only.
    pub(in crate::server) for_small: u64,
    pub(in crate::server) per_peer: u64,
    pub(in crate::server) stall: Duration,
}

impl BudgetLimits {
    pub(super) fn of_all(&self) -> UsageLimit {
        UsageLimit { most: self.all, most_large: self.all.saturating_sub(self.for_small) }
    }

    /// The limit of one peer, with the same part for small requests.
    pub(super) fn of_peer(&self) -> UsageLimit {
        // No overflow: each of them fits 32 bits.
        let for_small = self.per_peer.saturating_mul(self.for_small) / self.all.max(1);
        UsageLimit { most: self.per_peer, most_large: self.per_peer.saturating_sub(for_small) }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct UsageLimit {
    most: u64,
    most_large: u64,
}

/// What is held, of all or of one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) small: u64,
    large: u64,
    /// What refused claims hold of both until they leave.
    small_leaving: u64,
    large_leaving: u64,
    /// Claims that hold something and whose peer has more to send.
    pub(super) arriving: usize,
    /// Claims that hold their whole request.
    pub(super) whole: usize,
}

impl Usage {
    pub(super) fn of(&mut self, size: Size) -> (&mut u64, &mut u64) {
        match size {
            Size::Small => (&mut self.small, &mut self.small_leaving),
            Size::Large => (&mut self.large, &mut self.large_leaving),
        }
    }

    pub(super) fn sum(&self) -> u64 {
        self.small + self.large
    }

    pub(super) fn after_leaving(mut self) -> Self {
        self.small -= self.small_leaving;
        self.large -= self.large_leaving;
        (self.small_leaving, self.large_leaving) = (0, 0);
        self
    }

    /// Returns the usage without so many bytes of this size.
    pub(super) fn without(mut self, size: Size, bytes: u64) -> Self {
        *self.of(size).0 -= bytes;
        self
    }

    /// Returns `true` if so many bytes fit beside what is held.
    pub(super) fn fits(&self, size: Size, bytes: u64, bound: UsageLimit) -> bool {
        self.sum() == 0
            || self.sum() + bytes <= bound.most
                && (size == Size::Small || self.fits_large(bytes, bound))
    }

    pub(super) fn fits_large(&self, bytes: u64, bound: UsageLimit) -> bool {
        self.large == 0 || self.large + bytes <= bound.most_large
    }
}

//! The room's bounds, and what is held of it.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// Whose connection it is: an IPv4 address, or the /64 network of an IPv6
/// address, all of which one host can have.
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

/// What a request is, by its length as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::server) enum Size {
    Small,
    Large,
}

/// The room's bounds, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) struct Bounds {
    pub(in crate::server) all: u64,
    /// Of these, for small requests only.
    pub(in crate::server) for_small: u64,
    pub(in crate::server) per_peer: u64,
    pub(in crate::server) stall: Duration,
}

impl Bounds {
    pub(super) fn of_all(&self) -> Bound {
        Bound { most: self.all, most_large: self.all.saturating_sub(self.for_small) }
    }

    /// That of one peer, with the same share for small requests.
    pub(super) fn of_peer(&self) -> Bound {
        // All of them have 32 bits.
        let for_small = self.per_peer.saturating_mul(self.for_small) / self.all.max(1);
        Bound { most: self.per_peer, most_large: self.per_peer.saturating_sub(for_small) }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    most: u64,
    most_large: u64,
}

/// What is held, of all or of one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) small: u64,
    large: u64,
    /// What of both is given back as soon as those who were refused notice.
    small_leaving: u64,
    large_leaving: u64,
    /// Places that hold something and whose peer has to send the rest.
    pub(super) arriving: usize,
    /// Places that hold all of their request.
    pub(super) whole: usize,
}

impl Part {
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

    /// Returns the part without so many bytes of it.
    pub(super) fn without(mut self, size: Size, bytes: u64) -> Self {
        *self.of(size).0 -= bytes;
        self
    }

    /// Returns `true` if so much fits beside what these hold.
    pub(super) fn has_room(&self, size: Size, bytes: u64, bound: Bound) -> bool {
        self.sum() == 0
            || self.sum() + bytes <= bound.most
                && (size == Size::Small || self.has_room_for_large(bytes, bound))
    }

    pub(super) fn has_room_for_large(&self, bytes: u64, bound: Bound) -> bool {
        self.large == 0 || self.large + bytes <= bound.most_large
    }
}

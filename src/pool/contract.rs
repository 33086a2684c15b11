//! What a pool asks of servers, and what it believes.

use std::collections::HashSet;

use http::uri::Authority;

use crate::transport::Belief;

/// Whether and how a pool asks servers for a contract
/// ([`contract`](crate::contract)).
///
/// By default it does, on every request of HTTP/1.1 that is no CONNECT, and
/// believes what a server says of the very connection. That costs 68 octets. A
/// server that has announced nothing in four responses is not asked again on
/// that connection, and costs one look-up in the response's header. A request
/// that has a `Retry-Contract` field of its own is sent as it is.
#[derive(Clone, Debug)]
#[must_use]
pub struct ContractOptions {
    offers: bool,
    primes: bool,
    behind_nat: HashSet<Authority>,
}

impl ContractOptions {
    /// Returns the default options.
    pub fn new() -> Self {
        Self { offers: true, primes: false, behind_nat: HashSet::new() }
    }

    /// Returns options by which nothing is asked for and nothing believed.
    pub fn none() -> Self {
        Self { offers: false, ..Self::new() }
    }

    /// States that addresses are translated on the way to `origin`, and that
    /// nobody on the way ends a TCP connection: the ends that its server names
    /// are compared with nothing.
    ///
    /// **A wrong statement doubles requests.** The comparison is the only lock
    /// against whatever passes the field on; without it promises are believed
    /// that the connection does not keep. It is wrong where there is, on any way
    /// to the origin,
    ///
    /// - HAProxy in HTTP mode, which forwards the field and its listing in both
    ///   directions, or nginx where it forwards `Connection`;
    /// - a load balancer in TCP mode, a port forward, TLS passthrough or a tunnel;
    /// - a forwarder of packets that resets on its own with the server's address,
    ///   as balancers with direct server return (DSR) do when a backend fails;
    /// - a transparent terminator (TPROXY).
    ///
    /// It is meant for address translation alone, such as the kernel's.
    pub fn trust_nat(mut self, origin: Authority) -> Self {
        self.behind_nat.insert(origin);
        self
    }

    /// Sends `OPTIONS *` (RFC 9110 9.3.7) before the first request on a fresh
    /// connection that is not idempotent, and waits for its response, so that
    /// the promise may be in force from that request on.
    ///
    /// It costs a round trip on each such connection. A connection on which it
    /// fails is not used: the request was then never sent (G1).
    pub fn prime(mut self) -> Self {
        self.primes = true;
        self
    }

    pub(super) fn primes(&self) -> bool {
        self.offers && self.primes
    }

    pub(super) fn belief(&self, origin: &Authority) -> Belief {
        match (self.offers, self.behind_nat.contains(origin)) {
            (false, _) => Belief::Nothing,
            (true, false) => Belief::OwnHop,
            (true, true) => Belief::AnyHop,
        }
    }
}

impl Default for ContractOptions {
    fn default() -> Self {
        Self::new()
    }
}

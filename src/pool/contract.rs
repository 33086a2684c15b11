//! What a pool asks of servers, and what it believes.

use std::collections::HashSet;

use http::uri::Authority;

use crate::conn::ContractTrust;

/// Whether and how a pool asks servers for a contract
/// ([`contract`](crate::contract)).
///
/// By default it does, on every request of HTTP/1.1 that is no CONNECT, and
/// believes what a server says of the very connection. The offer names that
/// connection, so that it shows our address to the server, and costs some 110
/// bytes. It is not made where our address is one of a private network and the
/// server's is not: it would be ignored there (C10). A
/// server that announces nothing in its first response on a connection is not
/// asked again there, and nothing that it says there later is believed (C6). A
/// request that has a `Retry-Contract` field of its own is sent as it is.
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
    /// no hop on the way terminates TCP connections: the ends that its server
    /// names are not compared.
    ///
    /// Its server has to state the same, by
    /// [`ListenerOptions::trust_nat`](crate::server::ListenerOptions::trust_nat), or
    /// takes our offers for those of another client (S11).
    ///
    /// **A wrong statement duplicates requests**: a hop that terminates TCP
    /// forwards promises that its own connections do not keep. HAProxy does so by
    /// default, in HTTP mode as in TCP mode; nginx where it forwards `Connection`,
    /// and its `stream` proxies; load balancers, port forwards and tunnels. TPROXY
    /// and direct server return, which keep the addresses, break the contract with
    /// and without this.
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

    pub(super) fn belief(&self, origin: &Authority) -> ContractTrust {
        match (self.offers, self.behind_nat.contains(origin)) {
            (false, _) => ContractTrust::None,
            (true, false) => ContractTrust::SameHop,
            (true, true) => ContractTrust::AnyHop,
        }
    }
}

impl Default for ContractOptions {
    fn default() -> Self {
        Self::new()
    }
}

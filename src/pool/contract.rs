//! Whether a pool asks servers for a contract.

use crate::conn::ContractTrust;

/// Whether and how a pool asks servers for a [contract](crate::contract).
///
/// By default it asks with every HTTP/1.1 request other than CONNECT, and believes
/// what a server says of that very connection.
///
/// - The offer is about 110 bytes long. It names the connection, so that it shows
///   our address to the server.
/// - It is not made where our address is a private one and the server's is not: it
///   would be ignored there (C10).
/// - A server that announces nothing in its first response on a connection is not
///   asked again there, and nothing that it says there later is believed (C6).
/// - A request with a `Retry-Contract` field of its own is sent as it is.
///
/// A way to an origin that translates addresses has to be
/// [stated](super::OriginTrust::behind_nat).
#[derive(Clone, Debug)]
#[must_use]
pub struct ContractOptions {
    offers: bool,
    primes: bool,
}

impl ContractOptions {
    /// Returns the default options.
    pub fn new() -> Self {
        Self { offers: true, primes: false }
    }

    /// Returns options by which nothing is asked for and nothing believed.
    pub fn none() -> Self {
        Self { offers: false, ..Self::new() }
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

    /// Returns which promises of a server are believed.
    pub(super) fn trust(&self, is_behind_nat: bool) -> ContractTrust {
        match (self.offers, is_behind_nat) {
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

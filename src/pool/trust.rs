//! What a user states of one origin.

use http::Response;

use tower_resend_core::contract::TrustedGateway;
use tower_resend_core::{Contract, PromiseSource};

/// What you state of one origin and of the way to it, given to
/// [`PoolOptions::trust`](super::PoolOptions::trust).
///
/// Each statement lets the pool prove more failed requests unapplied, so that they
/// can be sent again. None is made by default, and no pool needs one to be safe.
///
/// **A wrong statement duplicates requests.** Each method says what has to be true.
///
/// Statements hold on direct connections only, not through
/// [proxies](super::Proxies).
///
/// ```
/// # fn main() -> Result<(), http::uri::InvalidUri> {
/// use tower_resend::pool::{OriginTrust, PoolOptions};
///
/// let trust = OriginTrust::new().no_relay().complete_messages_only();
/// let options = PoolOptions::new().trust("10.0.0.7:8080".parse()?, trust);
/// # let _ = options;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct OriginTrust {
    contract: Contract,
    is_behind_nat: bool,
    gateway: Option<TrustedGateway>,
}

impl OriginTrust {
    /// States nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// States that no TCP relay stands on the way to the origin: no L4 load
    /// balancer, no proxy in TCP mode (HAProxy's `mode tcp`, nginx's `stream`),
    /// no tunnel that ends TCP, and no second host that may answer for the same
    /// address (ECMP, anycast, VRRP). Nor does the origin itself half-close,
    /// act on what it reads then, and close before that is acknowledged.
    ///
    /// A FIN that acknowledges nothing of a request, settled by a reset, then
    /// proves it unapplied (G2) however large it is. Without the statement it
    /// does so only for a request that went out in *one* TCP segment: of
    /// several, a relay that half-closed may have passed on the first before it
    /// reset the next. A small request fits one segment and needs no statement.
    ///
    /// **A wrong statement duplicates requests**: behind a TCP load balancer, the
    /// request can still be delivered after the FIN.
    pub fn no_relay(mut self) -> Self {
        self.contract.no_relay = Some(PromiseSource::Configured);
        self
    }

    /// States that the origin dispatches nothing that arrives after its FIN, and
    /// that no TCP relay stands on the way to it.
    ///
    /// A FIN that acknowledges nothing of a request then proves it unapplied
    /// without settling (G2), which recovers servers that close in a lingering
    /// way, such as Apache or lighttpd. It holds for requests of any size: it
    /// includes what [`no_relay`](Self::no_relay) states.
    ///
    /// **A wrong statement duplicates requests**: behind a TCP load balancer, the
    /// request can still be delivered after the FIN.
    pub fn closed_after_fin(mut self) -> Self {
        self.contract.closed_after_fin = Some(PromiseSource::Configured);
        self
    }

    /// States that the origin acts only on complete messages, never on a head
    /// alone.
    ///
    /// A settled FIN that acknowledges less than the whole request then proves
    /// it unapplied (G2).
    ///
    /// A TCP relay can pass the rest of a request on after such a FIN and then
    /// reset, as [`no_relay`](Self::no_relay) says. So this one counts only
    /// for a request in one TCP segment, where no ordinary peer acknowledges a
    /// part, or together with that statement.
    ///
    /// **A wrong statement duplicates requests.**
    pub fn complete_messages_only(mut self) -> Self {
        self.contract.complete_messages_only = Some(PromiseSource::Configured);
        self
    }

    /// States that addresses are translated on the way to the origin, and that
    /// no hop on the way terminates TCP connections: a
    /// [contract](super::ContractOptions) is believed although the ends that its
    /// server names are not those that we see.
    ///
    /// The server has to state the same, by `ListenerOptions::trust_nat`, or it
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
    pub fn behind_nat(mut self) -> Self {
        self.is_behind_nat = true;
        self
    }

    /// Trusts the gateway that answers for the origin when it says in
    /// `Proxy-Status` (RFC 9209) that it could not pass a request on: a 502,
    /// 503 or 504 that [`TrustedGateway::not_forwarded`] takes then proves it
    /// unapplied (G3). Such a response is not delivered; a request that is not
    /// resent is an error whose fate is *not applied*. Not for CONNECT.
    ///
    /// Only the first response of a connection counts. Behind another one it may
    /// be content of that response, which a server sent beyond what it framed, and
    /// is delivered as an answer.
    ///
    /// You state of every way to the origin, which must be the gateway itself,
    /// that
    ///
    /// - no other party, neither what lies behind the gateway nor your own
    ///   network, can make a response with the gateway's name in that field: the
    ///   gateway removes the field from the responses that it forwards, or adds
    ///   itself to it;
    /// - it names an error as RFC 9209 defines it, of the request's only hop;
    /// - it never passes a request on twice that is not idempotent (RFC 9110
    ///   9.2.2), and sends no early data (TLS 0-RTT, TCP Fast Open).
    ///
    /// **A wrong statement duplicates requests.**
    pub fn proxy_status(mut self, gateway: TrustedGateway) -> Self {
        self.gateway = Some(gateway);
        self
    }

    /// Returns what is stated of the origin's connections.
    pub(super) fn contract(&self) -> Contract {
        self.contract
    }

    pub(super) fn is_behind_nat(&self) -> bool {
        self.is_behind_nat
    }

    /// Returns `true` if a response says that the request was not passed on, and
    /// its gateway is trusted.
    pub(super) fn has_not_forwarded<T>(&self, response: &Response<T>) -> bool {
        self.gateway.as_ref().is_some_and(|gateway| gateway.not_forwarded(response).is_some())
    }
}

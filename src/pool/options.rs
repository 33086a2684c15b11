//! How a pool makes and keeps connections.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use http::uri::Authority;

use super::contract::ContractOptions;
use super::idle::Lifetimes;
use crate::connect::Proxies;
use crate::connect::{ConnectOptions, Keepalive};
#[cfg(feature = "tls")]
use crate::tls::Tls;
use tower_resend_core::contract::TrustedGateway;
use tower_resend_core::{Contract, PromiseSource};

/// How a [`Pool`](super::Pool) makes and keeps connections.
///
/// The defaults are safe to use as they are. Whatever is stated of an origin
/// is stated of its authority as requests name it; of an https origin always
/// with its port (`api.example:443`), so that it is not the http origin's. It
/// is used on direct connections only, not through [proxies](Proxies).
#[derive(Clone, Debug)]
#[must_use]
pub struct PoolOptions {
    pub(super) connect: ConnectOptions,
    pub(super) hedges: bool,
    pub(super) proxies: Proxies,
    pub(super) lifetimes: Lifetimes,
    pub(super) max_per_origin: usize,
    pub(super) max_total: usize,
    pub(super) max_waiting: usize,
    pub(super) wait_timeout: Duration,
    pub(super) contracts: HashMap<Authority, Contract>,
    pub(super) contract: ContractOptions,
    pub(super) gateways: HashMap<Authority, TrustedGateway>,
}

impl PoolOptions {
    /// Returns the default options.
    pub fn new() -> Self {
        Self {
            connect: ConnectOptions::default(),
            hedges: true,
            proxies: Proxies::none(),
            lifetimes: Lifetimes { idle: Duration::from_secs(60), age: None, most: 256 },
            max_per_origin: 1024,
            max_total: 8192,
            max_waiting: 16_384,
            wait_timeout: Duration::from_secs(30),
            contracts: HashMap::new(),
            contract: ContractOptions::new(),
            gateways: HashMap::new(),
        }
    }

    /// Sets how long one connect may take. The default is 10 seconds.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect.timeout = timeout;
        self
    }

    /// Sets whether a connect that takes three times as long as usual gets a
    /// second one beside it, of which the first to succeed is used. It does by
    /// default: a lost SYN costs a second.
    pub fn hedged_connects(mut self, hedged: bool) -> Self {
        self.hedges = hedged;
        self
    }

    /// Sets which requests go through proxies. None do by default; see
    /// [`Proxies`] for what is different then.
    pub fn proxies(mut self, proxies: Proxies) -> Self {
        self.proxies = proxies;
        self
    }

    /// Sets the local address that connections are made from.
    pub fn local_address(mut self, address: impl Into<Option<IpAddr>>) -> Self {
        self.connect.local_address = address.into();
        self
    }

    /// Sets when a silent connection is probed: after `idle`, every
    /// `interval`, given up after `count` probes without an answer. The default
    /// is 15 s, 5 s, 3. TCP counts whole seconds.
    pub fn tcp_keepalive(mut self, idle: Duration, interval: Duration, count: u32) -> Self {
        self.connect.keepalive = Some(Keepalive { idle, interval, count });
        self
    }

    /// Turns keepalive probes off.
    pub fn no_tcp_keepalive(mut self) -> Self {
        self.connect.keepalive = None;
        self
    }

    /// Sets after how long without an acknowledgement a connection is given up
    /// (`TCP_USER_TIMEOUT`, Linux only). The system decides by default.
    pub fn tcp_user_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.connect.user_timeout = timeout.into();
        self
    }

    /// Sets how TLS connections are made, for targets whose scheme is `https`.
    /// By default that is [`Tls::builder`]'s default, made when it is first
    /// needed.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.connect.tls = Some(tls);
        self
    }

    /// Sets how long an idle connection is kept. The default is 60 seconds.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.lifetimes.idle = timeout;
        self
    }

    /// Sets how old a connection may be when a request is sent on it. There is
    /// no limit by default.
    pub fn max_age(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.lifetimes.age = age.into();
        self
    }

    /// Sets how many idle connections are kept for each origin. The default is
    /// 256.
    pub fn max_idle_per_origin(mut self, connections: usize) -> Self {
        self.lifetimes.most = connections;
        self
    }

    /// Sets how many connections there may be to one origin. The default is
    /// 1024; 0 counts as 1. Requests beyond it wait in order.
    pub fn max_per_origin(mut self, connections: usize) -> Self {
        self.max_per_origin = connections.clamp(1, MOST);
        self
    }

    /// Sets how many connections there may be in all. The default is 8192; 0
    /// counts as 1. Requests beyond it wait in order.
    pub fn max_total(mut self, connections: usize) -> Self {
        self.max_total = connections.clamp(1, MOST);
        self
    }

    /// Sets how long a request waits for a connection. The default is 30
    /// seconds.
    pub fn wait_timeout(mut self, timeout: Duration) -> Self {
        self.wait_timeout = timeout;
        self
    }

    /// States that an origin dispatches nothing that arrives after its FIN, and
    /// that no L4 relay stands on the way to it.
    ///
    /// A FIN that acknowledges nothing of a request then proves it unapplied
    /// without settling (G2), which recovers servers that close in a lingering
    /// way, such as Apache or lighttpd.
    ///
    /// **A wrong statement doubles requests**: behind a TCP load balancer, the
    /// request can still be delivered after the FIN.
    ///
    /// It holds for requests of any size: it includes what
    /// [`no_relay`](Self::no_relay) states.
    pub fn closed_after_fin(mut self, origin: Authority) -> Self {
        self.stated(origin).closed_after_fin = Some(PromiseSource::Configured);
        self
    }

    /// States that an origin acts only on complete messages, never on a head
    /// alone.
    ///
    /// A settled FIN that acknowledges less than the whole request then proves
    /// it unapplied (G2). **A wrong statement doubles requests.**
    ///
    /// A TCP relay can pass the rest of a request on after such a FIN and then
    /// reset, as [`no_relay`](Self::no_relay) says. So this one counts only
    /// for a request in one TCP segment, of which no ordinary peer acknowledges
    /// a part, or together with that statement.
    pub fn complete_messages_only(mut self, origin: Authority) -> Self {
        self.stated(origin).complete_messages_only = Some(PromiseSource::Configured);
        self
    }

    /// States that no TCP relay stands on the way to an origin: no L4 load
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
    /// **A wrong statement doubles requests**: behind a TCP load balancer, the
    /// request can still be delivered after the FIN.
    pub fn no_relay(mut self, origin: Authority) -> Self {
        self.stated(origin).no_relay = Some(PromiseSource::Configured);
        self
    }

    /// Sets whether servers are asked for a contract, and what is believed.
    pub fn contract(mut self, options: ContractOptions) -> Self {
        self.contract = options;
        self
    }

    /// Trusts the gateway that answers for `origin` when it says in
    /// `Proxy-Status` (RFC 9209) that it could not pass a request on: a 502,
    /// 503 or 504 that [`TrustedGateway::not_forwarded`] takes then proves it
    /// unapplied (G3). Such a response is not delivered; a request that is not
    /// resent is an error whose fate is *not applied*. Not for CONNECT.
    ///
    /// Only the first response of a connection counts. Behind another one it may
    /// be content of that response, which a server sent beyond what it framed, and
    /// is delivered as an answer.
    ///
    /// The caller states of every way to `origin`, which must be the gateway
    /// itself, that
    ///
    /// - no other party, neither what lies behind the gateway nor the client's own
    ///   network, can make a response with the gateway's name in that field: the
    ///   gateway removes the field from the responses that it forwards, or adds
    ///   itself to it;
    /// - it names an error as RFC 9209 defines it, of the request's only hop;
    /// - it never passes a request on twice that is not idempotent (RFC 9110
    ///   9.2.2), and sends no early data (TLS 0-RTT, TCP Fast Open).
    ///
    /// **A wrong statement doubles requests.**
    pub fn trust_proxy_status(mut self, origin: Authority, gateway: TrustedGateway) -> Self {
        self.gateways.insert(origin, gateway);
        self
    }

    fn stated(&mut self, origin: Authority) -> &mut Contract {
        self.contracts.entry(origin).or_default()
    }
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// More connections than a process can have.
const MOST: usize = 1 << 20;

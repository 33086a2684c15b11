//! How a pool makes and keeps connections.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use http::uri::Authority;

use super::contract::ContractOptions;
use super::idle::Lifetimes;
use super::trust::OriginTrust;
use crate::connect::{ConnectOptions, Keepalive, Proxies};
#[cfg(feature = "tls")]
use crate::tls::Tls;

/// How a [`Pool`](super::Pool) makes and keeps connections.
///
/// The defaults are safe to use as they are.
///
/// | to set | use | default |
/// |---|---|---|
/// | **limits** | | |
/// | connections to one origin | [`max_per_origin`](Self::max_per_origin) | 1024 |
/// | connections in all | [`max_total`](Self::max_total) | 8192 |
/// | idle connections to one origin | [`max_idle_per_origin`](Self::max_idle_per_origin) | 256 |
/// | **ages** | | |
/// | how long a connection may idle | [`idle_timeout`](Self::idle_timeout) | 60 s |
/// | how old a connection may become | [`max_age`](Self::max_age) | no limit |
/// | **timeouts** | | |
/// | one connect, with proxy and TLS | [`connect_timeout`](Self::connect_timeout) | 10 s |
/// | a second connect beside a slow one | [`hedged_connects`](Self::hedged_connects) | on |
/// | the wait for a connection | [`wait_timeout`](Self::wait_timeout) | 30 s |
/// | bytes that are not acknowledged | [`tcp_user_timeout`](Self::tcp_user_timeout) | the system's |
/// | **keepalive** | | |
/// | probes on silent connections | [`tcp_keepalive`](Self::tcp_keepalive), [`no_tcp_keepalive`](Self::no_tcp_keepalive) | 15 s, 5 s, 3 |
/// | **routes** | | |
/// | proxies | [`proxies`](Self::proxies) | none |
/// | the local address | [`local_address`](Self::local_address) | the system's |
/// | TLS (feature `tls`) | `tls` | `Tls::builder`'s |
/// | **evidence** | | |
/// | what you state of an origin | [`trust`](Self::trust) | nothing |
/// | whether contracts are asked for | [`contract`](Self::contract) | yes |
///
/// Time limits on a whole call are in the [`Policy`](crate::Policy).
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
    pub(super) contract: ContractOptions,
    pub(super) trusts: HashMap<Authority, OriginTrust>,
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
            contract: ContractOptions::new(),
            trusts: HashMap::new(),
        }
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

    /// Sets how many idle connections are kept for each origin. The default is
    /// 256.
    pub fn max_idle_per_origin(mut self, connections: usize) -> Self {
        self.lifetimes.most = connections;
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

    /// Sets how long one connect may take: name resolution, proxy and TLS handshake
    /// too. The default is 10 seconds.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect.timeout = timeout;
        self
    }

    /// Sets whether a connect that takes three times as long as usual is hedged by
    /// a second one; the first to succeed is used. On by default, because a
    /// lost SYN costs a second.
    pub fn hedged_connects(mut self, hedged: bool) -> Self {
        self.hedges = hedged;
        self
    }

    /// Sets how long a request waits for a connection. The default is 30
    /// seconds. It then fails as *not applied*.
    pub fn wait_timeout(mut self, timeout: Duration) -> Self {
        self.wait_timeout = timeout;
        self
    }

    /// Sets after how long without an acknowledgement the kernel gives a
    /// connection up (`TCP_USER_TIMEOUT`, Linux only). The system decides by
    /// default.
    pub fn tcp_user_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.connect.user_timeout = timeout.into();
        self
    }

    /// Sets when a silent connection is probed: after `idle`, then every
    /// `interval`, until `count` probes had no answer. The default is 15 s, 5 s,
    /// 3. TCP counts whole seconds.
    pub fn tcp_keepalive(mut self, idle: Duration, interval: Duration, count: u32) -> Self {
        self.connect.keepalive = Some(Keepalive { idle, interval, count });
        self
    }

    /// Turns keepalive probes off.
    pub fn no_tcp_keepalive(mut self) -> Self {
        self.connect.keepalive = None;
        self
    }

    /// Sets which requests go through proxies. By default none do; see
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

    /// Sets how TLS connections are made, for targets whose scheme is `https`.
    /// The default is that of [`Tls::builder`], made when it is first needed.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.connect.tls = Some(tls);
        self
    }

    /// Sets what you state of one origin, in place of what was stated of it before.
    ///
    /// **A wrong statement duplicates requests**: see [`OriginTrust`].
    ///
    /// `origin` is the authority as requests name it; for an https origin always
    /// with its port (`api.example:443`), which tells it from the http origin.
    pub fn trust(mut self, origin: Authority, trust: OriginTrust) -> Self {
        self.trusts.insert(origin, trust);
        self
    }

    /// Sets whether servers are asked for a contract.
    pub fn contract(mut self, options: ContractOptions) -> Self {
        self.contract = options;
        self
    }
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// More connections than a process can have.
const MOST: usize = 1 << 20;

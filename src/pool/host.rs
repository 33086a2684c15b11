//! The connections of one key: idle list, waiters, connects under way.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use http::{HeaderValue, Response};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

use super::distrust::{Distrusted, Reputation};
use super::idle::{Freshness, Idle, Lifetimes};
use super::key::Key;
use super::lease::{Checkout, Lease, Permits};
use super::options::PoolOptions;
use crate::body::RequestBody;
use crate::conn::{ContractTrust, Http1Connection};
use crate::connect::Hedge;
use crate::connect::{ConnectError, Connector};
use crate::time;
use tower_resend_core::contract::TrustedGateway;
use tower_resend_core::{ConnectFailure, Contract};

/// The connections of one key.
#[derive(Debug)]
pub(super) struct OriginPool<B> {
    key: Key,
    reputation: Reputation,
    pub(super) name: Option<HeaderValue>,
    /// What the user states of the origin.
    stated: Contract,
    /// The gateway whose word on what it did not pass on is taken.
    gateway: Option<TrustedGateway>,
    belief: ContractTrust,
    primes: bool,
    connector: Connector,
    lifetimes: Lifetimes,
    max_waiting: usize,
    wait_timeout: Duration,
    places: Arc<Semaphore>,
    places_of_all: Arc<Semaphore>,
    state: Mutex<State<B>>,
    hedge: Hedge,
    /// Where the host's tasks run: a body can end, and a call be dropped,
    /// outside of every runtime.
    runtime: Handle,
}

#[derive(Debug)]
struct State<B> {
    idle: Idle<Lease<B>>,
    waiters: VecDeque<Waiter<B>>,
    connecting: usize,
    next_waiter: u64,
    is_reaped: bool,
}

#[derive(Debug)]
struct Waiter<B> {
    id: u64,
    want: Freshness,
    give: oneshot::Sender<Result<Lease<B>, ConnectError>>,
}

impl<B> State<B> {
    /// Takes out who waits no more, to be dropped where nothing is locked: with them
    /// go their wakers, whose drop can run anything.
    fn take_closed(&mut self) -> VecDeque<Waiter<B>> {
        if !self.waiters.iter().any(|waiter| waiter.give.is_closed()) {
            return VecDeque::new();
        }
        let waiters = mem::take(&mut self.waiters).into_iter();
        let (gone, waiting) = waiters.partition(|waiter| waiter.give.is_closed());
        self.waiters = waiting;
        gone
    }
}

impl<B: RequestBody> OriginPool<B> {
    pub(super) fn new(
        key: Key,
        connector: Connector,
        options: &PoolOptions,
        places_of_all: Arc<Semaphore>,
        distrusted: &Arc<Distrusted>,
        runtime: Handle,
    ) -> Self {
        let origin = key.origin();
        // Behind a proxy, what ends here is not the origin's connection:
        // nothing that is stated or announced of that one holds for this one.
        let is_direct = !key.is_relayed();
        let (stated, gateway) = (options.contracts.get(&origin), options.gateways.get(&origin));
        let belief = options.contract.belief(&origin);
        Self {
            name: key.host(),
            stated: stated.copied().filter(|_| is_direct).unwrap_or_default(),
            gateway: gateway.cloned().filter(|_| is_direct),
            belief: if is_direct { belief } else { ContractTrust::None },
            reputation: Reputation::of(&origin, distrusted),
            primes: is_direct && options.contract.primes(),
            key,
            connector,
            lifetimes: options.lifetimes,
            max_waiting: options.max_waiting,
            wait_timeout: options.wait_timeout,
            places: Arc::new(Semaphore::new(options.max_per_origin)),
            places_of_all,
            state: Mutex::new(State {
                idle: Idle::new(),
                waiters: VecDeque::new(),
                connecting: 0,
                next_waiter: 0,
                is_reaped: false,
            }),
            hedge: Hedge::new(options.hedges),
            runtime,
        }
    }

    /// Returns what the host's connections are shared by.
    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// Returns what the user states of the origin and what its server announced
    /// on a connection.
    pub(super) fn contract(&self, announced: Contract) -> Contract {
        let contract = self.stated.with_announced(announced);
        if self.key.is_https() { contract.under_tls() } else { contract }
    }

    /// Returns what is believed of the host's promises now (C9).
    pub(super) fn belief(&self) -> ContractTrust {
        match self.belief {
            ContractTrust::None => ContractTrust::None,
            _ if self.reputation.is_spoiled() => ContractTrust::Revoked,
            belief => belief,
        }
    }

    /// Returns `true` if a response says that the request was not passed on, and
    /// is believed.
    pub(super) fn has_not_forwarded<T>(&self, response: &Response<T>) -> bool {
        self.gateway.as_ref().is_some_and(|gateway| gateway.not_forwarded(response).is_some())
    }

    /// Notes that the host broke a promise (C9).
    pub(super) fn distrust(&self) {
        self.reputation.spoil();
    }

    /// Primes a connection that was never used (C6).
    ///
    /// # Errors
    ///
    /// The connection cannot be used, and is gone.
    pub(super) async fn prime(&self, lease: Lease<B>) -> Result<Lease<B>, ConnectError> {
        let mut unprimed = Unprimed(Some(lease));
        let limit = time::from_now(self.wait_timeout);
        if let (Some(lease), Some(name)) = (&mut unprimed.0, &self.name) {
            let primed = lease.connection.prime(name, self.belief());
            if let Ok(true) = time::timeout_at(limit, primed).await
                && let Some(primed) = unprimed.0.take()
            {
                return Ok(primed);
            }
        }
        Err(match &unprimed.0 {
            Some(lease) => ConnectError::unusable(lease.connection.tracker()),
            None => ConnectError::of(ConnectFailure::Connect(None)),
        })
    }

    /// Returns `true` if connections are primed, as long as that may help.
    pub(super) fn primes(&self) -> bool {
        self.primes && self.belief() != ContractTrust::Revoked
    }

    /// Takes an idle connection, if there is one that will do.
    pub(super) fn idle(&self, want: Freshness) -> Option<Lease<B>> {
        self.lock().idle.pop(want, time::now(), &self.lifetimes)
    }

    /// Waits for a connection: a new one, or one that is given back first.
    ///
    /// # Cancel safety
    ///
    /// A connection that arrives too late goes to another waiter.
    pub(super) async fn obtain(
        self: &Arc<Self>,
        want: Freshness,
    ) -> Result<Lease<B>, ConnectError> {
        let mut waiting = self.enqueue(want)?;
        let deadline = time::from_now(self.wait_timeout);
        match time::timeout_at(deadline, &mut waiting.taken).await {
            Ok(Ok(taken)) => taken,
            Ok(Err(_)) => Err(ConnectError::of(ConnectFailure::Connect(None))),
            Err(_) => Err(ConnectError::of(ConnectFailure::PoolWait)),
        }
    }

    /// Starts a connect that no caller waits for yet.
    pub(super) fn prefetch(self: &Arc<Self>) {
        self.lock().connecting += 1;
        self.spawn_connect(None);
    }

    /// Takes a connection back whose exchange is over.
    pub(super) fn put(self: &Arc<Self>, mut lease: Lease<B>) {
        if !lease.connection.finish() {
            return;
        }
        if lease.connection.is_ready() {
            return self.offer(lease);
        }
        // The connection's task has not turned yet, or the request's body is
        // still on its way; no caller waits for this.
        let host = Arc::clone(self);
        self.runtime.spawn(async move {
            let ready = poll_fn(|cx| lease.connection.poll_ready(cx));
            if let Ok(true) = time::timeout_at(time::now() + READY_WITHIN, ready).await {
                host.offer(lease);
            }
        });
    }

    fn enqueue(self: &Arc<Self>, want: Freshness) -> Result<Waiting<B>, ConnectError> {
        let mut state = self.lock();
        if state.waiters.len() >= self.max_waiting {
            return Err(ConnectError::of(ConnectFailure::PoolWait));
        }
        let (give, taken) = oneshot::channel();
        let id = state.next_waiter;
        state.next_waiter += 1;
        let gone = state.take_closed();
        state.waiters.push_back(Waiter { id, want, give });
        let connects = state.connecting < state.waiters.len();
        state.connecting += usize::from(connects);
        drop(state);
        drop(gone);
        if connects {
            self.spawn_connect(Some(id));
        }
        Ok(Waiting { host: Arc::clone(self), taken })
    }

    /// Gives a connection to the first waiter that accepts it, or keeps it idle.
    fn offer(self: &Arc<Self>, mut lease: Lease<B>) {
        let now = time::now();
        let mut state = loop {
            let mut state = self.lock();
            let at = state.waiters.iter().position(|waiter| waiter.want.takes(&lease, now));
            let Some(waiter) = at.and_then(|at| state.waiters.remove(at)) else { break state };
            // A waker can run anything, another call on this host too.
            drop(state);
            match waiter.give.send(Ok(lease)) {
                Ok(()) | Err(Err(_)) => return,
                Err(Ok(unwanted)) => lease = unwanted,
            }
        };
        let is_in_the_way = !state.waiters.is_empty() && self.is_full();
        let surplus = match is_in_the_way {
            // Whoever waits needs its place, for a connection of another kind.
            true => Some(lease),
            false => state.idle.push(lease, now, &self.lifetimes),
        };
        let reap = !mem::replace(&mut state.is_reaped, true);
        drop(state);
        drop(surplus);
        if reap {
            self.runtime.spawn(reap_idle(Arc::downgrade(self), self.lifetimes));
        }
    }

    /// Starts a connect in a task of its own. While it waits for a place the
    /// task does not keep the host alive, which owns the connections that could
    /// give theirs up.
    fn spawn_connect(self: &Arc<Self>, waiter: Option<u64>) {
        let has_to_wait =
            self.places.available_permits() == 0 || self.places_of_all.available_permits() == 0;
        if has_to_wait {
            self.evict();
        }
        let (of_host, of_all) = (Arc::clone(&self.places), Arc::clone(&self.places_of_all));
        let under_way = UnderWay { host: Arc::downgrade(self), waiter };
        self.runtime.spawn(async move {
            let places = Permits::take(of_host, of_all).await;
            let Some(host) = under_way.host.upgrade() else { return };
            let connected = match places {
                Ok(_) if has_to_wait && host.is_surplus() => Ok(None),
                Ok(places) => host.connect(places).await.map(Some),
                Err(error) => Err(error),
            };
            under_way.end(connected);
        });
    }

    /// Ends a connect: the new connection goes to the first waiter that accepts it.
    fn end_connect(
        self: &Arc<Self>,
        waiter: Option<u64>,
        connected: Result<Option<Lease<B>>, ConnectError>,
    ) {
        self.lock().connecting -= 1;
        match connected {
            Ok(Some(lease)) => self.offer(lease),
            Ok(None) => {}
            Err(error) => return self.fail(waiter, error),
        }
        // A waiter may have counted on this connect after it was given up, or
        // although its connection is too old for that waiter.
        let mut state = self.lock();
        let waiting = state.waiters.iter().filter(|waiter| !waiter.give.is_closed()).count();
        if state.connecting < waiting {
            state.connecting += 1;
            drop(state);
            self.spawn_connect(None);
        }
    }

    /// Tells one waiter that a connect failed: its own, or the oldest one that
    /// no other connect serves.
    fn fail(&self, waiter: Option<u64>, error: ConnectError) {
        let mut state = self.lock();
        let gone = state.take_closed();
        let own = state.waiters.iter().position(|other| Some(other.id) == waiter);
        let unserved = state.waiters.len() > state.connecting;
        let told = own.or_else(|| unserved.then_some(0)).and_then(|at| state.waiters.remove(at));
        drop(state);
        drop(gone);
        if let Some(waiter) = told {
            let _ = waiter.give.send(Err(error));
        }
    }

    async fn connect(self: &Arc<Self>, places: Permits) -> Result<Lease<B>, ConnectError> {
        let connected = self.hedge.connect(&self.connector, &self.key.route()).await?;
        let connection =
            Http1Connection::start(connected).await.map_err(ConnectError::handshake)?;
        Ok(Box::new(Checkout { connection, host: Arc::downgrade(self), _places: places }))
    }
}

impl<B> OriginPool<B> {
    /// Closes an idle connection to make a place.
    pub(super) fn evict(&self) -> bool {
        let evicted = self.lock().idle.evict();
        evicted.is_some()
    }

    /// Returns `true` if the host has neither connections nor waiters.
    pub(super) fn is_unused(&self) -> bool {
        let state = self.lock();
        state.idle.len() == 0 && state.waiters.is_empty() && state.connecting == 0
    }

    /// Whether a new connection has to wait for a place.
    fn is_full(&self) -> bool {
        self.places.available_permits() == 0 || self.places_of_all.available_permits() == 0
    }

    /// Whether more connects are under way than waiters need.
    fn is_surplus(&self) -> bool {
        let state = self.lock();
        state.connecting > state.waiters.iter().filter(|waiter| !waiter.give.is_closed()).count()
    }

    fn lock(&self) -> MutexGuard<'_, State<B>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connect that has not ended. Dropped as such, because it panicked or its
/// runtime is gone, it has failed.
struct UnderWay<B: RequestBody> {
    /// Empty once the connect has ended.
    host: Weak<OriginPool<B>>,
    waiter: Option<u64>,
}

impl<B: RequestBody> UnderWay<B> {
    fn end(mut self, connected: Result<Option<Lease<B>>, ConnectError>) {
        if let Some(host) = mem::take(&mut self.host).upgrade() {
            host.end_connect(self.waiter, connected);
        }
    }
}

impl<B: RequestBody> Drop for UnderWay<B> {
    fn drop(&mut self) {
        if let Some(host) = self.host.upgrade() {
            host.end_connect(self.waiter, Err(ConnectError::of(ConnectFailure::Connect(None))));
        }
    }
}

/// A connection that is being primed. Dropped as such, it is reset.
struct Unprimed<B>(Option<Lease<B>>);

impl<B> Drop for Unprimed<B> {
    fn drop(&mut self) {
        if let Some(lease) = &self.0 {
            lease.connection.tracker().abort();
        }
    }
}

/// A place in the queue. Whatever arrives after it is dropped goes on to the
/// next in the queue.
struct Waiting<B: RequestBody> {
    host: Arc<OriginPool<B>>,
    taken: oneshot::Receiver<Result<Lease<B>, ConnectError>>,
}

impl<B: RequestBody> Drop for Waiting<B> {
    fn drop(&mut self) {
        self.taken.close();
        if let Ok(Ok(lease)) = self.taken.try_recv() {
            self.host.offer(lease);
        }
    }
}

/// Closes connections that were idle too long, while there are any.
async fn reap_idle<B>(host: Weak<OriginPool<B>>, lifetimes: Lifetimes) {
    let every = lifetimes.idle.clamp(REAP_EVERY.0, REAP_EVERY.1);
    loop {
        time::sleep(every).await;
        let Some(host) = host.upgrade() else { return };
        let mut state = host.lock();
        let expired = state.idle.expire(time::now(), &lifetimes);
        let is_empty = state.idle.len() == 0;
        state.is_reaped = !is_empty;
        drop(state);
        drop(expired);
        if is_empty {
            return;
        }
    }
}

/// How long a connection may take to become ready after its response.
const READY_WITHIN: Duration = Duration::from_secs(1);
/// The bounds of the pause between two reaps.
const REAP_EVERY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

#[cfg(test)]
mod tests;

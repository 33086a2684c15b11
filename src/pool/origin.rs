//! The connections of one origin: who gets which, and when another is made.

use std::future::poll_fn;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use http::{HeaderValue, Response};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

use super::blocklist::{Blocklist, BlocklistEntry};
use super::checkout::{Checkout, Home};
use super::connects::Connects;
use super::idle::{Idle, Lifetimes};
use super::key::OriginKey;
use super::options::PoolOptions;
use super::permits::{ConnectionLimits, Permits};
use super::trust::OriginTrust;
use super::wait_queue::{WaitQueue, WaiterId};
use crate::attempt::Freshness;
use crate::body::SendableBody;
use crate::conn::{ContractTrust, Http1Connection};
use crate::connect::{DialError, Dialer, Hedge};
use crate::time;
use tower_resend_core::{ConnectFailure, Contract};

/// The connections of one key.
///
/// The idle list, the wait queue and the count of connects are one state under one
/// lock, because each decision needs all three. Nothing is awaited under it, and
/// connections and wakers are dropped after it is released.
#[derive(Debug)]
pub(super) struct OriginPool<B> {
    key: OriginKey,
    /// The value of the Host field; none if there is no such target.
    host: Option<HeaderValue>,
    /// What the user states of the origin.
    trust: OriginTrust,
    /// Which promises of its server are believed, as long as it is not blocked.
    contract_trust: ContractTrust,
    /// The origin's entry in the pool's list of those that broke a promise.
    blocked: BlocklistEntry,
    primes: bool,
    hedge: Hedge,
    limits: ConnectionLimits,
    lifetimes: Lifetimes,
    max_waiting: usize,
    wait_timeout: Duration,
    state: Mutex<State<B>>,
    /// Where its tasks run: a body can end, and a call be dropped, outside of
    /// every runtime.
    runtime: Handle,
}

#[derive(Debug)]
struct State<B> {
    idle: Idle<Box<Checkout<B>>>,
    waiters: WaitQueue<Box<Checkout<B>>>,
    connects: Connects,
    /// There is a task that closes connections which idle too long.
    is_reaped: bool,
}

/// What all origins of a pool share.
pub(super) struct Common<'a> {
    pub(super) options: &'a PoolOptions,
    pub(super) dialer: &'a Dialer,
    pub(super) blocklist: &'a Arc<Blocklist>,
    /// The permits of all connections.
    pub(super) permits: &'a Arc<Semaphore>,
}

impl<B: SendableBody> OriginPool<B> {
    /// Returns the pool of one key, without connections.
    pub(super) fn new(key: OriginKey, common: &Common<'_>, runtime: Handle) -> Arc<Self> {
        let Common { options, dialer, blocklist, permits } = common;
        let origin = key.origin();
        // Behind a proxy, what ends here is not the origin's connection:
        // nothing that is stated or announced of that one holds for this one.
        let is_direct = !key.is_relayed();
        let trust = options.trusts.get(&origin).filter(|_| is_direct).cloned().unwrap_or_default();
        let contract_trust = match is_direct {
            true => options.contract.trust(trust.is_behind_nat()),
            false => ContractTrust::None,
        };
        Arc::new(Self {
            host: key.host(),
            trust,
            contract_trust,
            blocked: BlocklistEntry::of(&origin, blocklist),
            primes: is_direct && options.contract.primes(),
            hedge: Hedge::new((*dialer).clone(), key.route(), options.hedges),
            key,
            limits: ConnectionLimits::new(options.max_per_origin, Arc::clone(permits)),
            lifetimes: options.lifetimes,
            max_waiting: options.max_waiting,
            wait_timeout: options.wait_timeout,
            state: Mutex::new(State {
                idle: Idle::new(),
                waiters: WaitQueue::new(),
                connects: Connects::default(),
                is_reaped: false,
            }),
            runtime,
        })
    }

    /// Returns what the connections are shared by.
    pub(super) fn key(&self) -> &OriginKey {
        &self.key
    }

    /// Returns the value of the Host field; none if there is no such target.
    pub(super) fn host(&self) -> Option<&HeaderValue> {
        self.host.as_ref()
    }

    /// Returns what the user states of the origin and what its server announced
    /// on a connection.
    pub(super) fn contract(&self, announced: Contract) -> Contract {
        let contract = self.trust.contract().with_announced(announced);
        if self.key.is_https() { contract.under_tls() } else { contract }
    }

    /// Returns which promises of the origin's server are believed now (C9).
    pub(super) fn contract_trust(&self) -> ContractTrust {
        match self.contract_trust {
            ContractTrust::None => ContractTrust::None,
            _ if self.blocked.is_blocked() => ContractTrust::Revoked,
            trust => trust,
        }
    }

    /// Returns `true` if a response says that the request was not passed on, and
    /// is believed.
    pub(super) fn has_not_forwarded<T>(&self, response: &Response<T>) -> bool {
        self.trust.has_not_forwarded(response)
    }

    /// Returns `true` if connections are primed, as long as that may help.
    pub(super) fn primes(&self) -> bool {
        self.primes && self.contract_trust() != ContractTrust::Revoked
    }

    /// Primes a connection that was never used (C6).
    ///
    /// # Errors
    ///
    /// If the connection cannot be used. It is then gone.
    pub(super) async fn prime(
        &self,
        checkout: Box<Checkout<B>>,
    ) -> Result<Box<Checkout<B>>, DialError> {
        match &self.host {
            Some(host) => checkout.prime(host, self.contract_trust(), self.wait_timeout).await,
            None => Err(DialError::of(ConnectFailure::BadTarget)),
        }
    }

    /// Takes an idle connection, if one satisfies the requirement.
    pub(super) fn take_idle(&self, freshness: Freshness) -> Option<Box<Checkout<B>>> {
        self.lock().idle.pop(freshness, time::now(), &self.lifetimes)
    }

    /// Waits for a connection: a new one, or one that is returned first.
    ///
    /// # Cancel safety
    ///
    /// A connection that arrives too late goes to another waiter.
    pub(super) async fn obtain(
        self: &Arc<Self>,
        freshness: Freshness,
    ) -> Result<Box<Checkout<B>>, DialError> {
        let mut place = self.enqueue(freshness)?;
        let deadline = time::from_now(self.wait_timeout);
        match time::timeout_at(deadline, &mut place.receiver).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(DialError::of(ConnectFailure::Connect(None))),
            Err(_) => Err(DialError::of(ConnectFailure::PoolWait)),
        }
    }

    /// Starts a connect that no caller waits for yet.
    pub(super) fn prefetch(self: &Arc<Self>) {
        self.lock().connects.begin();
        self.spawn_connect(None);
    }

    fn enqueue(self: &Arc<Self>, freshness: Freshness) -> Result<QueuePlace<B>, DialError> {
        let mut state = self.lock();
        if state.waiters.len() >= self.max_waiting {
            return Err(DialError::of(ConnectFailure::PoolWait));
        }
        let gone = state.waiters.take_gone();
        let (id, receiver) = state.waiters.push(freshness);
        let waiters = state.waiters.len();
        let connects = state.connects.begin_if_needed(waiters);
        drop(state);
        drop(gone);
        if connects {
            self.spawn_connect(Some(id));
        }
        Ok(QueuePlace { origin: Arc::clone(self), receiver })
    }

    /// Hands the connection to the first matching waiter, or returns it to the
    /// idle list.
    fn offer(self: &Arc<Self>, mut checkout: Box<Checkout<B>>) {
        let now = time::now();
        let mut state = loop {
            let mut state = self.lock();
            let Some(waiter) = state.waiters.take_for(&checkout, now) else { break state };
            // A waker can run anything, another call on this origin too.
            drop(state);
            match waiter.send(Ok(checkout)) {
                Ok(()) | Err(Err(_)) => return,
                Err(Ok(returned)) => checkout = returned,
            }
        };
        let surplus = if !state.waiters.is_empty() && self.limits.are_reached() {
            // No waiter accepts it, and one of them needs its permits.
            Some(checkout)
        } else {
            state.idle.push(checkout, now, &self.lifetimes)
        };
        let reap = !mem::replace(&mut state.is_reaped, true);
        drop(state);
        drop(surplus);
        if reap {
            self.runtime.spawn(reap_idle(Arc::downgrade(self), self.lifetimes));
        }
    }

    /// Starts a connect in a task of its own. The task does not keep the origin
    /// alive while it waits for permits: the origin owns the idle connections that
    /// could return theirs.
    fn spawn_connect(self: &Arc<Self>, waiter: Option<WaiterId>) {
        let has_to_wait = self.limits.are_reached();
        if has_to_wait {
            self.evict();
        }
        let permits = self.limits.clone().acquire();
        let under_way = UnderWay { origin: Arc::downgrade(self), waiter };
        self.runtime.spawn(async move {
            let permits = permits.await;
            let Some(origin) = under_way.origin.upgrade() else { return };
            let connected = match permits {
                Ok(_) if has_to_wait && origin.is_surplus() => Ok(None),
                Ok(permits) => origin.connect(permits).await.map(Some),
                Err(error) => Err(error),
            };
            under_way.end(connected);
        });
    }

    async fn connect(self: &Arc<Self>, permits: Permits) -> Result<Box<Checkout<B>>, DialError> {
        let connected = self.hedge.connect().await?;
        let connection = Http1Connection::start(connected).await.map_err(DialError::handshake)?;
        let home: Weak<Self> = Arc::downgrade(self);
        Ok(Box::new(Checkout::new(connection, permits, home)))
    }

    /// Completes a connect and offers the new connection to the waiters.
    fn end_connect(
        self: &Arc<Self>,
        waiter: Option<WaiterId>,
        connected: Result<Option<Box<Checkout<B>>>, DialError>,
    ) {
        self.lock().connects.end();
        match connected {
            Ok(Some(checkout)) => self.offer(checkout),
            Ok(None) => {}
            Err(error) => return self.fail(waiter, error),
        }
        // A waiter may have counted on this connect, and got nothing: because the
        // connect was given up, or its connection is older than the waiter accepts.
        let mut state = self.lock();
        let waiting = state.waiters.waiting();
        let connects = state.connects.begin_if_needed(waiting);
        drop(state);
        if connects {
            self.spawn_connect(None);
        }
    }

    /// Tells one waiter that a connect failed: its own, or the oldest one that
    /// no other connect serves.
    fn fail(&self, waiter: Option<WaiterId>, error: DialError) {
        let mut state = self.lock();
        let gone = state.waiters.take_gone();
        let connects = state.connects.under_way();
        let told = state.waiters.take_failed(waiter, connects);
        drop(state);
        drop(gone);
        if let Some(waiter) = told {
            let _ = waiter.send(Err(error));
        }
    }
}

impl<B: SendableBody> Home<B> for OriginPool<B> {
    fn put(self: Arc<Self>, mut checkout: Box<Checkout<B>>) {
        if !checkout.connection.finish() {
            return;
        }
        if checkout.connection.is_ready() {
            return self.offer(checkout);
        }
        let origin = Arc::clone(&self);
        // The connection's task has not turned yet, or the request's body is
        // still on its way; no caller waits for this.
        self.runtime.spawn(async move {
            let ready = poll_fn(|cx| checkout.connection.poll_ready(cx));
            if let Ok(true) = time::timeout_at(time::now() + READY_WITHIN, ready).await {
                origin.offer(checkout);
            }
        });
    }

    fn block(&self) {
        Self::block(self);
    }
}

impl<B> OriginPool<B> {
    /// Notes that the origin's server broke a promise (C9).
    pub(super) fn block(&self) {
        self.blocked.block();
    }

    /// Closes the connection that has been idle the longest. Returns `true` if
    /// there was one.
    pub(super) fn evict(&self) -> bool {
        let evicted = self.lock().idle.evict();
        evicted.is_some()
    }

    /// Returns `true` if the origin has no idle connection, waiter or connect.
    pub(super) fn is_unused(&self) -> bool {
        let state = self.lock();
        state.idle.is_empty() && state.waiters.is_empty() && state.connects.under_way() == 0
    }

    /// Returns `true` if more connects are under way than waiters need.
    fn is_surplus(&self) -> bool {
        let state = self.lock();
        state.connects.are_surplus(state.waiters.waiting())
    }

    fn lock(&self) -> MutexGuard<'_, State<B>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connect that has not ended. Dropped as such, because it panicked or its
/// runtime is gone, it has failed.
struct UnderWay<B: SendableBody> {
    /// Empty once the connect has completed.
    origin: Weak<OriginPool<B>>,
    waiter: Option<WaiterId>,
}

impl<B: SendableBody> UnderWay<B> {
    fn end(mut self, connected: Result<Option<Box<Checkout<B>>>, DialError>) {
        if let Some(origin) = mem::take(&mut self.origin).upgrade() {
            origin.end_connect(self.waiter, connected);
        }
    }
}

impl<B: SendableBody> Drop for UnderWay<B> {
    fn drop(&mut self) {
        if let Some(origin) = self.origin.upgrade() {
            origin.end_connect(self.waiter, Err(DialError::of(ConnectFailure::Connect(None))));
        }
    }
}

/// A call's place in the wait queue. A connection that arrives after it was
/// dropped goes to the next waiter.
struct QueuePlace<B: SendableBody> {
    origin: Arc<OriginPool<B>>,
    receiver: oneshot::Receiver<Result<Box<Checkout<B>>, DialError>>,
}

impl<B: SendableBody> Drop for QueuePlace<B> {
    fn drop(&mut self) {
        self.receiver.close();
        if let Ok(Ok(checkout)) = self.receiver.try_recv() {
            self.origin.offer(checkout);
        }
    }
}

/// Closes connections that were idle too long, while there are any.
async fn reap_idle<B>(origin: Weak<OriginPool<B>>, lifetimes: Lifetimes) {
    let every = lifetimes.idle.clamp(REAP_EVERY.0, REAP_EVERY.1);
    loop {
        time::sleep(every).await;
        let Some(origin) = origin.upgrade() else { return };
        let mut state = origin.lock();
        let expired = state.idle.expire(time::now(), &lifetimes);
        let is_empty = state.idle.is_empty();
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

//! Pooled HTTP/1.1 connections whose failures carry evidence.
//!
//! A [`Pool`] is a tower service. It looks at an idle connection before it
//! writes a request to it, takes a request back that a dying connection did
//! not touch and sends it on another one, and finds out what became of a
//! request whose connection failed. It never sends a request a second time:
//! that is for [`ResendLayer`](crate::ResendLayer), which stands above it.
#![forbid(unsafe_code)]

mod body;
mod call;
mod contract;
mod distrust;
mod exchange;
mod host;
mod idle;
mod key;
mod lease;
mod options;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http::Request;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tower::Service;

pub use body::ResponseBody;
pub use contract::ContractOptions;
pub use exchange::ResponseFuture;
pub use options::PoolOptions;

pub use crate::attempt::ResponseBodyError;
pub use crate::connect::{Proxies, ProxiesBuilder, ProxyError};

use self::distrust::Distrusted;
use self::exchange::Unsent;
use self::host::OriginPool;
use self::key::{Key, KeyOf};
use crate::attempt::{AttemptError, AttemptToken};
use crate::body::{Framing, RequestBody};
use crate::connect::{ConnectError, Connector};
use tower_resend_core::ConnectFailure;

/// Pooled HTTP/1.1 connections: a service from requests with an absolute
/// `http` target, or `https` with the feature `tls`, to responses.
///
/// Connections are shared by scheme, host, port, proxy and runtime. A clone
/// shares the pool. After a fork, the child starts without connections.
///
/// # Errors
///
/// [`AttemptError`], which carries the attempt's evidence and fate. A request that
/// was never sent is left with the [`AttemptToken`] in its extensions.
///
/// # Cancel safety
///
/// Dropping the response future resets the connection; the attempt is then
/// recorded as *cancelled*.
pub struct Pool<B>(Arc<Shared<B>>);

struct Shared<B> {
    hosts: Mutex<Origins<B>>,
    options: PoolOptions,
    connector: Connector,
    /// The origins whose contracts are not believed any more.
    distrusted: Arc<Distrusted>,
}

struct Origins<B> {
    by_key: HashMap<Key, Arc<OriginPool<B>>>,
    /// The host of the last request, which is often that of the next: a
    /// comparison is cheaper than a hash.
    recent: Option<Arc<OriginPool<B>>>,
    places: Arc<Semaphore>,
    /// The process whose connections these are.
    process: u32,
}

impl<B: RequestBody> Pool<B> {
    /// Returns a pool without connections.
    pub fn new(options: PoolOptions) -> Self {
        let connector = Connector::new(&options.connect);
        let hosts = Mutex::new(Origins::new(options.max_total));
        Self(Arc::new(Shared { hosts, options, connector, distrusted: Arc::default() }))
    }

    fn host(&self, of: &KeyOf<'_>) -> Arc<OriginPool<B>> {
        let Shared { hosts, options, connector, distrusted } = &*self.0;
        let mut hosts = hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.process != std::process::id() {
            // A fork: these sockets are the parent's, and closing them here could
            // wake its runtime. Leave them alone.
            std::mem::forget(std::mem::replace(&mut *hosts, Origins::new(options.max_total)));
        }
        if let Some(host) = &hosts.recent
            && host.key().is_written_as(of)
        {
            return Arc::clone(host);
        }
        let key = of.to_key();
        let host = match hosts.by_key.get(&key) {
            Some(host) => Arc::clone(host),
            None => {
                hosts.make_room();
                let places = Arc::clone(&hosts.places);
                let runtime = Handle::current();
                let connector = connector.clone();
                let of_key = key.clone();
                let host = OriginPool::new(of_key, connector, options, places, distrusted, runtime);
                let host = Arc::new(host);
                hosts.by_key.insert(key, Arc::clone(&host));
                host
            }
        };
        hosts.recent = Some(Arc::clone(&host));
        host
    }

    /// Closes an idle connection of any host if all places are taken, since
    /// the one that waits for a place cannot know whose are idle.
    fn relieve(&self) {
        let hosts = self.0.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.places.available_permits() == 0 {
            let _ = hosts.by_key.values().any(|host| host.evict());
        }
    }
}

impl<B> Origins<B> {
    fn new(places: usize) -> Self {
        Self {
            by_key: HashMap::new(),
            recent: None,
            places: Arc::new(Semaphore::new(places)),
            process: std::process::id(),
        }
    }

    /// Forgets unused hosts once there are many.
    fn make_room(&mut self) {
        if self.by_key.len() >= MANY_HOSTS {
            self.recent = None;
            self.by_key.retain(|_, host| Arc::strong_count(host) > 1 || !host.is_unused());
        }
    }
}

impl<B: RequestBody> Service<Request<B>> for Pool<B> {
    type Response = http::Response<ResponseBody>;
    type Error = AttemptError;
    type Future = ResponseFuture<B>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), AttemptError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> ResponseFuture<B> {
        // A request that waits in a connection's queue must not hold it.
        let token = request.extensions_mut().remove::<AttemptToken>();
        self.send(request, token)
    }
}

impl<B: RequestBody> Pool<B> {
    #[inline]
    fn host_of(&self, request: &Request<B>) -> Result<Arc<OriginPool<B>>, ConnectError> {
        let proxy = self.0.options.proxies.of(request).map_err(ConnectError::proxy)?;
        let of = KeyOf::new(request, proxy).map_err(|why| not_sent(request, why))?;
        let host = self.host(&of);
        match host.name {
            Some(_) => Ok(host),
            None => Err(ConnectError::of(ConnectFailure::BadTarget)),
        }
    }

    /// Sends a request whose hand-offs are recorded with `token`.
    // Inlined, the request would be copied once more at each step.
    #[inline(never)]
    pub(crate) fn send(
        &self,
        mut request: Request<B>,
        token: Option<AttemptToken>,
    ) -> ResponseFuture<B> {
        let host = match self.host_of(&request) {
            Ok(host) => host,
            Err(error) => return ResponseFuture::fail(request, token, Unsent::NoTarget(error)),
        };
        let framing = match Framing::of(&request) {
            Ok(framing) => framing,
            Err(why) => return ResponseFuture::fail(request, token, Unsent::Contradictory(why)),
        };
        let form = key::prepare(&mut request, framing, host.key(), host.name.as_ref());
        ResponseFuture::start(host, request, framing, form, token, || self.relieve())
    }
}

/// Says why a request without a key is not sent.
#[cold]
fn not_sent<B>(request: &Request<B>, why: ConnectFailure) -> ConnectError {
    #[cfg(not(feature = "tls"))]
    if request.uri().scheme() == Some(&http::uri::Scheme::HTTPS) {
        return ConnectError::no_tls();
    }
    let _ = request;
    ConnectError::of(why)
}

impl<B> Clone for Pool<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B> fmt::Debug for Pool<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("options", &self.0.options).finish_non_exhaustive()
    }
}

/// From so many hosts on, unused ones are forgotten.
const MANY_HOSTS: usize = 1024;

//! Pooled HTTP/1.1 connections whose failures carry evidence.
//!
//! A [`Pool`] is a tower service. Before it writes a request to an idle connection
//! it checks that connection. It takes a request back that a dying connection did
//! not touch, and sends it on another one. When a connection fails under a request,
//! it finds out what became of the request. It never sends a request a second
//! time: [`ResendLayer`](crate::ResendLayer), which stands above it, does that.
//!
//! ```
//! use bytes::Bytes;
//! use http::{Method, Request};
//! use http_body_util::Full;
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_resend::ResendLayer;
//! use tower_resend::pool::{Pool, PoolOptions};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let options = PoolOptions::new().max_per_origin(64);
//! let service = ServiceBuilder::new()
//!     .layer(ResendLayer::default())
//!     .service(Pool::new(options));
//! let order = Request::post("http://127.0.0.1:8080/orders").body(Full::<Bytes>::from("pay"))?;
//! let response = service.oneshot(order).await?;
//! # drop(response);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod blocklist;
mod body;
mod checkout;
mod connects;
mod contract;
mod future;
mod idle;
mod key;
mod options;
mod origin;
mod permits;
mod read_error;
mod trust;
mod wait_queue;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http::{Method, Request};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tower::Service;

pub use body::ResponseBody;
pub use contract::ContractOptions;
pub use future::ResponseFuture;
pub use options::PoolOptions;
pub use read_error::ReadError;
pub use trust::OriginTrust;

pub use crate::attempt::ResponseBodyError;
pub use crate::connect::{Proxies, ProxiesBuilder, ProxyError};

use self::blocklist::Blocklist;
use self::future::PooledCall;
use self::key::{KeyRef, OriginKey};
use self::origin::{Common, OriginPool};
use crate::attempt::{AttemptError, AttemptToken};
use crate::body::{Framing, SendableBody};
use crate::connect::{DialError, Dialer};
use tower_resend_core::ConnectFailure;

/// Pooled HTTP/1.1 connections: a service from requests with an absolute
/// `http` target, or `https` with the feature `tls`, to responses.
///
/// Connections are shared by scheme, host, port, proxy and runtime. A clone
/// shares the pool. After a fork, the child starts without connections.
///
/// Connections may hand a request back up to
/// [`max_hand_backs`](crate::Policy::max_hand_backs) times, as the policy of the layer
/// above says; without such a layer, 32 times.
///
/// # Errors
///
/// [`AttemptError`], which carries the attempt's evidence and fate. A request that
/// was never sent is given back to the [`AttemptToken`] in its extensions.
///
/// # Cancel safety
///
/// Dropping the response future resets the connection; the attempt is then
/// recorded as *canceled*.
pub struct Pool<B>(Arc<Inner<B>>);

struct Inner<B> {
    origins: Mutex<Origins<B>>,
    options: PoolOptions,
    dialer: Dialer,
    /// The origins whose contracts are not believed any more.
    blocklist: Arc<Blocklist>,
}

struct Origins<B> {
    by_key: HashMap<OriginKey, Arc<OriginPool<B>>>,
    /// The origin of the last request, which is often that of the next. Comparing it
    /// saves 1,500 instructions of 25,700 (6 %, `benches/cost`): a key to look it up by
    /// need not be made.
    recent: Option<Arc<OriginPool<B>>>,
    /// One permit for each connection there may be.
    permits: Arc<Semaphore>,
    /// The process whose connections these are.
    process: u32,
}

impl<B: SendableBody> Pool<B> {
    /// Returns a pool without connections.
    pub fn new(options: PoolOptions) -> Self {
        Self(Arc::new(Inner {
            origins: Mutex::new(Origins::new(options.max_total)),
            dialer: Dialer::new(&options.connect),
            options,
            blocklist: Arc::default(),
        }))
    }

    /// Sends a request whose hand-offs are recorded with `token`.
    // Inlined, the request would be copied once more at each step.
    #[inline(never)]
    pub(crate) fn send(
        &self,
        mut request: Request<B>,
        token: Option<AttemptToken>,
    ) -> ResponseFuture<B> {
        let origin = match self.origin_of(&request) {
            Ok(origin) => origin,
            Err(error) => return ResponseFuture::fail(request, token, error.into()),
        };
        let framing = match Framing::of(&request) {
            Ok(framing) => framing,
            Err(why) => return ResponseFuture::fail(request, token, why.into()),
        };
        let undo = key::prepare(&mut request, framing, origin.key(), origin.host());
        let call = PooledCall::new(origin, &request, framing, undo, token);
        ResponseFuture::start(call, request, || self.relieve())
    }

    #[inline]
    fn origin_of(&self, request: &Request<B>) -> Result<Arc<OriginPool<B>>, DialError> {
        let proxy = self.0.options.proxies.of(request).map_err(DialError::proxy)?;
        let key = KeyRef::new(request, proxy).map_err(|why| not_sent(request, why))?;
        let origin = self.origin(&key);
        match origin.host() {
            Some(_) => Ok(origin),
            None => Err(DialError::of(ConnectFailure::BadTarget)),
        }
    }

    fn origin(&self, key: &KeyRef<'_>) -> Arc<OriginPool<B>> {
        let Inner { origins, options, dialer, blocklist } = &*self.0;
        let mut origins = origins.lock().unwrap_or_else(PoisonError::into_inner);
        if origins.process != std::process::id() {
            // A fork: these sockets are the parent's, and closing them here could
            // wake its runtime. Leave them alone.
            std::mem::forget(std::mem::replace(&mut *origins, Origins::new(options.max_total)));
        }
        if let Some(origin) = &origins.recent
            && origin.key().is_written_as(key)
        {
            return Arc::clone(origin);
        }
        let key = key.to_key();
        let origin = match origins.by_key.get(&key) {
            Some(origin) => Arc::clone(origin),
            None => {
                origins.make_room();
                let common = Common { options, dialer, blocklist, permits: &origins.permits };
                let origin = OriginPool::new(key.clone(), &common, Handle::current());
                origins.by_key.insert(key, Arc::clone(&origin));
                origin
            }
        };
        origins.recent = Some(Arc::clone(&origin));
        origin
    }

    /// Closes an idle connection of any origin if no permit is left: the origin that
    /// waits for one does not know the others.
    fn relieve(&self) {
        let origins = self.0.origins.lock().unwrap_or_else(PoisonError::into_inner);
        if origins.permits.available_permits() == 0 {
            let _ = origins.by_key.values().any(|origin| origin.evict());
        }
    }
}

impl<B> Origins<B> {
    fn new(max_total: usize) -> Self {
        Self {
            by_key: HashMap::new(),
            recent: None,
            permits: Arc::new(Semaphore::new(max_total)),
            process: std::process::id(),
        }
    }

    /// Forgets unused origins once there are many.
    fn make_room(&mut self) {
        if self.by_key.len() >= MANY_ORIGINS {
            self.recent = None;
            self.by_key.retain(|_, origin| Arc::strong_count(origin) > 1 || !origin.is_unused());
        }
    }
}

impl<B: SendableBody> Service<Request<B>> for Pool<B> {
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

/// Returns why a request without a key is not sent.
#[cold]
fn not_sent<B>(request: &Request<B>, why: ConnectFailure) -> DialError {
    if request.method() == Method::CONNECT && !key::is_connect_target(request.uri()) {
        return DialError::connect_form();
    }
    #[cfg(not(feature = "tls"))]
    if request.uri().scheme() == Some(&http::uri::Scheme::HTTPS) {
        return DialError::no_tls();
    }
    let _ = request;
    DialError::of(why)
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

/// How many origins are kept before unused ones are forgotten.
const MANY_ORIGINS: usize = 1024;

//! The service's side of the contract: what happens to each request of a
//! connection before and after its service.
//!
//! ```text
//! begin -> receive it whole -> the service is ready -> dispatch -> service
//!              |                     |                    |          |
//!              +----- going away ----+------ refuse <-----+       announce
//! ```

mod body;
mod call;
mod head;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower::{Layer, Service};

pub use self::body::DispatchBody;
use self::call::{CallContext, DispatchCall};
use super::buffer::{Buffering, RequestBody};
use super::conn::Handle;
use super::connection_table::ConnectionEntry;

/// Keeps the contract of one connection on the service's side; see [`Dispatch`].
///
/// Make one for each connection, with its [`Handle`]. [`serve`](super::serve())
/// does that.
#[derive(Clone, Debug)]
#[must_use]
pub struct DispatchLayer {
    context: CallContext,
}

impl DispatchLayer {
    /// Returns the layer of a connection.
    pub fn new(connection: Handle) -> Self {
        let (buffering, entry) = (Buffering::default(), Arc::default());
        Self { context: CallContext { connection, buffering, entry } }
    }

    /// Sets how requests are received whole. Give all connections clones of one
    /// value, which bounds their memory together.
    pub fn with_buffering(mut self, buffering: Buffering) -> Self {
        self.context.buffering = buffering;
        self
    }

    /// Sets where the connection's requests are recorded.
    pub(super) fn with_entry(mut self, entry: Arc<ConnectionEntry>) -> Self {
        self.context.entry = entry;
        self
    }
}

impl<S> Layer<S> for DispatchLayer {
    type Service = Dispatch<S>;

    fn layer(&self, inner: S) -> Dispatch<S> {
        Dispatch { inner, context: self.context.clone() }
    }
}

/// Passes the requests of one connection to a service as the contract says;
/// made by [`DispatchLayer`]. It must be the outermost layer, directly below
/// hyper.
///
/// - A request of a client that knows the contract is received whole first
///   (S1), if it is not larger than the announced `max`. A larger one is
///   dispatched early and streams, as do all requests of other clients.
/// - While the connection goes away, a request that is not yet dispatched is
///   refused (S4), and the response to one that is has `Connection: close`.
/// - A request whose body fails or is late is answered 400 or 408. The service
///   never sees it.
/// - Every final HTTP/1.1 response carries the announcement (S9), unless the
///   client never offered to understand it. A 101 and the 2xx of a `CONNECT`
///   carry none and end the contract of the connection. So does HTTP/2; the
///   response to a request of HTTP/1.0 carries none, which withdraws the
///   promises.
/// - The field `Retry-Contract` is for one hop: that of a request does not reach
///   the service, and one that a service set does not reach the client.
///
/// The inner service must be `Clone`. It is polled ready after a request was
/// received whole and before it is dispatched, so that a slow client occupies no
/// capacity in it.
///
/// # Errors
///
/// Those of the inner service.
///
/// # Cancel safety
///
/// Dropping the future, as hyper does when the client is gone, drops the inner
/// service's. A request that was dispatched stays dispatched.
#[derive(Clone, Debug)]
pub struct Dispatch<S> {
    inner: S,
    context: CallContext,
}

impl<S, B, RB> Service<Request<B>> for Dispatch<S>
where
    S: Service<Request<RequestBody<B>>, Response = Response<RB>> + Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Send,
    RB: Body + Send + 'static,
{
    type Response = Response<DispatchBody<RB>>;
    type Error = S::Error;
    type Future = DispatchFuture<RB, S::Error>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // Now, not when the future is first polled: the connection reads on in
        // between.
        let call = DispatchCall::begin(&self.context, &request);
        DispatchFuture(Box::pin(call.run(self.inner.clone(), request)))
    }
}

/// The future of [`Dispatch`].
///
/// # Cancel safety
///
/// See [`Dispatch`].
pub struct DispatchFuture<RB, E>(Outcome<RB, E>);

type Outcome<RB, E> = Pin<Box<dyn Future<Output = Result<Response<DispatchBody<RB>>, E>> + Send>>;

impl<RB, E> Future for DispatchFuture<RB, E> {
    type Output = Result<Response<DispatchBody<RB>>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl<RB, E> fmt::Debug for DispatchFuture<RB, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DispatchFuture").finish_non_exhaustive()
    }
}

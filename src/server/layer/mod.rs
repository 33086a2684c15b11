//! The service's side of the contract: what happens to each request of a
//! connection before and after its service.
//!
//! ```text
//! begin -> receive it whole -> the service is ready -> dispatch -> service
//!              |                     |                    |          |
//!              +------ going away ---+------ refuse <-----+       announce
//! ```

mod answer;
mod body;
mod call;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower::{Layer, Service};

pub use self::body::ResponseBody;
use self::call::Call;
use super::buffer::{Buffering, RequestBody};
use super::handle::Handle;
use super::report::ConnectionEntry;

/// Keeps the contract of one connection on the service's side; see [`Dispatch`].
///
/// One for each connection, made with the connection's [`Handle`].
/// [`serve`](super::serve()) does that.
#[derive(Clone, Debug)]
#[must_use]
pub struct DispatchLayer {
    connection: Handle,
    buffering: Buffering,
    seat: Arc<ConnectionEntry>,
}

impl DispatchLayer {
    /// Returns the layer of a connection.
    pub fn new(connection: Handle) -> Self {
        Self { connection, buffering: Buffering::default(), seat: Arc::default() }
    }

    /// Sets how requests are received whole. Connections should share a clone
    /// of one value, which bounds their memory together.
    pub fn with_buffering(mut self, buffering: Buffering) -> Self {
        self.buffering = buffering;
        self
    }

    /// Sets where the connection's requests are written down.
    pub(crate) fn with_seat(mut self, seat: Arc<ConnectionEntry>) -> Self {
        self.seat = seat;
        self
    }
}

impl<S> Layer<S> for DispatchLayer {
    type Service = Dispatch<S>;

    fn layer(&self, inner: S) -> Dispatch<S> {
        Dispatch { inner, connection: self.clone() }
    }
}

/// Gives the requests of one connection to a service as the contract says;
/// made by [`DispatchLayer`]. It has to be the outermost layer, right below
/// hyper.
///
/// - A request of a client that knows the contract is received whole first
///   (S1), if it is not larger than the announced `max`. A larger one is taken
///   up early and streams. The requests of other clients stream as ever.
/// - While the connection goes away, a request that was not dispatched yet is
///   refused (S4), and the answer of one that was has `Connection: close`.
/// - A body that fails or is late is answered 400 or 408. The service never
///   sees such a request.
/// - Every final HTTP/1.1 response has the announcement (S9), unless the
///   client never offered to understand it. A 101 and the 2xx of a `CONNECT`
///   have none and end the contract of the connection. So does HTTP/2; the
///   answer to a request of HTTP/1.0 has none, which withdraws the promises.
/// - The field `Retry-Contract` of a request does not reach the service, and
///   one that a service set does not reach the client: it is for one hop.
///
/// The inner service must be `Clone`. It is polled ready after a request was
/// received whole, and before it is dispatched, so that a slow client holds no
/// place in it.
///
/// # Errors
///
/// Those of the inner service.
///
/// # Cancel safety
///
/// Dropping the future, as hyper does when the client is gone, drops the inner
/// service's. A request that was dispatched then stays dispatched.
#[derive(Clone, Debug)]
pub struct Dispatch<S> {
    inner: S,
    connection: DispatchLayer,
}

impl<S, B, RB> Service<Request<B>> for Dispatch<S>
where
    S: Service<Request<RequestBody<B>>, Response = Response<RB>> + Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Send,
    RB: Body + Send + 'static,
{
    type Response = Response<ResponseBody<RB>>;
    type Error = S::Error;
    type Future = DispatchFuture<RB, S::Error>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // Now, not when the future is first polled: the connection reads on in
        // between.
        let call = Call::begin(&self.connection, &request);
        DispatchFuture(Box::pin(call.run(self.inner.clone(), request)))
    }
}

/// The future of [`Dispatch`].
pub struct DispatchFuture<RB, E>(Answering<RB, E>);

type Answering<RB, E> = Pin<Box<dyn Future<Output = Result<Response<ResponseBody<RB>>, E>> + Send>>;

impl<RB, E> Future for DispatchFuture<RB, E> {
    type Output = Result<Response<ResponseBody<RB>>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl<RB, E> fmt::Debug for DispatchFuture<RB, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DispatchFuture").finish_non_exhaustive()
    }
}

//! One request of a connection, from its head to the head of its response.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body::Body;
use tower::{Service, ServiceExt};

use super::body::{DispatchBody, RecordedBody};
use super::head::{self, Asked};
use crate::server::buffer::{Buffering, NotWhole, RequestBody, StreamEnd};
use crate::server::conn::{Exchange, Handle};
use crate::server::connection_table::{ConnectionEntry, RequestEnd, RequestGuard};
use crate::statement::DispatchToken;
use tower_resend_core::contract::{Announcement, Offer, RETRY_CONTRACT};

/// What all requests of one connection share.
#[derive(Clone, Debug)]
pub(super) struct CallContext {
    pub(super) connection: Handle,
    pub(super) buffering: Buffering,
    pub(super) entry: Arc<ConnectionEntry>,
}

/// One request, and what its connection knows of it.
pub(super) struct DispatchCall {
    context: CallContext,
    exchange: Exchange,
    offer: Offer,
    asked: Asked,
    /// The request says that it is the last: hyper says so in the response.
    is_last: bool,
    /// Tells whether the end of a streamed body was read.
    streamed: Option<StreamEnd>,
}

impl DispatchCall {
    pub(super) fn begin<B>(context: &CallContext, request: &Request<B>) -> Self {
        let context = context.clone();
        let offer = context.connection.offer(request);
        context.entry.begin();
        let exchange = context.connection.begin(offer);
        if request.version() > Version::HTTP_11 {
            context.connection.disarm();
        }
        let asked = Asked::of(request);
        let is_last = head::has_close(request.headers());
        Self { context, exchange, offer, asked, is_last, streamed: None }
    }

    pub(super) async fn run<S, B, RB>(
        mut self,
        mut service: S,
        request: Request<B>,
    ) -> Result<Response<DispatchBody<RB>>, S::Error>
    where
        S: Service<Request<RequestBody<B>>, Response = Response<RB>>,
        B: Body<Data = Bytes> + Unpin,
        RB: Body,
    {
        let mut request = match self.receive(request).await {
            Ok(request) => request,
            Err(why) => return Ok(self.without_service(why)),
        };
        match self.unless_gone(service.ready()).await {
            Some(ready) => ready?,
            None => return Ok(self.without_service(Undispatched::Gone)),
        };
        // From here to the call nothing waits.
        if self.exchange.dispatch().is_err() {
            return Ok(self.without_service(Undispatched::Gone));
        }
        let recorded = self.context.entry.dispatch(&request);
        let token = DispatchToken::default();
        request.extensions_mut().insert(token.clone());
        let response = service.call(request).await?;
        Ok(self.with_service(response, recorded, &token))
    }

    /// Receives the request whole, if that is promised (S1).
    async fn receive<B>(
        &mut self,
        request: Request<B>,
    ) -> Result<Request<RequestBody<B>>, Undispatched>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let (mut head, body) = request.into_parts();
        head.headers.remove(RETRY_CONTRACT);
        let connection = &self.context.connection;
        // Of any request before: a promise that was made holds until a response
        // withdraws it, and the client need not have offered anew.
        if !connection.has_offered() {
            let body = RequestBody::streamed(body);
            self.streamed = body.end();
            return Ok(Request::from_parts(head, body));
        }
        let (max, peer) = (connection.max(), connection.hop().client().ip());
        let gathered = self.context.buffering.gather(body, max, peer);
        let body = match self.unless_gone(gathered).await {
            Some(Ok(body)) => body,
            Some(Err(NotWhole::Failed(_))) => return Err(Undispatched::Failed),
            Some(Err(NotWhole::Late)) => return Err(Undispatched::Late),
            Some(Err(NotWhole::OverBudget)) => return Err(Undispatched::OverBudget),
            None => return Err(Undispatched::Gone),
        };
        if body.is_whole() {
            self.exchange.received();
        }
        Ok(Request::from_parts(head, body))
    }

    /// Completes `work`, or returns `None` if the connection goes away first and
    /// the client understands a refusal.
    async fn unless_gone<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        if !self.may_be_refused() {
            return Some(work.await);
        }
        let mut gone = pin!(self.context.connection.gone());
        let mut work = pin!(work);
        poll_fn(|cx| match (work.as_mut().poll(cx), gone.as_mut().poll(cx)) {
            (Poll::Ready(done), _) => Poll::Ready(Some(done)),
            (Poll::Pending, Poll::Ready(())) => Poll::Ready(None),
            (Poll::Pending, Poll::Pending) => Poll::Pending,
        })
        .await
    }

    /// Returns `true` if the client offered `gone`, and no layer above called twice.
    fn may_be_refused(&self) -> bool {
        self.offer.has_gone() && self.context.connection.is_certain()
    }

    /// Returns the response to a request that was not dispatched, and never will be.
    fn without_service<RB: Body>(mut self, why: Undispatched) -> Response<DispatchBody<RB>> {
        let connection = &self.context.connection;
        let mut response = Response::new(None);
        *response.status_mut() = match why {
            Undispatched::Gone => connection.closing_status(),
            Undispatched::Late => StatusCode::REQUEST_TIMEOUT,
            Undispatched::OverBudget => StatusCode::SERVICE_UNAVAILABLE,
            Undispatched::Failed => StatusCode::BAD_REQUEST,
        };
        if matches!(why, Undispatched::Late | Undispatched::OverBudget) {
            connection.go_away();
        }
        let (end, announcement) = match why {
            Undispatched::Failed => (RequestEnd::Cut, self.exchange.announcement()),
            Undispatched::Gone | Undispatched::Late | Undispatched::OverBudget => {
                (RequestEnd::Refused, self.refusal())
            }
        };
        head::announce(&mut response, announcement);
        head::close(&mut response);
        let recorded = self.context.entry.not_dispatched(end);
        self.finish(response, recorded)
    }

    /// Decides for the connection that the request is refused (S4), and returns
    /// what its response announces: `refused` to a client that offered `gone`.
    fn refusal(&mut self) -> Option<Announcement> {
        if !self.may_be_refused() {
            return self.exchange.announcement();
        }
        self.exchange.dispatch().err()?;
        self.exchange.refusal()
    }

    /// Returns the service's response, with what the contract adds to it.
    fn with_service<RB: Body>(
        mut self,
        response: Response<RB>,
        mut recorded: RequestGuard,
        token: &DispatchToken,
    ) -> Response<DispatchBody<RB>> {
        if self.streamed.as_ref().is_some_and(StreamEnd::was_read) {
            self.exchange.received();
        }
        let connection = &self.context.connection;
        let mut response = response.map(Some);
        if self.asked.ends_http1(&response) {
            head::strip(&mut response);
            connection.disarm();
            return self.finish(response, recorded);
        }
        if head::take_not_applied(&mut response, token) {
            // Before `refused` is written: nothing else is dispatched (S4). Only
            // to a client that understands it (S6).
            let refusal = self.may_be_refused().then(|| connection.refuse());
            connection.go_away();
            recorded.set_refused();
            head::announce(&mut response, refusal);
        } else {
            // Without the field all promises are withdrawn, which is safe.
            let _ = self.exchange.announce(response.headers_mut());
        }
        if connection.is_going_away() || self.context.entry.is_draining() {
            head::close(&mut response);
        }
        self.finish(response, recorded)
    }

    fn finish<RB: Body>(
        mut self,
        response: Response<Option<RB>>,
        recorded: RequestGuard,
    ) -> Response<DispatchBody<RB>> {
        if self.is_last || head::has_close(response.headers()) {
            self.exchange.closes();
        }
        response
            .map(|body| DispatchBody::new(self.exchange.answer(RecordedBody::new(body, recorded))))
    }
}

/// Why a request is not dispatched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Undispatched {
    /// The connection goes away.
    Gone,
    /// It was not received whole in time.
    Late,
    /// There was no memory to receive it whole.
    OverBudget,
    /// Its body failed.
    Failed,
}

//! One request of a connection, from its head to the head of its answer.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body::Body;
use tower::{Service, ServiceExt};

use super::DispatchLayer;
use super::answer::{self, Asked};
use super::body::{Noted, ResponseBody};
use crate::server::buffer::{NotWhole, RequestBody, StreamEnd};
use crate::server::handle::Exchange;
use crate::server::report::{End, Running};
use crate::statement::DispatchToken;
use tower_resend_core::contract::{Announcement, Offer, RETRY_CONTRACT};

/// A request, and what its connection knows of it.
pub(super) struct Call {
    connection: DispatchLayer,
    exchange: Exchange,
    offer: Offer,
    asked: Asked,
    /// The request is the last, as it says: hyper says so in the answer.
    is_last: bool,
    /// Where the body streams: whether its end was read.
    streamed: Option<StreamEnd>,
}

impl Call {
    pub(super) fn begin<B>(connection: &DispatchLayer, request: &Request<B>) -> Self {
        let connection = connection.clone();
        let offer = connection.connection.offer(request);
        connection.seat.begin();
        let exchange = connection.connection.begin(offer);
        if request.version() > Version::HTTP_11 {
            connection.connection.disarm();
        }
        let asked = Asked::of(request);
        let is_last = answer::has_close(request.headers());
        Self { connection, exchange, offer, asked, is_last, streamed: None }
    }

    pub(super) async fn run<S, B, RB>(
        mut self,
        mut service: S,
        request: Request<B>,
    ) -> Result<Response<ResponseBody<RB>>, S::Error>
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
            None => return Ok(self.without_service(Unfit::Gone)),
        };
        // From here to the call nothing waits.
        if self.exchange.dispatch().is_err() {
            return Ok(self.without_service(Unfit::Gone));
        }
        let running = self.connection.seat.dispatch(&request);
        let dispatched = DispatchToken::default();
        request.extensions_mut().insert(dispatched.clone());
        let response = service.call(request).await?;
        Ok(self.with_service(response, running, &dispatched))
    }

    /// Receives the request whole, where that is promised (S1).
    async fn receive<B>(&mut self, request: Request<B>) -> Result<Request<RequestBody<B>>, Unfit>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let (mut head, body) = request.into_parts();
        head.headers.remove(RETRY_CONTRACT);
        // A promise that was made holds until it is withdrawn by a response:
        // the client need not have offered anew.
        if !self.connection.connection.0.has_offered() {
            let body = RequestBody::streamed(body);
            self.streamed = body.end();
            return Ok(Request::from_parts(head, body));
        }
        let handle = &self.connection.connection;
        let (max, peer) = (handle.max(), handle.hop().client().ip());
        let gathered = self.connection.buffering.gather(body, max, peer);
        let body = match self.unless_gone(gathered).await {
            Some(Ok(body)) => body,
            Some(Err(NotWhole::Failed(_))) => return Err(Unfit::Failed),
            Some(Err(NotWhole::Late)) => return Err(Unfit::Late),
            Some(Err(NotWhole::NoRoom)) => return Err(Unfit::NoRoom),
            None => return Err(Unfit::Gone),
        };
        if body.is_whole() {
            self.exchange.received();
        }
        Ok(Request::from_parts(head, body))
    }

    /// Does something unless the connection goes away before it is done, and
    /// the request can be refused: its client understands that.
    async fn unless_gone<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        if !self.may_be_refused() {
            return Some(work.await);
        }
        let mut gone = pin!(self.connection.connection.gone());
        let mut work = pin!(work);
        poll_fn(|cx| match (work.as_mut().poll(cx), gone.as_mut().poll(cx)) {
            (Poll::Ready(done), _) => Poll::Ready(Some(done)),
            (Poll::Pending, Poll::Ready(())) => Poll::Ready(None),
            (Poll::Pending, Poll::Pending) => Poll::Pending,
        })
        .await
    }

    /// Whether the client offered `gone`, and no layer above called twice.
    fn may_be_refused(&self) -> bool {
        self.offer.has_gone() && self.connection.connection.0.lock().machine.is_certain()
    }

    /// The answer to a request that was not dispatched, and will not be.
    fn without_service<RB: Body>(mut self, why: Unfit) -> Response<ResponseBody<RB>> {
        let connection = &self.connection.connection;
        let mut response = Response::new(None);
        *response.status_mut() = match why {
            Unfit::Gone => connection.0.settings.closing_status.code(),
            Unfit::Late => StatusCode::REQUEST_TIMEOUT,
            Unfit::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
            Unfit::Failed => StatusCode::BAD_REQUEST,
        };
        if matches!(why, Unfit::Late | Unfit::NoRoom) {
            connection.go_away();
        }
        let (end, announcement) = match why {
            Unfit::Failed => (End::Cut, self.exchange.announcement()),
            Unfit::Gone | Unfit::Late | Unfit::NoRoom => (End::Refused, self.refusal()),
        };
        answer::announce(&mut response, announcement);
        answer::close(&mut response);
        let running = self.connection.seat.not_taken_up(end);
        self.finish(response, running)
    }

    /// What is announced to a request that is refused, which is decided for
    /// the connection first (S4): only who offered `gone` is refused.
    fn refusal(&mut self) -> Option<Announcement> {
        if !self.may_be_refused() {
            return self.exchange.announcement();
        }
        self.exchange.dispatch().err()?;
        self.exchange.refusal()
    }

    /// The service's answer, with what the contract says of every answer.
    fn with_service<RB: Body>(
        mut self,
        response: Response<RB>,
        mut running: Running,
        dispatched: &DispatchToken,
    ) -> Response<ResponseBody<RB>> {
        if self.streamed.as_ref().is_some_and(StreamEnd::was_read) {
            self.exchange.received();
        }
        let connection = &self.connection.connection;
        let mut response = response.map(Some);
        if self.asked.is_left_by(&response) {
            answer::strip(&mut response);
            connection.disarm();
            return self.finish(response, running);
        }
        if answer::take_not_applied(&mut response, dispatched) {
            // Before `refused` is written: nothing else is dispatched (S4). Only
            // where the client understands it (S6).
            let refusal = self.may_be_refused().then(|| connection.refuse());
            connection.go_away();
            running.is_refused();
            answer::announce(&mut response, refusal);
        } else {
            // Without the field all promises are withdrawn, which is safe.
            let _ = self.exchange.announce(response.headers_mut());
        }
        if connection.is_going_away() || self.connection.seat.is_last() {
            answer::close(&mut response);
        }
        self.finish(response, running)
    }

    fn finish<RB: Body>(
        mut self,
        response: Response<Option<RB>>,
        running: Running,
    ) -> Response<ResponseBody<RB>> {
        if self.is_last || answer::has_close(response.headers()) {
            self.exchange.closes();
        }
        response.map(|body| ResponseBody::new(self.exchange.answer(Noted::new(body, running))))
    }
}

/// Why the service does not see a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unfit {
    /// The connection goes away.
    Gone,
    /// The request was not received whole in time.
    Late,
    /// There was no room to receive it whole.
    NoRoom,
    /// Its body failed.
    Failed,
}

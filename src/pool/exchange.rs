//! One request's way over a pooled connection.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;

use super::body::ResponseBody;
use super::failure::Failure;
use super::host::{Host, Lease};
use super::idle::Want;
use super::key::{self, Form};
use crate::attempt::{Attempt, AttemptToken, Fresh};
use crate::classify::{Answer, ConnectFailure, Contract, EndedBy, Evidence, Finding, HandOff};
use crate::error::BoxError;
use crate::time;
use crate::transport::{self, Broken, ConnectError};

type Answered = Result<Response<ResponseBody>, Failure>;

/// The response future of a [`Pool`](super::Pool).
///
/// # Cancel safety
///
/// Dropping it ends the attempt: its connection is reset, so that nothing of
/// the request travels any further, and its evidence is recorded as *cancelled*.
pub struct ResponseFuture<B>(State<B>)
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>;

enum State<B>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    /// The request is on an idle connection.
    InFlight(InFlight<B>),
    /// Everything else: a connection to wait for, a failure to resolve.
    Slow(Pin<Box<dyn Future<Output = Answered> + Send>>),
    /// The request cannot be sent at all.
    Failed(Option<Failure>),
}

impl<B> ResponseFuture<B>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    /// Sends a request that is in the form for the wire.
    pub(super) fn start(
        host: Arc<Host<B>>,
        request: Request<B>,
        form: Form,
        token: Option<AttemptToken>,
        on_waiting: impl FnOnce(),
    ) -> Self {
        let call = Call { host, token, form, is_connect: request.method() == Method::CONNECT };
        let want = call.want();
        let Some(lease) = call.host.idle(want) else {
            on_waiting();
            return Self(State::Slow(Box::pin(call.drive(request, want))));
        };
        Self(match call.send(lease, request) {
            Ok(in_flight) => State::InFlight(in_flight),
            Err(returned) => {
                let (call, request) = *returned;
                State::Slow(Box::pin(call.drive(request, want.after_hand_back())))
            }
        })
    }

    /// Fails a request that names no reachable target.
    pub(super) fn fail(
        request: Request<B>,
        token: Option<AttemptToken>,
        why: ConnectFailure,
    ) -> Self {
        let failure = Failure::not_connected(ConnectError::of(why));
        if let Some(token) = token {
            token.record(failure.attempt().clone());
            token.give_back(request);
        }
        Self(State::Failed(Some(failure)))
    }
}

impl<B> Future for ResponseFuture<B>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Output = Answered;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answered> {
        loop {
            let next = match &mut self.0 {
                State::InFlight(in_flight) => match ready!(in_flight.poll_answer(cx)) {
                    Ok(response) => return Poll::Ready(Ok(response)),
                    Err(lost) => Box::pin(recover(lost)),
                },
                State::Slow(slow) => return slow.as_mut().poll(cx),
                State::Failed(failure) => match failure.take() {
                    Some(failure) => return Poll::Ready(Err(failure)),
                    None => return Poll::Pending,
                },
            };
            self.0 = State::Slow(next);
        }
    }
}

// `InFlight` is never pinned, and the slow way is pinned in its box.
impl<B> Unpin for ResponseFuture<B>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
}

impl<B> fmt::Debug for ResponseFuture<B>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.0 {
            State::InFlight(_) => "InFlight",
            State::Slow(_) => "Slow",
            State::Failed(_) => "Failed",
        };
        f.debug_tuple("ResponseFuture").field(&state).finish()
    }
}

/// What all attempts of one call share.
struct Call<B> {
    host: Arc<Host<B>>,
    token: Option<AttemptToken>,
    form: Form,
    is_connect: bool,
}

/// A request that a connection took. Dropped without an answer, it is given
/// up: the connection is reset and the evidence recorded.
struct InFlight<B>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    /// Gone once the exchange is over.
    inner: Option<(Call<B>, Lease<B>)>,
}

/// An exchange that failed before its response's head.
enum Lost<B>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    /// The request came back untouched.
    HandedBack(Call<B>, Box<Request<B>>),
    /// The request is gone, and its fate is to be found out.
    Broken(InFlight<B>, transport::Failure, hyper::Error),
}

impl<B> Call<B>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    fn want(&self) -> Want {
        match self.token.as_ref().and_then(AttemptToken::fresh) {
            Some(Fresh::AliveSince(since)) => Want::AliveSince(since),
            Some(Fresh::UnusedSince(since)) => Want::UnusedSince(since),
            None => Want::Any,
        }
    }

    /// Hands the request over; gives it back if the connection is dead.
    fn send(
        self,
        mut lease: Lease<B>,
        request: Request<B>,
    ) -> Result<InFlight<B>, Box<(Self, Request<B>)>> {
        match lease.connection.send(request) {
            Ok(()) => Ok(InFlight { inner: Some((self, lease)) }),
            Err(refused) => {
                let (found, request) = *refused;
                self.record(Evidence::new(HandOff::HandedBack(found)), &lease);
                Err(Box::new((self, request)))
            }
        }
    }

    /// Finds a connection and sends the request, again and again while it is
    /// handed back.
    async fn drive(mut self, mut request: Request<B>, mut want: Want) -> Answered {
        for _ in 0..HAND_BACKS {
            let lease = match self.host.idle(want) {
                Some(lease) => lease,
                None => {
                    let waiting = Waiting(self.token.as_ref());
                    let obtained = self.host.obtain(want).await;
                    waiting.over();
                    match obtained {
                        Ok(lease) => lease,
                        Err(error) => {
                            return Err(self.not_sent(Failure::not_connected(error), request));
                        }
                    }
                }
            };
            match self.send(lease, request) {
                Ok(mut in_flight) => match poll_fn(|cx| in_flight.poll_answer(cx)).await {
                    Ok(response) => return Ok(response),
                    Err(Lost::HandedBack(call, returned)) => (self, request) = (call, *returned),
                    Err(Lost::Broken(in_flight, failure, error)) => {
                        return in_flight.resolve(failure, error).await;
                    }
                },
                Err(returned) => (self, request) = *returned,
            }
            want = want.after_hand_back();
        }
        let evidence = Evidence::new(HandOff::HandedBack(Finding::Ended));
        let failure = Failure::new(Attempt::new(evidence, &self.host.contract), None);
        Err(self.not_sent(failure, request))
    }

    /// Records that the request was not sent, and gives it back.
    fn not_sent(self, failure: Failure, mut request: Request<B>) -> Failure {
        if let Some(token) = self.token {
            key::from_wire(&mut request, self.form, self.host.key());
            token.record(failure.attempt().clone());
            token.give_back(request);
        }
        failure
    }

    fn record(&self, evidence: Evidence, lease: &Lease<B>) -> Attempt {
        let peer = lease.connection.record().peer();
        let attempt = Attempt::new(evidence, &self.host.contract).with_peer(peer);
        if let Some(token) = &self.token {
            token.record(attempt.clone());
        }
        attempt
    }
}

impl<B> InFlight<B>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<ResponseBody>, Lost<B>>> {
        let Some((_, lease)) = &mut self.inner else {
            return Poll::Pending;
        };
        let answer = ready!(lease.connection.poll_answer(cx));
        let Some((call, lease)) = self.inner.take() else {
            return Poll::Pending;
        };
        Poll::Ready(match answer {
            Ok(response) => Ok(answered(call, lease, response)),
            Err(Broken::HandedBack(request)) => {
                let evidence = transport::handed_back(lease.connection.record());
                call.record(evidence, &lease);
                Err(Lost::HandedBack(call, request))
            }
            Err(Broken::Lost(failure, error)) => {
                Err(Lost::Broken(Self { inner: Some((call, lease)) }, failure, error))
            }
        })
    }

    /// Finds out what became of the request. A new connection is on its way
    /// meanwhile.
    async fn resolve(mut self, failure: transport::Failure, error: hyper::Error) -> Answered {
        let failed_at = time::now();
        let evidence = match &self.inner {
            Some((call, lease)) => {
                let record = Arc::clone(lease.connection.record());
                let host = Arc::clone(&call.host);
                transport::resolve(&record, &call.host.contract, failure, || host.prefetch()).await
            }
            None => Evidence::new(HandOff::Unrecorded),
        };
        let attempt = match self.inner.take() {
            Some((call, lease)) => {
                if let Some(token) = &call.token {
                    token.want_alive(failed_at);
                }
                call.record(evidence, &lease)
            }
            None => Attempt::unrecorded(),
        };
        Err(Failure::new(attempt, Some(error.into())))
    }
}

impl<B> Drop for InFlight<B>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    fn drop(&mut self) {
        if let Some((call, lease)) = self.inner.take() {
            let evidence = transport::give_up(lease.connection.record(), EndedBy::Caller);
            call.record(evidence, &lease);
        }
    }
}

/// A call that waits for a connection. Dropped while it waits, it records
/// that nothing was sent.
struct Waiting<'a>(Option<&'a AttemptToken>);

impl Waiting<'_> {
    fn over(mut self) {
        self.0 = None;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(token) = self.0 {
            let evidence = Evidence::new(HandOff::NotConnected(ConnectFailure::PoolWait))
                .with_ended_by(EndedBy::Caller);
            token.record(Attempt::new(evidence, &Contract::none()));
        }
    }
}

/// Goes on after the connection that was idle failed.
async fn recover<B>(lost: Lost<B>) -> Answered
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    match lost {
        Lost::HandedBack(call, request) => call.drive(*request, Want::Any.after_hand_back()).await,
        Lost::Broken(in_flight, failure, error) => in_flight.resolve(failure, error).await,
    }
}

/// Delivers the head of a final response.
fn answered<B>(
    call: Call<B>,
    lease: Lease<B>,
    response: Response<Incoming>,
) -> Response<ResponseBody>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let status = response.status();
    let answer = match status {
        StatusCode::MISDIRECTED_REQUEST => Answer::Misdirected,
        _ => Answer::Complete,
    };
    call.record(Evidence::new(HandOff::Written).with_answer(answer), &lease);
    let is_upgrade =
        status == StatusCode::SWITCHING_PROTOCOLS || (call.is_connect && status.is_success());
    if is_upgrade {
        lease.connection.record().release();
        return response.map(ResponseBody::upgraded);
    }
    response.map(|incoming| ResponseBody::new(incoming, lease))
}

/// How often one call may be handed back.
const HAND_BACKS: u32 = 32;

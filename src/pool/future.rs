//! One call: its way over one pooled connection after another.
//!
//! ```text
//!                 +---- handed back -----+
//!                 v                      |
//! start ----> Obtaining ------------> InFlight ----> response, or refusal
//!   |             |                      |
//!   |             | no connection        | lost
//!   v             v                      v
//! Failed       failure               Settling -----> failure
//! ```
//!
//! A request that finds an idle connection starts in `InFlight`. It leaves that
//! state only with its fate: answered, returned untouched, or settled.

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::body::ResponseBody;
use super::checkout::Checkout;
use super::key::{self, WireUndo};
use super::origin::OriginPool;
use crate::attempt::{Attempt, AttemptError, AttemptToken, Freshness, Sent};
use crate::body::{Framing, SendableBody};
use crate::conn::{self, FailureKind, ResponseOutcome, SendError};
use crate::connect::DialError;
use crate::time;
use tower_resend_core::{
    Answer, ConnectFailure, Contract, EndedBy, Evidence, HandOff, Semantics, StaleReason,
};

/// How a call ends.
type CallResult = Result<Response<ResponseBody>, AttemptError>;

/// The response future of a [`Pool`](super::Pool).
///
/// # Cancel safety
///
/// Dropping it ends the attempt: its connection is reset, so that nothing of
/// the request travels any further, and its evidence is recorded as *canceled*.
pub struct ResponseFuture<B: SendableBody>(State<B>);

enum State<B: SendableBody> {
    /// The call waits for a connection, or for one to be primed.
    Obtaining(Pin<Box<dyn Future<Output = Result<Obtained<B>, AttemptError>> + Send>>),
    /// A connection has the request.
    InFlight(InFlight<B>),
    /// The request is gone with its connection, and its fate is being found out.
    Settling(Pin<Box<dyn Future<Output = AttemptError> + Send>>),
    /// The call has failed. Empty once that was reported.
    Failed(Option<AttemptError>),
}

/// A call, its request, and the connection that it can be sent on.
type Obtained<B> = (PooledCall<B>, Box<Checkout<B>>, Request<B>);

impl<B: SendableBody> ResponseFuture<B> {
    /// Sends a request that is in the form for the wire. Calls `on_waiting` if it
    /// has to wait for a connection.
    #[inline]
    pub(super) fn start(
        call: PooledCall<B>,
        request: Request<B>,
        on_waiting: impl FnOnce(),
    ) -> Self {
        Self(match call.origin.take_idle(call.freshness) {
            Some(idle) if !call.needs_priming(&idle) => State::send(call, idle, request),
            Some(idle) => State::obtain(call, Some(idle), request),
            None => {
                on_waiting();
                State::obtain(call, None, request)
            }
        })
    }

    /// Fails a request that cannot be sent at all.
    pub(super) fn fail(
        request: Request<B>,
        token: Option<AttemptToken>,
        failure: AttemptError,
    ) -> Self {
        if let Some(token) = token {
            token.record(failure.attempt().clone());
            token.give_back(request);
        }
        Self(State::Failed(Some(failure)))
    }
}

impl<B: SendableBody> Future for ResponseFuture<B> {
    type Output = CallResult;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CallResult> {
        loop {
            self.0 = match &mut self.0 {
                State::Obtaining(obtaining) => match ready!(obtaining.as_mut().poll(cx)) {
                    Ok((call, checkout, request)) => State::send(call, checkout, request),
                    Err(failure) => State::Failed(Some(failure)),
                },
                State::InFlight(in_flight) => match ready!(in_flight.poll_answer(cx)) {
                    Ok(response) => return Poll::Ready(in_flight.on_response(response)),
                    Err(error) => in_flight.take().recover(error),
                },
                State::Settling(settling) => return settling.as_mut().poll(cx).map(Err),
                State::Failed(failure) => {
                    return failure.take().map_or(Poll::Pending, |why| Poll::Ready(Err(why)));
                }
            };
        }
    }
}

// `InFlight` is never pinned, and the other futures are pinned in their boxes.
impl<B: SendableBody> Unpin for ResponseFuture<B> {}

impl<B: SendableBody> fmt::Debug for ResponseFuture<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.0 {
            State::Obtaining(_) => "Obtaining",
            State::InFlight(_) => "InFlight",
            State::Settling(_) => "Settling",
            State::Failed(_) => "Failed",
        };
        f.debug_tuple("ResponseFuture").field(&state).finish()
    }
}

impl<B: SendableBody> State<B> {
    /// Waits for a connection, or primes the one that was idle.
    fn obtain(call: PooledCall<B>, idle: Option<Box<Checkout<B>>>, request: Request<B>) -> Self {
        Self::Obtaining(Box::pin(async move {
            match call.obtain(idle).await {
                Ok(checkout) => Ok((call, checkout, request)),
                Err(error) => Err(call.not_sent(error.into(), request)),
            }
        }))
    }

    /// Hands the request to a connection.
    #[inline]
    fn send(call: PooledCall<B>, mut checkout: Box<Checkout<B>>, request: Request<B>) -> Self {
        let trust = call.origin.contract_trust();
        match checkout.connection.send(request, call.framing, trust) {
            Ok(()) => Self::InFlight(InFlight { inner: Some((call, checkout)) }),
            Err(error) => InFlight { inner: Some((call, checkout)) }.recover(error),
        }
    }
}

/// What all attempts of one call share.
pub(super) struct PooledCall<B> {
    origin: Arc<OriginPool<B>>,
    token: Option<AttemptToken>,
    /// What was changed of the request for the wire.
    undo: WireUndo,
    framing: Framing,
    /// A 2xx makes the connection a tunnel.
    is_connect: bool,
    /// A connection that was primed handed the request back because its server
    /// speaks HTTP/1.0. Such a server promises nothing, and the next primer would end
    /// the same way.
    is_http10: bool,
    /// What of the request matters for a repeat.
    sent: Sent,
    /// Which connections may be used now. This is the only place that says so: the
    /// token has the requirement of the call, and each hand-back raises it.
    freshness: Freshness,
    /// How often connections handed the request back.
    hand_backs: u32,
}

/// After so many hand-backs in a row the request goes up to the resending layer, which
/// goes on as its policy says, but pauses. Otherwise an origin that accepts and closes
/// at once is connected to without a pause.
const MAX_SERIES: u32 = 32;

impl<B: SendableBody> PooledCall<B> {
    /// Returns the call of a request that is in the form for the wire.
    #[inline]
    pub(super) fn new(
        origin: Arc<OriginPool<B>>,
        request: &Request<B>,
        framing: Framing,
        undo: WireUndo,
        token: Option<AttemptToken>,
    ) -> Self {
        Self {
            freshness: token.as_ref().map_or(Freshness::Any, AttemptToken::freshness),
            hand_backs: 0,
            sent: Sent::of(request),
            is_connect: request.method() == Method::CONNECT,
            is_http10: false,
            origin,
            token,
            undo,
            framing,
        }
    }

    /// Waits for a connection that the request can be sent on.
    async fn obtain(&self, idle: Option<Box<Checkout<B>>>) -> Result<Box<Checkout<B>>, DialError> {
        let checkout = match idle.or_else(|| self.origin.take_idle(self.freshness)) {
            Some(checkout) => checkout,
            None => {
                let unsent = UnsentGuard(self.token.as_ref());
                let obtained = self.origin.obtain(self.freshness).await;
                unsent.disarm();
                obtained?
            }
        };
        if !self.needs_priming(&checkout) {
            return Ok(checkout);
        }
        let unsent = UnsentGuard(self.token.as_ref());
        let primed = self.origin.prime(checkout).await;
        unsent.disarm();
        primed
    }

    /// Returns `true` if a promise has to be fetched before the request is sent.
    fn needs_priming(&self, checkout: &Checkout<B>) -> bool {
        self.origin.primes()
            && !self.is_http10
            && self.sent.semantics == Semantics::NotIdempotent
            && !self.is_connect
            && !checkout.connection.is_used()
    }

    /// Goes on with a request that a connection handed back: to another
    /// connection, or to the caller.
    fn on_hand_back(
        mut self,
        checkout: &Checkout<B>,
        found: StaleReason,
        request: Request<B>,
    ) -> State<B> {
        let tracker = checkout.connection.tracker();
        let alert = tracker.alert();
        let evidence = Evidence::new(HandOff::HandedBack(found)).with_alert(alert);
        let attempt = self.attempt(evidence, checkout);
        // Without a token of a layer above, one of its own counts the hand-backs.
        let token = self.token.get_or_insert_default();
        let is_within_limit = token.record_hand_back(attempt.clone());
        self.hand_backs += 1;
        let goes_on = is_within_limit && self.hand_backs <= MAX_SERIES;
        // A peer that refuses TLS with us would do so on every connection.
        if goes_on && alert.is_none() {
            self.freshness = self.freshness.after_hand_back();
            self.is_http10 |= checkout.connection.is_http10();
            return State::obtain(self, None, request);
        }
        let failure = AttemptError::new(attempt).with_optional_source(tracker.session_error());
        self.give_back(request);
        State::Failed(Some(failure))
    }

    /// Records that the request was not sent, and gives it back.
    fn not_sent(self, failure: AttemptError, request: Request<B>) -> AttemptError {
        self.record(failure.attempt().clone());
        self.give_back(request);
        failure
    }

    /// Gives the request back to the caller, as it came.
    fn give_back(self, mut request: Request<B>) {
        if let Some(token) = self.token {
            key::restore(&mut request, self.undo, self.framing, self.origin.key());
            token.give_back(request);
        }
    }

    fn record(&self, attempt: Attempt) {
        if let Some(token) = &self.token {
            token.record(attempt);
        }
    }

    /// Records a failed attempt, and asks for other connections for the next one.
    fn record_failure(&self, failed_at: time::Instant, attempt: Attempt) {
        if let Some(token) = &self.token {
            token.want_alive(failed_at);
            token.record(attempt);
        }
    }

    fn attempt(&self, evidence: Evidence, checkout: &Checkout<B>) -> Attempt {
        let peer = checkout.connection.tracker().peer();
        let contract = self.origin.contract(Contract::none());
        Attempt::new(evidence, &contract).with_peer(peer).told_by_error().sending(self.sent)
    }

    /// Returns the attempt of a request whose fate the contract may decide.
    fn judged(&self, evidence: Evidence, checkout: &Checkout<B>) -> Attempt {
        if checkout.connection.tracker().has_broken_promise() {
            self.origin.block();
        }
        let contract = self.origin.contract(checkout.connection.promised());
        let peer = checkout.connection.tracker().peer();
        let attempt = Attempt::new(evidence, &contract).with_peer(peer).told_by_error();
        attempt.sending(self.sent).with_contract_status(checkout.connection.contract_status())
    }

    /// Delivers the head of a final response, unless it refuses the request.
    fn on_response(
        self,
        mut checkout: Box<Checkout<B>>,
        response: Response<Incoming>,
    ) -> CallResult {
        let status = response.status();
        let is_upgrade =
            status == StatusCode::SWITCHING_PROTOCOLS || (self.is_connect && status.is_success());
        let outcome = match is_upgrade {
            true => ResponseOutcome::Answer,
            false => checkout.connection.on_response(&response),
        };
        match outcome {
            ResponseOutcome::Answer => {}
            ResponseOutcome::Refusal => return Err(self.on_refusal(&checkout, Answer::Refused)),
            // What a server that then went on says of the request counts for nothing
            // (C9).
            ResponseOutcome::BrokenRefusal => {
                return Err(self.on_refusal(&checkout, Answer::Malformed));
            }
        }
        let served = checkout.connection.served();
        let is_believed = served.is_nothing() && !self.is_connect;
        if is_believed && self.origin.has_not_forwarded(&response) {
            return Err(self.on_refusal(&checkout, Answer::NotForwarded));
        }
        let evidence = Evidence::new(HandOff::Written).with_answer(served.answer(status));
        self.record(self.attempt(evidence, &checkout));
        if is_upgrade {
            checkout.connection.tracker().release();
            return Ok(response.map(ResponseBody::upgraded));
        }
        Ok(response.map(|incoming| ResponseBody::new(incoming, checkout)))
    }

    /// Closes a connection whose response says that it is no answer (C8).
    #[cold]
    fn on_refusal(&self, checkout: &Checkout<B>, answer: Answer) -> AttemptError {
        let evidence = Evidence::new(HandOff::Written).with_answer(answer);
        let attempt = self.judged(evidence, checkout);
        checkout.connection.tracker().abort();
        self.record_failure(time::now(), attempt.clone());
        AttemptError::new(attempt)
    }
}

/// A request that a connection has. Dropped without an answer, it is given up:
/// the connection is reset and the evidence recorded.
struct InFlight<B: SendableBody> {
    /// Empty once the exchange is over.
    inner: Option<(PooledCall<B>, Box<Checkout<B>>)>,
}

impl<B: SendableBody> InFlight<B> {
    /// Waits for the response's head.
    #[inline]
    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<Incoming>, SendError<B>>> {
        match &mut self.inner {
            Some((_, checkout)) => checkout.connection.poll_answer(cx),
            None => Poll::Pending,
        }
    }

    #[inline]
    fn on_response(&mut self, response: Response<Incoming>) -> CallResult {
        match self.inner.take() {
            Some((call, checkout)) => call.on_response(checkout, response),
            None => Err(AttemptError::new(Attempt::unrecorded())),
        }
    }

    fn take(&mut self) -> Self {
        Self { inner: mem::take(&mut self.inner) }
    }

    /// Returns what follows on an exchange that ended before its response's head.
    #[cold]
    fn recover(mut self, error: SendError<B>) -> State<B> {
        match error {
            SendError::HandedBack(found, request) => match self.inner.take() {
                Some((call, checkout)) => call.on_hand_back(&checkout, found, *request),
                None => State::Failed(Some(AttemptError::new(Attempt::unrecorded()))),
            },
            SendError::Lost(kind, error) => State::Settling(Box::pin(self.settle(kind, error))),
        }
    }

    /// Finds out what became of the request. A new connection is made meanwhile.
    async fn settle(mut self, kind: FailureKind, error: hyper::Error) -> AttemptError {
        let failed_at = time::now();
        let evidence = match &self.inner {
            Some((call, checkout)) => {
                let tracker = Arc::clone(checkout.connection.tracker());
                let origin = Arc::clone(&call.origin);
                let contract = origin.contract(checkout.connection.promised());
                conn::resolve(&tracker, &contract, kind, || origin.prefetch()).await
            }
            None => Evidence::new(HandOff::Unrecorded),
        };
        let attempt = match self.inner.take() {
            Some((call, checkout)) => {
                let attempt = call.judged(evidence, &checkout);
                call.record_failure(failed_at, attempt.clone());
                attempt
            }
            None => Attempt::unrecorded(),
        };
        AttemptError::new(attempt).with_source(error)
    }
}

impl<B: SendableBody> Drop for InFlight<B> {
    fn drop(&mut self) {
        if let Some((call, checkout)) = self.inner.take() {
            let evidence = conn::give_up(checkout.connection.tracker(), EndedBy::Caller);
            if call.token.is_some() {
                call.record(call.judged(evidence, &checkout));
            }
        }
    }
}

/// A call that has sent nothing yet. Dropped while armed, it records that.
struct UnsentGuard<'a>(Option<&'a AttemptToken>);

impl UnsentGuard<'_> {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for UnsentGuard<'_> {
    fn drop(&mut self) {
        if let Some(token) = self.0 {
            let evidence = Evidence::new(HandOff::NotConnected(ConnectFailure::PoolWait))
                .with_ended_by(EndedBy::Caller);
            token.record(Attempt::new(evidence, &Contract::none()).told_by_error());
        }
    }
}

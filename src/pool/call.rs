//! One call: its attempts over pooled connections, and their evidence.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use super::body::ResponseBody;
use super::failure::Failure;
use super::host::OriginPool;
use super::idle::Freshness;
use super::key::{self, WireUndo};
use super::lease::Lease;
use crate::attempt::{Attempt, AttemptToken, Fresh, Sent};
use crate::body::{Framing, RequestBody};
use crate::conn::{self, Broken, ResponseOutcome as Announced};
use crate::connect::ConnectError;
use crate::error::BoxError;
use crate::time;
use tower_resend_core::{
    Answer, ConnectFailure, Contract, EndedBy, Evidence, HandOff, Semantics, StaleReason,
};

/// How a call ends.
pub(super) type ResponseOutcome = Result<Response<ResponseBody>, Failure>;

/// What all attempts of one call share.
pub(super) struct Call<B> {
    pub(super) host: Arc<OriginPool<B>>,
    pub(super) token: Option<AttemptToken>,
    /// What was changed of the request for the wire.
    pub(super) form: WireUndo,
    pub(super) framing: Framing,
    /// Whether a 2xx makes the connection a tunnel.
    pub(super) is_connect: bool,
    /// What of it matters for a repeat.
    pub(super) sent: Sent,
}

/// A request that a connection took. Dropped without an answer, it is given
/// up: the connection is reset and the evidence recorded.
pub(super) struct InFlight<B: RequestBody> {
    /// Gone once the exchange is over.
    inner: Option<(Call<B>, Lease<B>)>,
}

/// An exchange that failed before its response's head.
pub(super) enum Lost<B: RequestBody> {
    /// The request came back untouched, and what ended TLS if that was why.
    HandedBack(Call<B>, Box<Request<B>>, Option<BoxError>),
    /// The request is gone, and its fate is to be found out.
    Broken(InFlight<B>, conn::FailureKind, hyper::Error),
    /// The server refused the request under its contract (C8), and its
    /// response is no answer; or it refused TLS with us, and would again.
    Refused(Failure),
}

impl<B: RequestBody> Call<B> {
    /// Returns which connections will do.
    pub(super) fn want(&self) -> Freshness {
        match self.token.as_ref().and_then(AttemptToken::fresh) {
            Some(Fresh::AliveSince(since)) => Freshness::AliveSince(since),
            Some(Fresh::UnusedSince(since)) => Freshness::UnusedSince(since),
            None => Freshness::Any,
        }
    }

    /// Hands the request over; gives it back if the connection is dead.
    #[inline]
    pub(super) fn send(
        self,
        mut lease: Lease<B>,
        request: Request<B>,
    ) -> Result<InFlight<B>, Box<Lost<B>>> {
        match lease.connection.send(request, self.framing, self.host.belief()) {
            Ok(()) => Ok(InFlight { inner: Some((self, lease)) }),
            Err(refused) => {
                let (found, request) = *refused;
                let alert = lease.connection.tracker().alert();
                let evidence = Evidence::new(HandOff::HandedBack(found)).with_alert(alert);
                Err(Box::new(self.handed_back(evidence, &lease, Box::new(request))))
            }
        }
    }

    /// Finds a connection and sends the request, again and again while it is
    /// handed back.
    pub(super) async fn drive(
        mut self,
        mut request: Request<B>,
        mut want: Freshness,
        mut idle: Option<Lease<B>>,
    ) -> ResponseOutcome {
        let mut why = None;
        for _ in 0..HAND_BACKS {
            let lease = match self.lease(want, idle.take()).await {
                Ok(lease) => lease,
                Err(error) => return Err(self.not_sent(Failure::not_connected(error), request)),
            };
            let lost = match self.send(lease, request) {
                Ok(mut in_flight) => match poll_fn(|cx| in_flight.poll_answer(cx)).await {
                    Ok(response) => return Ok(response),
                    Err(lost) => lost,
                },
                Err(lost) => *lost,
            };
            match lost {
                Lost::HandedBack(call, returned, by) => {
                    (self, request, why) = (call, *returned, by)
                }
                Lost::Broken(in_flight, failure, error) => {
                    return in_flight.resolve(failure, error).await;
                }
                Lost::Refused(failure) => return Err(failure),
            }
            want = want.after_hand_back();
        }
        let evidence = Evidence::new(HandOff::HandedBack(StaleReason::Ended));
        let attempt = Attempt::new(evidence, &self.host.contract(Contract::none())).of_ours();
        let failure = Failure::new(attempt, why);
        Err(self.not_sent(failure, request))
    }

    /// Waits for a connection that a request can be sent on.
    async fn lease(
        &self,
        want: Freshness,
        idle: Option<Lease<B>>,
    ) -> Result<Lease<B>, ConnectError> {
        let lease = match idle.or_else(|| self.host.idle(want)) {
            Some(lease) if !self.needs_priming(&lease) => return Ok(lease),
            Some(lease) => Ok(lease),
            None => {
                let waiting = Waiting(self.token.as_ref());
                let obtained = self.host.obtain(want).await;
                waiting.over();
                obtained
            }
        }?;
        if !self.needs_priming(&lease) {
            return Ok(lease);
        }
        let waiting = Waiting(self.token.as_ref());
        let primed = self.host.prime(lease).await;
        waiting.over();
        primed
    }

    /// Returns whether a promise has to be fetched before the request is sent.
    pub(super) fn needs_priming(&self, lease: &Lease<B>) -> bool {
        self.host.primes()
            && self.sent.semantics == Semantics::NotIdempotent
            && !self.is_connect
            && !lease.connection.is_used()
    }

    /// Goes on elsewhere with a request that a connection handed back, unless
    /// the peer refuses TLS with us: elsewhere it would too.
    fn handed_back(
        self,
        evidence: Evidence,
        lease: &Lease<B>,
        request: Box<Request<B>>,
    ) -> Lost<B> {
        let why = lease.connection.tracker().session_error();
        if evidence.alert.is_none() {
            self.record(evidence, lease);
            return Lost::HandedBack(self, request, why);
        }
        let failure = Failure::new(self.attempt(evidence, lease), why);
        Lost::Refused(self.not_sent(failure, *request))
    }

    /// Records that the request was not sent, and gives it back.
    fn not_sent(self, failure: Failure, mut request: Request<B>) -> Failure {
        if let Some(token) = self.token {
            key::restore(&mut request, self.form, self.host.key());
            token.record(failure.attempt().clone());
            token.give_back(request);
        }
        failure
    }

    fn record(&self, evidence: Evidence, lease: &Lease<B>) {
        if let Some(token) = &self.token {
            token.record(self.attempt(evidence, lease));
        }
    }

    fn attempt(&self, evidence: Evidence, lease: &Lease<B>) -> Attempt {
        let peer = lease.connection.tracker().peer();
        let contract = self.host.contract(Contract::none());
        Attempt::new(evidence, &contract).with_peer(peer).of_ours().sending(self.sent)
    }

    /// Returns the attempt of a request whose fate the contract may decide.
    fn judged(&self, evidence: Evidence, lease: &Lease<B>) -> Attempt {
        if lease.connection.tracker().has_broken_promise() {
            self.host.distrust();
        }
        let contract = self.contract(lease);
        let peer = lease.connection.tracker().peer();
        let attempt = Attempt::new(evidence, &contract).with_peer(peer).of_ours();
        attempt.sending(self.sent).with_standing(lease.connection.contract_status())
    }

    /// Returns what the user states and what the server announced.
    fn contract(&self, lease: &Lease<B>) -> Contract {
        self.host.contract(lease.connection.promised())
    }
}

impl<B: RequestBody> InFlight<B> {
    #[inline]
    pub(super) fn poll_answer(
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
            Ok(response) => match answered(call, lease, response) {
                Ok(response) => Ok(response),
                Err(failure) => Err(Lost::Refused(failure)),
            },
            Err(Broken::HandedBack(request)) => {
                let evidence = conn::handed_back(lease.connection.tracker());
                Err(call.handed_back(evidence, &lease, request))
            }
            Err(Broken::Lost(failure, error)) => {
                Err(Lost::Broken(Self { inner: Some((call, lease)) }, failure, error))
            }
        })
    }

    /// Finds out what became of the request. A new connection is on its way
    /// meanwhile.
    async fn resolve(mut self, failure: conn::FailureKind, error: hyper::Error) -> ResponseOutcome {
        let failed_at = time::now();
        let evidence = match &self.inner {
            Some((call, lease)) => {
                let tracker = Arc::clone(lease.connection.tracker());
                let host = Arc::clone(&call.host);
                let contract = call.contract(lease);
                conn::resolve(&tracker, &contract, failure, || host.prefetch()).await
            }
            None => Evidence::new(HandOff::Unrecorded),
        };
        let attempt = match self.inner.take() {
            Some((call, lease)) => {
                let attempt = call.judged(evidence, &lease);
                if let Some(token) = &call.token {
                    token.want_alive(failed_at);
                    token.record(attempt.clone());
                }
                attempt
            }
            None => Attempt::unrecorded(),
        };
        Err(Failure::new(attempt, Some(error.into())))
    }
}

impl<B: RequestBody> Drop for InFlight<B> {
    fn drop(&mut self) {
        if let Some((call, lease)) = self.inner.take() {
            let evidence = conn::give_up(lease.connection.tracker(), EndedBy::Caller);
            if let Some(token) = &call.token {
                token.record(call.judged(evidence, &lease));
            }
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
            token.record(Attempt::new(evidence, &Contract::none()).of_ours());
        }
    }
}

/// Goes on after the connection that was idle failed.
pub(super) async fn recover<B: RequestBody>(lost: Lost<B>) -> ResponseOutcome {
    match lost {
        Lost::HandedBack(call, request, _) => {
            call.drive(*request, Freshness::Any.after_hand_back(), None).await
        }
        Lost::Refused(failure) => Err(failure),
        Lost::Broken(in_flight, failure, error) => in_flight.resolve(failure, error).await,
    }
}

/// Delivers the head of a final response, unless it refuses the request.
fn answered<B: RequestBody>(
    call: Call<B>,
    mut lease: Lease<B>,
    response: Response<Incoming>,
) -> Result<Response<ResponseBody>, Failure> {
    let status = response.status();
    let is_upgrade =
        status == StatusCode::SWITCHING_PROTOCOLS || (call.is_connect && status.is_success());
    let announced =
        if is_upgrade { Announced::Answer } else { lease.connection.on_response(&response) };
    if announced != Announced::Answer {
        return Err(refused(&call, &lease, refusal(announced)));
    }
    let served = lease.connection.served();
    let is_believed = served.is_nothing() && !call.is_connect;
    if is_believed && call.host.has_not_forwarded(&response) {
        return Err(refused(&call, &lease, Answer::NotForwarded));
    }
    call.record(Evidence::new(HandOff::Written).with_answer(served.answer(status)), &lease);
    if is_upgrade {
        lease.connection.tracker().release();
        return Ok(response.map(ResponseBody::upgraded));
    }
    Ok(response.map(|incoming| ResponseBody::new(incoming, lease)))
}

/// Returns what a refusal is (C8). What a server that then went on says of the
/// request counts for nothing (C9).
fn refusal(announced: Announced) -> Answer {
    match announced {
        Announced::Refusal => Answer::Refused,
        Announced::Answer | Announced::BrokenRefusal => Answer::Malformed,
    }
}

/// Closes a connection whose response refused the request.
#[cold]
fn refused<B: RequestBody>(call: &Call<B>, lease: &Lease<B>, answer: Answer) -> Failure {
    let attempt = call.judged(Evidence::new(HandOff::Written).with_answer(answer), lease);
    lease.connection.tracker().abort();
    if let Some(token) = &call.token {
        token.want_alive(time::now());
        token.record(attempt.clone());
    }
    Failure::new(attempt, None)
}

/// How often one call may be handed back.
const HAND_BACKS: u32 = 32;

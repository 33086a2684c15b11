//! One request's way through the legacy client, and its evidence.

use std::error::Error as StdError;
use std::fmt;
use std::future::{Future, poll_fn, ready};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ::hyper_util::client::legacy;
use http::{Response, StatusCode, Version};
use hyper::body::Incoming;

use super::connector::ConnectError;
use super::handle::{Handle, SelectedConn};
use super::marked::{RequestState, RequestTracker};
use crate::attempt::{Attempt, AttemptError, AttemptToken, Sent};
use crate::chain::chain;
use crate::conn::{self, ConnTracker, ExchangeId, Served};
use crate::time::{Sleep, now, sleep_until};
#[cfg(feature = "tls")]
use crate::tls;
use tower_resend_core::{
    Alert, Answer, ConnectFailure, Contract, EndedBy, Evidence, HandOff, StaleReason, TcpEvidence,
};

type CallResult = Result<Response<Incoming>, AttemptError>;

/// The response future of a [`EvidenceClient`](super::EvidenceClient) client.
///
/// # Cancel safety
///
/// Dropping it ends the attempt: nothing of the request is sent from then on
/// where its connection is ours alone, and what is known is recorded.
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture(Pin<Box<dyn Future<Output = CallResult> + Send>>);

impl ResponseFuture {
    pub(super) fn new(
        inner: legacy::ResponseFuture,
        mark: Arc<RequestTracker>,
        token: Option<AttemptToken>,
        is_connect: bool,
        sent: Sent,
    ) -> Self {
        let call = Call { inner: Some(inner), mark, chosen: None, token, is_connect, sent };
        Self(Box::pin(call.drive()))
    }

    /// A request that the client is not given.
    pub(super) fn failed(error: AttemptError) -> Self {
        Self(Box::pin(ready(Err(error))))
    }
}

impl Future for ResponseFuture {
    type Output = CallResult;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CallResult> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// One call. Dropped before its end, it is given up.
struct Call {
    /// Gone once the call is over.
    inner: Option<legacy::ResponseFuture>,
    mark: Arc<RequestTracker>,
    /// Where the request was handed over last, if that is one of ours.
    chosen: Option<SelectedConn>,
    token: Option<AttemptToken>,
    is_connect: bool,
    sent: Sent,
}

impl Call {
    async fn drive(mut self) -> CallResult {
        let mut grace = pin!(None);
        match poll_fn(|cx| self.poll_inner(cx, grace.as_mut())).await {
            Some(Ok(response)) => {
                self.follow();
                self.answered(response)
            }
            Some(Err(error)) => {
                self.follow_to(&error);
                Err(self.failed(error).await)
            }
            None => Err(self.abandon()),
        }
    }

    /// Polls the client's future. Nothing if it cannot be expected to end.
    fn poll_inner(
        &mut self,
        cx: &mut Context<'_>,
        mut grace: Pin<&mut Option<Sleep>>,
    ) -> Poll<Option<Result<Response<Incoming>, legacy::Error>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        if let Poll::Ready(answered) = Pin::new(inner).poll(cx) {
            return Poll::Ready(Some(answered));
        }
        self.follow();
        // The client lets go of a connection only once it has the request back.
        if !self.chosen.as_ref().is_some_and(SelectedConn::is_held) {
            self.list_hand_back();
        }
        if !self.is_left(cx.waker()) {
            grace.set(None);
            return Poll::Pending;
        }
        if grace.is_none() {
            grace.set(Some(sleep_until(now() + GRACE)));
        }
        match grace.as_pin_mut() {
            Some(grace) => grace.poll(cx).map(|()| None),
            None => Poll::Pending,
        }
    }

    /// Notes where the client handed the request over. If that changed, the
    /// connection before had handed it back.
    fn follow(&mut self) {
        if !self.chosen.as_ref().is_some_and(SelectedConn::is_last) {
            self.list_hand_back();
            self.chosen = self.mark.chosen();
        }
    }

    /// The same at the end, which an error of some connection, or of none, is:
    /// the client had the request back from any other.
    fn follow_to(&mut self, error: &legacy::Error) {
        self.follow();
        if self.chosen.as_ref().is_some_and(|chosen| !is_of(error, &chosen.record)) {
            self.list_hand_back();
        }
    }

    /// Records that the connection which the client chose last handed the
    /// request back, unless that is recorded.
    fn list_hand_back(&mut self) {
        let Some(chosen) = self.chosen.as_mut().filter(|chosen| !chosen.is_listed) else {
            return;
        };
        chosen.is_listed = true;
        let evidence = match self.mark.is_taken_by(&chosen.record) {
            // Who took it has nothing to hand back.
            true => Evidence::new(HandOff::Unrecorded),
            false => handed_back(Some(&chosen.record)),
        };
        let attempt = Attempt::new(evidence, &Contract::none()).with_peer(chosen.record.peer());
        let attempt = attempt.told_by_error().sending(self.sent);
        if let Some(token) = &self.token {
            token.record(attempt);
        }
    }

    /// Returns `true` if the request is in the hands of a connection that has
    /// ended; if not, `waker` is woken when it ends.
    fn is_left(&self, waker: &Waker) -> bool {
        self.chosen.as_ref().is_some_and(|chosen| self.mark.is_left_with(chosen, waker))
    }

    /// Ends a call whose request hyper left behind with its connection.
    fn abandon(&mut self) -> AttemptError {
        // The client holds the other end of the channel that the request is in.
        self.inner = None;
        let evidence = Evidence::new(match self.mark.revoke() {
            RequestState::Dropped => HandOff::HandedBack(StaleReason::Ended),
            _ => HandOff::Unrecorded,
        });
        AttemptError::new(self.record(evidence))
    }

    fn answered(mut self, mut response: Response<Incoming>) -> CallResult {
        self.inner = None;
        let status = response.status();
        Handle::remove(response.extensions_mut());
        // Where it is not known that a request is the first, it is not.
        let mut served = Served::Before;
        if let RequestState::On(record, exchange) = self.mark.place() {
            let is_tunnel = self.is_connect && status.is_success();
            let is_upgrade = status == StatusCode::SWITCHING_PROTOCOLS || is_tunnel;
            record.answered(exchange, is_upgrade);
            served = exchange.served();
        }
        // Hyper leaves out of a request what HTTP/1.0 cannot frame, once that was
        // the version of an answer.
        let is_http1 = response.version() <= Version::HTTP_11;
        if is_http1 && self.mark.is_unasked() {
            self.mark.poison();
            let evidence = Evidence::new(HandOff::Written).with_answer(Answer::Complete);
            let attempt = self.record(evidence.with_ended_by(EndedBy::RequestBody));
            return Err(AttemptError::new(attempt));
        }
        if response.version() == Version::HTTP_10 {
            self.mark.poison();
        }
        if status == StatusCode::MISDIRECTED_REQUEST {
            self.mark.poison();
        }
        self.record(Evidence::new(HandOff::Written).with_answer(served.answer(status)));
        Ok(response)
    }

    /// Finds out what became of the request. Dropped meanwhile, it is given up.
    async fn failed(mut self, error: legacy::Error) -> AttemptError {
        let place = self.mark.place();
        let evidence = match &place {
            RequestState::On(record, exchange) if is_of(&error, record) => {
                let failure = self.failure(&error);
                match record.take_over_if(*exchange) {
                    true => conn::resolve(record, &Contract::none(), failure, || ()).await,
                    false => no_boundary(failure),
                }
            }
            RequestState::Somewhere(_) => no_boundary(self.failure(&error)),
            RequestState::Dropped => self.not_taken(&error),
            // An error of another connection than the one that took the request.
            RequestState::On(..)
            | RequestState::Waiting
            | RequestState::Revoked
            | RequestState::Elsewhere => Evidence::new(HandOff::Unrecorded),
        };
        self.inner = None;
        AttemptError::new(self.record(evidence)).with_source(error)
    }

    /// The evidence of a request that was dropped before a connection took it.
    /// The client's own error has to say so too.
    fn not_taken(&self, error: &legacy::Error) -> Evidence {
        if error.is_connect() {
            let connect = in_chain::<ConnectError>(error);
            let failure = connect.map_or(ConnectFailure::Connect(None), ConnectError::failure);
            not_connected(failure).with_alert(alert(error))
        } else if !self.mark.has_connection() && in_chain::<hyper::Error>(error).is_none() {
            not_connected(ConnectFailure::BadTarget)
        } else if error.connect_info().is_none() {
            // The connection ended before the client had it.
            let alert = alert(error);
            let is_refused = alert.is_some();
            not_connected(match is_refused {
                true => ConnectFailure::Untrusted,
                false => ConnectFailure::Connect(None),
            })
            .with_alert(alert)
        } else {
            match in_chain::<hyper::Error>(error) {
                Some(error_of_hyper) if error_of_hyper.is_canceled() => {
                    handed_back(error.connect_info().and_then(Handle::of).as_ref())
                }
                Some(_) => Evidence::new(HandOff::Unrecorded),
                // The client itself: the request's version is not the connection's.
                None => not_connected(ConnectFailure::BadTarget),
            }
        }
    }

    fn failure(&self, error: &legacy::Error) -> conn::FailureKind {
        let error = in_chain::<hyper::Error>(error);
        if self.mark.is_failed() || error.is_some_and(hyper::Error::is_body_write_aborted) {
            conn::FailureKind::RequestBody
        } else if error.is_some_and(hyper::Error::is_parse) {
            conn::FailureKind::Malformed
        } else {
            conn::FailureKind::Broken
        }
    }

    /// Ends a call whose caller no longer waits.
    ///
    /// Takes over a connection that has the request before the client releases
    /// it. Otherwise the client would pool a connection that was answered in
    /// the meantime, and a request that reached it before the takeover would
    /// fail with it.
    fn give_up(&mut self) {
        let mut evidence = None;
        if let RequestState::On(record, exchange) = self.mark.revoke() {
            evidence = Some(given_up(&record, exchange));
            self.mark.poison();
        }
        // From here on the client chooses no connection any more.
        self.inner = None;
        let evidence = evidence.unwrap_or_else(|| match self.mark.place() {
            // Taken since it was revoked, and taken over by that.
            RequestState::On(record, exchange) => given_up(&record, exchange),
            // The request is gone, and no connection had taken it.
            RequestState::Dropped => Evidence::new(match self.has_connection() {
                true => HandOff::NothingWritten,
                false => HandOff::NotConnected(ConnectFailure::PoolWait),
            }),
            RequestState::Waiting | RequestState::Revoked | RequestState::Somewhere(_) => {
                Evidence::new(HandOff::Written)
            }
            RequestState::Elsewhere => Evidence::new(HandOff::Unrecorded),
        });
        self.record(evidence.with_ended_by(EndedBy::Caller));
    }

    /// Returns `true` if the client chose a connection and has not had the request
    /// back from it.
    fn has_connection(&self) -> bool {
        let had_it_back = self.chosen.as_ref().is_some_and(|chosen| chosen.is_listed);
        self.mark.has_connection() && !had_it_back
    }

    /// Records the call's last attempt.
    fn record(&self, evidence: Evidence) -> Attempt {
        let chosen = self.chosen.as_ref().filter(|chosen| !chosen.is_listed);
        let record = match (self.mark.place(), evidence.hand_off) {
            (RequestState::On(record, _) | RequestState::Somewhere(record), _) => Some(record),
            (_, HandOff::HandedBack(_)) => chosen.map(|chosen| Arc::clone(&chosen.record)),
            (
                RequestState::Waiting
                | RequestState::Dropped
                | RequestState::Revoked
                | RequestState::Elsewhere,
                _,
            ) => None,
        };
        let peer = record.and_then(|record| record.peer());
        let attempt = Attempt::new(evidence, &Contract::none()).with_peer(peer).told_by_error();
        let attempt = attempt.sending(self.sent);
        if let Some(token) = &self.token {
            token.record(attempt.clone());
        }
        attempt
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.inner.is_some() {
            self.give_up();
        }
    }
}

/// Returns `true` if an error is of the connection that keeps this record.
fn is_of(error: &legacy::Error, record: &Arc<ConnTracker>) -> bool {
    let connected = error.connect_info().and_then(Handle::of);
    connected.is_some_and(|connected| Arc::ptr_eq(&connected, record))
}

/// What a connection did that gave a request back.
fn handed_back(record: Option<&Arc<ConnTracker>>) -> Evidence {
    let found = record.and_then(|record| record.last_read());
    let evidence = Evidence::new(HandOff::HandedBack(found.unwrap_or(StaleReason::Ended)));
    evidence.with_alert(record.and_then(|record| record.alert()))
}

fn not_connected(failure: ConnectFailure) -> Evidence {
    Evidence::new(HandOff::NotConnected(failure))
}

/// Returns the alert by which the peer refused a connection that was just made.
#[cfg(feature = "tls")]
fn alert(error: &legacy::Error) -> Option<Alert> {
    in_chain(error).and_then(tls::final_alert)
}

#[cfg(not(feature = "tls"))]
fn alert(_: &legacy::Error) -> Option<Alert> {
    None
}

/// How long hyper may take to give a request back, or to say what became of it,
/// after its connection ended. No connect is waited for meanwhile: the client
/// makes one only once it has the request back, and then this no longer runs.
const GRACE: Duration = Duration::from_secs(1);

/// The evidence of a request that the caller gave up.
fn given_up(record: &ConnTracker, exchange: ExchangeId) -> Evidence {
    if !record.take_over_if(exchange) {
        return Evidence::new(HandOff::Written);
    }
    let mut evidence = conn::give_up(record, EndedBy::Caller);
    // What was found on the connection was found before it was taken.
    if let HandOff::HandedBack(_) = evidence.hand_off {
        evidence.hand_off = HandOff::NothingWritten;
    }
    evidence
}

/// The evidence of a request of which it is not known where it began.
fn no_boundary(failure: conn::FailureKind) -> Evidence {
    Evidence::new(HandOff::Written).with_tcp(TcpEvidence::NoBoundary).with_ended_by(match failure {
        conn::FailureKind::RequestBody => EndedBy::RequestBody,
        conn::FailureKind::Broken | conn::FailureKind::Malformed => EndedBy::Connection,
    })
}

/// Finds the first error of this type in a chain.
fn in_chain<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    chain(error).find_map(|error| error.downcast_ref())
}

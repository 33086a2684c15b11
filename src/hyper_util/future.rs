//! One call of the legacy client, and its evidence.

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
use super::tracked_body::{RequestState, RequestTracker};
use super::tracker_handle::{SelectedConn, TrackerHandle};
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

/// The response future of an [`EvidenceClient`](super::EvidenceClient).
///
/// # Cancel safety
///
/// Dropping it ends the attempt and records what is known. Where the connection carries no
/// other request, nothing of this one is sent from then on.
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture(Pin<Box<dyn Future<Output = CallResult> + Send>>);

impl ResponseFuture {
    pub(super) fn new(
        inner: legacy::ResponseFuture,
        request: Arc<RequestTracker>,
        token: Option<AttemptToken>,
        is_connect: bool,
        sent: Sent,
    ) -> Self {
        let call =
            WrappedCall { inner: Some(inner), request, selected: None, token, is_connect, sent };
        Self(Box::pin(call.drive()))
    }

    /// Returns the future of a request that the client is not given.
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

/// One call. Dropped before its end, it records what became of the request.
struct WrappedCall {
    /// `None` once the call is over.
    inner: Option<legacy::ResponseFuture>,
    request: Arc<RequestTracker>,
    /// The connection that the request was handed to last, if it is one of ours.
    selected: Option<SelectedConn>,
    token: Option<AttemptToken>,
    is_connect: bool,
    sent: Sent,
}

impl WrappedCall {
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

    /// Polls the client's future. Yields `None` if it cannot be expected to end.
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
        if !self.selected.as_ref().is_some_and(SelectedConn::is_held) {
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

    /// Notes which connection the client handed the request to. If it is another one than
    /// before, that one had handed the request back.
    fn follow(&mut self) {
        if !self.selected.as_ref().is_some_and(SelectedConn::is_last) {
            self.list_hand_back();
            self.selected = self.request.selected();
        }
    }

    /// Does the same when the call ended with an error: every connection but the one that
    /// the error is of had handed the request back.
    fn follow_to(&mut self, error: &legacy::Error) {
        self.follow();
        if self.selected.as_ref().is_some_and(|selected| !is_of(error, &selected.tracker)) {
            self.list_hand_back();
        }
    }

    /// Records that the connection which the client selected last handed the request
    /// back, unless that is recorded already.
    fn list_hand_back(&mut self) {
        let Some(selected) = self.selected.as_mut().filter(|selected| !selected.is_listed) else {
            return;
        };
        selected.is_listed = true;
        let evidence = match self.request.is_taken_by(&selected.tracker) {
            // A connection that took the request cannot hand it back.
            true => Evidence::new(HandOff::Unrecorded),
            false => handed_back(Some(&selected.tracker)),
        };
        let attempt = Attempt::new(evidence, &Contract::none()).with_peer(selected.tracker.peer());
        let attempt = attempt.told_by_error().sending(self.sent);
        if let Some(token) = &self.token {
            token.record(attempt);
        }
    }

    /// Returns `true` if the request waits in the channel of a connection that has ended.
    /// If not, `waker` is woken when the connection ends.
    fn is_left(&self, waker: &Waker) -> bool {
        self.selected.as_ref().is_some_and(|selected| self.request.is_left_with(selected, waker))
    }

    /// Ends a call whose request hyper left behind with its connection.
    fn abandon(&mut self) -> AttemptError {
        // The client holds the other end of the channel that the request is in.
        self.inner = None;
        let evidence = Evidence::new(match self.request.revoke() {
            RequestState::Dropped => HandOff::HandedBack(StaleReason::Ended),
            _ => HandOff::Unrecorded,
        });
        AttemptError::new(self.record(evidence))
    }

    fn answered(mut self, mut response: Response<Incoming>) -> CallResult {
        self.inner = None;
        let status = response.status();
        TrackerHandle::remove(response.extensions_mut());
        // A request that is not known to be the first counts as a later one.
        let mut served = Served::Before;
        if let RequestState::On(tracker, exchange) = self.request.state() {
            let is_tunnel = self.is_connect && status.is_success();
            let is_upgrade = status == StatusCode::SWITCHING_PROTOCOLS || is_tunnel;
            tracker.answered(exchange, is_upgrade);
            served = exchange.served();
        }
        // Once a peer answered by HTTP/1.0, hyper leaves out of a request what that version
        // cannot frame.
        let is_http1 = response.version() <= Version::HTTP_11;
        if is_http1 && self.request.is_unasked() {
            self.request.poison();
            let evidence = Evidence::new(HandOff::Written).with_answer(Answer::Complete);
            let attempt = self.record(evidence.with_ended_by(EndedBy::RequestBody));
            return Err(AttemptError::new(attempt));
        }
        if response.version() == Version::HTTP_10 {
            self.request.poison();
        }
        if status == StatusCode::MISDIRECTED_REQUEST {
            self.request.poison();
        }
        self.record(Evidence::new(HandOff::Written).with_answer(served.answer(status)));
        Ok(response)
    }

    /// Finds out what became of the request.
    async fn failed(mut self, error: legacy::Error) -> AttemptError {
        let state = self.request.state();
        let evidence = match &state {
            RequestState::On(tracker, exchange) if is_of(&error, tracker) => {
                let failure = self.failure(&error);
                match tracker.take_over_if(*exchange) {
                    true => conn::resolve(tracker, &Contract::none(), failure, || ()).await,
                    false => no_boundary(failure),
                }
            }
            RequestState::Somewhere(_) => no_boundary(self.failure(&error)),
            RequestState::Dropped => self.not_taken(&error),
            // The error is of another connection than the one that took the request.
            RequestState::On(..)
            | RequestState::Waiting
            | RequestState::Revoked
            | RequestState::Elsewhere => Evidence::new(HandOff::Unrecorded),
        };
        self.inner = None;
        AttemptError::new(self.record(evidence)).with_source(error)
    }

    /// Returns the evidence of a request that was dropped before a connection took it. The
    /// client's own error has to say so too.
    fn not_taken(&self, error: &legacy::Error) -> Evidence {
        if error.is_connect() {
            let connect = in_chain::<ConnectError>(error);
            let failure = connect.map_or(ConnectFailure::Connect(None), ConnectError::failure);
            not_connected(failure).with_alert(alert(error))
        } else if !self.request.has_connection() && in_chain::<hyper::Error>(error).is_none() {
            not_connected(ConnectFailure::BadTarget)
        } else if error.connect_info().is_none() {
            // The connection ended before the client had it.
            let alert = alert(error);
            let is_rejected = alert.is_some();
            not_connected(match is_rejected {
                true => ConnectFailure::Untrusted,
                false => ConnectFailure::Connect(None),
            })
            .with_alert(alert)
        } else {
            match in_chain::<hyper::Error>(error) {
                Some(error_of_hyper) if error_of_hyper.is_canceled() => {
                    handed_back(error.connect_info().and_then(TrackerHandle::of).as_ref())
                }
                Some(_) => Evidence::new(HandOff::Unrecorded),
                // The client itself failed: it does not send this version of HTTP.
                None => not_connected(ConnectFailure::BadTarget),
            }
        }
    }

    fn failure(&self, error: &legacy::Error) -> conn::FailureKind {
        if self.request.is_failed() {
            return conn::FailureKind::RequestBody;
        }
        in_chain::<hyper::Error>(error).map_or(conn::FailureKind::Broken, conn::failure_kind)
    }

    /// Ends a call whose future was dropped.
    ///
    /// Takes over a connection that has the request before the client releases it.
    /// Otherwise the client would pool a connection that was answered in the meantime, and
    /// a request that reached it before the takeover would fail with it.
    fn give_up(&mut self) {
        let mut evidence = None;
        if let RequestState::On(tracker, exchange) = self.request.revoke() {
            evidence = Some(given_up(&tracker, exchange));
            self.request.poison();
        }
        // From here on the client selects no connection any more.
        self.inner = None;
        let evidence = evidence.unwrap_or_else(|| match self.request.state() {
            // It was taken after it was revoked, and the takeover came with that.
            RequestState::On(tracker, exchange) => given_up(&tracker, exchange),
            // The request was dropped before a connection took it.
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

    /// Returns `true` if the client selected a connection that has not handed the request
    /// back.
    fn has_connection(&self) -> bool {
        let had_it_back = self.selected.as_ref().is_some_and(|selected| selected.is_listed);
        self.request.has_connection() && !had_it_back
    }

    /// Records the call's last attempt.
    fn record(&self, evidence: Evidence) -> Attempt {
        let selected = self.selected.as_ref().filter(|selected| !selected.is_listed);
        let tracker = match (self.request.state(), evidence.hand_off) {
            (RequestState::On(tracker, _) | RequestState::Somewhere(tracker), _) => Some(tracker),
            (_, HandOff::HandedBack(_)) => selected.map(|selected| Arc::clone(&selected.tracker)),
            (
                RequestState::Waiting
                | RequestState::Dropped
                | RequestState::Revoked
                | RequestState::Elsewhere,
                _,
            ) => None,
        };
        let peer = tracker.and_then(|tracker| tracker.peer());
        let attempt = Attempt::new(evidence, &Contract::none()).with_peer(peer).told_by_error();
        let attempt = attempt.sending(self.sent);
        if let Some(token) = &self.token {
            token.record(attempt.clone());
        }
        attempt
    }
}

impl Drop for WrappedCall {
    fn drop(&mut self) {
        if self.inner.is_some() {
            self.give_up();
        }
    }
}

/// Returns `true` if an error is of the connection with this tracker.
fn is_of(error: &legacy::Error, tracker: &Arc<ConnTracker>) -> bool {
    let connected = error.connect_info().and_then(TrackerHandle::of);
    connected.is_some_and(|connected| Arc::ptr_eq(&connected, tracker))
}

/// Returns the evidence of a connection that handed a request back.
fn handed_back(tracker: Option<&Arc<ConnTracker>>) -> Evidence {
    let found = tracker.and_then(|tracker| tracker.last_read());
    let evidence = Evidence::new(HandOff::HandedBack(found.unwrap_or(StaleReason::Ended)));
    evidence.with_alert(tracker.and_then(|tracker| tracker.alert()))
}

fn not_connected(failure: ConnectFailure) -> Evidence {
    Evidence::new(HandOff::NotConnected(failure))
}

/// Returns the alert by which the peer rejected a connection that was just made.
#[cfg(feature = "tls")]
fn alert(error: &legacy::Error) -> Option<Alert> {
    in_chain(error).and_then(tls::final_alert)
}

#[cfg(not(feature = "tls"))]
fn alert(_: &legacy::Error) -> Option<Alert> {
    None
}

/// How long hyper may take to return a request, or to say what became of it, after its
/// connection ended. This never runs while the client connects: it connects only once it
/// has the request back.
const GRACE: Duration = Duration::from_secs(1);

/// Returns the evidence of a request whose call was dropped.
fn given_up(tracker: &ConnTracker, exchange: ExchangeId) -> Evidence {
    if !tracker.take_over_if(exchange) {
        return Evidence::new(HandOff::Written);
    }
    let mut evidence = conn::give_up(tracker, EndedBy::Caller);
    // The stale check saw that before the connection took the request.
    if let HandOff::HandedBack(_) = evidence.hand_off {
        evidence.hand_off = HandOff::NothingWritten;
    }
    evidence
}

/// Returns the evidence of a request for which we do not know where it began.
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

//! One call: what it has tried, and what it does next.

use std::sync::Arc;
use std::task::Poll;

use http::{Request, Response, StatusCode};
use tracing::Span;

use super::backoff::Cause;
use super::policy::Policy;
use super::saved_request::{SavedRequest, mark};
use super::time_limits::TimeLimits;
use crate::attempt::{Attempt, AttemptToken, Attempts};
use crate::body::Replayable;
use crate::chain::BoxError;
use crate::error::Error;
use crate::time::{Instant, now};
use crate::trace;
use tower_resend_core::{
    BodyState, Decision, Evidence, Ground, History, NoResend, Outlook, Time, counts_as_attempt,
    decide,
};

/// One call, without the futures that it polls.
pub(super) struct Call<S, B> {
    /// The service that was polled ready for the attempt under way. It is polled ready again
    /// before another.
    pub(super) service: S,
    policy: Arc<Policy>,
    token: AttemptToken,
    saved: SavedRequest<B>,
    nesting: Nesting,
    limits: TimeLimits,
    resends: u32,
    /// When the attempt under way began.
    began: Instant,
    /// How many hand-offs were recorded before the attempt under way.
    start: usize,
    /// How many hand-offs the decision to resend took into account.
    judged: usize,
    /// The inner service's error of the last attempt.
    source: Option<BoxError>,
    pub(super) span: Span,
}

/// Which layer decides about resends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nesting {
    ThisLayer,
    /// A resending layer above this one.
    AnotherLayer,
}

/// What follows the end of an attempt.
pub(super) enum NextStep<R> {
    /// The outcome of the call.
    Deliver(Result<R, Error>),
    /// Another attempt.
    Resend(Again),
}

/// A resend that was decided on.
pub(super) struct Again {
    pub(super) ground: Ground,
    /// Not before this time; at once if there is none.
    pub(super) at: Option<Instant>,
}

impl<S, B: Replayable + Send + 'static> Call<S, B> {
    /// Begins a call. Its request must be sent with the call's token.
    #[inline]
    pub(super) fn new(service: S, policy: Arc<Policy>, request: &Request<B>) -> Self {
        let began = now();
        // Large fields are built in place, to avoid a move.
        let above = request.extensions().get::<AttemptToken>().cloned();
        let stands_down = above.is_some();
        Self {
            span: trace::attempt_span(request.method(), 0),
            start: above.as_ref().map_or(0, AttemptToken::len),
            judged: 0,
            resends: 0,
            source: None,
            service,
            saved: if stands_down {
                SavedRequest::line(request)
            } else {
                SavedRequest::new(request)
            },
            limits: if stands_down {
                TimeLimits::none()
            } else {
                TimeLimits::new(&policy, request.extensions(), began)
            },
            token: above.unwrap_or_else(|| {
                AttemptToken::with_max_hand_backs(policy.rules().hand_back_limit())
            }),
            policy,
            nesting: if stands_down { Nesting::AnotherLayer } else { Nesting::ThisLayer },
            began,
        }
    }

    /// Runs `send`, which hands a request to the service, within the attempt's span.
    #[inline]
    pub(super) fn in_span<F>(&mut self, send: impl FnOnce(&mut S, &AttemptToken) -> F) -> F {
        let Self { service, span, token, .. } = self;
        span.in_scope(|| send(service, token))
    }

    /// Returns when the attempt under way has to end.
    pub(super) fn limit(&self) -> Option<Instant> {
        self.limits.end_of_attempt(self.began)
    }

    /// Returns when all attempts have to end.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.limits.deadline()
    }

    /// Returns `true` if the deadline has passed. A pause can last longer than it should.
    pub(super) fn is_late(&self) -> bool {
        self.limits.are_over(now())
    }

    /// Returns how many hand-offs were recorded before the attempt ended, for
    /// [`on_end`](Self::on_end).
    pub(super) fn recorded_if(&self, timed_out: bool) -> usize {
        if timed_out { self.token.len() } else { self.start }
    }

    /// Handles the end of an attempt whose future is dropped. `polled` is pending if the
    /// attempt took too long; `before` is how many hand-offs were recorded until then.
    pub(super) fn on_end<RB, E: Into<BoxError>>(
        &mut self,
        polled: Poll<Result<Response<RB>, E>>,
        before: usize,
    ) -> NextStep<Response<RB>> {
        let failed = match polled {
            Poll::Ready(Ok(response)) => {
                return match self.on_response(response) {
                    Ok(response) => NextStep::Deliver(Ok(response)),
                    Err(again) => NextStep::Resend(again),
                };
            }
            Poll::Ready(Err(source)) => Some(source.into()),
            Poll::Pending => {
                self.on_timeout(before);
                None
            }
        };
        self.source = failed;
        match self.on_failure() {
            Ok(again) => NextStep::Resend(again),
            Err(error) => NextStep::Deliver(Err(error)),
        }
    }

    /// Handles an attempt that took too long. When its future was dropped, it recorded what
    /// it knew, as it does when a caller drops it.
    ///
    /// The hand-offs after the first `before` are about this end. If there are none, what is
    /// under way is unknown.
    fn on_timeout(&mut self, before: usize) {
        if self.token.len() == before {
            self.token.record(Attempt::unrecorded());
        }
        self.token.end_by_deadline(before);
    }

    /// Handles an inner service that failed before it could take the resend. Nothing was
    /// sent, and tower forbids to use such a service again.
    pub(super) fn on_unready(&mut self, source: BoxError) -> Error {
        self.source = Some(source);
        self.give_up(NoResend::NotReady)
    }

    /// Handles a deadline that passed before the resend could begin.
    pub(super) fn on_late(&mut self) -> Error {
        self.give_up(NoResend::Deadline)
    }

    /// Handles a response. A final response is an answer even while the request's body is
    /// still being sent. Only a 421 allows a resend.
    fn on_response<RB>(&mut self, mut response: Response<RB>) -> Result<Response<RB>, Again> {
        if self.nesting == Nesting::AnotherLayer {
            return Ok(response);
        }
        if response.status() == StatusCode::MISDIRECTED_REQUEST
            && self.token.is_misdirected(self.start)
            && !self.token.is_held_elsewhere()
            && let Ok(again) = self.judge(&self.attempts())
        {
            self.source = None;
            return Err(again);
        }
        // A service may have passed on the response of another call, with its attempts.
        match self.attempts_worth_telling() {
            Some(attempts) => drop(response.extensions_mut().insert(Attempts(attempts.into()))),
            None => drop(response.extensions_mut().remove::<Attempts>()),
        }
        Ok(response)
    }

    /// Makes the request again. This is the last step before it is sent.
    pub(super) fn next_request(&mut self, ground: Ground) -> Result<Request<B>, Error> {
        let ground = match self.recheck(ground) {
            Ok(ground) => ground,
            Err(why) => return Err(self.give_up(why)),
        };
        let Some(mut request) = self.saved.again() else {
            return Err(self.give_up(NoResend::BodyNotReplayable));
        };
        mark(&mut request, &self.token);
        self.start = self.token.resent_on(self.start, ground);
        self.began = now();
        self.resends = self.resends.saturating_add(1);
        self.span = trace::attempt_span(self.saved.method(), self.resends);
        Ok(request)
    }

    /// Decides again if something was recorded since the decision: a layer between may have
    /// let a hand-off go on after its call had ended.
    fn recheck(&self, ground: Ground) -> Decision {
        if self.token.len() == self.judged {
            return Ok(ground);
        }
        self.decide(&self.attempts(), Time::Left, Outlook::Open)
    }

    fn on_failure(&mut self) -> Result<Again, Error> {
        self.complete_record();
        if self.nesting == Nesting::AnotherLayer {
            return Err(self.error(NoResend::StandsDown));
        }
        // From here on no connection can poll the old body any further, so that what was
        // recorded about it stays true.
        self.saved.revoke();
        let attempts = self.attempts();
        let given_back = self.token.take_back::<B>();
        let hand_offs = attempts.get(self.start..).unwrap_or_default();
        let is_unsent = !hand_offs.iter().any(|attempt| counts_as_attempt(attempt.evidence()));
        self.saved.keep_given_back(given_back.filter(|_| is_unsent));
        self.judge(&attempts).map_err(|why| self.give_up(why))
    }

    /// Adds what the record is seen to lack, so that what it proves of the hand-offs in
    /// it is not taken for a proof of all.
    fn complete_record(&self) {
        let error = self.source.as_deref().map(|error| error as _);
        let is_unlike = |attempt: &Attempt| self.saved.is_unlike(attempt);
        let missing = self.token.account_for(error, self.start, is_unlike).or_else(|| {
            // The token of another layer is always held by that layer, which asks itself.
            let may_be_sent = self.nesting == Nesting::ThisLayer
                && self.token.is_unapplied(self.start)
                && self.token.is_held_elsewhere();
            may_be_sent.then(Attempt::unrecorded)
        });
        if let Some(missing) = missing {
            self.token.complete_with(missing);
        }
    }

    /// Decides whether to send the request again, and when.
    fn judge(&mut self, attempts: &[Attempt]) -> Result<Again, NoResend> {
        let hand_offs = attempts.get(self.start..).unwrap_or_default();
        let cause = Cause::of(hand_offs);
        let now = now();
        let next = self.limits.next(cause, self.began, now, fastrand::f64());
        self.judged = attempts.len();
        let ground = self.decide(attempts, next.time, Outlook::after(evidence(hand_offs)))?;
        if cause != Cause::Connect {
            self.token.want_unused(self.began, now);
        }
        trace::on_resend(ground, hand_offs.last());
        Ok(Again { ground, at: next.at })
    }

    /// Returns all attempts so far, with the fates that the policy believes.
    fn attempts(&self) -> Vec<Attempt> {
        let attempts = self.token.attempts().into_iter();
        attempts.map(|attempt| attempt.believed_by(self.policy.rules())).collect()
    }

    fn decide(&self, attempts: &[Attempt], time: Time, outlook: Outlook) -> Decision {
        let body = match attempts.iter().any(Attempt::is_ended_by_body) {
            true => BodyState::Failed,
            false => self.saved.body_state(),
        };
        let facts = self
            .saved
            .facts(&self.policy, attempts)
            .with_body(body)
            .with_time(time)
            .with_outlook(outlook);
        let history: History = attempts.iter().map(Attempt::fate).collect();
        decide(&history, &facts, self.policy.rules())
    }

    /// Returns the attempts behind a response, unless it was a single clean one.
    ///
    /// An attempt without an answer is listed: a layer between, such as a timeout, made the
    /// response.
    fn attempts_worth_telling(&mut self) -> Option<Vec<Attempt>> {
        if self.resends == 0 && self.token.is_clean() {
            return None;
        }
        let mut attempts = self.attempts();
        if attempts.len() == self.start {
            attempts.push(Attempt::answered());
        }
        Some(attempts)
    }

    /// Returns the error of a call that this layer decided to end.
    fn give_up(&mut self, why: NoResend) -> Error {
        let error = self.error(why);
        trace::on_failure(self.saved.semantics(), &error);
        error
    }

    fn error(&mut self, why: NoResend) -> Error {
        let attempts = self.attempts();
        let missing = self.saved.missing(&self.policy, &attempts);
        let request = self.saved.take();
        let line = (self.saved.method().clone(), self.saved.uri().clone());
        Error::new(line, why, attempts, missing)
            .with_source(self.source.take())
            .with_request(request)
    }
}

fn evidence(attempts: &[Attempt]) -> impl Iterator<Item = &Evidence> {
    attempts.iter().map(Attempt::evidence)
}

//! One call: what it has tried, and what it does next.

use std::mem;
use std::sync::Arc;
use std::task::Poll;

use http::{Request, Response, StatusCode};
use tower::Service;
use tracing::Span;

use super::backoff::{Backoff, Cause};
use super::request::{Kept, mark};
use crate::attempt::{Attempt, AttemptToken, Attempts};
use crate::body::Replayable;
use crate::classify::{
    BodyState, ConnectFailure, Deduplication, EndedBy, Ground, HandOff, History, Policy, Refusal,
    RequestFacts, Time, Verdict, decide,
};
use crate::error::{BoxError, Error, Key, Missing};
use crate::time::{Instant, now};
use crate::trace;

/// One call, apart from the futures it polls.
pub(super) struct Call<S, B> {
    /// The service that was polled ready for the attempt under way, and that
    /// is polled ready again before another.
    pub(super) service: S,
    policy: Arc<Policy>,
    token: AttemptToken,
    kept: Kept<B>,
    part: Part,
    backoff: Backoff,
    deadline: Option<Instant>,
    /// How long failed connects are repeated, once one has failed.
    patience: Option<Instant>,
    resends: u32,
    /// When the attempt under way began.
    began: Instant,
    /// How many hand-offs were recorded before the attempt under way.
    start: usize,
    /// The request of the last attempt, if it was given back untouched.
    given_back: Option<Request<B>>,
    /// The inner service's error of the last attempt.
    source: Option<BoxError>,
    pub(super) span: Span,
}

/// Who decides about resends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    ThisLayer,
    /// A resending layer above this one.
    AnotherLayer,
}

/// What follows on the end of an attempt.
pub(super) enum Next<R> {
    /// The outcome of the call.
    Deliver(Result<R, Error>),
    /// Another attempt, at this time or at once.
    Resend { ground: Ground, at: Option<Instant> },
}

/// A resend that was decided on.
struct Again {
    ground: Ground,
    at: Option<Instant>,
}

impl<S, B> Call<S, B>
where
    S: Service<Request<B>>,
{
    /// Hands a request to the service, which was polled ready.
    pub(super) fn send(&mut self, request: Request<B>) -> S::Future {
        let Self { service, span, .. } = self;
        span.in_scope(|| service.call(request))
    }

    /// Makes the request again and sends it.
    pub(super) fn send_again(&mut self, ground: Ground) -> Result<S::Future, Error>
    where
        B: Replayable + Send + 'static,
    {
        let request = self.next_request(ground)?;
        Ok(self.send(request))
    }
}

impl<S, B: Replayable + Send + 'static> Call<S, B> {
    /// Begins a call, and marks its request with the call's token.
    pub(super) fn new(service: S, policy: Arc<Policy>, request: &mut Request<B>) -> Self {
        let (token, kept, part) = match request.extensions().get::<AttemptToken>() {
            Some(token) => (token.clone(), Kept::line(request), Part::AnotherLayer),
            None => (AttemptToken::new(), Kept::new(request), Part::ThisLayer),
        };
        let began = now();
        let deadline = match part {
            Part::ThisLayer => policy.deadline.and_then(|limit| began.checked_add(limit)),
            Part::AnotherLayer => None,
        };
        let start = match part {
            Part::ThisLayer => 0,
            Part::AnotherLayer => token.len(),
        };
        if part == Part::ThisLayer {
            mark(request, &token);
        }
        Self {
            span: trace::attempt_span(kept.method(), 0),
            backoff: Backoff::default(),
            patience: None,
            resends: 0,
            given_back: None,
            source: None,
            service,
            policy,
            token,
            kept,
            part,
            deadline,
            began,
            start,
        }
    }

    /// Returns when the attempt under way has to end.
    pub(super) fn limit(&self) -> Option<Instant> {
        let limit = match self.part {
            Part::ThisLayer => self.policy.attempt_timeout,
            Part::AnotherLayer => None,
        };
        match (limit.and_then(|limit| self.began.checked_add(limit)), self.deadline) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// Returns when all attempts have to end.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Returns how many hand-offs are recorded now, for [`on_end`](Self::on_end).
    pub(super) fn recorded_if(&self, timed_out: bool) -> usize {
        if timed_out { self.token.len() } else { self.start }
    }

    /// The attempt ended, and its future is gone. It is pending if it took too
    /// long; `before` is how many hand-offs were recorded until then.
    pub(super) fn on_end<RB, E: Into<BoxError>>(
        &mut self,
        polled: Poll<Result<Response<RB>, E>>,
        before: usize,
    ) -> Next<Response<RB>> {
        let again = match polled {
            Poll::Ready(Ok(response)) => match self.on_response(response) {
                Ok(response) => return Next::Deliver(Ok(response)),
                Err(again) => Ok(again),
            },
            Poll::Ready(Err(source)) => {
                self.source = Some(source.into());
                self.on_failure()
            }
            Poll::Pending => {
                self.on_timeout(before);
                self.on_failure()
            }
        };
        match again {
            Ok(Again { ground, at }) => Next::Resend { ground, at },
            Err(error) => Next::Deliver(Err(error)),
        }
    }

    /// The attempt took too long: its future was dropped, which made it record
    /// what it knew, as it does when a caller drops it.
    ///
    /// The hand-offs after the first `before` speak of this end. If there are
    /// none then nobody knows what is under way.
    fn on_timeout(&mut self, before: usize) {
        self.source = None;
        if self.token.len() == before {
            self.token.record(Attempt::unrecorded());
        }
        self.token.end_by_deadline(before);
    }

    /// The inner service failed before it could take the resend. Nothing was
    /// sent, and a service that failed so is not to be used again.
    pub(super) fn on_unready(&mut self, ground: Ground, source: BoxError) -> Error {
        self.source = Some(source);
        self.error(Verdict::Resend(ground))
    }

    /// The deadline passed before the inner service could take the resend.
    pub(super) fn on_late(&mut self) -> Error {
        self.refuse(Refusal::Deadline)
    }

    /// The inner service answered. A final response is an answer even while
    /// the request's body is still being sent; only a 421 may be resent.
    fn on_response<RB>(&mut self, mut response: Response<RB>) -> Result<Response<RB>, Again> {
        if self.part == Part::AnotherLayer {
            return Ok(response);
        }
        if response.status() == StatusCode::MISDIRECTED_REQUEST
            && self.token.is_misdirected(self.start)
            && let Ok(again) = self.judge(&self.token.attempts())
        {
            return Err(again);
        }
        if let Some(attempts) = self.attempts_worth_telling() {
            response.extensions_mut().insert(Attempts(attempts.into()));
        }
        Ok(response)
    }

    /// Makes the request again, the last step before it is sent.
    fn next_request(&mut self, ground: Ground) -> Result<Request<B>, Error> {
        let made = self.kept.again().ok().or_else(|| self.given_back.take());
        let Some(mut request) = made else {
            return Err(self.refuse(Refusal::BodyNotReplayable));
        };
        self.given_back = None;
        mark(&mut request, &self.token);
        self.token.resent_on(self.start, ground);
        self.start = self.token.len();
        self.began = now();
        self.resends = self.resends.saturating_add(1);
        self.span = trace::attempt_span(self.kept.method(), self.resends);
        Ok(request)
    }

    fn on_failure(&mut self) -> Result<Again, Error> {
        if self.token.len() == self.start {
            self.token.record(Attempt::unrecorded());
        }
        if self.part == Part::AnotherLayer {
            return Err(self.error(Verdict::Refuse(Refusal::StandsDown)));
        }
        // From here on no connection can move the old body on, so that what
        // is said of it stays true.
        self.kept.revoke();
        let attempts = self.token.attempts();
        self.given_back = self.take_back(attempts.get(self.start..).unwrap_or_default());
        self.judge(&attempts).map_err(|refusal| self.refuse(refusal))
    }

    /// Takes the request back if the transport gave it back, and if nothing of
    /// it was sent under this call's name.
    fn take_back(&self, hand_offs: &[Attempt]) -> Option<Request<B>> {
        let request = self.token.take_back::<B>()?;
        let unsent = hand_offs.iter().all(|attempt| {
            matches!(attempt.evidence().hand_off, HandOff::NotConnected(_) | HandOff::HandedBack(_))
        });
        (unsent && self.kept.is_same(&request)).then_some(request)
    }

    /// Decides whether to send the request again, and when.
    fn judge(&mut self, attempts: &[Attempt]) -> Result<Again, Refusal> {
        let hand_offs = attempts.get(self.start..).unwrap_or_default();
        let cause = Cause::of(hand_offs);
        let now = now();
        let pause = self.backoff.next(cause, fastrand::f64());
        let at = now.checked_add(pause);
        let facts =
            self.facts().with_body(self.body_state(attempts)).with_time(self.time(cause, at));
        if hand_offs.iter().any(is_hopeless) {
            return Err(Refusal::Attempts(1));
        }
        let history: History = attempts.iter().map(Attempt::fate).collect();
        let ground = match decide(&history, &facts, &self.policy) {
            Verdict::Resend(ground) => ground,
            Verdict::Refuse(refusal) => return Err(refusal),
        };
        if cause != Cause::Connect {
            self.token.want_fresh(now);
        }
        trace::on_resend(ground, hand_offs.last());
        Ok(Again { ground, at: at.filter(|&at| at > now) })
    }

    /// What is known of the request apart from its body and time.
    fn facts(&self) -> RequestFacts {
        RequestFacts::new(self.kept.semantics()).with_deduplication(match self.key() {
            Key::Honoured => Deduplication::Keyed,
            Key::Absent | Key::NotHonoured => Deduplication::None,
        })
    }

    fn key(&self) -> Key {
        match (self.kept.has_key(), self.policy.deduplicates) {
            (false, _) => Key::Absent,
            (true, false) => Key::NotHonoured,
            (true, true) => Key::Honoured,
        }
    }

    fn body_state(&self, attempts: &[Attempt]) -> BodyState {
        if attempts.iter().any(|attempt| attempt.evidence().ended_by == EndedBy::RequestBody) {
            BodyState::Failed
        } else if self.given_back.is_some() {
            BodyState::Replayable
        } else {
            self.kept.body_state()
        }
    }

    /// Returns whether a resend at this time is within the limits.
    fn time(&mut self, cause: Cause, at: Option<Instant>) -> Time {
        match cause {
            Cause::Connect => {
                let until = self.began.checked_add(self.policy.connect_patience);
                self.patience = self.patience.or(until);
            }
            Cause::Proven | Cause::Repeat => self.patience = None,
        }
        let ends = [self.deadline, self.patience];
        match at {
            Some(at) if ends.into_iter().flatten().all(|end| at < end) => Time::Left,
            _ => Time::Over,
        }
    }

    /// Returns the attempts behind a response, unless it was a single clean one.
    fn attempts_worth_telling(&self) -> Option<Vec<Attempt>> {
        let recorded = self.token.len();
        if recorded <= 1 && self.resends == 0 {
            return None;
        }
        let mut attempts = self.token.attempts();
        if recorded == self.start {
            attempts.push(Attempt::answered());
        }
        Some(attempts)
    }

    fn refuse(&mut self, refusal: Refusal) -> Error {
        let error = self.error(Verdict::Refuse(refusal));
        let decisive = error.decisive();
        trace::on_refuse(refusal, self.kept.semantics(), error.fate(), decisive);
        error
    }

    fn error(&mut self, verdict: Verdict) -> Error {
        let missing = Missing { semantics: Some(self.kept.semantics()), key: self.key() };
        let request = self.kept.take().or_else(|| mem::take(&mut self.given_back));
        let line = (self.kept.method().clone(), self.kept.uri().clone());
        Error::new(line, verdict, self.token.attempts(), missing)
            .with_source(self.source.take())
            .with_request(request)
    }
}

/// Returns whether the request can never be sent anywhere.
fn is_hopeless(attempt: &Attempt) -> bool {
    attempt.evidence().hand_off == HandOff::NotConnected(ConnectFailure::BadTarget)
}

//! The future of one call.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::Service;

use super::call::{Again, Call, NextStep};
use crate::attempt::AttemptToken;
use crate::body::Replayable;
use crate::chain::BoxError;
use crate::error::Error;
use crate::time::{Instant, Sleep, sleep_until};
use tower_resend_core::Ground;

pin_project! {
    /// The response to a request, or an [`Error`] with the request's fate.
    ///
    /// # Cancel safety
    ///
    /// Dropping it is safe at every point. It drops the attempt under way and starts no
    /// other. If a byte of the request had reached the kernel, the fate is *unknown*, and
    /// the caller cannot learn it. To learn it, set a deadline in the
    /// [`Policy`](crate::Policy) instead.
    ///
    /// # Panics
    ///
    /// Polling it after it was ready panics. So does polling it outside of a Tokio runtime
    /// with its timer enabled, if there is a deadline or a resend has to wait.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S::Future>,
        // One timer for limits and pauses, made when it is needed.
        #[pin]
        timer: Option<Sleep>,
        call: Call<S, B>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        // The inner service works on an attempt.
        Calling {
            #[pin]
            attempt: F,
        },
        // The pause before a resend; no attempt is under way.
        Waiting {
            ground: Ground,
        },
        // The inner service is polled until it can take the resend.
        Readying {
            ground: Ground,
        },
        // The outcome is decided, and nothing is under way any more.
        Done,
    }
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<B>>,
    B: Replayable + Send + 'static,
{
    /// Starts the first attempt with `send`.
    #[inline]
    pub(super) fn new(
        mut call: Call<S, B>,
        send: impl FnOnce(&mut S, &AttemptToken) -> S::Future,
    ) -> Self {
        let attempt = call.in_span(send);
        Self { state: State::Calling { attempt }, timer: None, call }
    }
}

impl<S, B, RB> Future for ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<RB>>,
    S::Error: Into<BoxError>,
    B: Replayable + Send + 'static,
{
    type Output = Result<Response<RB>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProj::Calling { attempt } => {
                    let polled = this.call.span.in_scope(|| attempt.poll(cx));
                    if polled.is_pending() {
                        ready!(poll_until(this.timer.as_mut(), this.call.limit(), cx));
                    }
                    let before = this.call.recorded_if(polled.is_pending());
                    // The attempt's future is dropped before the token is read, because a
                    // dropped hand-off is recorded too.
                    this.state.set(State::Done);
                    match this.call.on_end(polled, before) {
                        NextStep::Deliver(outcome) => return Poll::Ready(outcome),
                        NextStep::Resend(Again { ground, at: Some(at) }) => {
                            set(this.timer.as_mut(), at);
                            this.state.set(State::Waiting { ground });
                        }
                        NextStep::Resend(Again { ground, at: None }) => {
                            this.state.set(State::Readying { ground });
                        }
                    }
                }
                StateProj::Waiting { ground } => {
                    let ground = *ground;
                    if let Some(timer) = this.timer.as_mut().as_pin_mut() {
                        ready!(timer.poll(cx));
                    }
                    this.state.set(State::Readying { ground });
                }
                StateProj::Readying { ground } => {
                    let ground = *ground;
                    let resent = match this.call.service.poll_ready(cx) {
                        Poll::Ready(Ok(())) if this.call.is_late() => Err(this.call.on_late()),
                        Poll::Ready(Ok(())) => {
                            let request = this.call.next_request(ground);
                            request.map(|it| this.call.in_span(|service, _| service.call(it)))
                        }
                        Poll::Ready(Err(error)) => Err(this.call.on_unready(error.into())),
                        Poll::Pending => {
                            ready!(poll_until(this.timer.as_mut(), this.call.deadline(), cx));
                            Err(this.call.on_late())
                        }
                    };
                    match resent {
                        Ok(attempt) => this.state.set(State::Calling { attempt }),
                        Err(error) => {
                            this.state.set(State::Done);
                            return Poll::Ready(Err(error));
                        }
                    }
                }
                StateProj::Done => panic!("polled after it was ready"),
            }
        }
    }
}

impl<S, B> fmt::Debug for ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Calling { .. } => "calling",
            State::Waiting { .. } => "waiting",
            State::Readying { .. } => "readying",
            State::Done => "done",
        };
        f.debug_struct("ResponseFuture").field("state", &state).finish_non_exhaustive()
    }
}

/// Waits until `limit`; forever if there is none.
fn poll_until(
    mut timer: Pin<&mut Option<Sleep>>,
    limit: Option<Instant>,
    cx: &mut Context<'_>,
) -> Poll<()> {
    let Some(limit) = limit else {
        return Poll::Pending;
    };
    set(timer.as_mut(), limit);
    timer.as_pin_mut().map_or(Poll::Pending, |timer| timer.poll(cx))
}

/// Sets the timer to `at`, unless it is set to that already.
fn set(mut timer: Pin<&mut Option<Sleep>>, at: Instant) {
    match timer.as_mut().as_pin_mut() {
        Some(timer) if timer.deadline() == at => {}
        Some(timer) => timer.reset(at),
        None => timer.set(Some(sleep_until(at))),
    }
}

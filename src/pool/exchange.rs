//! One request's way over a pooled connection.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Method, Request};

use super::call::{Call, InFlight, Lost, ResponseOutcome, recover};
use super::failure::Failure;
use super::host::OriginPool;
use super::key::WireUndo;
use crate::attempt::{AttemptToken, Sent};
use crate::body::{Framing, FramingError, RequestBody};
use crate::connect::ConnectError;

/// The response future of a [`Pool`](super::Pool).
///
/// # Cancel safety
///
/// Dropping it ends the attempt: its connection is reset, so that nothing of
/// the request travels any further, and its evidence is recorded as *cancelled*.
pub struct ResponseFuture<B: RequestBody>(State<B>);

enum State<B: RequestBody> {
    /// The request is on an idle connection.
    InFlight(InFlight<B>),
    /// Everything else: a connection to wait for, a failure to resolve.
    Slow(Pin<Box<dyn Future<Output = ResponseOutcome> + Send>>),
    /// The request cannot be sent at all.
    Failed(Option<Failure>),
}

/// Why there is no way to send a request.
pub(super) enum Unsent {
    NoTarget(ConnectError),
    /// Its head and its body contradict each other.
    Contradictory(FramingError),
}

impl<B: RequestBody> ResponseFuture<B> {
    /// Sends a request that is in the form for the wire.
    #[inline]
    pub(super) fn start(
        host: Arc<OriginPool<B>>,
        request: Request<B>,
        framing: Framing,
        form: WireUndo,
        token: Option<AttemptToken>,
        on_waiting: impl FnOnce(),
    ) -> Self {
        let sent = Sent::of(&request);
        let is_connect = request.method() == Method::CONNECT;
        let call = Call { host, token, form, framing, is_connect, sent };
        let want = call.want();
        let Some(lease) = call.host.idle(want) else {
            on_waiting();
            return Self(State::Slow(Box::pin(call.drive(request, want, None))));
        };
        if call.needs_priming(&lease) {
            return Self(State::Slow(Box::pin(call.drive(request, want, Some(lease)))));
        }
        Self(match call.send(lease, request) {
            Ok(in_flight) => State::InFlight(in_flight),
            Err(lost) => State::Slow(match *lost {
                Lost::HandedBack(call, request, _) => {
                    Box::pin(call.drive(*request, want.after_hand_back(), None))
                }
                lost => Box::pin(recover(lost)),
            }),
        })
    }

    /// Fails a request that there is no way to send.
    pub(super) fn fail(request: Request<B>, token: Option<AttemptToken>, why: Unsent) -> Self {
        let failure = match why {
            Unsent::NoTarget(why) => Failure::not_connected(why),
            Unsent::Contradictory(why) => Failure::not_sendable(why),
        };
        if let Some(token) = token {
            token.record(failure.attempt().clone());
            token.give_back(request);
        }
        Self(State::Failed(Some(failure)))
    }
}

impl<B: RequestBody> Future for ResponseFuture<B> {
    type Output = ResponseOutcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ResponseOutcome> {
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
impl<B: RequestBody> Unpin for ResponseFuture<B> {}

impl<B: RequestBody> fmt::Debug for ResponseFuture<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.0 {
            State::InFlight(_) => "InFlight",
            State::Slow(_) => "Slow",
            State::Failed(_) => "Failed",
        };
        f.debug_tuple("ResponseFuture").field(&state).finish()
    }
}

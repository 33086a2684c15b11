//! A transport at the bottom of a stack, and checks that any stack passes.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "this is a test")]

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::{HeaderMap, Request, Response, StatusCode};
use tower::{BoxError, Service, ServiceExt};
use tower_resend::{Attempt, AttemptToken, Error};
use tower_resend_core::{EndedBy, Evidence, HandOff};

use super::inner::{Octets, Reply, record};

/// What a transport does with its nth request, from 0.
type Script = Box<dyn FnMut(usize) -> Reply + Send>;

/// A transport that plays a script, and keeps the heads of its requests.
///
/// It records hand-offs where there is a token, as this crate's own does.
#[derive(Clone)]
pub(crate) struct Wire {
    script: Arc<Mutex<Script>>,
    heads: Arc<Mutex<Vec<HeaderMap>>>,
    fields: HeaderMap,
    body: Octets,
}

impl Wire {
    pub(crate) fn new(script: impl FnMut(usize) -> Reply + Send + 'static) -> Self {
        Self {
            script: Arc::new(Mutex::new(Box::new(script))),
            heads: Arc::default(),
            fields: HeaderMap::new(),
            body: Octets::from("paid"),
        }
    }

    /// Replies in turn, and with 200 from then on.
    pub(crate) fn of(replies: Vec<Reply>) -> Self {
        let mut replies = replies.into_iter();
        Self::new(move |_| replies.next().unwrap_or_else(super::inner::ok))
    }

    /// Answers with this field and this body.
    pub(crate) fn answering(mut self, field: (&'static str, &str), body: &'static [u8]) -> Self {
        self.fields.insert(field.0, field.1.parse().unwrap());
        self.body = Octets::from(body);
        self
    }

    /// How many requests there were.
    pub(crate) fn calls(&self) -> usize {
        self.heads.lock().unwrap().len()
    }

    /// The fields of each request.
    pub(crate) fn heads(&self) -> Vec<HeaderMap> {
        self.heads.lock().unwrap().clone()
    }
}

impl Service<Request<Octets>> for Wire {
    type Response = Response<Octets>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Octets>, BoxError>> + Send + Sync>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Octets>) -> Self::Future {
        let token = request.extensions().get::<AttemptToken>().cloned();
        let reply = {
            let mut heads = self.heads.lock().unwrap();
            heads.push(request.headers().clone());
            assert!(heads.len() < 100, "the stack never stops");
            (self.script.lock().unwrap())(heads.len() - 1)
        };
        let mut response = Response::new(self.body.clone());
        *response.headers_mut() = self.fields.clone();
        Box::pin(play(reply, token.unwrap_or_default(), response))
    }
}

async fn play(
    reply: Reply,
    token: AttemptToken,
    mut response: Response<Octets>,
) -> Result<Response<Octets>, BoxError> {
    let note = |all: Vec<Evidence>| all.into_iter().for_each(|evidence| record(&token, evidence));
    match reply {
        Reply::Fail(hand_offs) => {
            note(hand_offs);
            Err("the connection failed".into())
        }
        Reply::Answer(status, hand_offs) => {
            note(hand_offs);
            *response.status_mut() = StatusCode::from_u16(status)?;
            Ok(response)
        }
        Reply::Hang(_) => {
            let _in_flight = InFlight(token);
            std::future::pending().await
        }
    }
}

/// A written request. Dropped, it records what this crate's transport does.
struct InFlight(AttemptToken);

impl Drop for InFlight {
    fn drop(&mut self) {
        record(&self.0, Evidence::new(HandOff::Written).with_ended_by(EndedBy::Caller));
    }
}

// ===== what any stack must be =====

/// A stack that can be shared between tasks, with futures that can be sent.
pub(crate) trait Stack: Service<Request<Octets>> + Clone + Send + Sync + 'static {}

impl<S> Stack for S where
    S: Service<Request<Octets>, Future: Send + 'static> + Clone + Send + Sync + 'static
{
}

/// Sends a request through a stack over a wire; returns the result and how
/// many requests the wire got.
pub(crate) async fn send<S, RB>(
    wire: Wire,
    request: Request<Octets>,
    stack: impl FnOnce(Wire) -> S,
) -> (Result<Response<RB>, BoxError>, usize)
where
    S: Stack + Service<Request<Octets>, Response = Response<RB>, Error: Into<BoxError>>,
{
    let counts = wire.clone();
    let result = stack(wire).oneshot(request).await.map_err(Into::into);
    (result, counts.calls())
}

/// Returns this crate's error, wherever it is in the chain.
pub(crate) fn ours(error: &BoxError) -> &Error {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error.as_ref());
    while let Some(error) = next {
        if let Some(ours) = error.downcast_ref() {
            return ours;
        }
        next = error.source();
    }
    panic!("no error of this crate in the chain of {error}")
}

/// Returns the fates behind a response.
pub(crate) fn fates<B>(response: &Response<B>) -> Vec<tower_resend_core::Fate> {
    tower_resend::attempts(response).iter().map(Attempt::fate).collect()
}

//! reqwest's own client as a service that leaves evidence.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower::Service;

use super::chain;
use crate::attempt::{Attempt, AttemptToken, Sent};
use crate::classify::{Answer, ConnectFailure, Contract, EndedBy, Evidence, HandOff};
use crate::error::BoxError;

/// Makes a client of reqwest's builder that leaves evidence of what became of
/// its requests.
///
/// Redirects and reqwest's own retries are turned off, whatever was set: with
/// at most one request for each call, an error speaks of that request and not
/// of one after it. Everything else stays as it was set.
///
/// # Errors
///
/// reqwest's own, if the client cannot be built.
pub fn wrap(builder: ::reqwest::ClientBuilder) -> Result<Wrapped, ::reqwest::Error> {
    let once = builder.redirect(::reqwest::redirect::Policy::none());
    Ok(Wrapped(once.retry(::reqwest::retry::never()).build()?))
}

/// A client of reqwest that leaves evidence; made by [`wrap`].
///
/// Records each request in the [`AttemptToken`] among its extensions, which a
/// [`ResendLayer`](crate::ResendLayer) puts there, and in its [`Failure`].
/// Clones share their connections.
///
/// # Errors
///
/// [`Failure`], for every failure before the response's head.
///
/// # Cancel safety
///
/// Dropping the future gives the request up, and its attempt is recorded as
/// one of which nothing is known.
#[derive(Clone, Debug)]
pub struct Wrapped(::reqwest::Client);

impl<B> Service<Request<B>> for Wrapped
where
    B: Body + Send + Sync + 'static,
    B::Data: Into<Bytes>,
    B::Error: Into<BoxError>,
{
    type Response = Response<::reqwest::Body>;
    type Error = Failure;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> ResponseFuture {
        let token = request.extensions_mut().remove::<AttemptToken>();
        let is_polled = Arc::new(AtomicBool::new(false));
        let sent = Sent::of(&request);
        let call = Call { token, sent, is_over: false, is_polled: Arc::clone(&is_polled) };
        let request = request.map(|inner| ::reqwest::Body::wrap(Watched { inner, is_polled }));
        ResponseFuture(Box::pin(call.drive(self.0.clone(), request)))
    }
}

type Answered = Result<Response<::reqwest::Body>, Failure>;

/// The response future of a [`Wrapped`] client.
///
/// # Cancel safety
///
/// Dropping it gives the request up, and its attempt is recorded as one of
/// which nothing is known.
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture(Pin<Box<dyn Future<Output = Answered> + Send>>);

impl Future for ResponseFuture {
    type Output = Answered;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answered> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// One call. Dropped before its end, it is recorded all the same: a layer
/// above may go on with another.
struct Call {
    token: Option<AttemptToken>,
    sent: Sent,
    is_over: bool,
    is_polled: Arc<AtomicBool>,
}

impl Call {
    async fn drive(
        mut self,
        client: ::reqwest::Client,
        request: Request<::reqwest::Body>,
    ) -> Answered {
        let request = match ::reqwest::Request::try_from(request) {
            Ok(request) => request,
            Err(source) => return Err(self.not_sent(source)),
        };
        let is_http = matches!(request.url().scheme(), "http" | "https");
        match client.execute(request).await {
            Ok(response) => {
                let answered = Evidence::new(HandOff::Written).with_answer(Answer::Complete);
                self.record(answered);
                Ok(response.into())
            }
            // reqwest looks at that before anything else. The kind of its error
            // alone proves nothing: what it finds wrong with the target of a
            // redirect, after an answer, has that kind too.
            Err(source) if !is_http && source.is_builder() => Err(self.not_sent(source)),
            Err(source) => {
                let is_polled = self.is_polled.load(Ordering::Acquire);
                let attempt = self.record(chain::evidence(&source, is_polled));
                Err(Failure::new(attempt, source))
            }
        }
    }

    fn not_sent(&mut self, source: ::reqwest::Error) -> Failure {
        let why = HandOff::NotConnected(ConnectFailure::BadTarget);
        Failure::new(self.record(Evidence::new(why)), source)
    }

    fn record(&mut self, evidence: Evidence) -> Attempt {
        let attempt = Attempt::new(evidence, &Contract::none()).of_ours().sending(self.sent);
        if let Some(token) = &self.token {
            token.record(attempt.clone());
        }
        self.is_over = true;
        attempt
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.is_over {
            self.record(Evidence::new(HandOff::Unrecorded).with_ended_by(EndedBy::Caller));
        }
    }
}

pin_project! {
    /// A request's body that notes when it is first asked for.
    struct Watched<B> {
        #[pin]
        inner: B,
        is_polled: Arc<AtomicBool>,
    }
}

impl<B: Body> Body for Watched<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        this.is_polled.store(true, Ordering::Release);
        this.inner.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The error of a request that reqwest could not get answered, with the
/// attempt that failed. The source is reqwest's own error.
#[derive(Debug)]
pub struct Failure(Box<Inner>);

#[derive(Debug)]
struct Inner {
    attempt: Attempt,
    source: ::reqwest::Error,
}

impl Failure {
    fn new(attempt: Attempt, source: ::reqwest::Error) -> Self {
        // It is printed whole, a password and what follows the path too.
        let source = source.without_url();
        Self(Box::new(Inner { attempt, source }))
    }

    /// Returns the attempt that failed, with its evidence and fate.
    pub fn attempt(&self) -> &Attempt {
        &self.0.attempt
    }

    /// Returns reqwest's own error, without its URL, which may have a secret in it.
    pub fn into_error(self) -> ::reqwest::Error {
        self.0.source
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.attempt, f)
    }
}

impl StdError for Failure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0.source)
    }
}

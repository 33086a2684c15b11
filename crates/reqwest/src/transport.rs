//! reqwest's own client as a transport that leaves evidence.

use std::fmt;
use std::future::{self, Future};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower::Service;
use tower_resend::__adapter::{Contradictory, GuardedBody, SentRequest, guard};
use tower_resend::body::SendableBody;
use tower_resend::{Attempt, AttemptError, AttemptToken, BoxError};
use tower_resend_core::{Answer, ConnectFailure, EndedBy, Evidence, HandOff};

use crate::chain;

/// Builds a client that leaves evidence of what became of its requests.
///
/// Turns off redirects and reqwest's own retries, whatever was set: with at most one request
/// for each call, an error is about that request and not about a later one. All other
/// settings stay.
///
/// # Errors
///
/// reqwest's own error, if the client cannot be built.
pub fn with_evidence(builder: reqwest::ClientBuilder) -> Result<ReqwestTransport, reqwest::Error> {
    let once = builder.redirect(reqwest::redirect::Policy::none());
    Ok(ReqwestTransport(once.retry(reqwest::retry::never()).build()?))
}

/// A client of reqwest as a transport that leaves evidence; made by [`with_evidence`].
///
/// Records each attempt in the [`AttemptToken`] that a
/// [`ResendLayer`](tower_resend::ResendLayer) put among the request's extensions, and fails
/// with an [`AttemptError`]. Clones share their connections.
///
/// A request whose head and body contradict each other is not given to reqwest, and one
/// whose body turns out to have another length fails. The client's default header fields are
/// not checked. A request that came as HTTP/2 or 3 is sent in the version that the client
/// speaks.
///
/// # Errors
///
/// [`AttemptError`], for every failure before the response's head. Its source is
/// reqwest's own error without its URL, which may contain a secret, or why reqwest was not
/// given the request. There is no source where reqwest cut the request and was answered.
///
/// # Cancel safety
///
/// Dropping the future ends the attempt. It is recorded as *unknown*, by
/// [`Doubt::NoEvidence`](tower_resend_core::Doubt::NoEvidence).
#[derive(Clone, Debug)]
pub struct ReqwestTransport(reqwest::Client);

impl<B> Service<Request<B>> for ReqwestTransport
where
    B: Body + Send + Sync + 'static,
    B::Data: Into<Bytes>,
    B::Error: Into<BoxError>,
{
    type Response = Response<reqwest::Body>;
    type Error = AttemptError;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), AttemptError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> ResponseFuture {
        let token = request.extensions_mut().remove::<AttemptToken>();
        let request = match guard(request.map(|inner| AsBytes { inner })) {
            Ok(request) => request,
            Err(contradictory) => {
                let Contradictory { error, request, .. } = *contradictory;
                if let Some(token) = token {
                    token.record(error.attempt().clone());
                    token.give_back(request.map(|body| body.inner));
                }
                return ResponseFuture(Box::pin(future::ready(Err(error))));
            }
        };
        let sent = SentRequest::of(&request);
        let seen = Arc::new(BodyObserver::default());
        let call = ReqwestCall { token, sent, is_over: false, seen: Arc::clone(&seen) };
        let request = request.map(|inner| reqwest::Body::wrap(ObservedBody { inner, seen }));
        ResponseFuture(Box::pin(call.drive(self.0.clone(), request)))
    }
}

type CallResult = Result<Response<reqwest::Body>, AttemptError>;

/// The response future of a [`ReqwestTransport`].
///
/// # Cancel safety
///
/// Dropping it ends the attempt, which is recorded as *unknown*.
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture(Pin<Box<dyn Future<Output = CallResult> + Send>>);

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

/// One call. Dropped before its end, it is recorded all the same: a layer above may send
/// another request.
struct ReqwestCall {
    token: Option<AttemptToken>,
    sent: SentRequest,
    is_over: bool,
    seen: Arc<BodyObserver>,
}

impl ReqwestCall {
    async fn drive(
        mut self,
        client: reqwest::Client,
        request: Request<reqwest::Body>,
    ) -> CallResult {
        let request = match reqwest::Request::try_from(request) {
            Ok(request) => request,
            Err(source) => return Err(self.not_sent(source)),
        };
        let is_http = matches!(request.url().scheme(), "http" | "https");
        match client.execute(request).await {
            Ok(response) => {
                let answered = Evidence::new(HandOff::Written).with_answer(Answer::Complete);
                let is_http1 = response.version() <= Version::HTTP_11;
                if is_http1 && self.seen.is_unasked.load(Ordering::Acquire) {
                    let attempt = self.record(answered.with_ended_by(EndedBy::RequestBody));
                    return Err(AttemptError::new(attempt));
                }
                self.record(answered);
                Ok(response.into())
            }
            // reqwest checks the scheme before anything else. The kind of its error alone
            // proves nothing: a bad target of a redirect, after an answer, has that kind too.
            Err(source) if !is_http && source.is_builder() => Err(self.not_sent(source)),
            Err(source) => {
                let is_polled = self.seen.is_polled.load(Ordering::Acquire);
                let mut evidence = chain::evidence(&source, is_polled);
                if self.seen.is_failed.load(Ordering::Acquire) {
                    evidence = evidence.with_ended_by(EndedBy::RequestBody);
                }
                Err(AttemptError::new(self.record(evidence)).with_source(without_url(source)))
            }
        }
    }

    fn not_sent(&mut self, source: reqwest::Error) -> AttemptError {
        let why = HandOff::NotConnected(ConnectFailure::BadTarget);
        AttemptError::new(self.record(Evidence::new(why))).with_source(without_url(source))
    }

    fn record(&mut self, evidence: Evidence) -> Attempt {
        let attempt = self.sent.attempt(evidence);
        if let Some(token) = &self.token {
            token.record(attempt.clone());
        }
        self.is_over = true;
        attempt
    }
}

impl Drop for ReqwestCall {
    fn drop(&mut self) {
        if !self.is_over {
            self.record(Evidence::new(HandOff::Unrecorded).with_ended_by(EndedBy::Caller));
        }
    }
}

/// What happened to a request's body.
#[derive(Default)]
struct BodyObserver {
    /// A connection polled it.
    is_polled: AtomicBool,
    is_failed: AtomicBool,
    /// It was dropped, and its content had never been polled.
    is_unasked: AtomicBool,
}

pin_project! {
    /// A request's body that notes when it is first polled.
    struct ObservedBody<B> {
        #[pin]
        inner: GuardedBody<B>,
        seen: Arc<BodyObserver>,
    }

    impl<B> PinnedDrop for ObservedBody<B> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if this.inner.is_unpolled() {
                this.seen.is_unasked.store(true, Ordering::Release);
            }
        }
    }
}

impl<B: SendableBody> Body for ObservedBody<B> {
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let this = self.project();
        this.seen.is_polled.store(true, Ordering::Release);
        let frame = ready!(this.inner.poll_frame(cx));
        if let Some(Err(_)) = &frame {
            this.seen.is_failed.store(true, Ordering::Release);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

pin_project! {
    /// A body whose data is converted to `Bytes`, which reqwest needs.
    struct AsBytes<B> {
        #[pin]
        inner: B,
    }
}

impl<B> Body for AsBytes<B>
where
    B: Body,
    B::Data: Into<Bytes>,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(self.project().inner.poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(Into::into))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Returns reqwest's error as the source of another, which is printed whole: its URL may
/// have a password or a secret after the path.
fn without_url(error: reqwest::Error) -> BoxError {
    error.without_url().into()
}

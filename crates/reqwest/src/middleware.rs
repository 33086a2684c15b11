//! reqwest's requests and responses over a tower service.

use async_trait::async_trait;
use bytes::Bytes;
use http::Extensions;
use http_body::Body as HttpBody;
use reqwest::{Request, Response, ResponseBuilderExt, Url};
use reqwest_middleware::{Error, Middleware, Next};
use tokio::time::timeout_at;
use tower::{Service, ServiceExt};
use tower_resend::__adapter::attempts_in;
use tower_resend::resend::Deadline;
use tower_resend::{Attempt, Body, BoxError};

use crate::errors::{NotHttp, TimedOut, into_middleware};
use crate::timeout::{RequestTimeout, TimeoutBody};

/// A middleware that sends reqwest's requests through a service, such as a
/// [`Client`](tower_resend::Client), instead of through reqwest.
///
/// Callers keep reqwest's `Request` with its own timeout, and reqwest's `Response` with its
/// URL. A request's extensions (`with_extension`) reach the service, for example an
/// [`Idempotent`](tower_resend::resend::Idempotent) mark. The [crate documentation](crate)
/// lists what reqwest's own client would have done besides.
///
/// A request's own timeout ends the call and the reading of its response's body, as it does
/// in reqwest. It is the call's [`Deadline`] too, in place of the
/// [`Policy`](tower_resend::Policy)'s 30 seconds, unless the request has one
/// (`with_extension`): no resend begins that it would cut off.
///
/// **It has to be the last middleware:** those after it are not called.
///
/// # Errors
///
/// Every error is a `reqwest_middleware::Error::Middleware`, and can be downcast to one of
/// these:
///
/// - the service's own error; [`error`](crate::error) finds tower-resend's
///   [`Error`](tower_resend::Error), and [`into_error`](crate::into_error) takes it out;
/// - [`NotHttp`] if the URL's scheme is neither `http` nor `https`;
/// - [`TimedOut`] if the request's own timeout passed, even if the service failed at that
///   very moment. The service's error is then the source, and [`error`](crate::error) finds
///   it too.
///
/// If the response's body fails, a [`ResponseBodyError`](tower_resend::pool::ResponseBodyError)
/// or a [`TimedOut`] is among the sources of reqwest's error.
///
/// # Cancel safety
///
/// That of the service's future. A request's timeout drops that future.
#[derive(Clone, Debug)]
pub struct ResendMiddleware<S> {
    service: S,
}

impl<S> ResendMiddleware<S> {
    /// Returns a middleware that sends through `service`. Its clones should share their
    /// connections.
    pub fn new(service: S) -> Self {
        Self { service }
    }
}

#[async_trait]
impl<S, RB> Middleware for ResendMiddleware<S>
where
    S: Service<http::Request<Body>, Response = http::Response<RB>>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    RB: HttpBody<Data = Bytes> + Send + Sync + 'static,
    RB::Error: Into<BoxError>,
{
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        _: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        let url = request.url().clone();
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Error::middleware(NotHttp { scheme: url.scheme().to_owned() }));
        }
        let timeout = request.timeout().copied();
        let limit = timeout.and_then(RequestTimeout::from_now);
        let mut request = http::Request::<reqwest::Body>::try_from(request)?.map(replayable);
        request.extensions_mut().extend(extensions.clone());

        let mut service = self.service.clone();
        let answered = async {
            let ready = service.ready().await?;
            if let (Some(timeout), None) = (timeout, request.extensions().get::<Deadline>()) {
                let left = limit.map_or(timeout, RequestTimeout::left);
                request.extensions_mut().insert(Deadline::new(left));
            }
            ready.call(request).await
        };
        let answered = match limit {
            None => answered.await,
            Some(limit) => match timeout_at(limit.cut_off(), answered).await {
                Ok(Err(error)) if limit.has_passed() => {
                    return Err(Error::middleware(TimedOut::waiting(limit.timeout, error.into())));
                }
                Ok(answered) => answered,
                Err(_) => return Err(Error::middleware(TimedOut::silent(limit.timeout))),
            },
        };
        match answered {
            Ok(response) => into_reqwest(response, url, limit),
            Err(error) => Err(into_middleware(error.into())),
        }
    }
}

/// Returns a body that can be sent again if its bytes are in memory.
fn replayable(body: reqwest::Body) -> Body {
    match body.as_bytes().map(Bytes::copy_from_slice) {
        Some(bytes) => Body::from(bytes),
        None => Body::new(body),
    }
}

fn into_reqwest<RB>(
    response: http::Response<RB>,
    url: Url,
    limit: Option<RequestTimeout>,
) -> reqwest_middleware::Result<Response>
where
    RB: HttpBody<Data = Bytes> + Send + Sync + 'static,
    RB::Error: Into<BoxError>,
{
    let (parts, body) = response.into_parts();
    let body = reqwest::Body::wrap(TimeoutBody::new(body, limit));
    // Only a builder takes the URL.
    let builder = http::Response::builder().status(parts.status).version(parts.version).url(url);
    let mut response = builder.body(body).map_err(Error::middleware)?;
    *response.headers_mut() = parts.headers;
    response.extensions_mut().extend(parts.extensions);
    Ok(response.into())
}

/// Returns the attempts behind a response, oldest first, as
/// [`tower_resend::attempts`] does: empty where the first was answered.
pub fn attempts(response: &Response) -> &[Attempt] {
    attempts_in(response.extensions())
}

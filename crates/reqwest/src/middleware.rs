//! reqwest's requests and responses over a service of this crate.

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
/// It keeps what callers see: reqwest's `Request` with its own timeout,
/// reqwest's `Response` with its URL. The extensions that a request is given
/// (`with_extension`) reach the service, an
/// [`Idempotent`](tower_resend::resend::Idempotent) mark for example. See the
/// [module](crate) for what reqwest's own client would have done besides.
///
/// A request's own timeout ends the call and the reading of its response's
/// body, as reqwest has it. It is the call's [`Deadline`]
/// too, in place of the [`Policy`](tower_resend::Policy)'s 30 seconds, unless the request
/// was given one (`with_extension`): no resend begins that it would cut off.
///
/// **It has to be the last middleware:** those after it are not called.
///
/// # Errors
///
/// All are of the kind `reqwest_middleware::Error::Middleware`, with a type
/// that it can be downcast to:
///
/// - the service's own error; for this crate's [`Error`](tower_resend::Error) use
///   [`error`](crate::error), and [`into_error`](crate::into_error) to have it;
/// - [`NotHttp`] if the URL's scheme is neither `http` nor `https`;
/// - [`TimedOut`] if the request's own timeout passed, even where the service
///   fails at that very moment: what that said is its source, and
///   [`error`](crate::error) has it too.
///
/// If the response's body fails, the sources of reqwest's error tell why, a
/// [`ResponseBodyError`](tower_resend::pool::ResponseBodyError) or [`TimedOut`].
///
/// # Cancel safety
///
/// That of the service's future. A request's timeout drops it.
#[derive(Clone, Debug)]
pub struct ResendMiddleware<S> {
    service: S,
}

impl<S> ResendMiddleware<S> {
    /// Sends through a service whose clones share their connections.
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

/// Bytes in memory can be sent again, streams only where they are recorded.
fn replayable(body: reqwest::Body) -> Body {
    match body.as_bytes().map(Bytes::copy_from_slice) {
        Some(octets) => Body::from(octets),
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
/// [`attempts`](tower_resend::attempts) does: empty where the first was answered.
pub fn attempts(response: &Response) -> &[Attempt] {
    attempts_in(response.extensions())
}

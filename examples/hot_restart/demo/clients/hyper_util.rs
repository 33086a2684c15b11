//! hyper-util's legacy client, as it comes or over another connector, and with
//! "retry on any error".

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::TokioExecutor;
use tower_resend::adapter::hyper_util::Connector;

use super::{End, Outcome, chain};

#[derive(Clone)]
pub(in super::super) struct Client<C = HttpConnector>(legacy::Client<C, Full<Bytes>>);

impl Client {
    pub(super) fn new() -> Self {
        Self(legacy::Client::builder(TokioExecutor::new()).build_http())
    }
}

impl Client<Connector> {
    pub(super) fn over_our_connector() -> Self {
        Self(legacy::Client::builder(TokioExecutor::new()).build(Connector::new()))
    }
}

impl<C: Connect + Clone + Send + Sync + 'static> Client<C> {
    /// Posts until it works, `tries` times at most.
    pub(super) async fn post(&self, uri: Uri, body: String, tries: u32) -> Outcome {
        let body = Bytes::from(body);
        let mut end = self.post_once(&uri, &body).await;
        for _ in 1..tries {
            if let End::Answer { .. } = end {
                break;
            }
            end = self.post_once(&uri, &body).await;
        }
        end.into()
    }

    async fn post_once(&self, uri: &Uri, body: &Bytes) -> End {
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = uri.clone();
        let response = match self.0.request(request).await {
            Ok(response) => response,
            Err(error) if error.is_connect() => return End::ConnectRefused,
            Err(error) => return chain(&error).into(),
        };
        let status = response.status().as_u16();
        match response.into_body().collect().await {
            Ok(body) => End::Answer { status, body: body.to_bytes() },
            Err(error) => chain(&error).into(),
        }
    }
}

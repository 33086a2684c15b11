//! hyper-util's legacy client, as it comes or over another connector, and with
//! "retry on any error".

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::TokioExecutor;
use tower_resend::hyper_util::Connector;

use super::{End, Outcome, chain};

/// A client that posts until it works, so many times at most.
#[derive(Clone, Debug)]
pub struct Client<C = HttpConnector> {
    client: legacy::Client<C, Full<Bytes>>,
    tries: u32,
}

impl Client {
    /// Makes one with its defaults and an empty pool, to be called within its runtime.
    pub fn new() -> Self {
        Self { client: legacy::Client::builder(TokioExecutor::new()).build_http(), tries: 1 }
    }

    /// Returns one that makes every call that fails again, so many times in all.
    pub fn retry_on_error(tries: u32) -> Self {
        Self { tries, ..Self::new() }
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl Client<Connector> {
    /// Makes one over this crate's connector.
    pub fn over_our_connector() -> Self {
        let client = legacy::Client::builder(TokioExecutor::new()).build(Connector::new());
        Self { client, tries: 1 }
    }
}

impl<C: Connect + Clone + Send + Sync + 'static> super::Client for Client<C> {
    async fn post(&self, uri: Uri, body: String) -> Outcome {
        let body = Bytes::from(body);
        let mut end = self.post_once(&uri, &body).await;
        for _ in 1..self.tries {
            if let End::Answer { .. } = end {
                break;
            }
            end = self.post_once(&uri, &body).await;
        }
        end.into()
    }
}

impl<C: Connect + Clone + Send + Sync + 'static> Client<C> {
    async fn post_once(&self, uri: &Uri, body: &Bytes) -> End {
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = uri.clone();
        let response = match self.client.request(request).await {
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

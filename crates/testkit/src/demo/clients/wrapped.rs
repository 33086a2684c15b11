//! hyper-util's legacy client under this crate's layer.

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use tower::{Layer, ServiceExt};
use tower_resend::hyper_util::{Connector, EvidenceClient, with_evidence};
use tower_resend::{Resend, ResendLayer, attempts};

use super::ours::{end_of, outcome};
use super::{End, Outcome, chain};

/// The client with the defaults of both.
#[derive(Clone, Debug)]
pub struct Client(Resend<EvidenceClient<Connector, Full<Bytes>>>);

impl Client {
    /// Makes one with an empty pool, to be called within its runtime.
    pub fn new() -> Self {
        let client = legacy::Client::builder(TokioExecutor::new()).build(Connector::new());
        Self(ResendLayer::default().layer(with_evidence(client)))
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl super::Client for Client {
    async fn post(&self, uri: Uri, body: String) -> Outcome {
        let mut request = Request::new(Full::from(body));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = uri;
        let response = match self.0.clone().oneshot(request).await {
            Ok(response) => response,
            Err(error) => return outcome(end_of(&error), error.attempts()),
        };
        let status = response.status().as_u16();
        let attempts = attempts(&response).to_vec();
        let end = match response.into_body().collect().await {
            Ok(body) => End::Answer { status, body: body.to_bytes() },
            Err(error) => chain(&error).into(),
        };
        outcome(end, &attempts)
    }
}

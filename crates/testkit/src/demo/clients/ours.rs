//! This crate's client.

use http::{Request, Uri};
use http_body_util::BodyExt;
use tower_resend::contract::ContractStatus;
use tower_resend::fate::{Fate, Proof};
use tower_resend::{Attempt, Body, Error, attempts};

use super::{End, Failure, Outcome};

/// The client with its defaults.
#[derive(Clone, Debug, Default)]
pub struct Client(tower_resend::Client);

impl Client {
    /// Makes one with an empty pool.
    pub fn new() -> Self {
        Self(tower_resend::Client::new())
    }

    /// Posts, and returns every attempt too; none is one clean attempt.
    pub async fn try_post(&self, uri: Uri, body: String) -> (End, Vec<Attempt>) {
        let mut request = Request::new(Body::from(body));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = uri;
        let response = match self.0.request(request).await {
            Ok(response) => response,
            Err(error) => return (end_of(&error), error.attempts().to_vec()),
        };
        let status = response.status().as_u16();
        let attempts = attempts(&response).to_vec();
        let end = match response.into_body().collect().await {
            Ok(body) => End::Answer { status, body: body.to_bytes() },
            Err(error) => format!("the answer's body failed: {error}").into(),
        };
        (end, attempts)
    }
}

impl super::Client for Client {
    async fn post(&self, uri: Uri, body: String) -> Outcome {
        let (end, attempts) = self.try_post(uri, body).await;
        outcome(end, &attempts)
    }
}

/// Makes an outcome of how a call ended and of its attempts.
pub fn outcome(end: End, attempts: &[Attempt]) -> Outcome {
    let grounds = attempts.iter().filter_map(Attempt::ground).map(|ground| ground.id()).collect();
    Outcome { end, grounds, is_first: is_first(attempts) }
}

/// Returns `true` if the last attempt was the first on its connection.
fn is_first(attempts: &[Attempt]) -> bool {
    attempts.last().and_then(Attempt::contract_status) == Some(&ContractStatus::FirstRequest)
}

/// A call whose last attempt found no connection ended as "connect refused".
pub fn end_of(error: &Error) -> End {
    match error.attempts().last().map(Attempt::fate) {
        Some(Fate::NotApplied(Proof::NotConnected(_))) => End::ConnectRefused,
        _ => End::Failed(Failure {
            reason: format!("{}; {}", error.fate(), error.no_resend()),
            text: error.to_string(),
        }),
    }
}

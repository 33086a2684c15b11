//! reqwest, as it comes and with this crate's middleware.

use http::Uri;
use reqwest::Response;
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use tower_resend_reqwest::{ResendMiddleware, attempts, error};

use super::ours::{end_of, outcome};
use super::{End, Outcome, chain};

/// reqwest with its defaults, but for a proxy that this machine may be set to.
fn plain() -> reqwest::Client {
    let built = reqwest::Client::builder().no_proxy().build();
    built.expect("without TLS there is nothing to fail")
}

/// reqwest with its defaults.
#[derive(Clone, Debug)]
pub struct Plain(reqwest::Client);

impl Plain {
    /// Makes one with an empty pool.
    pub fn new() -> Self {
        Self(plain())
    }
}

impl Default for Plain {
    fn default() -> Self {
        Self::new()
    }
}

impl super::Client for Plain {
    async fn post(&self, uri: Uri, body: String) -> Outcome {
        match self.0.post(uri.to_string()).body(body).send().await {
            Ok(response) => read(response).await.into(),
            Err(error) => failed(error).into(),
        }
    }
}

/// reqwest with this crate's client as its middleware.
#[derive(Clone, Debug)]
pub struct Through(ClientWithMiddleware);

impl Through {
    /// Makes one with an empty pool.
    pub fn new() -> Self {
        let through = ResendMiddleware::new(tower_resend::Client::new());
        Self(ClientBuilder::new(plain()).with(through).build())
    }
}

impl Default for Through {
    fn default() -> Self {
        Self::new()
    }
}

impl super::Client for Through {
    async fn post(&self, uri: Uri, body: String) -> Outcome {
        let failure = match self.0.post(uri.to_string()).body(body).send().await {
            Ok(response) => {
                let attempts = attempts(&response).to_vec();
                return outcome(read(response).await, &attempts);
            }
            Err(failure) => failure,
        };
        match error(&failure) {
            Some(error) => outcome(end_of(error), error.attempts()),
            None => End::from(chain(&failure)).into(),
        }
    }
}

async fn read(response: Response) -> End {
    let status = response.status().as_u16();
    match response.bytes().await {
        Ok(body) => End::Answer { status, body },
        Err(error) => failed(error),
    }
}

fn failed(error: reqwest::Error) -> End {
    match error.is_connect() {
        true => End::ConnectRefused,
        false => chain(&error.without_url()).into(),
    }
}

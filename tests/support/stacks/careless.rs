//! Stacks that claim more than they keep. The suites must catch them.

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::TokioExecutor;
use tower_resend::Body;
use tower_resend::classify::{Fate, Proof};

use super::payload::Payload;
use super::{Called, Class, Settings, Stack};

type Legacy = Client<HttpConnector, Body>;

fn legacy() -> Legacy {
    Client::builder(TokioExecutor::new()).build_http()
}

async fn send(client: &Legacy, request: &Request<Payload>) -> Result<Response<Incoming>, Error> {
    client.request(request.clone().map(Payload::into_body)).await
}

/// Claims that it looks, and has hyper-util's own connector.
#[derive(Clone)]
pub struct Blind(Legacy);

impl Stack for Blind {
    const CLASS: Class = Class::LOOK;

    fn new(_: &Settings) -> Self {
        Self(legacy())
    }

    async fn call(&self, request: Request<Payload>) -> Called {
        match send(&self.0, &request).await {
            Ok(response) => Called::answered(response).await,
            Err(error) => Called::failed(None, error),
        }
    }
}

/// Sends again after every error.
#[derive(Clone)]
pub struct Careless(Legacy);

impl Stack for Careless {
    const CLASS: Class = Class::LOOK;

    fn new(_: &Settings) -> Self {
        Self(legacy())
    }

    async fn call(&self, request: Request<Payload>) -> Called {
        let mut answered = send(&self.0, &request).await;
        for _ in 0..2 {
            if answered.is_err() {
                answered = send(&self.0, &request).await;
            }
        }
        match answered {
            Ok(response) => Called::answered(response).await,
            Err(error) => Called::failed(None, error),
        }
    }
}

/// Takes every error for a proof that nothing was sent.
#[derive(Clone)]
pub struct Boastful(Legacy);

impl Stack for Boastful {
    const CLASS: Class = Class::FULL;

    fn new(_: &Settings) -> Self {
        Self(legacy())
    }

    async fn call(&self, request: Request<Payload>) -> Called {
        let fate = Fate::NotApplied(Proof::NothingWritten);
        match send(&self.0, &request).await {
            Ok(response) => Called::answered(response).await,
            Err(error) => Called::failed(Some(fate), error),
        }
    }
}

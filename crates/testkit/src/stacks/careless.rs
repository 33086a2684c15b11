//! Stacks that claim more than they keep. The suites must catch them.

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::TokioExecutor;
use tower::ServiceExt;
use tower_resend::Body;
use tower_resend_core::{Fate, Proof};

use super::legacy::Connects;
use super::payload::Payload;
use super::{Called, Class, Level, Scheme, Settings, Stack, redirecting};

impl Connects for HttpConnector {
    const CLASS: Class = Class::WEAK;

    fn of(_: &Settings) -> Self {
        Self::new()
    }
}

fn legacy<C: Connects>(settings: &Settings) -> Client<C, Body> {
    Client::builder(TokioExecutor::new()).build(C::of(settings))
}

async fn send<C: Connects>(
    client: &Client<C, Body>,
    request: &Request<Payload>,
) -> Result<Response<Incoming>, Error> {
    client.request(request.clone().map(Payload::into_body)).await
}

/// Claims that it looks, and has hyper-util's own connector.
#[derive(Clone)]
pub struct Blind<C = HttpConnector>(Client<C, Body>);

impl<C: Connects> Stack for Blind<C> {
    const CLASS: Class = Class::LOOK;
    const SCHEME: Scheme = C::SCHEME;

    fn new(settings: &Settings) -> Self {
        Self(legacy(settings))
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
pub struct Careless<C = HttpConnector> {
    client: Client<C, Body>,
    level: Level,
}

impl<C: Connects> Stack for Careless<C> {
    const CLASS: Class = Class::LOOK;
    const SCHEME: Scheme = C::SCHEME;

    fn new(settings: &Settings) -> Self {
        Self { client: legacy(settings), level: settings.level }
    }

    async fn call(&self, request: Request<Payload>) -> Called {
        let mut answered = self.send(&request).await;
        for _ in 0..2 {
            if answered.is_err() {
                answered = self.send(&request).await;
            }
        }
        match answered {
            Ok(response) => Called::answered(response).await,
            Err(error) => Called::failed(None, error),
        }
    }
}

impl<C: Connects> Careless<C> {
    async fn send(&self, request: &Request<Payload>) -> Result<Response<Incoming>, Error> {
        match self.level {
            Level::Once | Level::Whole => send(&self.client, request).await,
            Level::Redirects(tokens) => {
                let request = request.clone().map(Payload::into_body);
                redirecting(self.client.clone(), tokens).oneshot(request).await
            }
        }
    }
}

/// Takes every error for a proof that nothing was sent.
#[derive(Clone)]
pub struct Boastful<C = HttpConnector>(Client<C, Body>);

impl<C: Connects> Stack for Boastful<C> {
    const CLASS: Class = Class::FULL;
    const SCHEME: Scheme = C::SCHEME;

    fn new(settings: &Settings) -> Self {
        Self(legacy(settings))
    }

    async fn call(&self, request: Request<Payload>) -> Called {
        let fate = Fate::NotApplied(Proof::NothingWritten);
        match send(&self.0, &request).await {
            Ok(response) => Called::answered(response).await,
            Err(error) => Called::failed(Some(fate), error),
        }
    }
}

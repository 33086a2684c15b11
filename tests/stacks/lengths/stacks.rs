//! The stacks that the cells go through.

use std::error::Error as StdError;
use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderMap, Method, Request, Version};
use http_body_util::BodyExt;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tower::{Layer, Service, ServiceExt};
use tower_resend::hyper_util::{Connector, EvidenceClient, with_evidence};
use tower_resend::pool::{Pool, PoolOptions};
use tower_resend::{AttemptToken, Client, Error, Resend, ResendLayer, body};
use tower_resend_core::{ConnectFailure, HandOff, NoResend};
use tower_resend_reqwest as adapter;

use super::body::{Kind, Raw};

/// One request to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) name: String,
    pub(crate) method: Method,
    pub(crate) version: Version,
    pub(crate) body: Kind,
    pub(crate) fields: HeaderMap,
}

/// What the caller of a stack got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Answered,
    /// Nothing was sent, for this reason.
    Refused(String),
    /// It was answered, without its content.
    Cut,
    /// The client behind rejected it, which the error does not tell.
    Unknown,
    /// The body failed, by this error.
    Failed(String),
}

/// All stacks, each with connections of its own.
pub(crate) struct Stacks {
    at: SocketAddr,
    client: Client,
    pool: Pool<Raw>,
    /// How long the control is waited for, which may have cut a message.
    pub(crate) patience: Duration,
    /// The control: nothing of this crate.
    alone: legacy::Client<HttpConnector, Raw>,
    hyper_util: Resend<EvidenceClient<Connector, Raw>>,
    through: reqwest_middleware::ClientWithMiddleware,
    reqwest: Resend<adapter::ReqwestTransport>,
}

pub(crate) const STACKS: [&str; 5] =
    ["ours", "pool", "hyper-util", "reqwest through ours", "reqwest"];

impl Stacks {
    pub(crate) fn new(at: SocketAddr) -> Self {
        let legacy = legacy::Client::builder(TokioExecutor::new()).build(Connector::new());
        let builder = || reqwest::Client::builder().no_proxy();
        let idle = builder().build().unwrap();
        let through = adapter::ResendMiddleware::new(Client::new());
        Self {
            at,
            patience: Duration::from_millis(20),
            client: Client::new(),
            pool: Pool::new(PoolOptions::new()),
            alone: legacy::Client::builder(TokioExecutor::new()).build_http(),
            hyper_util: ResendLayer::default().layer(with_evidence(legacy)),
            through: reqwest_middleware::ClientBuilder::new(idle).with(through).build(),
            reqwest: ResendLayer::default().layer(adapter::with_evidence(builder()).unwrap()),
        }
    }

    /// Sends a cell's request through one of [`STACKS`], or after those through
    /// hyper-util alone. That may wait for ever, for an answer to a cut message.
    pub(crate) async fn call(&self, stack: usize, cell: &Cell) -> Told {
        match stack {
            0 => {
                let answered = self.client.request(self.request(cell, cell.body.body())).await;
                let answered = answered.map_err(|error| of_error(&error));
                read(answered).await
            }
            1 => self.through_pool(cell).await,
            2 => {
                let request = self.request(cell, cell.body.raw());
                let answered = self.hyper_util.clone().oneshot(request).await;
                read(answered.map_err(|error| of_error(&error))).await
            }
            3 => {
                let request = self.absolute(cell, cell.body.of_reqwest());
                let request = reqwest::Request::try_from(request).unwrap();
                match self.through.execute(request).await {
                    Ok(response) => read(Ok(http::Response::from(response))).await,
                    Err(error) => of_error(adapter::error(&error).expect("an error of ours")),
                }
            }
            5 => {
                let answered = self.alone.request(self.request(cell, cell.body.raw()));
                match tokio::time::timeout(self.patience, answered).await {
                    Ok(answered) => {
                        read(answered.map_err(|error| Told::Failed(error.to_string()))).await
                    }
                    Err(late) => Told::Failed(late.to_string()),
                }
            }
            _ => {
                let request = self.absolute(cell, cell.body.raw());
                let answered = self.reqwest.clone().oneshot(request).await;
                read(answered.map_err(|error| of_error(&error))).await
            }
        }
    }

    async fn through_pool(&self, cell: &Cell) -> Told {
        let token = AttemptToken::new();
        let mut request = self.request(cell, cell.body.raw());
        request.extensions_mut().insert(token.clone());
        let answered = self.pool.clone().call(request).await;
        let failed = |failure: tower_resend::AttemptError| {
            assert_eq!(token.len(), 1);
            told(&failure, failure.attempt().evidence().hand_off)
        };
        read(answered.map_err(failed)).await
    }

    fn request<B>(&self, cell: &Cell, body: B) -> Request<B> {
        let mut request = self.absolute(cell, body);
        if cell.method == Method::CONNECT {
            *request.uri_mut() = self.at.to_string().parse().unwrap();
        }
        request
    }

    /// All that reqwest knows.
    fn absolute<B>(&self, cell: &Cell, body: B) -> Request<B> {
        let mut request = Request::new(body);
        *request.method_mut() = cell.method.clone();
        let path = if cell.method == Method::CONNECT { "" } else { "pay" };
        *request.uri_mut() = format!("http://{}/{path}", self.at).parse().unwrap();
        *request.version_mut() = cell.version;
        *request.headers_mut() = cell.fields.clone();
        request.headers_mut().insert("x-cell", cell.name.parse().unwrap());
        request
    }
}

async fn read<B>(answered: Result<http::Response<B>, Told>) -> Told
where
    B: http_body::Body<Error: std::fmt::Debug> + Unpin,
{
    match answered {
        Ok(response) => {
            assert!(response.status().is_success());
            if response.extensions().get::<hyper::upgrade::OnUpgrade>().is_none() {
                response.into_body().collect().await.unwrap();
            }
            Told::Answered
        }
        Err(told) => told,
    }
}

/// One attempt, and no resend: it would fail the same way.
fn of_error(error: &Error) -> Told {
    assert_eq!(error.attempts().len(), 1, "{error}");
    let told = told(error, error.attempts()[0].evidence().hand_off);
    match &told {
        Told::Answered => unreachable!("an error"),
        Told::Refused(_) => {
            assert!(error.fate().is_not_applied(), "{error}");
            let refusals = (NoResend::Permanent, "not applied: ");
            let is_final = error.no_resend() == refusals.0
                || matches!(error.no_resend(), NoResend::NotSendable(_));
            assert!(is_final && error.to_string().starts_with(refusals.1), "{error}");
        }
        Told::Failed(_) | Told::Cut | Told::Unknown => {
            assert!(matches!(error.no_resend(), _), "{error}")
        }
    }
    told
}

fn told(error: &(dyn StdError + 'static), hand_off: HandOff) -> Told {
    match hand_off {
        HandOff::NotSendable(why) => return Told::Refused(format!("{why:?}")),
        HandOff::NotConnected(ConnectFailure::BadTarget) => {
            return Told::Refused("BadTarget".to_owned());
        }
        _ => {}
    }
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(why) = error.downcast_ref::<body::Error>() {
            let why = format!("{why:?}");
            return Told::Failed(why.split(' ').next().unwrap_or_default().to_owned());
        }
        next = error.source();
    }
    if hand_off == HandOff::Written {
        return Told::Cut;
    }
    assert_eq!(hand_off, HandOff::Unrecorded, "{error}: {:?}", error.source());
    Told::Unknown
}

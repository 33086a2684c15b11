//! The clients that are compared.

mod hyper_util;
pub(super) mod ours;
#[cfg(feature = "reqwest")]
mod reqwest;
mod wrapped;

use std::error::Error;

use bytes::Bytes;
use http::Uri;
use tower_resend::adapter::hyper_util::Connector;

/// Which client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// This crate's client with its defaults.
    TowerResend,
    /// hyper-util's legacy client with its defaults.
    HyperUtil,
    /// The same, and every call that fails is made again up to three times.
    RetryOnError,
    /// hyper-util's legacy client over this crate's connector, else unchanged.
    HyperUtilConnector,
    /// The same with evidence, under this crate's layer with its defaults.
    HyperUtilResend,
    /// reqwest with its defaults.
    #[cfg(feature = "reqwest")]
    Reqwest,
    /// reqwest with this crate's client as its middleware.
    #[cfg(feature = "reqwest")]
    ReqwestResend,
}

impl Kind {
    /// This crate's client and those that people have.
    pub(super) const USUAL: &[Self] = &[Self::TowerResend, Self::HyperUtil, Self::RetryOnError];

    /// What people have, as it is and with this crate.
    pub(super) const WRAPPED: &[Self] = &[
        Self::TowerResend,
        Self::HyperUtil,
        Self::HyperUtilConnector,
        Self::HyperUtilResend,
        #[cfg(feature = "reqwest")]
        Self::Reqwest,
        #[cfg(feature = "reqwest")]
        Self::ReqwestResend,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::TowerResend => "tower-resend",
            Self::HyperUtil => "hyper-util",
            Self::RetryOnError => "retry-on-error",
            Self::HyperUtilConnector => "hyper-util, our connector",
            Self::HyperUtilResend => "hyper-util + resend",
            #[cfg(feature = "reqwest")]
            Self::Reqwest => "reqwest",
            #[cfg(feature = "reqwest")]
            Self::ReqwestResend => "reqwest + resend",
        }
    }

    /// Whether this crate decides what is sent again.
    pub(super) fn is_ours(self) -> bool {
        match self {
            Self::TowerResend | Self::HyperUtilResend => true,
            #[cfg(feature = "reqwest")]
            Self::ReqwestResend => true,
            _ => false,
        }
    }

    /// Makes a client with an empty pool; to be called within its runtime.
    pub(super) fn make(self) -> Client {
        match self {
            Self::TowerResend => Client::Ours(ours::Client::new()),
            Self::HyperUtil => Client::HyperUtil { client: hyper_util::Client::new(), tries: 1 },
            Self::RetryOnError => Client::HyperUtil { client: hyper_util::Client::new(), tries: 4 },
            Self::HyperUtilConnector => {
                Client::HyperUtilConnector(hyper_util::Client::over_our_connector())
            }
            Self::HyperUtilResend => Client::HyperUtilResend(wrapped::Client::new()),
            #[cfg(feature = "reqwest")]
            Self::Reqwest => Client::Reqwest(reqwest::Plain::new()),
            #[cfg(feature = "reqwest")]
            Self::ReqwestResend => Client::ReqwestResend(reqwest::Through::new()),
        }
    }
}

/// One client, whose clones share a pool.
#[derive(Clone)]
pub(super) enum Client {
    Ours(ours::Client),
    HyperUtil {
        client: hyper_util::Client,
        tries: u32,
    },
    HyperUtilConnector(hyper_util::Client<Connector>),
    HyperUtilResend(wrapped::Client),
    #[cfg(feature = "reqwest")]
    Reqwest(reqwest::Plain),
    #[cfg(feature = "reqwest")]
    ReqwestResend(reqwest::Through),
}

impl Client {
    /// Makes one call and reads the answer to its end.
    pub(super) async fn post(&self, uri: Uri, body: String) -> Outcome {
        match self {
            Self::Ours(client) => client.post(uri, body).await,
            Self::HyperUtil { client, tries } => client.post(uri, body, *tries).await,
            Self::HyperUtilConnector(client) => client.post(uri, body, 1).await,
            Self::HyperUtilResend(client) => client.post(uri, body).await,
            #[cfg(feature = "reqwest")]
            Self::Reqwest(client) => client.post(uri, body).await,
            #[cfg(feature = "reqwest")]
            Self::ReqwestResend(client) => client.post(uri, body).await,
        }
    }
}

/// Writes an error with all its sources.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// What a client said about one call.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) end: End,
    /// The ground of every resend that led to it.
    pub(super) grounds: Vec<&'static str>,
    /// Whether it is known that the last attempt was the first on its connection.
    pub(super) is_first: bool,
}

/// How one call ended, for the caller.
#[derive(Debug)]
pub(super) enum End {
    Answer {
        status: u16,
        body: Bytes,
    },
    /// No connection could be made.
    ConnectRefused,
    Failed(Failure),
}

/// Why a call failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// The reason, without anything that differs from call to call.
    pub(super) reason: String,
    /// All that the client said.
    pub(super) text: String,
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self { text: reason.clone(), reason }
    }
}

impl From<String> for End {
    fn from(reason: String) -> Self {
        Self::Failed(reason.into())
    }
}

impl From<End> for Outcome {
    fn from(end: End) -> Self {
        Self { end, grounds: Vec::new(), is_first: false }
    }
}

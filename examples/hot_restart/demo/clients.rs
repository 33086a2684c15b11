//! Which clients are compared.

use http::Uri;
use testkit::demo::clients;
#[cfg(feature = "reqwest")]
use testkit::demo::clients::reqwest;
use testkit::demo::clients::{Outcome, hyper_util, ours, wrapped};
use tower_resend::hyper_util::Connector;

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
            Self::HyperUtil => Client::HyperUtil(hyper_util::Client::new()),
            Self::RetryOnError => Client::HyperUtil(hyper_util::Client::retry_on_error(4)),
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
    HyperUtil(hyper_util::Client),
    HyperUtilConnector(hyper_util::Client<Connector>),
    HyperUtilResend(wrapped::Client),
    #[cfg(feature = "reqwest")]
    Reqwest(reqwest::Plain),
    #[cfg(feature = "reqwest")]
    ReqwestResend(reqwest::Through),
}

impl clients::Client for Client {
    async fn post(&self, uri: Uri, body: String) -> Outcome {
        match self {
            Self::Ours(client) => client.post(uri, body).await,
            Self::HyperUtil(client) => client.post(uri, body).await,
            Self::HyperUtilConnector(client) => client.post(uri, body).await,
            Self::HyperUtilResend(client) => client.post(uri, body).await,
            #[cfg(feature = "reqwest")]
            Self::Reqwest(client) => client.post(uri, body).await,
            #[cfg(feature = "reqwest")]
            Self::ReqwestResend(client) => client.post(uri, body).await,
        }
    }
}

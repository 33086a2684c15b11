//! The clients that are compared.

mod hyper_util;
pub(super) mod ours;

use bytes::Bytes;
use http::Uri;

/// Which client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// This crate's client with its defaults.
    TowerResend,
    /// hyper-util's legacy client with its defaults.
    HyperUtil,
    /// The same, and every call that fails is made again up to three times.
    RetryOnError,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::TowerResend, Self::HyperUtil, Self::RetryOnError];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::TowerResend => "tower-resend",
            Self::HyperUtil => "hyper-util",
            Self::RetryOnError => "retry-on-error",
        }
    }

    /// Makes a client with an empty pool; to be called within its runtime.
    pub(super) fn make(self) -> Client {
        match self {
            Self::TowerResend => Client::Ours(ours::Client::new()),
            Self::HyperUtil => Client::HyperUtil { client: hyper_util::Client::new(), tries: 1 },
            Self::RetryOnError => Client::HyperUtil { client: hyper_util::Client::new(), tries: 4 },
        }
    }
}

/// One client, whose clones share a pool.
#[derive(Clone)]
pub(super) enum Client {
    Ours(ours::Client),
    HyperUtil { client: hyper_util::Client, tries: u32 },
}

impl Client {
    /// Makes one call and reads the answer to its end.
    pub(super) async fn post(&self, uri: Uri, body: String) -> Outcome {
        match self {
            Self::Ours(client) => client.post(uri, body).await,
            Self::HyperUtil { client, tries } => client.post(uri, body, *tries).await,
        }
    }
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

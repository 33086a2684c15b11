//! The clients that are compared.

pub mod hyper_util;
pub mod ours;
#[cfg(feature = "demo-reqwest")]
pub mod reqwest;
pub mod wrapped;

use std::error::Error;

use bytes::Bytes;
use http::Uri;

/// One client, whose clones share a pool.
pub trait Client: Clone + Send + 'static {
    /// Makes one call and reads the answer to its end.
    fn post(&self, uri: Uri, body: String) -> impl Future<Output = Outcome> + Send;
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
pub struct Outcome {
    pub end: End,
    /// The ground of every resend that led to it.
    pub grounds: Vec<&'static str>,
    /// Whether it is known that the last attempt was the first on its connection.
    pub is_first: bool,
}

/// How one call ended, for the caller.
#[derive(Debug)]
pub enum End {
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
pub struct Failure {
    /// The reason, without anything that differs from call to call.
    pub reason: String,
    /// All that the client said.
    pub text: String,
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

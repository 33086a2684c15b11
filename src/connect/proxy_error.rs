//! Why a proxy cannot be used.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use http::{StatusCode, Uri};

use super::greeting::ProxyAnswer;
use crate::chain::BoxError;
use tower_resend_core::ConnectFailure;

/// A proxy cannot be used: its URI names none, it cannot be reached, or it opened
/// no tunnel. Nothing of a request was sent.
#[derive(Debug)]
pub struct ProxyError(Kind);

#[derive(Debug)]
enum Kind {
    NotAProxy,
    Tls,
    Credentials,
    NoTarget,
    Resolve(io::Error),
    Connect(Uri, BoxError),
    Greeting { status: Option<StatusCode>, is_denied: bool, source: BoxError },
}

impl ProxyError {
    pub(crate) fn not_a_proxy() -> Self {
        Self(Kind::NotAProxy)
    }

    pub(super) fn tls() -> Self {
        Self(Kind::Tls)
    }

    pub(crate) fn credentials() -> Self {
        Self(Kind::Credentials)
    }

    pub(super) fn no_target() -> Self {
        Self(Kind::NoTarget)
    }

    pub(super) fn resolve(error: io::Error) -> Self {
        Self(Kind::Resolve(error))
    }

    pub(super) fn connect(at: &Uri, error: BoxError) -> Self {
        Self(Kind::Connect(at.clone(), error))
    }

    pub(super) fn greeting(answer: &ProxyAnswer, source: BoxError) -> Self {
        let ProxyAnswer { status, is_denied } = *answer;
        Self(Kind::Greeting { status, is_denied, source })
    }

    /// Returns the status by which a proxy refused a CONNECT.
    pub fn status(&self) -> Option<StatusCode> {
        match self.0 {
            Kind::Greeting { status, .. } => status,
            Kind::NotAProxy
            | Kind::Tls
            | Kind::Credentials
            | Kind::NoTarget
            | Kind::Resolve(_)
            | Kind::Connect(..) => None,
        }
    }

    /// Returns why there is no connection, unless that was the connect to the
    /// proxy.
    pub(super) fn failure(&self) -> ConnectFailure {
        match self.0 {
            Kind::NotAProxy | Kind::Tls | Kind::Credentials => ConnectFailure::ProxyDenied,
            Kind::Greeting { is_denied: true, .. } => ConnectFailure::ProxyDenied,
            Kind::Greeting { is_denied: false, .. } | Kind::Connect(..) => ConnectFailure::Proxy,
            Kind::NoTarget | Kind::Resolve(_) => ConnectFailure::Resolve,
        }
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::NotAProxy => f.write_str(
                "no URI of a proxy: http, socks4, socks4a, socks5 or socks5h with a host",
            ),
            Kind::Tls => f.write_str("TLS to a proxy is not supported"),
            Kind::Credentials => {
                f.write_str("the proxy's protocol has no place for the credentials")
            }
            Kind::NoTarget => f.write_str("the target has no address that the proxy can be told"),
            Kind::Resolve(error) => write!(f, "the target's name did not resolve: {error}"),
            Kind::Connect(at, error) => write!(f, "the proxy {at} cannot be reached: {error}"),
            Kind::Greeting { status: Some(status), .. } => {
                write!(f, "the proxy opened no tunnel, but answered {status}")
            }
            Kind::Greeting { status: None, source, .. } => {
                write!(f, "the proxy opened no tunnel: {source}")
            }
        }
    }
}

impl StdError for ProxyError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0 {
            Kind::NotAProxy | Kind::Tls | Kind::Credentials | Kind::NoTarget => None,
            Kind::Resolve(error) => Some(error),
            Kind::Connect(_, source) | Kind::Greeting { source, .. } => Some(&**source),
        }
    }
}

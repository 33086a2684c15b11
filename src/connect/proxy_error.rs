//! Why a proxy cannot be used.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use http::{StatusCode, Uri};

use super::proxy::Kind as Protocol;
use crate::chain::BoxError;
use tower_resend_core::ConnectFailure;

/// A proxy cannot be used: its URI names none, it could not be reached, or it
/// opened no tunnel. Nothing of a request was sent.
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

    pub(super) fn greeting(protocol: Protocol, heard: &Heard, source: BoxError) -> Self {
        let heard = heard.octets();
        let status = match protocol {
            Protocol::Http => status(&heard),
            Protocol::Socks4 { .. } | Protocol::Socks5 { .. } => None,
        };
        let is_denied = match protocol {
            Protocol::Http => status.is_some_and(is_denial),
            Protocol::Socks4 { .. } => matches!(*heard, [0, 92 | 93, ..]),
            Protocol::Socks5 { .. } => is_denied_by_socks5(&heard),
        };
        Self(Kind::Greeting { status, is_denied, source })
    }

    /// Returns what a proxy answered to a CONNECT.
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

/// Whether the same CONNECT would be answered so again.
fn is_denial(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::PROXY_AUTHENTICATION_REQUIRED
            | StatusCode::NOT_IMPLEMENTED
    )
}

/// No acceptable method, credentials refused (RFC 1929), or the connection is
/// not allowed (RFC 1928 6).
fn is_denied_by_socks5(heard: &[u8]) -> bool {
    match heard {
        [5, 0xff, ..] => true,
        [5, 2, 1, refused, ..] if *refused != 0 => true,
        [5, 2, 1, 0, 5, reply, ..] | [5, 0, 5, reply, ..] => *reply == 2,
        _ => false,
    }
}

/// Reads `HTTP/1.x nnn` (RFC 9112 4).
fn status(heard: &[u8]) -> Option<StatusCode> {
    let [b'H', b'T', b'T', b'P', b'/', b'1', b'.', _, b' ', code @ ..] = heard else {
        return None;
    };
    StatusCode::from_bytes(code.get(..3)?).ok()
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

/// The first bytes of what a proxy said, as many as tell why it refused.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Arc<Mutex<Vec<u8>>>);

impl Heard {
    const MOST: usize = 12;

    pub(super) fn on_octets(&self, octets: &[u8]) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = Self::MOST - heard.len();
        heard.extend_from_slice(&octets[..room.min(octets.len())]);
    }

    fn octets(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(protocol: Protocol, said: &[u8]) -> ConnectFailure {
        let heard = Heard::default();
        said.chunks(1).for_each(|octet| heard.on_octets(octet));
        ProxyError::greeting(protocol, &heard, "no tunnel".into()).failure()
    }

    #[test]
    fn what_a_proxy_would_refuse_again_is_told_from_what_it_might_not() {
        const SOCKS4: Protocol = Protocol::Socks4 { resolves: true };
        const SOCKS5: Protocol = Protocol::Socks5 { resolves: true };
        for (protocol, said) in [
            (Protocol::Http, &b"HTTP/1.1 407 Credentials\r\n"[..]),
            (Protocol::Http, b"HTTP/1.0 403 No\r\n"),
            (SOCKS4, &[0, 93, 0, 0]),
            (SOCKS5, &[5, 255]),
            (SOCKS5, &[5, 2, 1, 1]),
            (SOCKS5, &[5, 2, 1, 0, 5, 2, 0]),
            (SOCKS5, &[5, 0, 5, 2, 0]),
        ] {
            assert_eq!(failure(protocol, said), ConnectFailure::ProxyDenied, "{said:?}");
        }
        for (protocol, said) in [
            (Protocol::Http, &b""[..]),
            (Protocol::Http, b"HTTP/1.1 40"),
            (Protocol::Http, b"HTTP/1.1 503 Later\r\n"),
            (Protocol::Http, b"SSH-2.0-407 407\r\n"),
            (SOCKS4, &[0, 91, 0, 0]),
            (SOCKS5, &[5, 0, 5, 5, 0]),
            (SOCKS5, &[5, 2, 1, 0, 5, 1, 0]),
            (SOCKS5, b"HTTP/1.1 407"),
        ] {
            assert_eq!(failure(protocol, said), ConnectFailure::Proxy, "{said:?}");
        }
    }
}

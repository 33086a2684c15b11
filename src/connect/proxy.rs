//! Proxies on the way to a target, and what is said to them before it is
//! reached.

use std::fmt;
use std::future::ready;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::uri::Scheme;
use http::{HeaderValue, Uri};
use hyper_util::client::legacy::connect::proxy::{SocksV4, SocksV5, Tunnel};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower::Service;

use super::has_sound_port;
use super::proxy_error::{Heard, ProxyError};
use crate::chain::BoxError;
use crate::conn::TrackedIo;

/// A proxy, and what it is told of us.
///
/// Two are one only if they are reached and addressed in the very same way, so
/// that the connections through them can be told apart by it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Proxy {
    kind: Kind,
    at: Uri,
    credentials: Credentials,
}

/// How a proxy is spoken to. Who resolves the target's name is as curl has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Http,
    Socks4 { resolves: bool },
    Socks5 { resolves: bool },
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Credentials {
    None,
    /// The value of `Proxy-Authorization`.
    Basic(HeaderValue),
    /// A user name and a password (RFC 1929).
    Password(String, String),
}

impl Proxy {
    /// Returns the proxy at a URI.
    ///
    /// # Errors
    ///
    /// If it is of a kind that cannot be used.
    pub(crate) fn new(
        at: &Uri,
        basic: Option<&HeaderValue>,
        password: Option<(&str, &str)>,
    ) -> Result<Self, ProxyError> {
        let kind = match at.scheme_str() {
            Some("http") => Kind::Http,
            Some("https") => return Err(ProxyError::tls()),
            Some("socks4") => Kind::Socks4 { resolves: false },
            Some("socks4a") => Kind::Socks4 { resolves: true },
            Some("socks5") => Kind::Socks5 { resolves: false },
            Some("socks5h") => Kind::Socks5 { resolves: true },
            Some(_) | None => return Err(ProxyError::not_a_proxy()),
        };
        let credentials = match (kind, basic, password) {
            (Kind::Http, Some(basic), _) => Credentials::Basic(basic.clone()),
            (Kind::Http, None, _) | (_, _, None) => Credentials::None,
            (Kind::Socks5 { .. }, _, Some((user, password)))
                if user.len().max(password.len()) <= LONGEST_CREDENTIAL =>
            {
                Credentials::Password(user.to_owned(), password.to_owned())
            }
            (Kind::Socks4 { .. } | Kind::Socks5 { .. }, _, Some(_)) => {
                return Err(ProxyError::credentials());
            }
        };
        let default = if kind == Kind::Http { 80 } else { 1080 };
        let at = with_port(at, default).ok_or_else(ProxyError::not_a_proxy)?;
        Ok(Self { kind, at, credentials })
    }

    /// Returns whether the requests for a target are sent to the proxy itself,
    /// without a tunnel.
    pub(crate) fn forwards(&self, target: &Scheme) -> bool {
        self.kind == Kind::Http && *target == Scheme::HTTP
    }

    /// Returns the value of `Proxy-Authorization`.
    pub(crate) fn authorization(&self) -> Option<&HeaderValue> {
        match &self.credentials {
            Credentials::Basic(basic) => Some(basic),
            Credentials::None | Credentials::Password(..) => None,
        }
    }

    /// Returns where it is.
    pub(super) fn at(&self) -> &Uri {
        &self.at
    }

    /// Opens a tunnel to a target, on a connection to the proxy.
    ///
    /// Takes nothing from the connection that follows the proxy's answer. What
    /// it reads is bounded: 8 KiB of a CONNECT's response, at most 263 bytes
    /// of a SOCKS reply. How long it takes is for the caller to bound.
    pub(super) async fn open(
        &self,
        meter: TrackedIo,
        target: &Uri,
    ) -> Result<TrackedIo, ProxyError> {
        let target = self.target(target).await?;
        let heard = Heard::default();
        let mut greeting = Some(TokioIo::new(Greeting { meter, heard: heard.clone() }));
        let connector = tower::service_fn(move |_: Uri| {
            ready(greeting.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)))
        });
        let at = self.at.clone();
        let opened: Result<_, BoxError> = match (self.kind, &self.credentials) {
            (Kind::Http, Credentials::Basic(basic)) => {
                let mut tunnel = Tunnel::new(at, connector).with_auth(basic.clone());
                tunnel.call(target).await.map_err(Into::into)
            }
            (Kind::Http, _) => Tunnel::new(at, connector).call(target).await.map_err(Into::into),
            (Kind::Socks4 { .. }, _) => {
                SocksV4::new(at, connector).call(target).await.map_err(Into::into)
            }
            (Kind::Socks5 { .. }, Credentials::Password(user, password)) => {
                let socks = SocksV5::new(at, connector);
                let mut socks = socks.with_auth(user.clone(), password.clone());
                socks.call(target).await.map_err(Into::into)
            }
            (Kind::Socks5 { .. }, _) => {
                SocksV5::new(at, connector).call(target).await.map_err(Into::into)
            }
        };
        match opened {
            Ok(io) => Ok(io.into_inner().meter),
            Err(source) => Err(ProxyError::greeting(self.kind, &heard, source)),
        }
    }

    /// Returns the target as the proxy is told of it: always with its port,
    /// and resolved here if the proxy is not to.
    async fn target(&self, target: &Uri) -> Result<Uri, ProxyError> {
        let default = if target.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
        let target = with_port(target, default).ok_or_else(ProxyError::no_target)?;
        let host = target.host().unwrap_or_default();
        if let (Kind::Socks5 { .. }, Credentials::Password(user, password)) =
            (self.kind, &self.credentials)
            && user.len() + password.len() + host.len() > LONGEST_GREETING
        {
            return Err(ProxyError::credentials());
        }
        let is_address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        let needs_ipv4 = match self.kind {
            Kind::Socks4 { resolves: false } if !is_address => true,
            Kind::Socks5 { resolves: false } if !is_address => false,
            Kind::Http | Kind::Socks4 { .. } | Kind::Socks5 { .. } => return Ok(target),
        };
        let port = target.port_u16().unwrap_or(default);
        // The proxy connectors would resolve on the runtime's own thread.
        let mut found = tokio::net::lookup_host((host, port)).await.map_err(ProxyError::resolve)?;
        let address = found.find(|address| address.is_ipv4() || !needs_ipv4);
        let address = address.ok_or_else(ProxyError::no_target)?;
        uri(&address.to_string()).ok_or_else(ProxyError::no_target)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("kind", &self.kind)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

/// Returns the URI with its port written and nothing else of it but its scheme
/// and host; none if its port is no port number.
fn with_port(at: &Uri, default: u16) -> Option<Uri> {
    if !at.authority().is_some_and(has_sound_port) {
        return None;
    }
    let port = at.port_u16().unwrap_or(default);
    let authority = uri(&format!("{}:{port}", at.host()?))?.into_parts().authority?;
    let builder = Uri::builder().scheme(at.scheme()?.clone()).authority(authority);
    builder.path_and_query("/").build().ok()
}

fn uri(authority: &str) -> Option<Uri> {
    Uri::builder().scheme(Scheme::HTTP).authority(authority).path_and_query("/").build().ok()
}

/// The longest user name or password of RFC 1929.
const LONGEST_CREDENTIAL: usize = 255;

/// User name, password and target's name together: the connector puts all that
/// it says to a SOCKS5 proxy into 262 bytes, 13 of which are not theirs.
const LONGEST_GREETING: usize = 249;

/// A connection on which a proxy is greeted.
///
/// It is read byte by byte: what follows the proxy's answer is not the
/// proxy's, and a connector that read it too would drop it. What an origin
/// says unasked must be found by the stale check, not be lost with its beginning.
struct Greeting {
    meter: TrackedIo,
    heard: Heard,
}

impl AsyncRead for Greeting {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let greeting = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let mut octet = [0];
        let mut read = ReadBuf::new(&mut octet);
        ready!(Pin::new(&mut greeting.meter).poll_read(cx, &mut read))?;
        greeting.heard.on_octets(read.filled());
        buf.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Greeting {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().meter).poll_write(cx, octets)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().meter).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().meter).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(at: &'static str) -> Result<Proxy, ProxyError> {
        Proxy::new(&Uri::from_static(at), None, None)
    }

    #[test]
    fn a_proxy_has_a_port_of_its_kind() {
        for (at, port) in [
            ("http://p/", 80),
            ("http://p:3128/", 3128),
            ("socks4://p/", 1080),
            ("socks4a://p/", 1080),
            ("socks5://[::1]/", 1080),
            ("socks5h://p:9050/", 9050),
        ] {
            assert_eq!(proxy(at).unwrap().at().port_u16(), Some(port), "{at}");
        }
    }

    #[test]
    fn proxies_differ_by_all_that_connections_through_them_could() {
        let basic = HeaderValue::from_static("Basic bWU6cHc=");
        let at = Uri::from_static("http://p/");
        let with_credentials = Proxy::new(&at, Some(&basic), None).unwrap();
        let others = ["http://p:81/", "http://q/", "socks5://p:80/", "socks5h://p:80/"];
        let plain = proxy("http://p/").unwrap();
        assert_eq!(plain, proxy("http://p:80/").unwrap());
        for other in others.into_iter().map(|at| proxy(at).unwrap()).chain([with_credentials]) {
            assert_ne!(plain, other);
        }
    }

    #[test]
    fn what_cannot_be_used_is_said_and_credentials_are_not() {
        let socks4 = Uri::from_static("socks4://p/");
        let socks5 = Uri::from_static("socks5://p/");
        let long = "x".repeat(256);
        for (proxy, text) in [
            (proxy("https://p/"), "TLS to a proxy"),
            (proxy("socks6://p/"), "no URI of a proxy"),
            (Proxy::new(&socks4, None, Some(("me", ""))), "credentials"),
            (Proxy::new(&socks5, None, Some((&long, ""))), "credentials"),
        ] {
            assert!(proxy.unwrap_err().to_string().contains(text), "{text}");
        }
        let secret = Proxy::new(&socks5, None, Some(("me", "secret"))).unwrap();
        assert!(!format!("{secret:?}").contains("secret"));
    }

    #[tokio::test]
    async fn a_target_is_named_with_the_port_of_its_scheme() {
        for (target, named) in [
            ("http://a.example/x", "http://a.example:80/"),
            ("https://a.example/", "https://a.example:443/"),
            ("http://me:pw@a.example:81/", "http://a.example:81/"),
            ("https://[::1]/", "https://[::1]:443/"),
        ] {
            for at in ["http://p/", "socks4a://p/", "socks5h://p/"] {
                let target = proxy(at).unwrap().target(&Uri::from_static(target)).await;
                assert_eq!(target.unwrap().to_string(), named);
            }
        }
    }
}

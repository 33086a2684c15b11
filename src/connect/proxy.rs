//! One proxy, and how a tunnel is opened through it.

use std::fmt;
use std::future::ready;
use std::io;
use std::net::IpAddr;

use http::uri::Scheme;
use http::{HeaderValue, Uri};
use hyper_util::client::legacy::connect::proxy::{SocksV4, SocksV5, Tunnel};
use hyper_util::rt::TokioIo;
use tower::Service;

use super::greeting::{Greeting, Heard, Protocol};
use super::port::has_sound_port;
use super::proxy_error::ProxyError;
use crate::chain::BoxError;
use crate::conn::TrackedIo;

/// A proxy, with the credentials that it gets.
///
/// Two are equal only if they are reached and addressed in the same way, because
/// a connection is shared by all requests with an equal proxy.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Proxy {
    protocol: Protocol,
    at: Uri,
    credentials: Credentials,
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
    /// If its protocol is not supported, or has no room for the credentials.
    pub(crate) fn new(
        at: &Uri,
        basic: Option<&HeaderValue>,
        password: Option<(&str, &str)>,
    ) -> Result<Self, ProxyError> {
        let protocol = match at.scheme_str() {
            Some("http") => Protocol::Http,
            Some("https") => return Err(ProxyError::tls()),
            Some("socks4") => Protocol::Socks4 { resolves: false },
            Some("socks4a") => Protocol::Socks4 { resolves: true },
            Some("socks5") => Protocol::Socks5 { resolves: false },
            Some("socks5h") => Protocol::Socks5 { resolves: true },
            Some(_) | None => return Err(ProxyError::not_a_proxy()),
        };
        let credentials = match (protocol, basic, password) {
            (Protocol::Http, Some(basic), _) => Credentials::Basic(basic.clone()),
            (Protocol::Http, None, _) | (_, _, None) => Credentials::None,
            (Protocol::Socks5 { .. }, _, Some((user, password)))
                if user.len().max(password.len()) <= LONGEST_CREDENTIAL =>
            {
                Credentials::Password(user.to_owned(), password.to_owned())
            }
            (Protocol::Socks4 { .. } | Protocol::Socks5 { .. }, _, Some(_)) => {
                return Err(ProxyError::credentials());
            }
        };
        let default = if protocol == Protocol::Http { 80 } else { 1080 };
        let at = with_port(at, default).ok_or_else(ProxyError::not_a_proxy)?;
        Ok(Self { protocol, at, credentials })
    }

    /// Returns `true` if requests for a target of this scheme are sent to the proxy
    /// itself, without a tunnel.
    pub(crate) fn forwards(&self, target: &Scheme) -> bool {
        self.protocol == Protocol::Http && *target == Scheme::HTTP
    }

    /// Returns the value of `Proxy-Authorization`.
    pub(crate) fn authorization(&self) -> Option<&HeaderValue> {
        match &self.credentials {
            Credentials::Basic(basic) => Some(basic),
            Credentials::None | Credentials::Password(..) => None,
        }
    }

    /// Returns its address: a URI with host and port.
    pub(super) fn at(&self) -> &Uri {
        &self.at
    }

    /// Opens a tunnel to a target, on a connection to the proxy.
    ///
    /// It reads the proxy's answer and nothing that follows it: at most 8 KiB of a
    /// CONNECT's response, at most 263 bytes of a SOCKS reply. The caller bounds
    /// how long it takes.
    pub(super) async fn open(&self, io: TrackedIo, target: &Uri) -> Result<TrackedIo, ProxyError> {
        let target = self.target(target).await?;
        let heard = Heard::default();
        let mut greeting = Some(TokioIo::new(Greeting::new(io, heard.clone())));
        let connector = tower::service_fn(move |_: Uri| {
            ready(greeting.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)))
        });
        let at = self.at.clone();
        let opened: Result<_, BoxError> = match (self.protocol, &self.credentials) {
            (Protocol::Http, Credentials::Basic(basic)) => {
                let mut tunnel = Tunnel::new(at, connector).with_auth(basic.clone());
                tunnel.call(target).await.map_err(Into::into)
            }
            (Protocol::Http, _) => {
                Tunnel::new(at, connector).call(target).await.map_err(Into::into)
            }
            (Protocol::Socks4 { .. }, _) => {
                SocksV4::new(at, connector).call(target).await.map_err(Into::into)
            }
            (Protocol::Socks5 { .. }, Credentials::Password(user, password)) => {
                let socks = SocksV5::new(at, connector);
                let mut socks = socks.with_auth(user.clone(), password.clone());
                socks.call(target).await.map_err(Into::into)
            }
            (Protocol::Socks5 { .. }, _) => {
                SocksV5::new(at, connector).call(target).await.map_err(Into::into)
            }
        };
        match opened {
            Ok(io) => Ok(io.into_inner().into_io()),
            Err(source) => Err(ProxyError::greeting(&heard.answer(self.protocol), source)),
        }
    }

    /// Returns the target as the proxy gets it: always with its port, and resolved
    /// here unless the proxy is to do that.
    async fn target(&self, target: &Uri) -> Result<Uri, ProxyError> {
        let default = if target.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
        let target = with_port(target, default).ok_or_else(ProxyError::no_target)?;
        let host = target.host().unwrap_or_default();
        if let (Protocol::Socks5 { .. }, Credentials::Password(user, password)) =
            (self.protocol, &self.credentials)
            && user.len() + password.len() + host.len() > LONGEST_GREETING
        {
            return Err(ProxyError::credentials());
        }
        let is_address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        let needs_ipv4 = match self.protocol {
            Protocol::Socks4 { resolves: false } if !is_address => true,
            Protocol::Socks5 { resolves: false } if !is_address => false,
            Protocol::Http | Protocol::Socks4 { .. } | Protocol::Socks5 { .. } => {
                return Ok(target);
            }
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
            .field("protocol", &self.protocol)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

/// Returns scheme and host of the URI with an explicit port. None if its port is no
/// port number.
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

/// User name, password and target's name together: the connector has 262 bytes for
/// all that it sends to a SOCKS5 proxy, and needs 13 of them itself.
const LONGEST_GREETING: usize = 249;

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(at: &'static str) -> Result<Proxy, ProxyError> {
        Proxy::new(&Uri::from_static(at), None, None)
    }

    #[test]
    fn a_proxy_has_the_default_port_of_its_protocol() {
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
    fn proxies_differ_by_address_protocol_and_credentials() {
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
    fn errors_name_the_reason_and_no_credentials() {
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
    async fn the_target_has_the_port_of_its_scheme() {
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

//! Which requests go through which proxy.

use std::fmt;
use std::sync::Arc;

use http::{Method, Request, Uri};
use hyper_util::client::proxy::matcher::Matcher;

use super::proxy::Proxy;
use super::proxy_error::ProxyError;

/// Which requests of a pool go through proxies, and through which.
///
/// ```
/// # fn main() -> Result<(), tower_resend::pool::ProxyError> {
/// use tower_resend::Client;
/// use tower_resend::pool::{PoolOptions, Proxies};
///
/// let proxies = Proxies::builder()
///     .https("http://me:secret@proxy.example:3128")
///     .http("socks5h://127.0.0.1:9050")
///     .no("localhost, 10.0.0.0/8, .internal.example")
///     .build()?;
/// let client = Client::builder().pool(PoolOptions::new().proxies(proxies)).build();
/// # Ok(())
/// # }
/// ```
///
/// | proxy | target | how |
/// |---|---|---|
/// | `http` | `https` | a tunnel by CONNECT (RFC 9110 9.3.6), TLS to the target inside it |
/// | `http` | `http` | the request itself, its target in absolute form (RFC 9112 3.2.2) |
/// | `socks4`, `socks5` | both | a tunnel; the target's name is resolved here |
/// | `socks4a`, `socks5h` | both | a tunnel; the proxy resolves the target's name |
///
/// User name and password in a proxy's URI are for the proxy only: they are
/// sent in its greeting, or as `Proxy-Authorization` on a request that it
/// forwards, unless the request has such a field of its own. A request that
/// comes back unsent does not have them. A `Proxy-Authorization` of the
/// request's own is sent as it is, to an origin too. SOCKS4 has no credentials.
/// TLS to a proxy (`https`) is not supported.
///
/// A proxy that opens no tunnel is [`ConnectFailure::Proxy`], or [`ProxyDenied`] if
/// it would refuse again (407 and 403 among others): that one is not tried again.
/// Nothing of the request was sent then (G1). What a forwarding proxy answers is
/// the request's response, its own 407 and 502 too.
///
/// # What is different through a proxy
///
/// TCP ends at the proxy, and so does what TCP proves:
///
/// - G1 and G2 stand, because nothing of a segment that the proxy's TCP reset went
///   any further. G2 is for requests in one segment here, whatever is stated.
/// - A 599 or 408 that came before the request stands too (G3).
/// - No contract is asked for, none is believed, and no connection is primed.
/// - Nothing that you state of an origin is used: [`OriginTrust`].
///
/// Connections through different proxies, or to one with different credentials, are
/// never shared. A CONNECT request of your own goes directly.
///
/// [`ConnectFailure::Proxy`]: tower_resend_core::ConnectFailure::Proxy
/// [`ProxyDenied`]: tower_resend_core::ConnectFailure::ProxyDenied
/// [`OriginTrust`]: crate::pool::OriginTrust
#[derive(Clone, Default)]
pub struct Proxies(Option<Arc<Matcher>>);

impl Proxies {
    /// Sends all requests directly.
    pub fn none() -> Self {
        Self(None)
    }

    /// Takes the proxies from the environment as it is now: `HTTP_PROXY`,
    /// `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, or else the same in lower
    /// case.
    ///
    /// The first of the two that is set counts, even if it is empty. **One that
    /// holds no URI of a proxy counts as none: requests then go directly.** If
    /// `REQUEST_METHOD` is set, all requests go directly: in a CGI program,
    /// `HTTP_PROXY` is the `Proxy` field of the client's request.
    pub fn from_env() -> Self {
        Self(Some(Arc::new(Matcher::from_env())))
    }

    /// Returns a builder that starts without proxies.
    pub fn builder() -> ProxiesBuilder {
        ProxiesBuilder::default()
    }

    /// Returns the proxy that a request goes through.
    ///
    /// # Errors
    ///
    /// If there is one that cannot be used.
    #[inline]
    pub(crate) fn of<B>(&self, request: &Request<B>) -> Result<Option<Arc<Proxy>>, ProxyError> {
        match &self.0 {
            Some(matcher) if request.method() != Method::CONNECT => {
                proxy(matcher, request.uri()).map(|proxy| proxy.map(Arc::new))
            }
            Some(_) | None => Ok(None),
        }
    }
}

fn proxy(matcher: &Matcher, target: &Uri) -> Result<Option<Proxy>, ProxyError> {
    let intercept = matcher.intercept(target);
    // Of two `@` the matcher takes the first for the end of the userinfo, but it is
    // the last: credentials would be left in the host.
    if intercept.as_ref().is_some_and(|found| has_userinfo(found.uri())) {
        return Err(ProxyError::credentials());
    }
    let proxy =
        intercept.map(|found| Proxy::new(found.uri(), found.basic_auth(), found.raw_auth()));
    proxy.transpose()
}

fn has_userinfo(uri: &Uri) -> bool {
    uri.authority().is_some_and(|authority| authority.as_str().contains('@'))
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A matcher shows more than hosts where a URI was misread.
        f.write_str(if self.0.is_some() { "Proxies(some)" } else { "Proxies(none)" })
    }
}

/// Builds [`Proxies`].
///
/// A proxy is `http://`, `socks4://`, `socks4a://`, `socks5://` or `socks5h://`
/// with a host, and where needed a port, a user name and a password. User name and
/// password are percent-encoded. The default scheme is `http`, the default ports
/// are 80 (HTTP) and 1080 (SOCKS).
#[derive(Clone, Default)]
#[must_use]
pub struct ProxiesBuilder {
    http: Option<String>,
    https: Option<String>,
    all: Option<String>,
    no: String,
}

impl ProxiesBuilder {
    /// Sets the proxy for targets whose scheme is `http`.
    pub fn http(mut self, proxy: impl Into<String>) -> Self {
        self.http = Some(proxy.into());
        self
    }

    /// Sets the proxy for targets whose scheme is `https`.
    pub fn https(mut self, proxy: impl Into<String>) -> Self {
        self.https = Some(proxy.into());
        self
    }

    /// Sets the proxy for targets whose scheme has none of its own.
    pub fn all(mut self, proxy: impl Into<String>) -> Self {
        self.all = Some(proxy.into());
        self
    }

    /// Sets which hosts are reached directly, as a list separated by commas: names,
    /// which include their subdomains, `*` for all names, addresses, and networks
    /// (`10.0.0.0/8`). Ports are not compared; an entry with a port matches
    /// nothing.
    pub fn no(mut self, hosts: impl Into<String>) -> Self {
        self.no = hosts.into();
        self
    }

    /// Returns the proxies.
    ///
    /// # Errors
    ///
    /// If one of them cannot be used.
    pub fn build(self) -> Result<Proxies, ProxyError> {
        let mut matcher = Matcher::builder().no(self.no);
        if let Some(http) = usable(self.http)? {
            matcher = matcher.http(http);
        }
        if let Some(https) = usable(self.https)? {
            matcher = matcher.https(https);
        }
        if let Some(all) = usable(self.all)? {
            matcher = matcher.all(all);
        }
        Ok(Proxies(Some(Arc::new(matcher.build()))))
    }
}

/// Returns the text if it names a proxy. The matcher would ignore one that does
/// not, and the requests would go directly.
fn usable(text: Option<String>) -> Result<Option<String>, ProxyError> {
    let Some(text) = text else { return Ok(None) };
    let only = Matcher::builder().all(text.as_str()).build();
    match proxy(&only, &Uri::from_static("http://any.invalid/"))? {
        Some(_) => Ok(Some(text)),
        None => Err(ProxyError::not_a_proxy()),
    }
}

impl fmt::Debug for ProxiesBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Their URIs may have passwords in them.
        f.debug_struct("ProxiesBuilder").field("no", &self.no).finish_non_exhaustive()
    }
}

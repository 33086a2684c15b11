//! Which requests share connections, and the form in which they go out on them.

use std::sync::Arc;

use http::header::HeaderName;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Uri, Version, header};
use tokio::runtime;

use crate::body::{Framing, from_http1, to_http1};
use crate::connect::{Proxy, Route, has_sound_port, is_connect_authority};
use tower_resend_core::ConnectFailure;

/// Requests with an equal key may share connections: same scheme, host and port, same
/// proxy with the same credentials, same runtime. The local address and the TLS
/// identity are the same for the whole pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct OriginKey {
    pub(super) scheme: Scheme,
    pub(super) authority: Authority,
    proxy: Option<Arc<Proxy>>,
    runtime: runtime::Id,
}

impl OriginKey {
    /// Returns `true` if a request's key is spelled the same. Two keys can be equal
    /// and spelled differently; comparing bytes is cheaper.
    #[inline]
    pub(super) fn is_written_as(&self, of: &KeyRef<'_>) -> bool {
        self.runtime == of.runtime
            && self.authority.as_str() == of.authority.as_str()
            && self.is_https() == of.is_https
            && self.proxy == of.proxy
    }

    /// Returns `true` if a proxy is on the way.
    pub(super) fn is_relayed(&self) -> bool {
        self.proxy.is_some()
    }

    /// Returns the proxy that reads the requests itself, without a tunnel.
    fn forwarder(&self) -> Option<&Proxy> {
        self.proxy.as_deref().filter(|proxy| proxy.forwards(&self.scheme))
    }

    /// Returns `true` if requests go over TLS.
    pub(super) fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// Returns the name under which users and servers state things of the origin: the
    /// authority as it is written, for https always with its port. Without a port it
    /// names the http origin.
    pub(super) fn origin(&self) -> Authority {
        if !self.is_https() || self.authority.port_u16().is_some() {
            return self.authority.clone();
        }
        let origin = format!("{}:443", self.authority);
        Authority::try_from(origin).unwrap_or_else(|_| self.authority.clone())
    }

    /// Returns where to connect to, and through which proxy.
    pub(super) fn route(&self) -> Route {
        Route { target: self.target(), proxy: self.proxy.clone() }
    }

    fn target(&self) -> Uri {
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query("/")
            .build()
            .unwrap_or_default()
    }

    /// Returns the value of the Host field (RFC 9112 3.2): without userinfo, and
    /// without the scheme's default port. `None` if the authority's port is no port
    /// number.
    pub(super) fn host(&self) -> Option<HeaderValue> {
        if !has_sound_port(&self.authority) {
            return None;
        }
        let host = self.authority.host();
        let default = if self.is_https() { 443 } else { 80 };
        match self.authority.port_u16() {
            Some(port) if port != default => HeaderValue::try_from(format!("{host}:{port}")).ok(),
            _ => HeaderValue::from_str(host).ok(),
        }
    }
}

/// The key of a request, borrowed from it: an [`OriginKey`] is made for the first
/// request of its kind only.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct KeyRef<'a> {
    is_https: bool,
    authority: &'a Authority,
    proxy: Option<Arc<Proxy>>,
    runtime: runtime::Id,
}

impl<'a> KeyRef<'a> {
    /// Returns the key of a request that goes through this proxy, or directly.
    ///
    /// # Errors
    ///
    /// If the target has no host, its scheme is not supported, or there is no runtime.
    #[inline]
    pub(super) fn new<B>(
        request: &'a Request<B>,
        proxy: Option<Arc<Proxy>>,
    ) -> Result<Self, ConnectFailure> {
        let uri = request.uri();
        let authority = uri.authority().ok_or(ConnectFailure::BadTarget)?;
        let is_https = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS && cfg!(feature = "tls") => true,
            None if request.method() == Method::CONNECT => false,
            Some(_) | None => return Err(ConnectFailure::BadTarget),
        };
        // It goes out as it is. A scheme and a path are those of HTTP/2 (RFC 8441), which
        // HTTP/1.1 does not have.
        if request.method() == Method::CONNECT && !is_connect_target(uri) {
            return Err(ConnectFailure::BadTarget);
        }
        if request.version() < Version::HTTP_10 {
            return Err(ConnectFailure::BadTarget);
        }
        let runtime = runtime::Handle::try_current().map_err(|_| ConnectFailure::BadTarget)?.id();
        Ok(Self { is_https, authority, proxy, runtime })
    }

    /// Returns an owned key.
    pub(super) fn to_key(&self) -> OriginKey {
        OriginKey {
            scheme: if self.is_https { Scheme::HTTPS } else { Scheme::HTTP },
            authority: self.authority.clone(),
            proxy: self.proxy.clone(),
            runtime: self.runtime,
        }
    }
}

/// Returns `true` for a target in authority form (RFC 9112 3.2.3).
pub(super) fn is_connect_target(uri: &Uri) -> bool {
    uri.scheme().is_none() && uri.authority().is_some_and(is_connect_authority)
}

/// What [`prepare`] changed, so that [`restore`] can undo it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WireUndo {
    /// The version that the request had.
    version: Version,
    /// The target was changed.
    has_other_target: bool,
    /// The field that frames the body is ours.
    has_framing: bool,
    /// There is a Host field of ours.
    has_host: bool,
    /// There is a Proxy-Authorization field of ours.
    has_credentials: bool,
}

/// Puts a request into the form that goes over its connection (RFC 9112 3.2).
///
/// It gets a Host field, and its target becomes origin form. A proxy that reads the
/// request itself gets the absolute form and its credentials. A later version becomes
/// HTTP/1.1. The target of a CONNECT stays in authority form.
pub(super) fn prepare<B>(
    request: &mut Request<B>,
    framing: Framing,
    key: &OriginKey,
    host: Option<&HeaderValue>,
) -> WireUndo {
    let mut undo = WireUndo {
        version: request.version(),
        has_other_target: false,
        has_framing: false,
        has_host: false,
        has_credentials: false,
    };
    to_http1(request);
    if framing.may_need_field()
        && let Some((name, value)) = framing.field(request.method())
    {
        undo.has_framing = insert(request, name, Some(&value));
    }
    if request.method() != Method::CONNECT {
        let path = request.uri().path_and_query().cloned();
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let forwarder = key.forwarder();
        *request.uri_mut() = match (forwarder, host) {
            (Some(_), Some(host)) => absolute(host, path),
            (Some(_), None) | (None, _) => Uri::from(path),
        };
        undo.has_other_target = true;
        let credentials = forwarder.and_then(Proxy::authorization);
        undo.has_credentials = insert(request, header::PROXY_AUTHORIZATION, credentials);
    }
    undo.has_host = insert(request, header::HOST, host);
    undo
}

/// Returns the target in absolute form: without userinfo (RFC 9110 4.2.4), and with
/// the authority of the Host field (RFC 9112 3.2).
fn absolute(host: &HeaderValue, path: PathAndQuery) -> Uri {
    let uri = Uri::builder().scheme(Scheme::HTTP).authority(host.as_bytes());
    uri.path_and_query(path.clone()).build().unwrap_or_else(|_| Uri::from(path))
}

/// Inserts a field unless it is there. Returns `true` if it was inserted.
fn insert<B>(request: &mut Request<B>, name: HeaderName, value: Option<&HeaderValue>) -> bool {
    let Some(value) = value else { return false };
    let headers = request.headers_mut();
    // A request has few fields: comparing their names is cheaper than a hash.
    let is_there = headers.keys().any(|there| *there == name);
    !is_there && headers.try_insert(name, value.clone()).is_ok()
}

/// Undoes [`prepare`] for a request that was not sent.
pub(super) fn restore<B>(
    request: &mut Request<B>,
    undo: WireUndo,
    framing: Framing,
    key: &OriginKey,
) {
    from_http1(request, undo.version);
    if undo.has_framing
        && let Some((name, _)) = framing.field(request.method())
    {
        request.headers_mut().remove(name);
    }
    if undo.has_host {
        request.headers_mut().remove(header::HOST);
    }
    if undo.has_credentials {
        request.headers_mut().remove(header::PROXY_AUTHORIZATION);
    }
    if undo.has_other_target {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(key.scheme.clone());
        parts.authority = Some(key.authority.clone());
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_else(|_| key.target());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(uri: &str) -> Result<OriginKey, ConnectFailure> {
        let request = Request::builder().uri(uri).body(()).unwrap();
        KeyRef::new(&request, None).map(|of| of.to_key())
    }

    #[tokio::test]
    async fn only_absolute_http_targets_have_a_key() {
        assert!(key("http://a.example/x").is_ok());
        assert_eq!(key("/x"), Err(ConnectFailure::BadTarget));
        assert_eq!(key("ftp://a.example/"), Err(ConnectFailure::BadTarget));
        assert_eq!(key("HTTP://A.example/"), key("http://a.EXAMPLE/other"));
    }

    #[tokio::test]
    async fn the_host_field_has_no_userinfo_and_no_default_port() {
        for (uri, host) in [
            ("http://a.example/", "a.example"),
            ("http://a.example:80/", "a.example"),
            ("http://me:pw@a.example:81/", "a.example:81"),
            ("http://[::1]:8080/", "[::1]:8080"),
        ] {
            assert_eq!(key(uri).unwrap().host().unwrap(), host);
        }
    }

    #[tokio::test]
    async fn prepare_makes_origin_form_and_restore_undoes_it() {
        for (uri, path) in [("http://h/a?b=c", "/a?b=c"), ("http://h", "/"), ("http://h?q", "/?q")]
        {
            let mut request = Request::builder().uri(uri).body(()).unwrap();
            let key = KeyRef::new(&request, None).unwrap().to_key();
            let host = key.host();
            let undo = prepare(&mut request, Framing::Bare, &key, host.as_ref());
            assert_eq!(request.uri(), path);
            assert_eq!(request.headers()["host"], "h");
            restore(&mut request, undo, Framing::Bare, &key);
            assert_eq!(request.uri().to_string(), format!("http://h{path}"));
            assert!(request.headers().is_empty());
        }
    }

    #[tokio::test]
    async fn prepare_makes_http1_of_http2_and_restore_undoes_it() {
        let mut request = Request::get("http://h/").version(Version::HTTP_2).body(()).unwrap();
        for crumb in ["a=1", "b=2"] {
            request.headers_mut().append(header::COOKIE, HeaderValue::from_static(crumb));
        }
        let (before, key) =
            (request.headers().clone(), KeyRef::new(&request, None).unwrap().to_key());
        let undo = prepare(&mut request, Framing::UnsizedChunks, &key, None);
        assert_eq!(request.version(), Version::HTTP_11);
        assert_eq!(request.headers()["transfer-encoding"], "chunked");
        let cookies: Vec<_> = request.headers().get_all(header::COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; b=2"]);
        restore(&mut request, undo, Framing::UnsizedChunks, &key);
        assert_eq!((request.version(), request.headers()), (Version::HTTP_2, &before));
        assert!(request.extensions().is_empty());
    }

    #[tokio::test]
    async fn only_authority_form_is_sent_with_connect() {
        for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
            for target in ["http://h/chat", "http://h:80/", "http://h:80", "h", "me:1@h:80"] {
                let request = Request::connect(target).version(version).body(()).unwrap();
                assert_eq!(KeyRef::new(&request, None), Err(ConnectFailure::BadTarget), "{target}");
            }
            let plain = Request::connect("h:80").version(version).body(()).unwrap();
            assert!(KeyRef::new(&plain, None).is_ok(), "control");
        }
    }

    fn proxy(at: &'static str, credentials: Option<&'static str>) -> Option<Arc<Proxy>> {
        let credentials = credentials.map(HeaderValue::from_static);
        let proxy = Proxy::new(&Uri::from_static(at), credentials.as_ref(), None);
        Some(Arc::new(proxy.unwrap()))
    }

    #[tokio::test]
    async fn keys_with_different_proxies_differ() {
        let ways = [
            None,
            proxy("http://p/", None),
            proxy("http://p/", Some("Basic bWU6cHc=")),
            proxy("http://p:81/", None),
            proxy("socks5h://p/", None),
            proxy("socks5://p/", None),
        ];
        let request = Request::get("http://a.example/").body(()).unwrap();
        let sought = ways.map(|way| KeyRef::new(&request, way).unwrap());
        let keys = sought.each_ref().map(KeyRef::to_key);
        for (at, key) in keys.iter().enumerate() {
            for (other_at, other) in keys.iter().enumerate() {
                assert_eq!(key.is_written_as(&sought[other_at]), at == other_at);
                assert_eq!(key == other, at == other_at);
            }
        }
        let again = KeyRef::new(&request, proxy("http://p:80/", None)).unwrap();
        assert!(again.to_key() == keys[1] && keys[1].is_written_as(&again));
    }

    #[tokio::test]
    async fn prepare_makes_absolute_form_for_a_forwarding_proxy() {
        for (given, sent, back) in [
            ("http://h:81/a?b=c", "http://h:81/a?b=c", "http://h:81/a?b=c"),
            ("http://h", "http://h/", "http://h/"),
            ("http://me:pw@h:80/", "http://h/", "http://me:pw@h:80/"),
        ] {
            let way = proxy("http://p/", Some("Basic bWU6cHc="));
            let mut request = Request::post(given).body(()).unwrap();
            let key = KeyRef::new(&request, way).unwrap().to_key();
            let undo = prepare(&mut request, Framing::Bare, &key, key.host().as_ref());
            assert_eq!(request.uri(), sent);
            assert_eq!(request.headers()["proxy-authorization"], "Basic bWU6cHc=");
            assert_eq!(request.headers()["host"], request.uri().authority().unwrap().as_str());
            restore(&mut request, undo, Framing::Bare, &key);
            assert_eq!(request.uri().to_string(), back);
            assert!(request.headers().is_empty());
        }
    }

    #[tokio::test]
    async fn requests_in_a_tunnel_carry_no_credentials() {
        for (at, target) in [("http://p/", "https://h/"), ("socks5h://p/", "http://h/")] {
            if !cfg!(feature = "tls") && target.starts_with("https") {
                continue;
            }
            let mut request = Request::post(target).body(()).unwrap();
            let by = proxy(at, Some("Basic bWU6cHc="));
            let key = KeyRef::new(&request, by).unwrap().to_key();
            prepare(&mut request, Framing::Bare, &key, key.host().as_ref());
            assert_eq!(request.uri(), "/");
            assert_eq!(request.headers().len(), 1, "Host only");
        }
    }
}

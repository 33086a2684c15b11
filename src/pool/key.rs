//! What connections are shared by.

use http::uri::{Authority, Scheme};
use http::{HeaderValue, Method, Request, Uri, Version, header};
use tokio::runtime;

use crate::classify::ConnectFailure;

/// Requests of one key may share connections: same scheme, host and port,
/// same runtime. A pool has one local address and TLS identity only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) scheme: Scheme,
    pub(super) authority: Authority,
    runtime: runtime::Id,
}

impl Key {
    /// Returns the key of a request.
    ///
    /// # Errors
    ///
    /// If the target has no host, its scheme is not known here, or there is no
    /// runtime.
    pub(super) fn of<B>(request: &Request<B>) -> Result<Self, ConnectFailure> {
        let uri = request.uri();
        let authority = uri.authority().ok_or(ConnectFailure::BadTarget)?.clone();
        let scheme = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => Scheme::HTTP,
            Some(scheme) if *scheme == Scheme::HTTPS && cfg!(feature = "tls") => Scheme::HTTPS,
            None if request.method() == Method::CONNECT => Scheme::HTTP,
            Some(_) | None => return Err(ConnectFailure::BadTarget),
        };
        if !matches!(request.version(), Version::HTTP_11 | Version::HTTP_10) {
            return Err(ConnectFailure::BadTarget);
        }
        let runtime = runtime::Handle::try_current().map_err(|_| ConnectFailure::BadTarget)?.id();
        Ok(Self { scheme, authority, runtime })
    }

    /// Returns whether the other key is written the very same way, which is
    /// cheaper to tell than whether it is equal.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.runtime == other.runtime
            && self.authority.as_str() == other.authority.as_str()
            && self.scheme == other.scheme
    }

    /// Returns whether requests go over TLS.
    pub(super) fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// Returns what users and servers state things of: the authority as it is
    /// written, or with its port if it is that of an https origin. One that has
    /// none written is that of an http origin.
    pub(super) fn origin(&self) -> Authority {
        if !self.is_https() || self.authority.port_u16().is_some() {
            return self.authority.clone();
        }
        let origin = format!("{}:443", self.authority);
        Authority::try_from(origin).unwrap_or_else(|_| self.authority.clone())
    }

    /// Returns where to connect to.
    pub(super) fn target(&self) -> Uri {
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query("/")
            .build()
            .unwrap_or_default()
    }

    /// Returns the value of the Host field (RFC 9112 3.2): no userinfo, and no
    /// port where it is the scheme's default.
    pub(super) fn host(&self) -> Option<HeaderValue> {
        let host = self.authority.host();
        let default = if self.is_https() { 443 } else { 80 };
        match self.authority.port_u16() {
            Some(port) if port != default => HeaderValue::try_from(format!("{host}:{port}")).ok(),
            _ => HeaderValue::from_str(host).ok(),
        }
    }
}

/// What [`to_wire`] changed, so that [`from_wire`] can undo it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Nothing: an authority-form CONNECT with a Host field.
    AsGiven,
    /// The target is in origin form.
    Origin,
    /// The target is in origin form, and there is a Host field of ours.
    OriginWithHost,
    /// There is a Host field of ours.
    WithHost,
}

/// Puts a request into the form that goes over a direct connection: origin
/// form and a Host field (RFC 9112 3.2).
pub(super) fn to_wire<B>(request: &mut Request<B>, host: Option<&HeaderValue>) -> Form {
    let is_connect = request.method() == Method::CONNECT;
    if !is_connect {
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    }
    let vacant = match (host, request.headers_mut().entry(header::HOST)) {
        (Some(host), header::Entry::Vacant(entry)) => {
            entry.insert(host.clone());
            true
        }
        _ => false,
    };
    match (is_connect, vacant) {
        (true, false) => Form::AsGiven,
        (true, true) => Form::WithHost,
        (false, false) => Form::Origin,
        (false, true) => Form::OriginWithHost,
    }
}

/// Puts a request that was not sent back into the form it came in.
pub(super) fn from_wire<B>(request: &mut Request<B>, form: Form, key: &Key) {
    if matches!(form, Form::OriginWithHost | Form::WithHost) {
        request.headers_mut().remove(header::HOST);
    }
    if matches!(form, Form::Origin | Form::OriginWithHost) {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(key.scheme.clone());
        parts.authority = Some(key.authority.clone());
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_else(|_| key.target());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(uri: &str) -> Result<Key, ConnectFailure> {
        Key::of(&Request::builder().uri(uri).body(()).unwrap())
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
    async fn a_request_goes_out_in_origin_form_and_comes_back_as_it_was() {
        for (uri, path) in [("http://h/a?b=c", "/a?b=c"), ("http://h", "/"), ("http://h?q", "/?q")]
        {
            let mut request = Request::builder().uri(uri).body(()).unwrap();
            let key = Key::of(&request).unwrap();
            let host = key.host();
            let form = to_wire(&mut request, host.as_ref());
            assert_eq!(request.uri(), path);
            assert_eq!(request.headers()["host"], "h");
            from_wire(&mut request, form, &key);
            assert_eq!(request.uri().to_string(), format!("http://h{path}"));
            assert!(request.headers().is_empty());
        }
    }
}

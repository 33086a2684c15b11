//! Makes one connection: name resolution, happy eyeballs, socket options, the
//! proxy on the way, TLS.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper_util::client::legacy::connect::HttpConnector;
use tower::Service;

use super::port::CONNECT_FORM;
use super::proxy::Proxy;
use super::proxy_error::ProxyError;
use crate::attempt::{Attempt, AttemptError};
use crate::chain::{BoxError, chain};
use crate::conn::{ConnTracker, Connected, Io, TrackedIo};
use crate::time;
#[cfg(feature = "tls")]
use crate::tls::{Lazy, Tls, TlsError};

use tower_resend_core::{Alert, ConnectFailure, Contract, Errno, Evidence, HandOff, Layer};

/// Makes one connection at a time.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    http: HttpConnector,
    timeout: Duration,
    #[cfg(feature = "tls")]
    tls: Lazy,
}

/// Where a connection goes, and through which proxy.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) target: Uri,
    pub(crate) proxy: Option<Arc<Proxy>>,
}

impl Route {
    /// Returns the proxy that has to open a tunnel first.
    fn tunnel(&self) -> Option<&Proxy> {
        let scheme = self.target.scheme()?;
        self.proxy.as_deref().filter(|proxy| !proxy.forwards(scheme))
    }
}

impl Dialer {
    pub(crate) fn new(options: &ConnectOptions) -> Self {
        Self {
            http: http_connector(options),
            timeout: options.timeout,
            #[cfg(feature = "tls")]
            tls: options.tls.clone().into(),
        }
    }

    /// Connects to the target's host and port, or to those of the proxy on the way,
    /// with TLS to the target if its scheme is https.
    ///
    /// # Errors
    ///
    /// If a step fails, or all steps take longer than the connect timeout.
    pub(crate) async fn connect(self, route: Route) -> Result<Connected, DialError> {
        let deadline = time::from_now(self.timeout);
        match time::timeout_at(deadline, self.establish(route)).await {
            Ok(connected) => connected,
            Err(_) => Err(DialError::of(ConnectFailure::TimedOut)),
        }
    }

    async fn establish(mut self, route: Route) -> Result<Connected, DialError> {
        let (io, tracker) = self.dial(&route).await?;
        let io = match route.tunnel() {
            Some(proxy) => {
                tracker.expect(Layer::ProxyHandshake);
                proxy.open(io, &route.target).await.map_err(DialError::proxy)?
            }
            None => io,
        };
        if route.target.scheme() == Some(&Scheme::HTTPS) {
            return self.secure(io, tracker, &route.target).await;
        }
        tracker.expect(Layer::Http);
        Ok(Connected { io: Io::Plain(io), tracker })
    }

    async fn dial(&mut self, route: &Route) -> Result<(TrackedIo, Arc<ConnTracker>), DialError> {
        let stream = match &route.proxy {
            None => self.http.call(route.target.clone()).await,
            Some(proxy) => match self.http.call(proxy.at().clone()).await {
                Err(error) => return Err(DialError::to_proxy(proxy, error.into())),
                stream => stream,
            },
        };
        let stream = stream.map_err(|error| DialError::new(error.into()))?;
        Ok(TrackedIo::new(stream.into_inner()))
    }

    #[cfg(feature = "tls")]
    async fn secure(
        self,
        io: TrackedIo,
        tracker: Arc<ConnTracker>,
        target: &Uri,
    ) -> Result<Connected, DialError> {
        let tls = self.tls.get().map_err(DialError::tls)?;
        let host = target.host().unwrap_or_default();
        Connected::secure(io, tracker, tls, host).await.map_err(DialError::tls)
    }

    #[cfg(not(feature = "tls"))]
    async fn secure(
        self,
        _: TrackedIo,
        _: Arc<ConnTracker>,
        _: &Uri,
    ) -> Result<Connected, DialError> {
        Err(DialError::no_tls())
    }
}

/// Returns the connector of hyper-util with these options, but the timeout.
pub(crate) fn http_connector(options: &ConnectOptions) -> HttpConnector {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_local_address(options.local_address);
    http.set_happy_eyeballs_timeout(Some(Duration::from_millis(250)));
    http.set_keepalive(options.keepalive.map(|keepalive| keepalive.idle));
    http.set_keepalive_interval(options.keepalive.map(|keepalive| keepalive.interval));
    http.set_keepalive_retries(options.keepalive.map(|keepalive| keepalive.count));
    #[cfg(target_os = "linux")]
    http.set_tcp_user_timeout(options.user_timeout);
    http
}

/// How connections are made.
#[derive(Clone, Debug)]
pub(crate) struct ConnectOptions {
    pub(crate) timeout: Duration,
    pub(crate) local_address: Option<IpAddr>,
    pub(crate) keepalive: Option<Keepalive>,
    pub(crate) user_timeout: Option<Duration>,
    /// `None` for the default, which is made when it is first needed.
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Tls>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            local_address: None,
            keepalive: Some(Keepalive::default()),
            user_timeout: None,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

/// TCP keepalive: probes on a silent connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keepalive {
    pub(crate) idle: Duration,
    pub(crate) interval: Duration,
    pub(crate) count: u32,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self { idle: Duration::from_secs(15), interval: Duration::from_secs(5), count: 3 }
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) struct DialError {
    failure: ConnectFailure,
    source: Option<BoxError>,
}

impl DialError {
    fn new(source: BoxError) -> Self {
        Self { failure: connect_failure(&*source), source: Some(source) }
    }

    pub(crate) fn of(failure: ConnectFailure) -> Self {
        Self { failure, source: None }
    }

    /// A CONNECT whose target is not in authority form.
    pub(crate) fn connect_form() -> Self {
        Self { failure: ConnectFailure::BadTarget, source: Some(CONNECT_FORM.into()) }
    }

    /// This build has no TLS.
    #[cfg(not(feature = "tls"))]
    pub(crate) fn no_tls() -> Self {
        let source = "https needs the feature `https`, or `tls`, of tower-resend";
        Self { failure: ConnectFailure::BadTarget, source: Some(source.into()) }
    }

    pub(crate) fn handshake(error: hyper::Error) -> Self {
        Self { failure: ConnectFailure::Connect(None), source: Some(error.into()) }
    }

    pub(crate) fn proxy(error: ProxyError) -> Self {
        Self { failure: error.failure(), source: Some(error.into()) }
    }

    fn to_proxy(proxy: &Proxy, error: BoxError) -> Self {
        let failure = connect_failure(&*error);
        Self { failure, source: Some(ProxyError::connect(proxy.at(), error).into()) }
    }

    #[cfg(feature = "tls")]
    fn tls(error: TlsError) -> Self {
        Self { failure: error.connect_failure(), source: Some(error.into()) }
    }

    /// A new connection ended before it was used. If the peer refused TLS with us,
    /// further connections would end in the same way.
    pub(crate) fn unusable(tracker: &ConnTracker) -> Self {
        let failure = match tracker.alert() {
            Some(_) => ConnectFailure::Untrusted,
            None => ConnectFailure::Connect(None),
        };
        Self { failure, source: tracker.session_error() }
    }

    /// Returns the evidence of a request for which there is no connection.
    pub(crate) fn evidence(&self) -> Evidence {
        Evidence::new(HandOff::NotConnected(self.failure)).with_alert(self.alert())
    }

    #[cfg(feature = "tls")]
    fn alert(&self) -> Option<Alert> {
        self.source.as_deref()?.downcast_ref().and_then(TlsError::alert)
    }

    #[cfg(not(feature = "tls"))]
    fn alert(&self) -> Option<Alert> {
        None
    }
}

/// The error of a request for which there is no connection.
impl From<DialError> for AttemptError {
    fn from(error: DialError) -> Self {
        let attempt = Attempt::new(error.evidence(), &Contract::none()).told_by_error();
        Self::new(attempt).with_source(error)
    }
}

/// Classifies a failed connect by the errno in its chain. Without one, the name did
/// not resolve.
pub(crate) fn connect_failure(error: &(dyn StdError + 'static)) -> ConnectFailure {
    match chain(error).find_map(|error| error.downcast_ref::<io::Error>()) {
        Some(io) => match (io.raw_os_error(), io.kind()) {
            (Some(errno), _) => ConnectFailure::Connect(Some(Errno(errno))),
            (None, io::ErrorKind::TimedOut) => ConnectFailure::TimedOut,
            (None, _) => ConnectFailure::Resolve,
        },
        None => ConnectFailure::BadTarget,
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.failure, f)
    }
}

impl StdError for DialError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

//! Makes TCP connections: name resolution, happy eyeballs, socket options.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::net::TcpStream;
use tower::Service;

use crate::classify::{ConnectFailure, Errno};
use crate::error::BoxError;
use crate::time;

/// Makes TCP connections.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    http: HttpConnector,
    timeout: Duration,
}

impl Connector {
    pub(crate) fn new(options: &ConnectOptions) -> Self {
        Self { http: http_connector(options), timeout: options.timeout }
    }

    /// Connects to the host and port of `target`.
    pub(crate) async fn connect(mut self, target: Uri) -> Result<TcpStream, ConnectError> {
        let deadline = time::now() + self.timeout;
        match time::timeout_at(deadline, self.http.call(target)).await {
            Ok(Ok(stream)) => Ok(stream.into_inner()),
            Ok(Err(error)) => Err(ConnectError::new(error.into())),
            Err(_) => Err(ConnectError { failure: ConnectFailure::TimedOut, source: None }),
        }
    }
}

/// Returns what makes the connections, without its timeout.
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
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            local_address: None,
            keepalive: Some(Keepalive::default()),
            user_timeout: None,
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

/// There is no connection.
#[derive(Debug)]
pub(crate) struct ConnectError {
    failure: ConnectFailure,
    source: Option<BoxError>,
}

impl ConnectError {
    fn new(source: BoxError) -> Self {
        Self { failure: connect_failure(&*source), source: Some(source) }
    }

    pub(crate) fn of(failure: ConnectFailure) -> Self {
        Self { failure, source: None }
    }

    pub(crate) fn handshake(error: hyper::Error) -> Self {
        Self { failure: ConnectFailure::Connect(None), source: Some(error.into()) }
    }

    pub(crate) fn failure(&self) -> ConnectFailure {
        self.failure
    }
}

/// Tells a failed connect by the errno in its chain; without one it was the
/// name that did not resolve.
pub(crate) fn connect_failure(error: &(dyn StdError + 'static)) -> ConnectFailure {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return match (io.raw_os_error(), io.kind()) {
                (Some(errno), _) => ConnectFailure::Connect(Some(Errno(errno))),
                (None, io::ErrorKind::TimedOut) => ConnectFailure::TimedOut,
                (None, _) => ConnectFailure::Resolve,
            };
        }
        next = error.source();
    }
    ConnectFailure::BadTarget
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.failure, f)
    }
}

impl StdError for ConnectError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

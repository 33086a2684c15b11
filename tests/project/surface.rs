//! What the public types are, checked when this is compiled.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower_resend::body::Replay;
use tower_resend::pool::{Pool, PoolOptions, Proxies};
use tower_resend::resend::{ReplayStreams, ReplayStreamsLayer, ResponseFuture};
use tower_resend::{
    Attempt, AttemptError, AttemptToken, Body, BoxError, Client, Error, Policy, Resend, ResendLayer,
};

type FullBody = Full<Bytes>;
type Inner = tower::util::BoxCloneSyncService<Request<FullBody>, Response<()>, BoxError>;
type Ready<B> = tower::util::ServiceFn<fn(Request<B>) -> std::future::Ready<Outcome>>;
type Outcome = Result<Response<()>, BoxError>;

fn is_shared<T: Send + Sync + Unpin + 'static>() {}
fn is_clone<T: Clone>() {}
fn is_debug<T: std::fmt::Debug>() {}
fn is_send<T: Send + 'static>() {}
fn is_send_sync<T: Send + Sync + 'static>() {}

#[test]
fn services_and_errors_can_be_shared() {
    is_shared::<Attempt>();
    is_shared::<AttemptToken>();
    is_shared::<AttemptError>();
    is_shared::<Error>();
    is_shared::<Policy>();
    is_shared::<ResendLayer>();
    is_shared::<Resend<Inner>>();
    is_shared::<ReplayStreamsLayer>();
    is_shared::<ReplayStreams<Inner>>();
    is_clone::<Resend<Inner>>();
    is_clone::<ReplayStreams<Inner>>();
}

#[test]
fn clients_can_be_shared() {
    is_shared::<Client>();
    is_clone::<Client>();
    is_send::<tower_resend::client::ResponseFuture>();
    is_shared::<Pool<Body>>();
    is_clone::<Pool<Body>>();
    is_shared::<PoolOptions>();
    is_shared::<Proxies>();
    is_debug::<Proxies>();
}

#[test]
fn what_wraps_hyper_util_can_be_shared() {
    use tower_resend::hyper_util::{Connector, EvidenceClient, ResponseFuture};
    is_shared::<Connector>();
    is_clone::<Connector>();
    is_shared::<EvidenceClient<Connector, Body>>();
    is_clone::<EvidenceClient<Connector, Body>>();
    is_send::<ResponseFuture>();
    is_debug::<EvidenceClient<Connector, Body>>();
}

#[cfg(feature = "reqwest")]
#[test]
fn what_wraps_reqwest_can_be_shared() {
    use tower_resend_reqwest::{ReqwestTransport, ResendMiddleware, ResponseFuture};
    is_shared::<ResendMiddleware<Client>>();
    is_clone::<ResendMiddleware<Client>>();
    is_shared::<ReqwestTransport>();
    is_clone::<ReqwestTransport>();
    is_send::<ResponseFuture>();
}

#[cfg(feature = "tls")]
#[test]
fn tls_settings_can_be_shared() {
    use tower_resend::tls::{Tls, TlsBuilder, TlsError};
    is_shared::<Tls>();
    is_clone::<Tls>();
    is_debug::<Tls>();
    is_debug::<TlsBuilder>();
    is_shared::<TlsError>();
}

#[test]
fn futures_can_be_sent() {
    is_send::<ResponseFuture<Inner, FullBody>>();
    is_send_sync::<ResponseFuture<Ready<FullBody>, FullBody>>();
    is_send_sync::<ResponseFuture<Ready<Replay<FullBody>>, Replay<FullBody>>>();
}

#[test]
fn all_can_be_debugged() {
    is_debug::<Attempt>();
    is_debug::<AttemptToken>();
    is_debug::<Error>();
    is_debug::<Policy>();
    is_debug::<ResendLayer>();
    is_debug::<Resend<Inner>>();
    is_debug::<ReplayStreams<Inner>>();
    is_debug::<ResponseFuture<Inner, FullBody>>();
}

#[test]
fn an_error_is_a_box_error() {
    fn check(error: Error) -> BoxError {
        error.into()
    }
    let _ = check;
}

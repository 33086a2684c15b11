//! hyper-util's legacy client over TLS: of this crate's connector, with full
//! evidence, and of hyper-rustls above the connector, with the stale check alone.

#![allow(clippy::unwrap_used, reason = "a test panics when something is in its way")]

use testkit::origin;
use testkit::stacks::acts::{
    Act, close_notify_and_fin, fin, reset, says_200_and_stays, says_599_and_ends,
};

use bytes::Bytes;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::Connect;
use hyper_util::rt::TokioExecutor;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tower::{Layer, Service, ServiceExt};
use tower_resend::hyper_util::{Connector, EvidenceClient, TrackedBody, with_evidence};
use tower_resend::pool::{Pool, PoolOptions};
use tower_resend::tls::rustls::RootCertStore;
use tower_resend::{Attempt, Body, ResendLayer, attempts};
use tower_resend_core::{Counts, Doubt, Fate};

use self::origin::tls::Authority;
use self::origin::{Origin, turnstile};

fn post(url: &str) -> Request<Body> {
    Request::post(url).body("pay".into()).unwrap()
}

fn ours(authority: &Authority) -> Connector {
    Connector::new().tls(authority.client().build().unwrap())
}

/// As its own documentation has it, but for the connector under it.
fn hyper_rustls(authority: &Authority) -> HttpsConnector<Connector> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.root()).unwrap();
    HttpsConnectorBuilder::new()
        .with_tls_config(authority.client_config(roots))
        .https_only()
        .enable_http1()
        .wrap_connector(Connector::new().enforce_http(false))
}

fn client<C, B>(connector: C) -> Client<C, B>
where
    C: Connect + Clone,
    B: http_body::Body + Send,
    B::Data: Send,
{
    Client::builder(TokioExecutor::new()).build(connector)
}

// ===== idle connections =====

/// What ended or spoke while it was idle never takes a request: the client by
/// itself sends it on another connection.
async fn survives<C>(connector: impl Fn(&Authority) -> C)
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let authority = Authority::new();
    let acts: [Act; 5] = [close_notify_and_fin, fin, reset, says_599_and_ends, says_200_and_stays];
    for act in acts {
        for _ in 0..10 {
            let (acted, has_acted) = turnstile();
            let (go, may_go) = turnstile();
            let origin = Origin::start_tls(2, &authority.server(), move |nth, mut peer| {
                if nth > 0 {
                    return peer.serve(1);
                }
                peer.serve(1);
                may_go.recv().unwrap();
                if let Some(peer) = act(peer) {
                    peer.leave_open();
                }
                acted.send(()).unwrap();
            });
            let client: Client<C, Body> = client(connector(&authority));
            for path in ["/before", "/after"] {
                let response = client.request(post(&origin.url(path))).await.unwrap();
                assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
                if path == "/before" {
                    go.send(()).unwrap();
                    has_acted.recv().unwrap();
                }
            }
            assert_eq!(origin.finish(), ["/before", "/after"]);
        }
    }
}

#[tokio::test]
async fn unmodified_client_survives_idle_ends_over_our_tls() {
    survives(ours).await;
}

#[tokio::test]
async fn unmodified_client_survives_idle_ends_over_hyper_rustls() {
    survives(hyper_rustls).await;
}

// ===== the boundary of a request =====

fn streamed(url: &str) -> (Request<Body>, impl Fn(&'static str) + use<>) {
    let (feed, frames) = tokio::sync::mpsc::unbounded_channel();
    let body = Body::new(StreamBody::new(UnboundedReceiverStream::new(frames)));
    let say = move |text: &'static str| {
        feed.send(Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(text.as_bytes()))))
            .unwrap();
    };
    (Request::post(url).body(body).unwrap(), say)
}

/// An upload during which the origin sends its tickets, a 103 and a key
/// update, and is answered; then a request that is dispatched and cut off.
/// Returns what is known of that one.
async fn after_an_upload<S, F, B>(client: impl FnOnce(&Authority) -> S) -> Attempt
where
    S: Service<Request<Body>, Response = http::Response<B>, Future = F> + Clone,
    S::Error: Into<tower_resend::BoxError>,
    F: Future<Output = Result<S::Response, S::Error>> + Send + 'static,
    B: http_body::Body + Send + 'static,
    B::Error: std::fmt::Debug,
    S::Error: Send + 'static,
    B::Data: Send,
{
    let authority = Authority::new();
    let (acted, has_acted) = turnstile();
    let origin = Origin::start_tls(1, &authority.server(), move |_, mut peer| {
        peer.read_some();
        peer.write("HTTP/1.1 103 Early Hints\r\n\r\n");
        let (session, stream) = peer.tls();
        session.0.refresh_traffic_keys().unwrap();
        session.flush(stream);
        acted.send(()).unwrap();
        peer.read_until("end\r\n0\r\n\r\n");
        peer.answer();
        peer.read_request();
    });
    let mut client = client(&authority);
    let (request, say) = streamed(&origin.url("/up"));
    say("start");
    let upload = tokio::spawn(client.ready().await.map_err(drop).unwrap().call(request));
    tokio::task::spawn_blocking(move || has_acted.recv().unwrap()).await.unwrap();
    say("end");
    drop(say);
    let response = upload.await.unwrap().map_err(Into::into).unwrap();
    assert_eq!(attempts(&response).len(), 0);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
    let failed = client.ready().await.map_err(drop).unwrap().call(post(&origin.url("/last"))).await;
    let Err(error) = failed.map_err(Into::into) else { panic!("it was cut off") };
    assert_eq!(origin.finish(), ["/up", "/last"]);
    let error = error.downcast::<tower_resend::Error>().unwrap();
    error.attempts().last().unwrap().clone()
}

fn wrapped<C>(connector: C) -> EvidenceClient<C, Body>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    with_evidence(client::<C, TrackedBody<Body>>(connector))
}

#[tokio::test]
async fn a_request_after_an_interrupted_upload_has_its_own_counts() {
    for _ in 0..10 {
        let layer = ResendLayer::default();
        let attempt = after_an_upload(|authority| layer.layer(wrapped(ours(authority)))).await;
        assert_eq!(attempt.fate(), Fate::Unknown(Doubt::Acknowledged));
        let Counts { written, acked, read, .. } = attempt.evidence().counts;
        // One record with the request's 68 bytes or so, and no byte of the
        // upload.
        assert!((80..100).contains(&written), "{written}");
        assert_eq!((acked, read), (Some(written), 0));

        let reference = after_an_upload(|authority| {
            let tls = authority.client().build().unwrap();
            layer.layer(Pool::<Body>::new(PoolOptions::new().tls(tls)))
        });
        assert_eq!(reference.await.fate(), attempt.fate());
    }
}

#[tokio::test]
async fn above_another_tls_a_request_has_no_boundary() {
    let layer = ResendLayer::default();
    let attempt = after_an_upload(|authority| layer.layer(wrapped(hyper_rustls(authority)))).await;
    assert_eq!(attempt.fate(), Fate::Unknown(Doubt::NoRequestBoundary));
}

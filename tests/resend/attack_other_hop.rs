//! That a request may be repeated says nothing of another that a layer sends for it.

#![allow(clippy::unwrap_used, reason = "a test panics when something is in its way")]

use crate::hops;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Layer, ServiceExt, service_fn};
use tower_resend::hyper_util::{Connector, with_evidence};
use tower_resend::resend::Idempotent;
use tower_resend::{AttemptToken, Policy, ResendLayer};

use hops::{Octets, Reply, Site, pool};

/// Sends a request, and forgets its answer.
type Transport = BoxCloneSyncService<Request<Octets>, http::Response<()>, BoxError>;

fn pooled() -> Transport {
    let pool = pool().map_response(|response| response.map(drop));
    BoxCloneSyncService::new(pool)
}

fn legacy() -> Transport {
    let client = with_evidence(Client::builder(TokioExecutor::new()).build(Connector::new()));
    let client = client.map_response(|response| response.map(drop)).map_err(Into::into);
    BoxCloneSyncService::new(client)
}

/// Returns what an origin dispatched that closes on everything: a call that is a GET, for
/// which a layer first asks for a token by `method`.
async fn taken_up(
    transport: Transport,
    method: Method,
    keeps: bool,
    is_marked: bool,
) -> Vec<String> {
    let site = Site::start(|_| Reply::Close);
    let token_url = site.url("/token").parse::<Uri>().unwrap();
    let inner = service_fn(move |request: Request<Octets>| {
        let (transport, token_url) = (transport.clone(), token_url.clone());
        let mut ask = Request::new(Full::<Bytes>::from("refresh"));
        (*ask.method_mut(), *ask.uri_mut()) = (method.clone(), token_url);
        if keeps {
            let token = request.extensions().get::<AttemptToken>().unwrap();
            ask.extensions_mut().insert(token.clone());
        }
        async move {
            transport.clone().oneshot(ask).await?;
            transport.oneshot(request).await
        }
    });
    let mut request = Request::get(site.url("/")).body(Octets::default()).unwrap();
    if is_marked {
        request.extensions_mut().insert(Idempotent);
    }
    ResendLayer::default().layer(inner).oneshot(request).await.unwrap_err();
    site.executed()
}

#[tokio::test]
async fn attack_post_that_a_layer_sends_for_a_get_is_not_repeated() {
    for (transport, name) in [(pooled as fn() -> Transport, "pool"), (legacy, "legacy")] {
        // Without the call's token it is known by its error.
        for keeps in [true, false] {
            for is_marked in [true, false] {
                let sent = taken_up(transport(), Method::POST, keeps, is_marked).await;
                assert_eq!(sent, ["POST /token"], "{name}, keeps {keeps}, marked {is_marked}");
                // The control.
                let sent = taken_up(transport(), Method::PUT, keeps, is_marked).await;
                assert_eq!(sent, ["PUT /token"; 2], "{name}, keeps {keeps}, marked {is_marked}");
            }
        }
    }
}

/// What a layer makes of a request with a key, once for each attempt.
#[derive(Clone, Copy, Debug)]
enum Keys {
    /// Passes it on. The control.
    Same,
    /// Gives each copy a key of its own.
    Own,
    /// Drops it.
    None,
    /// Sends a request of its own before it, which has none.
    Before { keeps: bool },
}

/// Returns how many requests an origin dispatched that closes on everything.
async fn taken_up_by_key(transport: Transport, keys: Keys) -> usize {
    let site = Site::start(|_| Reply::Close);
    let before = site.url("/before");
    let count = Arc::new(AtomicUsize::new(0));
    let inner = service_fn(move |mut request: Request<Octets>| {
        let transport = transport.clone();
        let nth = count.fetch_add(1, Ordering::Relaxed);
        match keys {
            Keys::Same => {}
            Keys::Own => {
                request.headers_mut().insert("idempotency-key", HeaderValue::from(nth));
            }
            Keys::None => drop(request.headers_mut().remove("idempotency-key")),
            Keys::Before { keeps } => {
                let token = request.extensions().get::<AttemptToken>().unwrap().clone();
                request = Request::post(&before).body(Octets::default()).unwrap();
                if keeps {
                    request.extensions_mut().insert(token);
                }
            }
        }
        transport.oneshot(request)
    });
    let request = Request::post(site.url("/pay")).header("idempotency-key", "\"8e03\"");
    let request = request.body(Full::from("pay")).unwrap();
    let policy = Policy::new().origins_deduplicate();
    ResendLayer::new(policy).layer(inner).oneshot(request).await.unwrap_err();
    site.executed().len()
}

#[tokio::test]
async fn attack_a_key_that_a_layer_changes_deduplicates_nothing() {
    for (transport, name) in [(pooled as fn() -> Transport, "pool"), (legacy, "legacy")] {
        assert_eq!(taken_up_by_key(transport(), Keys::Same).await, 3, "{name}, the control");
        let befores = [true, false].map(|keeps| Keys::Before { keeps });
        for keys in [Keys::Own, Keys::None].into_iter().chain(befores) {
            assert_eq!(taken_up_by_key(transport(), keys).await, 1, "{name}, {keys:?}");
        }
    }
}

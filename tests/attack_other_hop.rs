//! That a request may be repeated says nothing of another that a layer sends for it.

#![allow(clippy::unwrap_used, reason = "a test panics when something is in its way")]

#[path = "support/hops.rs"]
#[allow(dead_code, reason = "each test file uses its own part")]
mod hops;

use bytes::Bytes;
use http::{Method, Request, Uri};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Layer, ServiceExt, service_fn};
use tower_resend::adapter::hyper_util::{Connector, wrap};
use tower_resend::resend::Idempotent;
use tower_resend::{AttemptToken, ResendLayer};

use hops::{Octets, Reply, Site, pool};

/// Sends a request, and forgets its answer.
type Transport = BoxCloneSyncService<Request<Octets>, http::Response<()>, BoxError>;

fn pooled() -> Transport {
    let pool = pool().map_response(|response| response.map(drop));
    BoxCloneSyncService::new(pool)
}

fn legacy() -> Transport {
    let client = wrap(Client::builder(TokioExecutor::new()).build(Connector::new()));
    let client = client.map_response(|response| response.map(drop)).map_err(Into::into);
    BoxCloneSyncService::new(client)
}

/// Returns what an origin took up that closes on everything: a call that is a GET, for
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
async fn attack_a_post_that_a_layer_sends_for_a_get_is_not_repeated_with_it() {
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

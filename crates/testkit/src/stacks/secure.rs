//! Stacks over TLS.

use http::Request;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use tower_resend::tls::rustls::RootCertStore;
use tower_resend_core::Doubt;

use super::legacy::{Connects, HyperUtil, Late, Unmodified};
use super::origin::tls::config_trusting;
use super::payload::Payload;
use super::{Called, Class, Knows, Scheme, Settings, Stack};

/// A stack that speaks TLS by itself once it knows which roots to trust.
#[derive(Clone)]
pub struct Secure<S>(S);

impl<S: Stack> Stack for Secure<S> {
    const CLASS: Class = S::CLASS;
    const SCHEME: Scheme = Scheme::Https;
    const IS_OVER_POOL: bool = S::IS_OVER_POOL;

    fn new(settings: &Settings) -> Self {
        Self(S::new(settings))
    }

    fn call(&self, request: Request<Payload>) -> impl Future<Output = Called> + Send {
        self.0.call(request)
    }
}

/// hyper-util wrapped, with hyper-rustls between it and our connector.
pub type OverHyperRustls = HyperUtil<HttpsConnector<Late>>;

/// The same, and only the connector is ours.
pub type UnmodifiedOverHyperRustls = Unmodified<HttpsConnector<Late>>;

/// Nothing of ours.
pub type Foreign = HttpsConnector<HttpConnector>;

impl Connects for HttpsConnector<Late> {
    const CLASS: Class = Class {
        looks: true,
        lists_hand_backs: true,
        evidence: Knows::Nothing(Doubt::NoRequestBoundary),
    };
    const SCHEME: Scheme = Scheme::Https;

    fn of(settings: &Settings) -> Self {
        hyper_rustls(Late::below_tls(settings), settings)
    }
}

impl Connects for Foreign {
    const CLASS: Class = Class::WEAK;
    const SCHEME: Scheme = Scheme::Https;

    fn of(settings: &Settings) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        hyper_rustls(http, settings)
    }
}

/// As its own documentation has it.
fn hyper_rustls<C>(connector: C, settings: &Settings) -> HttpsConnector<C> {
    let mut roots = RootCertStore::empty();
    settings.root.iter().for_each(|root| roots.add(root.clone()).unwrap());
    HttpsConnectorBuilder::new()
        .with_tls_config(config_trusting(roots))
        .https_only()
        .enable_http1()
        .wrap_connector(connector)
}

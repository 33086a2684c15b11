//! Builds a TLS configuration from roots and a client certificate.

use std::fmt;
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};

use super::{Tls, TlsError};

/// Builds a [`Tls`].
#[must_use]
pub struct TlsBuilder {
    roots: Vec<CertificateDer<'static>>,
    has_default_roots: bool,
    identity: Option<Identity>,
}

/// A client certificate with its chain, and its key.
type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl TlsBuilder {
    pub(super) fn new() -> Self {
        Self { roots: Vec::new(), has_default_roots: true, identity: None }
    }

    /// Trusts a root beside the default roots.
    pub fn add_root(mut self, root: CertificateDer<'static>) -> Self {
        self.roots.push(root);
        self
    }

    /// Trusts all certificates of a PEM file beside the default roots.
    ///
    /// # Errors
    ///
    /// If `pem` is not PEM, or has no certificate in it.
    pub fn add_root_pem(mut self, pem: &[u8]) -> Result<Self, TlsError> {
        self.roots.extend(certificates(pem)?);
        Ok(self)
    }

    /// Trusts only the roots that were added, and none of the default roots.
    pub fn no_default_roots(mut self) -> Self {
        self.has_default_roots = false;
        self
    }

    /// Sends a client certificate to servers that ask for one: the certificate with its
    /// chain, and its key.
    pub fn identity(
        mut self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Self {
        self.identity = Some((chain, key));
        self
    }

    /// Does the same as [`identity`](Self::identity), from PEM: the certificate with its
    /// chain, and its key.
    ///
    /// # Errors
    ///
    /// If either is not PEM, or has no certificate or key in it.
    pub fn identity_pem(self, chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let key = PrivateKeyDer::from_pem_slice(key).map_err(TlsError::pem)?;
        Ok(self.identity(certificates(chain)?, key))
    }

    /// Returns the configuration.
    ///
    /// # Errors
    ///
    /// If there is no cryptography or no root, or a certificate or key is unusable.
    pub fn build(self) -> Result<Tls, TlsError> {
        let provider = provider().ok_or_else(TlsError::no_provider)?;
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::setting)?;
        let builder = match self.has_default_roots {
            true => with_default_roots(builder, provider, self.roots),
            false => with_roots(builder, RootCertStore::empty(), self.roots),
        }?;
        let config = match self.identity {
            Some((chain, key)) => {
                builder.with_client_auth_cert(chain, key).map_err(TlsError::setting)?
            }
            None => builder.with_no_client_auth(),
        };
        Ok(Tls::from_config(config))
    }
}

type WithRoots = Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsError>;

#[cfg(feature = "platform-verifier")]
fn with_default_roots(
    builder: ConfigBuilder<ClientConfig, WantsVerifier>,
    provider: Arc<CryptoProvider>,
    more: Vec<CertificateDer<'static>>,
) -> WithRoots {
    let verifier = rustls_platform_verifier::Verifier::new_with_extra_roots(more, provider)
        .map_err(TlsError::setting)?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)))
}

#[cfg(not(feature = "platform-verifier"))]
fn with_default_roots(
    builder: ConfigBuilder<ClientConfig, WantsVerifier>,
    _: Arc<CryptoProvider>,
    more: Vec<CertificateDer<'static>>,
) -> WithRoots {
    #[cfg(feature = "webpki-roots")]
    let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    #[cfg(not(feature = "webpki-roots"))]
    let roots = RootCertStore::empty();
    with_roots(builder, roots, more)
}

fn with_roots(
    builder: ConfigBuilder<ClientConfig, WantsVerifier>,
    mut roots: RootCertStore,
    more: Vec<CertificateDer<'static>>,
) -> WithRoots {
    for root in more {
        roots.add(root).map_err(TlsError::setting)?;
    }
    if roots.is_empty() {
        return Err(TlsError::no_roots());
    }
    Ok(builder.with_root_certificates(roots))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(TlsError::pem)?;
    if found.is_empty() {
        return Err(TlsError::pem(rustls::pki_types::pem::Error::NoItemsFound));
    }
    Ok(found)
}

/// Returns the cryptography: the process's default, or else that of a feature.
fn provider() -> Option<Arc<CryptoProvider>> {
    if let Some(installed) = CryptoProvider::get_default() {
        return Some(Arc::clone(installed));
    }
    #[cfg(feature = "aws-lc")]
    return Some(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    #[cfg(all(feature = "ring", not(feature = "aws-lc")))]
    return Some(Arc::new(rustls::crypto::ring::default_provider()));
    #[cfg(not(any(feature = "ring", feature = "aws-lc")))]
    return None;
}

impl fmt::Debug for TlsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsBuilder")
            .field("roots", &self.roots.len())
            .field("has_default_roots", &self.has_default_roots)
            .field("has_identity", &self.identity.is_some())
            .finish()
    }
}

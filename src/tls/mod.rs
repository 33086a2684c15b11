//! TLS by rustls, for targets whose scheme is `https` (feature `tls`).
//!
//! With the feature `https` there is nothing to set up: a [`Client`](crate::Client) speaks
//! TLS with *ring* and verifies servers as the operating system does. For everything else:
//!
//! | feature | what it adds |
//! |---|---|
//! | `https` | `ring` and `platform-verifier` |
//! | `ring`, `aws-lc` | the cryptography; with both it is *aws-lc* |
//! | `platform-verifier` | verifies as the operating system does |
//! | `webpki-roots` | trusts Mozilla's roots; unused where `platform-verifier` is on |
//! | `tls` | none of these: a [configuration](Tls::from_config) of your own, or a [`CryptoProvider`] installed for the process |
//!
//! ```no_run
//! # fn example(root: &[u8], chain: &[u8], key: &[u8]) -> Result<(), tower_resend::tls::TlsError> {
//! use tower_resend::Client;
//! use tower_resend::pool::PoolOptions;
//! use tower_resend::tls::Tls;
//!
//! let tls = Tls::builder()
//!     .add_root_pem(root)?            // beside the default roots
//!     .identity_pem(chain, key)?      // a client certificate
//!     .build()?;
//! let client = Client::builder().pool(PoolOptions::new().tls(tls)).build();
//! # Ok(())
//! # }
//! ```
//!
//! # What is different under TLS
//!
//! - The evidence is the same. The kernel counts the bytes of TLS records, and so do the
//!   byte counts in an error.
//! - Only plaintext counts as a response. A session ticket or a key update is none, and
//!   leaves a request on its connection; a close_notify hands it back.
//! - No data is sent before the handshake ends (no 0-RTT), whatever a configuration says:
//!   a replayed request would be executed twice.
//! - The statement that an origin acts on complete messages only
//!   ([`complete_messages_only`]) is ignored: bytes that follow a request, such as an
//!   alert, would count as its missing end.
//! - A server that demands a certificate, or rejects ours, ends the call by its alert: the
//!   request is not sent again ([`NoResend::Permanent`]). With TLS 1.3 the alert comes
//!   only after our side of the handshake is complete. It is in [`Evidence::alert`] and
//!   among the error's sources as a [`rustls::Error`], as is every alert that ended a
//!   connection of a [`Pool`].
//! - Part of a record that arrived before a request may be half of an unsolicited
//!   response. The request then goes to another connection.
//!
//! [`CryptoProvider`]: rustls::crypto::CryptoProvider
//! [`Evidence::alert`]: tower_resend_core::Evidence::alert
//! [`Pool`]: crate::pool::Pool
//! [`NoResend::Permanent`]: tower_resend_core::NoResend::Permanent
//! [`complete_messages_only`]: crate::pool::OriginTrust::complete_messages_only
#![forbid(unsafe_code)]

mod builder;
mod error;

use std::fmt;
use std::sync::{Arc, OnceLock};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// rustls 0.23, whose types appear in this module.
pub use ::rustls;

pub use builder::TlsBuilder;
pub use error::TlsError;
pub(crate) use error::{ends_every_handshake, final_alert};

use self::rustls::ClientConfig;
use self::rustls::pki_types::ServerName;

/// The settings of TLS connections. Clones share the session cache.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
}

impl Tls {
    /// Returns a builder for roots and a client certificate beside the defaults.
    pub fn builder() -> TlsBuilder {
        TlsBuilder::new()
    }

    /// Uses a configuration of rustls, with two changes: early data is off, and
    /// `http/1.1` is the only protocol offered by ALPN.
    pub fn from_config(mut config: ClientConfig) -> Self {
        config.enable_early_data = false;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { config: Arc::new(config) }
    }

    /// Makes a TLS connection over `io` to the host of a URI.
    ///
    /// # Errors
    ///
    /// If the host is not a name for a certificate, or the handshake fails.
    pub(crate) async fn connect<T>(&self, host: &str, io: T) -> Result<TlsStream<T>, TlsError>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        // An IPv6 literal is in brackets in a URI, and without them in a certificate.
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(host.to_owned()).map_err(TlsError::name)?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        connector.connect(name, io).await.map_err(TlsError::handshake)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// The chosen settings, or the default ones, which are made when they are first needed:
/// they take the system's roots, which may be missing.
#[derive(Clone, Debug)]
pub(crate) struct Lazy(Arc<OnceLock<Tls>>);

impl Lazy {
    pub(crate) fn get(&self) -> Result<&Tls, TlsError> {
        if let Some(tls) = self.0.get() {
            return Ok(tls);
        }
        // Not kept on failure: reading the system's roots may succeed later.
        let tls = Tls::builder().build()?;
        Ok(self.0.get_or_init(|| tls))
    }
}

impl From<Option<Tls>> for Lazy {
    fn from(chosen: Option<Tls>) -> Self {
        Self(Arc::new(chosen.map_or_else(OnceLock::new, OnceLock::from)))
    }
}

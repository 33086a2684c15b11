//! TLS between a scripted origin and our client.

use rustls::pki_types::CertificateDer;
use tower_resend::tls::{Tls, TlsBuilder};

pub use crate::tls_origin::*;

impl Authority {
    /// Returns a client's settings that trust this authority only.
    pub fn client(&self) -> TlsBuilder {
        trusting(self.root())
    }
}

/// Returns a client's settings that trust one authority only.
pub fn trusting(root: CertificateDer<'static>) -> TlsBuilder {
    Tls::builder().no_default_roots().add_root(root)
}

//! Why TLS failed.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::AlertDescription;
use rustls::pki_types::{InvalidDnsNameError, pem};

use tower_resend_core::{Alert, ConnectFailure};

/// A setting is unusable, a handshake failed, or an established session failed.
///
/// No part of a request was sent unless it was a session that failed
/// ([`is_of_session`](Self::is_of_session)).
#[derive(Clone, Debug)]
pub struct TlsError(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    NoProvider,
    NoRoots,
    Pem(pem::Error),
    Setting(rustls::Error),
    Name(InvalidDnsNameError),
    Handshake(io::Error),
    Session(rustls::Error),
}

impl TlsError {
    pub(super) fn no_provider() -> Self {
        Self(Arc::new(Kind::NoProvider))
    }

    pub(super) fn no_roots() -> Self {
        Self(Arc::new(Kind::NoRoots))
    }

    pub(super) fn pem(error: pem::Error) -> Self {
        Self(Arc::new(Kind::Pem(error)))
    }

    pub(super) fn setting(error: rustls::Error) -> Self {
        Self(Arc::new(Kind::Setting(error)))
    }

    pub(super) fn name(error: InvalidDnsNameError) -> Self {
        Self(Arc::new(Kind::Name(error)))
    }

    pub(super) fn handshake(error: io::Error) -> Self {
        Self(Arc::new(Kind::Handshake(error)))
    }

    /// Returns the error that ended a session, if it is one of TLS.
    pub(crate) fn of_session(error: &io::Error) -> Option<Self> {
        let error: &rustls::Error = error.get_ref()?.downcast_ref()?;
        Some(Self(Arc::new(Kind::Session(error.clone()))))
    }

    /// Returns `true` if it ended a session whose handshake was complete on our side.
    ///
    /// With TLS 1.3 a server rejects a client certificate only then.
    pub fn is_of_session(&self) -> bool {
        matches!(&*self.0, Kind::Session(_))
    }

    /// Returns the peer's alert, if it would end every handshake.
    pub(crate) fn alert(&self) -> Option<Alert> {
        self.rustls().and_then(final_alert)
    }

    /// Returns `true` if another handshake would end the same way.
    ///
    /// That is so if the server's certificate is not trusted or the server rejects ours,
    /// if the peer speaks no TLS or none that suits, or if a setting is unusable.
    pub fn is_final(&self) -> bool {
        match &*self.0 {
            Kind::NoProvider | Kind::NoRoots | Kind::Pem(_) | Kind::Setting(_) | Kind::Name(_) => {
                true
            }
            Kind::Handshake(_) => self.rustls().is_some_and(ends_every_handshake),
            Kind::Session(_) => self.alert().is_some(),
        }
    }

    /// Returns why there is no connection after this error.
    pub(crate) fn connect_failure(&self) -> ConnectFailure {
        match self.is_final() {
            true => ConnectFailure::Untrusted,
            false => ConnectFailure::Tls,
        }
    }

    /// Returns the error of rustls, if it is one. An
    /// [`AlertReceived`](rustls::Error::AlertReceived) came from the peer.
    pub fn rustls(&self) -> Option<&rustls::Error> {
        match &*self.0 {
            Kind::Setting(error) | Kind::Session(error) => Some(error),
            Kind::Handshake(error) => error.get_ref()?.downcast_ref(),
            Kind::NoProvider | Kind::NoRoots | Kind::Pem(_) | Kind::Name(_) => None,
        }
    }
}

/// Returns `true` if every handshake with this peer would end with this error.
pub(crate) fn ends_every_handshake(error: &rustls::Error) -> bool {
    matches!(
        error,
        rustls::Error::InvalidCertificate(_)
            | rustls::Error::InvalidMessage(_)
            | rustls::Error::PeerIncompatible(_)
            | rustls::Error::BadMaxFragmentSize
            | rustls::Error::AlertReceived(
                AlertDescription::HandshakeFailure
                    | AlertDescription::InsufficientSecurity
                    | AlertDescription::ProtocolVersion
                    | AlertDescription::NoApplicationProtocol
                    | AlertDescription::UnrecognisedName
                    | AlertDescription::UnknownCA
                    | AlertDescription::BadCertificate
                    | AlertDescription::UnsupportedCertificate
                    | AlertDescription::CertificateExpired
                    | AlertDescription::CertificateRevoked
                    | AlertDescription::CertificateUnknown
                    | AlertDescription::CertificateRequired
                    | AlertDescription::AccessDenied
                    // The peer rejects our signature, such as by the certificate's key.
                    | AlertDescription::DecryptError
            )
    )
}

/// Returns the peer's alert, if the error is one that would end every handshake.
pub(crate) fn final_alert(error: &rustls::Error) -> Option<Alert> {
    match error {
        rustls::Error::AlertReceived(alert) if ends_every_handshake(error) => {
            Some(Alert((*alert).into()))
        }
        _ => None,
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Kind::NoProvider => f.write_str(
                "no cryptography: turn on the feature `ring` or `aws-lc`, \
                 or install a default CryptoProvider",
            ),
            Kind::NoRoots => f.write_str(
                "no roots: turn on the feature `platform-verifier` or `webpki-roots`, or add one",
            ),
            Kind::Pem(error) => write!(f, "not a usable PEM: {error}"),
            Kind::Setting(error) => write!(f, "not a usable TLS setting: {error}"),
            Kind::Name(_) => f.write_str("the host is not a name that a certificate can have"),
            Kind::Handshake(error) => write!(f, "TLS handshake failed: {error}"),
            Kind::Session(error) => write!(f, "TLS session failed: {error}"),
        }
    }
}

impl StdError for TlsError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &*self.0 {
            Kind::NoProvider | Kind::NoRoots => None,
            Kind::Pem(error) => Some(error),
            Kind::Setting(error) | Kind::Session(error) => Some(error),
            Kind::Name(error) => Some(error),
            // The sources of an `io::Error` leave out the error that it holds.
            Kind::Handshake(error) => self.rustls().map_or(Some(error), |error| Some(error)),
        }
    }
}

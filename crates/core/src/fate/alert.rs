//! TLS alerts, by number.

use std::fmt;

/// A fatal TLS alert, by its number (RFC 8446 6, and IANA's list).
///
/// It says why a peer rejected the handshake. It is neither proof nor doubt: it
/// does not say what became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_structs, reason = "an alert is its number")]
pub struct Alert(pub u8);

impl Alert {
    /// Returns the alert's name in the RFCs, if it is one that rejects a handshake
    /// for good.
    pub fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            40 => "handshake_failure",
            42 => "bad_certificate",
            43 => "unsupported_certificate",
            44 => "certificate_revoked",
            45 => "certificate_expired",
            46 => "certificate_unknown",
            48 => "unknown_ca",
            49 => "access_denied",
            51 => "decrypt_error",
            70 => "protocol_version",
            71 => "insufficient_security",
            112 => "unrecognized_name",
            116 => "certificate_required",
            120 => "no_application_protocol",
            _ => return None,
        })
    }
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({})", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

//! Ports of authorities.

use http::uri::Authority;

/// Returns `true` unless the authority has a port that is no port number.
///
/// `http` gives none for such a port, as if there were none, and what connects would
/// take the scheme's. An empty one is the scheme's (RFC 3986 3.2.3).
pub(crate) fn has_sound_port(authority: &Authority) -> bool {
    let written = authority.as_str();
    let host = written.rfind('@').map_or(written, |at| &written[at + 1..]);
    match host.strip_prefix(authority.host()) {
        Some("" | ":") => true,
        Some(port) => {
            let is_number = port.bytes().skip(1).all(|digit| digit.is_ascii_digit());
            is_number && authority.port_u16().is_some()
        }
        None => false,
    }
}

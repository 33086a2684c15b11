//! Ports of authorities, and the targets that must have one.

use http::Uri;
use http::uri::{Authority, PathAndQuery};

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

/// Returns `true` if an authority can be the target of a CONNECT: a host and a port,
/// which must be there even where it is the default (RFC 9110 9.3.6), and no userinfo.
pub(crate) fn is_connect_authority(authority: &Authority) -> bool {
    authority.port_u16().is_some() && !authority.as_str().contains('@')
}

/// Returns `true` if a client that leaves out the scheme and the path of a CONNECT, as
/// hyper-util's does, sends it in authority form (RFC 9112 3.2.3) with nothing lost.
pub(crate) fn has_connect_form(uri: &Uri) -> bool {
    uri.path_and_query().is_none_or(|path| *path == PathAndQuery::from_static("/"))
        && uri.authority().is_some_and(is_connect_authority)
}

/// What to do about a CONNECT that would not go out in authority form.
pub(crate) const CONNECT_FORM: &str = "the target of a CONNECT is host:port and nothing else";

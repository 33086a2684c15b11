//! The two ends of a transport connection, which bind a promise to it.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::fmt;
use std::str::FromStr;

/// The two ends of one transport connection (`hop`; rules S7, S11, C2 and C10).
///
/// On the wire it is the sender's own view: the client's address (a server's
/// getpeername, a client's getsockname), a space, and the server's address, as in
/// `192.0.2.7:50211 198.51.100.9:443`. Two values are equal if they mean the same
/// ends: an IPv4-mapped IPv6 address equals the IPv4 address, and zone ids and flow
/// labels are dropped.
///
/// # Examples
///
/// ```
/// use tower_resend_core::contract::Hop;
///
/// let stated: Hop = "192.0.2.7:50211 198.51.100.9:443".parse()?;
/// let own = Hop::seen_by_client("192.0.2.7:50211".parse()?, "[::ffff:198.51.100.9]:443".parse()?);
/// assert_eq!(stated, own);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hop {
    client: SocketAddr,
    server: SocketAddr,
}

impl Hop {
    /// Returns the hop of a client's socket (C2): its own address, and then
    /// that of its peer.
    pub fn seen_by_client(local: SocketAddr, peer: SocketAddr) -> Self {
        Self { client: normal(local), server: normal(peer) }
    }

    /// Returns the hop of a server's socket (S7): that of its peer, and then
    /// its own address.
    pub fn seen_by_server(peer: SocketAddr, local: SocketAddr) -> Self {
        Self { client: normal(peer), server: normal(local) }
    }

    /// Returns the client's end.
    pub fn client(&self) -> SocketAddr {
        self.client
    }

    /// Returns the server's end.
    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// Returns `true` if, by the addresses, the server cannot see these ends: the
    /// client's address is private and the server's is not (C10).
    pub fn is_translated(&self) -> bool {
        is_private(self.client.ip()) && !is_private(self.server.ip())
    }
}

/// Returns `true` for an address that is not globally reachable: private
/// use (RFC 1918, RFC 4193), shared (RFC 6598), link-local or loopback.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            let is_shared = a == 100 && (64..128).contains(&b);
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || is_shared
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.client, self.server)
    }
}

impl FromStr for Hop {
    type Err = HopParseError;

    fn from_str(text: &str) -> Result<Self, HopParseError> {
        let (client, server) = text.split_once(' ').ok_or(HopParseError)?;
        Ok(Self { client: end(client)?, server: end(server)? })
    }
}

/// The text does not name two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct HopParseError;

impl fmt::Display for HopParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the two ends of a connection")
    }
}

impl std::error::Error for HopParseError {}

/// Drops what only one host knows, and maps a second form to the first.
fn normal(end: SocketAddr) -> SocketAddr {
    SocketAddr::new(end.ip().to_canonical(), end.port())
}

fn end(text: &str) -> Result<SocketAddr, HopParseError> {
    let (ip, port) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (ip, port) = bracketed.split_once("]:").ok_or(HopParseError)?;
            (IpAddr::V6(ipv6(ip)?), port)
        }
        None => {
            let (ip, port) = text.split_once(':').ok_or(HopParseError)?;
            (IpAddr::V4(ip.parse().map_err(|_| HopParseError)?), port)
        }
    };
    let end = normal(SocketAddr::new(ip, port_number(port)?));
    // A connected socket has no such end.
    if end.ip().is_unspecified() || end.ip().is_multicast() {
        return Err(HopParseError);
    }
    Ok(end)
}

/// Reads an address, without its zone id (RFC 4007 11) if it has one.
fn ipv6(text: &str) -> Result<Ipv6Addr, HopParseError> {
    let (ip, zone) = match text.split_once('%') {
        Some((ip, zone)) => (ip, Some(zone)),
        None => (text, None),
    };
    let is_zone_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if zone.is_some_and(|zone| zone.is_empty() || !zone.bytes().all(is_zone_byte)) {
        return Err(HopParseError);
    }
    ip.parse().map_err(|_| HopParseError)
}

/// Reads a port in its canonical form: no sign, no leading zero, not zero.
fn port_number(text: &str) -> Result<u16, HopParseError> {
    if !text.starts_with(|first: char| matches!(first, '1'..='9')) {
        return Err(HopParseError);
    }
    text.parse().map_err(|_| HopParseError)
}

//! Address translation on the wire: what a home router (source), a cloud's
//! load balancer of layer 3 (destination) or both do to packets.
//!
//! It ends no connection: sequence numbers, acknowledgements and flags pass as
//! they are, and only addresses, ports and the two checksums change.

use std::net::Ipv4Addr;

#[cfg(feature = "peers")]
use etherparse::{IpNumber, Ipv4Header, TcpHeader};

use super::Way;

/// Which addresses and ports are translated on the way. Nothing but TCP passes
/// a translator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nat {
    source: bool,
    destination: bool,
}

impl Nat {
    /// The server sees another address and port than the client's own.
    pub const SOURCE: Self = Self { source: true, destination: false };
    /// The client talks to another address and port than the server's own.
    pub const DESTINATION: Self = Self { source: false, destination: true };
    /// Both.
    pub const BOTH: Self = Self { source: true, destination: true };

    /// Returns the server's address for clients.
    pub fn server_for_clients(self) -> Ipv4Addr {
        if self.destination { OUTSIDE_SERVER } else { super::SERVER }
    }

    /// Returns the client's address for servers.
    pub fn client_for_servers(self) -> Ipv4Addr {
        if self.source { OUTSIDE_CLIENT } else { super::CLIENT }
    }

    /// Returns the port for clients of a server that listens on `port`.
    pub fn port_for_clients(self, port: u16) -> u16 {
        if self.destination { other_port(port) } else { port }
    }

    /// Nothing passes: without the feature `peers`, [`Config`](super::Config)
    /// cannot ask for translation.
    #[cfg(not(feature = "peers"))]
    pub fn translate(self, _way: Way, _packet: &[u8]) -> Option<Box<[u8]>> {
        None
    }

    /// Translates a packet; none if it is one that does not pass.
    #[cfg(feature = "peers")]
    pub fn translate(self, way: Way, packet: &[u8]) -> Option<Box<[u8]>> {
        let (mut ip, rest) = Ipv4Header::from_slice(packet).ok()?;
        if ip.protocol != IpNumber::TCP || ip.is_fragmenting_payload() {
            return None;
        }
        let rest = rest.get(..usize::from(ip.payload_len().ok()?))?;
        let (mut tcp, data) = TcpHeader::from_slice(rest).ok()?;
        match way {
            Way::ToServer => {
                ip.source = self.client_for_servers().octets();
                ip.destination = super::SERVER.octets();
            }
            Way::ToClient => {
                ip.source = self.server_for_clients().octets();
                ip.destination = super::CLIENT.octets();
            }
        }
        let (of_client, of_server) = match way {
            Way::ToServer => (&mut tcp.source_port, &mut tcp.destination_port),
            Way::ToClient => (&mut tcp.destination_port, &mut tcp.source_port),
        };
        if self.source {
            *of_client = other_port(*of_client);
        }
        if self.destination {
            *of_server = other_port(*of_server);
        }
        ip.header_checksum = ip.calc_header_checksum();
        tcp.checksum = tcp.calc_checksum_ipv4(&ip, data).ok()?;
        let mut translated = Vec::with_capacity(packet.len());
        ip.write_raw(&mut translated).ok()?;
        tcp.write(&mut translated).ok()?;
        translated.extend_from_slice(data);
        Some(translated.into())
    }
}

/// Translates a port, and back: 80 is 8080, and what is above 8191 stays there.
fn other_port(port: u16) -> u16 {
    port ^ (80 ^ 8080)
}

const OUTSIDE_CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OUTSIDE_SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

//! Where clients and servers meet.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::wire::{Config, Wire};

/// Two ends of a wire, or twice the loopback device; and a directory for what
/// servers want to have in files. All of it is gone when dropped.
#[derive(Debug)]
pub(crate) struct Site {
    wire: Option<Wire>,
    directory: PathBuf,
}

/// What a packet takes, one way.
pub(crate) const DELAY: Duration = Duration::from_millis(5);

impl Site {
    /// Lays the wire; says why not where there can be none.
    pub(crate) fn new() -> io::Result<(Self, Option<String>)> {
        let directory = std::env::temp_dir().join(format!("servers-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let (wire, why) = match Wire::new(Config::default().delay(DELAY)) {
            Ok(wire) => (Some(wire), None),
            Err(why) => (None, Some(why.to_string())),
        };
        Ok((Self { wire, directory }, why))
    }

    /// Returns `true` if closes and requests can cross on the way.
    pub(crate) fn is_wire(&self) -> bool {
        self.wire.is_some()
    }

    /// Moves the calling thread, and the processes it spawns, to the servers.
    pub(crate) fn enter_server(&self) -> io::Result<()> {
        self.wire.as_ref().map_or(Ok(()), |wire| wire.server().enter())
    }

    /// Moves the calling thread to the clients.
    pub(crate) fn enter_client(&self) -> io::Result<()> {
        self.wire.as_ref().map_or(Ok(()), |wire| wire.client().enter())
    }

    /// Returns an address for a server that clients shall reach. The caller
    /// must be where the servers are.
    pub(crate) fn public_address(&self) -> io::Result<SocketAddr> {
        let host = self.wire.as_ref().map_or(Ipv4Addr::LOCALHOST, |wire| wire.server().address());
        free_port(host.into())
    }

    /// Returns an address for a server behind another one.
    pub(crate) fn private_address() -> io::Result<SocketAddr> {
        free_port(Ipv4Addr::LOCALHOST.into())
    }

    /// Returns the directory for servers' files.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}

/// The port was free a moment ago; nothing better can be known of it.
pub(crate) fn free_port(host: IpAddr) -> io::Result<SocketAddr> {
    TcpListener::bind((host, 0))?.local_addr()
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

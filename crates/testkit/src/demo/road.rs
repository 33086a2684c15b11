//! The way between client and server.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use super::settings::Settings;
use crate::wire::{Config, End, Wire};

/// A wire with a delay, or else the loopback device.
#[derive(Debug)]
pub enum Road {
    Wire { wire: Wire, delay: Duration, loss: f64 },
    Loopback { server: SocketAddr, why: String },
}

impl Road {
    /// Lays the wire, or says why there is none.
    ///
    /// # Errors
    ///
    /// Those of finding a free port on the loopback device.
    pub fn build(settings: &Settings) -> io::Result<Self> {
        if settings.loopback {
            return Self::loopback("as asked".into());
        }
        let config =
            Config::default().delay(settings.delay).loss(settings.loss).seed(settings.seed);
        match Wire::new(config) {
            Ok(wire) => Ok(Self::Wire { wire, delay: settings.delay, loss: settings.loss }),
            Err(why) => Self::loopback(why.to_string()),
        }
    }

    fn loopback(why: String) -> io::Result<Self> {
        // The port was free a moment ago; nothing better can be known of it.
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        Ok(Self::Loopback { server, why })
    }

    /// Returns `true` if closes and requests cross as they do in a network.
    pub fn is_wire(&self) -> bool {
        matches!(self, Self::Wire { .. })
    }

    /// Returns where servers listen.
    pub fn server_address(&self) -> SocketAddr {
        match self {
            Self::Wire { wire, .. } => (wire.server().address(), 8080).into(),
            Self::Loopback { server, .. } => *server,
        }
    }

    /// Moves the calling thread, and the processes it spawns, to the server's end.
    pub fn enter_server(&self) -> io::Result<()> {
        self.wire().map_or(Ok(()), |wire| wire.server().enter())
    }

    /// Moves the calling thread to the client's end.
    pub fn enter_client(&self) -> io::Result<()> {
        self.client_end().map_or(Ok(()), End::enter)
    }

    /// Returns after how long nothing sent before can still be on its way.
    pub fn quiet_after(&self) -> Duration {
        self.delay() * 6 + Duration::from_millis(50)
    }

    /// Returns the time that everything is on its way.
    pub fn delay(&self) -> Duration {
        match self {
            Self::Wire { delay, .. } => *delay,
            Self::Loopback { .. } => Duration::ZERO,
        }
    }

    fn client_end(&self) -> Option<&End> {
        self.wire().map(Wire::client)
    }

    fn wire(&self) -> Option<&Wire> {
        match self {
            Self::Wire { wire, .. } => Some(wire),
            Self::Loopback { .. } => None,
        }
    }
}

impl fmt::Display for Road {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wire { delay, loss, .. } => {
                write!(
                    f,
                    "over a wire of {delay:?} each way, {} % loss, between two kernel namespaces",
                    loss * 100.0
                )
            }
            Self::Loopback { why, .. } => {
                write!(
                    f,
                    "over LOOPBACK, where closes and requests hardly ever cross: no wire, {why}"
                )
            }
        }
    }
}

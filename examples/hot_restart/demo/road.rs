//! The way between client and server.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use super::args::Args;
use super::wire::{Config, End, Wire};

/// A wire with a delay, or else the loopback device.
#[derive(Debug)]
pub(super) enum Road {
    Wire { wire: Wire, delay: Duration, loss: f64 },
    Loopback { server: SocketAddr, why: String },
}

impl Road {
    pub(super) fn build(args: &Args) -> io::Result<Self> {
        if args.loopback {
            return Self::loopback("as asked".into());
        }
        let config = Config::default().delay(args.delay).loss(args.loss).seed(args.seed);
        match Wire::new(config) {
            Ok(wire) => Ok(Self::Wire { wire, delay: args.delay, loss: args.loss }),
            Err(why) => Self::loopback(why.to_string()),
        }
    }

    fn loopback(why: String) -> io::Result<Self> {
        // The port was free a moment ago; nothing better can be known of it.
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        Ok(Self::Loopback { server, why })
    }

    pub(super) fn is_wire(&self) -> bool {
        matches!(self, Self::Wire { .. })
    }

    /// Returns where servers listen.
    pub(super) fn server_address(&self) -> SocketAddr {
        match self {
            Self::Wire { wire, .. } => (wire.server().address(), 8080).into(),
            Self::Loopback { server, .. } => *server,
        }
    }

    /// Moves the calling thread, and the processes it spawns, to the server's end.
    pub(super) fn enter_server(&self) -> io::Result<()> {
        self.wire().map_or(Ok(()), |wire| wire.server().enter())
    }

    /// Moves the calling thread to the client's end.
    pub(super) fn enter_client(&self) -> io::Result<()> {
        self.client_end().map_or(Ok(()), End::enter)
    }

    /// Returns after how long nothing sent before can still be on its way.
    pub(super) fn quiet_after(&self) -> Duration {
        self.delay() * 6 + Duration::from_millis(50)
    }

    /// Returns the time that everything is on its way.
    pub(super) fn delay(&self) -> Duration {
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

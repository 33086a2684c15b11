//! Servers that announce a contract and break one rule of it: the trials must
//! catch each.

use std::io;
use std::net::TcpStream;

use tower_resend_core::contract::{Announcement, Hop, Max};

/// The rule that a server breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Breach {
    /// S2: it arms once it has finished what its application began, and its
    /// application has not begun with what was handed over.
    Counters,
    /// S1: it takes a request up in parts.
    Parts,
    /// S4: it refuses, and dispatches what comes then.
    Refuses,
    /// S10: it ends by a FIN with a request dispatched.
    ClosesBusy,
}

impl Breach {
    pub(crate) const ALL: [Self; 4] =
        [Self::Counters, Self::Parts, Self::Refuses, Self::ClosesBusy];

    /// Returns what the table calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Counters => "arms by counters",
            Self::Parts => "dispatches in parts",
            Self::Refuses => "refuses, dispatches",
            Self::ClosesBusy => "closes while busy",
        }
    }

    /// Returns the lines that a response carries.
    pub(crate) fn announces(self, stream: &TcpStream) -> io::Result<String> {
        let announced = Announcement::new(hop(stream)?);
        let announced = match self {
            Self::ClosesBusy => announced.with_fin(Max::default()),
            Self::Counters | Self::Parts | Self::Refuses => announced.with_rst(Max::default()),
        };
        Ok(lines("retry-contract", announced))
    }
}

/// Returns a closing response with `refused`.
pub(crate) fn refusal(stream: &TcpStream) -> io::Result<String> {
    let lines = lines("close, retry-contract", Announcement::new(hop(stream)?).with_refused());
    Ok(format!("HTTP/1.1 503 Service Unavailable\r\n{lines}content-length: 0\r\n\r\n"))
}

fn hop(stream: &TcpStream) -> io::Result<Hop> {
    Ok(Hop::seen_by_server(stream.peer_addr()?, stream.local_addr()?))
}

fn lines(connection: &str, announced: Announcement) -> String {
    format!("connection: {connection}\r\nretry-contract: {announced}\r\n")
}

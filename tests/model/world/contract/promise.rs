//! What the client believes, by the crate's own types and rules.

use std::net::SocketAddr;
use std::time::Duration;

use http::{Request, Response};
use tower_resend_core::contract::{
    Announcement, Hop, HopBinding, Max, Observed, Offer, Promise, accept,
};
use tower_resend_core::{Contract, Evidence};

use super::super::server::REQUEST;
use super::clauses::{Clause, Mode, Peer};
use super::{Contracted, Position};

/// What the client has of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Belief {
    /// The promise in force for the request.
    pub(crate) promise: Option<Promise>,
    /// Whether a closing response with `refused` would be believed.
    pub(crate) believes_refusal: bool,
}

/// What was observed of the close, for the limits of the promise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Close {
    pub(crate) is_late: bool,
    pub(crate) is_retransmitted: bool,
    pub(crate) is_probed: bool,
}

impl Belief {
    pub(crate) fn new(world: &Contracted, peer: Peer, position: Position, max: u8) -> Self {
        if peer == Peer::BehindProxy {
            // The proxy's own, which knows nothing of the field.
            return Self { promise: None, believes_refusal: false };
        }
        let is_first = position == Position::First && !world.drops(Clause::NotTheFirst);
        // Remembered of another connection to the same authority, if there was none on this.
        let announces = peer != Peer::Stranger || world.drops(Clause::NotTheFirst);
        let own = ends(CLIENT, SERVER);
        let seen_by_server = if peer == Peer::Relay { ends(RELAY, SERVER) } else { own };
        let compared = if world.drops(Clause::Hop) { seen_by_server } else { own };
        let read = |announced: Announcement, status: u16| {
            let mut response = Response::new(());
            *response.status_mut() = status.try_into().expect("a status");
            announced.write(response.headers_mut()).expect("two lines");
            accept(&response, &compared).ok()
        };
        let max = Max::new(max.into()).expect("a limit");
        let announced = Announcement::new(seen_by_server).with_half();
        let announced = match world.mode {
            Mode::Rst => announced.with_rst(max),
            Mode::Fin => announced.with_fin(max),
        };
        let refusal = read(Announcement::new(seen_by_server).with_refused(), 503);
        Self {
            promise: (announces && !is_first).then(|| read(announced, 200)).flatten(),
            believes_refusal: refusal.is_some_and(|promise| promise.is_refusal()),
        }
    }

    pub(crate) fn contract(&self) -> Contract {
        self.promise.map(|promise| promise.contract()).unwrap_or_default()
    }

    /// Adds whether the limits were kept (rules C4 and C5).
    pub(crate) fn limit(
        &self,
        world: &Contracted,
        evidence: Evidence,
        close: Close,
        bytes: u64,
    ) -> Evidence {
        let Some(promise) = self.promise else { return evidence };
        let is_checked = !world.drops(Clause::Limits);
        let length = if world.drops(Clause::Max) { 1 } else { u64::from(REQUEST) };
        let since = Duration::from_secs(if close.is_late && is_checked { 6 } else { 1 });
        let observed = Observed::new()
            .with_request_bytes(length)
            .with_since_last_byte(since)
            .with_retransmissions(0, u32::from(close.is_retransmitted && is_checked))
            .with_probes(u8::from(close.is_probed && is_checked))
            .with_response_bytes(bytes);
        evidence.with_limits(observed.limits(&promise))
    }
}

/// What a server makes of the offer that comes to it: one of a client at its own
/// connection, or of one at a proxy's.
pub(super) fn offered(world: &Contracted, peer: Peer) -> Offer {
    let (made_on, received_on) = match peer {
        Peer::BehindProxy => (ends(CLIENT, PROXY), ends(RELAY, SERVER)),
        Peer::Ours | Peer::Relay | Peer::Stranger => (ends(CLIENT, SERVER), ends(CLIENT, SERVER)),
    };
    let mut request = Request::new(());
    Offer::all().write(&made_on, request.headers_mut()).expect("two lines");
    let read = match world.drops(Clause::Offer) {
        true => Offer::read_bound(&request, &HopBinding::Trusted),
        false => Offer::read(&request, &received_on),
    };
    read.unwrap_or_default()
}

const CLIENT: &str = "10.1.2.3:50211";
const PROXY: &str = "10.1.2.8:80";
const RELAY: &str = "10.1.2.8:40007";
const SERVER: &str = "10.1.2.9:80";

fn ends(client: &str, server: &str) -> Hop {
    let end = |text: &str| text.parse::<SocketAddr>().expect("an address");
    Hop::seen_by_client(end(client), end(server))
}

//! What an origin does to a connection, over once the client's kernel has heard
//! of it: on a busy machine loopback delivers late, and acknowledges later.
//!
//! The client's end is a socket of the same process, and is asked itself.

#![allow(clippy::unwrap_used, reason = "a test helper panics when it is in the way")]

use crate::client_end;

use std::net::TcpListener;

use self::client_end::{Client, until_sent_to};
use super::origin::Peer;

/// Closes.
pub fn closes(peer: Peer) {
    let client = Client::of(peer.stream());
    peer.half_close();
    client.until_fin();
    peer.close();
}

/// Resets.
pub fn resets(peer: Peer) {
    let client = Client::of(peer.stream());
    peer.reset();
    client.until_reset();
}

/// Says something.
pub fn says(peer: &mut Peer, text: &str) {
    receives(peer, |peer| peer.write(text));
}

/// Sends what is on the wire at once, in one segment.
pub fn receives(peer: &mut Peer, send: impl FnOnce(&mut Peer)) {
    let client = Client::of(peer.stream());
    let before = client.received();
    send(peer);
    client.until_received(before + 1);
}

/// Returns once some of a request is in the queue of a connection that no
/// process has accepted.
pub fn queued(listener: &TcpListener) {
    until_sent_to(listener.local_addr().unwrap());
}

//! What an origin does to a connection that is idle. The client's kernel knows of it when
//! the act returns, its runtime does not.
//!
//! An act returns a connection that stays open.

#[cfg(feature = "https")]
use std::io::Write;

use super::heard;
use crate::origin::Peer;

/// One act.
pub type Act = fn(Peer) -> Option<Peer>;

/// Closes. Under TLS this cuts the session off.
pub fn fin(peer: Peer) -> Option<Peer> {
    heard::closes(peer);
    None
}

/// Resets.
pub fn reset(peer: Peer) -> Option<Peer> {
    heard::resets(peer);
    None
}

/// Says that it goes away, and closes.
pub fn says_599_and_closes(mut peer: Peer) -> Option<Peer> {
    says_599_with_close(&mut peer);
    fin(peer)
}

/// Says that it goes away, and does not close.
pub fn says_599_and_stays(mut peer: Peer) -> Option<Peer> {
    heard::says(&mut peer, "HTTP/1.1 599 Going Away\r\ncontent-length: 0\r\n\r\n");
    Some(peer)
}

/// Says what would be taken for the answer to the next request.
pub fn says_200_and_stays(mut peer: Peer) -> Option<Peer> {
    heard::says(&mut peer, STRAY);
    Some(peer)
}

/// Ends the session, and closes.
#[cfg(feature = "https")]
pub fn close_notify_and_fin(mut peer: Peer) -> Option<Peer> {
    let (session, stream) = peer.tls();
    session.close(stream);
    fin(peer)
}

/// Ends the session, and does not close.
#[cfg(feature = "https")]
pub fn close_notify_and_stays(mut peer: Peer) -> Option<Peer> {
    heard::receives(&mut peer, |peer| {
        let (session, stream) = peer.tls();
        session.close(stream);
    });
    Some(peer)
}

/// Says that it goes away, ends the session, and closes.
#[cfg(feature = "https")]
pub fn says_599_and_ends(mut peer: Peer) -> Option<Peer> {
    says_599_with_close(&mut peer);
    close_notify_and_fin(peer)
}

/// Sends half of a record with a stray answer. The rest could come with the
/// acknowledgement of a request.
#[cfg(feature = "https")]
pub fn says_half_a_record_and_stays(mut peer: Peer) -> Option<Peer> {
    heard::receives(&mut peer, |peer| {
        let (session, stream) = peer.tls();
        let records = session.records(STRAY);
        stream.write_all(&records[..records.len() / 2]).unwrap();
    });
    Some(peer)
}

fn says_599_with_close(peer: &mut Peer) {
    peer.write("HTTP/1.1 599 Going Away\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
}

const STRAY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nstray";

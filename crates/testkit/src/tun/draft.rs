//! A segment that a script writes.

use etherparse::{PacketBuilder, TcpOptionElement};

use super::{LOCAL, PEER, PORT, Peer};

/// What a segment of the peer acknowledges, counted from the first byte of
/// the current request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covers {
    /// Not one byte of it.
    Nothing,
    /// So many bytes of it.
    Bytes(u32),
    /// All that was heard.
    All,
    /// All that came before it but for so many bytes.
    Short(u32),
    /// So many bytes more than were ever heard.
    Beyond(u32),
}

/// A segment of the peer that is being made.
#[must_use = "a segment must be sent"]
pub struct Draft<'a> {
    peer: &'a mut Peer,
    covers: Option<Covers>,
    data: &'a [u8],
    /// Where it stands, if not next.
    ahead: Option<i32>,
    syn: bool,
    fin: bool,
    rst: bool,
    urgent: bool,
}

impl<'a> Draft<'a> {
    pub(super) fn new(peer: &'a mut Peer, covers: Covers) -> Self {
        Self {
            peer,
            covers: Some(covers),
            data: &[],
            ahead: None,
            syn: false,
            fin: false,
            rst: false,
            urgent: false,
        }
    }

    pub fn data(mut self, bytes: &'a [u8]) -> Self {
        self.data = bytes;
        self
    }

    /// Makes the last byte urgent.
    pub fn urgent(mut self) -> Self {
        self.urgent = true;
        self
    }

    pub fn syn(mut self) -> Self {
        self.syn = true;
        self
    }

    pub fn fin(mut self) -> Self {
        self.fin = true;
        self
    }

    pub fn rst(mut self) -> Self {
        self.rst = true;
        self
    }

    pub fn no_ack(mut self) -> Self {
        self.covers = None;
        self
    }

    /// Sends it so many bytes ahead of (or behind) what is next, and does not
    /// count it as sent.
    pub fn ahead(mut self, bytes: i32) -> Self {
        self.ahead = Some(bytes);
        self
    }

    pub fn send(self) {
        let peer = self.peer;
        let seq = peer.next.wrapping_add_signed(self.ahead.unwrap_or(0));
        let mut packet = PacketBuilder::ipv4(PEER.octets(), LOCAL.octets(), 64).tcp(
            PORT,
            peer.port,
            seq,
            peer.window,
        );
        if let Some(covers) = self.covers {
            packet = packet.ack(peer.acknowledgement(covers));
        }
        if self.syn {
            let options = [TcpOptionElement::MaximumSegmentSize(1460)];
            packet = packet.syn().options(&options).expect("one option fits");
        }
        if self.fin {
            packet = packet.fin();
        }
        if self.rst {
            packet = packet.rst();
        }
        if self.urgent {
            packet = packet.urg(self.data.len() as u16);
        }
        peer.net.send(|to| packet.write(to, self.data).expect("written to memory"));
        if self.ahead.is_none() {
            let bytes = self.data.len() as u32 + u32::from(self.syn) + u32::from(self.fin);
            peer.next = peer.next.wrapping_add(bytes);
        }
    }
}

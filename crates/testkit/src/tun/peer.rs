//! The scripted end of one connection.

use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::{Icmpv4Type, PacketBuilder};

use super::{Covers, Draft, LOCAL, Net, PEER, Segment};

/// The scripted end of one connection.
pub struct Peer {
    pub(super) net: Net,
    pub(super) port: u16,
    /// The client's initial sequence number.
    irs: u32,
    /// The sequence number of the next byte to send.
    pub(super) next: u32,
    /// What the client sent, in order.
    stream: Vec<u8>,
    /// Where the current request begins in it.
    base: usize,
    pub(super) window: u16,
    last: Segment,
}

/// Any number does; one that wraps around soon finds what cannot stand it.
const ISS: u32 = u32::MAX - 40;

impl Peer {
    pub(super) fn new(net: Net, syn: &Segment) -> Self {
        Self {
            net,
            port: syn.port,
            irs: syn.seq,
            next: ISS,
            stream: Vec::new(),
            base: 0,
            window: u16::MAX,
            last: syn.clone(),
        }
    }

    /// Returns the client's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sets the window that is offered from now on. The default is 65,535.
    pub fn set_window(&mut self, window: u16) {
        self.window = window;
    }

    // ===== what the client does =====

    /// Waits for a whole request with a `content-length`, or none, and returns
    /// it. From now on, what segments cover is counted from its first byte.
    pub async fn expect_request(&mut self) -> Vec<u8> {
        self.begin_request();
        loop {
            self.expect_data(self.request().len() + 1).await;
            if is_whole(self.request()) {
                return self.request().to_vec();
            }
        }
    }

    /// As [`expect_request`](Self::expect_request), and acknowledges what comes
    /// as long as it is not whole.
    pub async fn take_request(&mut self) -> Vec<u8> {
        self.begin_request();
        loop {
            self.expect_data(self.request().len() + 1).await;
            if is_whole(self.request()) {
                return self.request().to_vec();
            }
            self.ack(Covers::All);
        }
    }

    /// Counts from the next byte on.
    pub fn begin_request(&mut self) {
        self.base = self.stream.len();
    }

    /// Waits until at least `bytes` of the current request were heard.
    pub async fn expect_data(&mut self, bytes: usize) {
        while self.request().len() < bytes {
            self.hear(|segment| !segment.payload.is_empty()).await;
        }
    }

    /// Returns what was heard of the current request.
    pub fn request(&self) -> &[u8] {
        &self.stream[self.base..]
    }

    /// Waits until the client's kernel sends again what was heard already.
    pub async fn expect_retransmission(&mut self) {
        let known = self.irs.wrapping_add(1).wrapping_add(self.stream.len() as u32);
        self.hear(|s| !s.payload.is_empty() && (known.wrapping_sub(s.seq) as i32) > 0).await;
    }

    /// Waits until the client's kernel acknowledges all that was sent.
    pub async fn expect_ack(&mut self) {
        let next = self.next;
        self.hear(|segment| segment.ack == next).await;
    }

    /// Waits for the client's reset.
    pub async fn expect_rst(&mut self) {
        self.hear(|segment| segment.rst).await;
    }

    /// Waits for a probe, of silence or of a closed window: a segment that
    /// stands one byte before what is next.
    pub async fn expect_probe(&mut self) {
        let before = self.irs.wrapping_add(self.stream.len() as u32);
        self.hear(|segment| !segment.syn && segment.seq == before && segment.payload.len() <= 1)
            .await;
    }

    /// Checks that the client's end is gone: it answers with a reset.
    pub async fn expect_gone(&mut self) {
        self.ack(Covers::Nothing);
        self.expect_rst().await;
    }

    async fn hear(&mut self, mut wanted: impl FnMut(&Segment) -> bool) -> Segment {
        let port = self.port;
        loop {
            let segment = self.net.segment(|segment| segment.port == port).await;
            let is_wanted = wanted(&segment);
            self.note(&segment);
            if is_wanted {
                return segment;
            }
        }
    }

    fn note(&mut self, segment: &Segment) {
        let offset = segment.seq.wrapping_sub(self.irs.wrapping_add(1)) as i32;
        let known = self.stream.len() as i32 - offset;
        if let Some(new) = usize::try_from(known).ok().and_then(|at| segment.payload.get(at..)) {
            self.stream.extend_from_slice(new);
        }
        self.last = segment.clone();
    }

    // ===== what the peer does =====

    /// Completes the connect.
    pub async fn syn_ack(&mut self) {
        self.segment(Covers::Nothing).syn().send();
        self.expect_ack().await;
        if self.net.opens_tunnels() {
            self.open_tunnel().await;
        }
    }

    /// Grants a tunnel to an IPv4 address (RFC 1928).
    async fn open_tunnel(&mut self) {
        for (bytes, answer) in [(3, &[5, 0][..]), (10, &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])] {
            self.begin_request();
            self.expect_data(bytes).await;
            assert_eq!((self.request()[0], self.request().len()), (5, bytes), "a greeting");
            self.data(answer, Covers::All);
        }
        self.begin_request();
    }

    /// Sends an acknowledgement.
    pub fn ack(&mut self, covers: Covers) {
        self.segment(covers).send();
    }

    /// Sends bytes.
    pub fn data(&mut self, bytes: &[u8], covers: Covers) {
        self.segment(covers).data(bytes).send();
    }

    /// Sends a FIN.
    pub fn fin(&mut self, covers: Covers) {
        self.segment(covers).fin().send();
    }

    /// Sends a bare RST, as a closed socket answers.
    pub fn rst(&mut self) {
        self.segment(Covers::Nothing).rst().no_ack().send();
    }

    /// Sends a RST with an acknowledgement, as an aborting socket does.
    pub fn rst_ack(&mut self, covers: Covers) {
        self.segment(covers).rst().send();
    }

    /// Starts a segment that acknowledges so much.
    pub fn segment(&mut self, covers: Covers) -> Draft<'_> {
        Draft::new(self, covers)
    }

    /// Sends an ICMP error about the last segment that was heard.
    pub fn host_unreachable(&self) {
        self.unreachable(DestUnreachableHeader::Host);
    }

    /// Says by ICMP that the last segment that was heard was too large for the
    /// path, whose packets may have `next_hop_mtu` bytes.
    pub fn fragmentation_needed(&self, next_hop_mtu: u16) {
        self.unreachable(DestUnreachableHeader::FragmentationNeeded { next_hop_mtu });
    }

    fn unreachable(&self, why: DestUnreachableHeader) {
        let packet = PacketBuilder::ipv4(PEER.octets(), LOCAL.octets(), 64);
        let packet = packet.icmpv4(Icmpv4Type::DestinationUnreachable(why));
        self.net.send(|to| packet.write(to, &self.last.quote).expect("written to memory"));
    }

    pub(super) fn acknowledgement(&self, covers: Covers) -> u32 {
        let start = self.irs.wrapping_add(1).wrapping_add(self.base as u32);
        let heard = self.request().len() as u32;
        start.wrapping_add(match covers {
            Covers::Nothing => 0,
            Covers::Bytes(bytes) => bytes,
            Covers::All => heard,
            Covers::Short(bytes) => bytes.wrapping_neg(),
            Covers::Beyond(bytes) => heard + bytes,
        })
    }
}

/// Returns `true` if a request's head and the body it announces are there.
fn is_whole(request: &[u8]) -> bool {
    let Some(head) = request.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        return false;
    };
    let text = String::from_utf8_lossy(&request[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.map_or(0, |value| value.trim().parse().expect("a number"));
    request.len() >= head + 4 + length
}

//! A scripted TCP peer: every segment that a client meets is written by hand.
//!
//! [`run`] gives a test a network namespace of its own, in which everything
//! sent to [`PEER`] comes out of a TUN device. [`Net::accept`] waits for a
//! connection there, and the [`Peer`] it returns says what its end does:
//! `syn_ack`, `expect_request`, `data`, `ack`, `fin`, `rst`. How much of the
//! request a segment acknowledges is always said, by a [`Covers`].
//!
//! A script waits for what the client *sends*, never for a time. Where it must
//! know that the client's kernel has digested what it was sent, it asks with
//! [`Net::barrier`].

mod device;

use std::cell::{Cell, RefCell};
use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::future::Future;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::{
    Icmpv4Type, NetSlice, PacketBuilder, SlicedPacket, TcpOptionElement, TransportSlice,
};
use tokio::io::unix::AsyncFd;
use tokio::runtime::Builder;
use tokio::sync::Notify;
use tokio::task::{LocalSet, spawn_local};

use self::device::Device;
use crate::skip::skip;

/// The address of the namespace's own end.
pub const LOCAL: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 1);
/// The address of the scripted end.
pub const PEER: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 2);
/// The port of the scripted end.
pub const PORT: u16 = 80;

/// Runs a script in a namespace of its own, or says why it cannot.
///
/// Everything runs on the calling thread, since a namespace is a thread's.
/// Scripts end by themselves; one that hangs fails after thirty seconds.
pub fn run<F: Future<Output = ()>>(script: impl FnOnce(Net) -> F) {
    let device = match Device::in_new_namespace(LOCAL, PEER) {
        Ok(device) => device,
        Err(why) => return skip(why),
    };
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let net = Net::new(device);
        let script = tokio::time::timeout(Duration::from_secs(30), script(net.clone()));
        if script.await.is_err() {
            panic!("the script hangs; not yet consumed: {:?}", net.0.heard.borrow());
        }
    });
}

/// What a segment of the peer acknowledges, counted from the first byte of
/// the current request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covers {
    /// Not one byte of it.
    Nothing,
    /// So many bytes of it.
    Octets(u32),
    /// All that was heard.
    All,
    /// All that came before it but for so many bytes.
    Short(u32),
    /// So many bytes more than were ever heard.
    Beyond(u32),
}

/// All that leaves the namespace, and the way into it. Clones share it.
#[derive(Clone)]
pub struct Net(Rc<Inner>);

struct Inner {
    device: AsyncFd<Device>,
    /// What was heard and nobody has asked for yet.
    heard: RefCell<VecDeque<Heard>>,
    more: Notify,
    /// What was ever heard: port and payload.
    log: RefCell<Vec<(u16, usize)>>,
    /// The client's ports that a peer answers.
    ports: RefCell<HashSet<u16>>,
    echoes: Cell<u16>,
    /// Whether peers are SOCKS5 proxies.
    opens_tunnels: Cell<bool>,
}

#[derive(Debug)]
enum Heard {
    Segment(Segment),
    EchoReply(u16),
}

/// A segment that the client's kernel sent.
#[derive(Clone)]
pub struct Segment {
    pub port: u16,
    pub seq: u32,
    pub ack: u32,
    pub syn: bool,
    pub fin: bool,
    pub rst: bool,
    pub payload: Vec<u8>,
    /// The packet's first bytes, as an ICMP error quotes them.
    quote: Vec<u8>,
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { port, seq, ack, syn, fin, rst, payload, .. } = self;
        let octets = payload.len();
        write!(f, "{port}: seq {seq} ack {ack} syn {syn} fin {fin} rst {rst}, {octets} octets")
    }
}

impl Net {
    fn new(device: Device) -> Self {
        Self(Rc::new(Inner {
            #[allow(deprecated, reason = "its successor is unsafe")]
            device: AsyncFd::new(device).expect("the device can be polled"),
            heard: RefCell::default(),
            more: Notify::new(),
            log: RefCell::default(),
            ports: RefCell::default(),
            echoes: Cell::new(0),
            opens_tunnels: Cell::new(false),
        }))
    }

    /// Waits for a connect from a port that no peer answers yet, without
    /// answering it.
    pub async fn listen(&self) -> Peer {
        let ports = &self.0.ports;
        let syn = self.segment(|s| s.syn && !ports.borrow().contains(&s.port)).await;
        ports.borrow_mut().insert(syn.port);
        Peer::new(self.clone(), &syn)
    }

    /// Makes every peer open a tunnel once its connect is complete, as a SOCKS5
    /// proxy. What it opens with is no request.
    pub fn open_tunnels(&self) {
        self.0.opens_tunnels.set(true);
    }

    /// Waits for a connect and completes it.
    pub async fn accept(&self) -> Peer {
        let mut peer = self.listen().await;
        peer.syn_ack().await;
        peer
    }

    /// Waits until the client's kernel has digested all segments so far: it
    /// answers an echo request in turn.
    pub async fn barrier(&self) {
        let number = self.0.echoes.get() + 1;
        self.0.echoes.set(number);
        let echo = PacketBuilder::ipv4(PEER.octets(), LOCAL.octets(), 64);
        let echo = echo.icmpv4_echo_request(66, number);
        self.send(|packet| echo.write(packet, &[]).expect("written to memory"));
        self.hear(|heard| matches!(heard, Heard::EchoReply(n) if *n == number)).await;
    }

    /// Sets a variable of the namespace's TCP, below `net.ipv4`.
    pub fn sysctl(&self, name: &str, value: u32) {
        let path = format!("/proc/sys/net/ipv4/{name}");
        std::fs::write(&path, value.to_string())
            .unwrap_or_else(|error| panic!("{path} cannot be set: {error}"));
    }

    /// Waits until the client connects from a port that no peer answers,
    /// without taking the connect: somebody else may answer it.
    pub async fn connecting(&self) {
        let is_new = |heard: &Heard| match heard {
            Heard::Segment(segment) => {
                segment.syn && !self.0.ports.borrow().contains(&segment.port)
            }
            Heard::EchoReply(_) => false,
        };
        while !self.0.heard.borrow().iter().any(is_new) {
            self.receive().await;
        }
    }

    /// Answers all further connects with a peer each, and each request with
    /// `response`. Returns the requests that were read whole.
    pub fn serve(&self, response: &'static [u8]) -> Rc<RefCell<Vec<Vec<u8>>>> {
        let net = self.clone();
        let served = Rc::new(RefCell::new(Vec::new()));
        let requests = Rc::clone(&served);
        spawn_local(async move {
            loop {
                let mut peer = net.listen().await;
                let served = Rc::clone(&served);
                spawn_local(async move {
                    peer.syn_ack().await;
                    loop {
                        let request = peer.take_request().await;
                        served.borrow_mut().push(request);
                        peer.data(response, Covers::All);
                    }
                });
            }
        });
        requests
    }

    /// Returns the ports from which bytes came, once all was heard that is on
    /// its way.
    pub async fn talkative_ports(&self) -> Vec<u16> {
        self.barrier().await;
        let mut ports = Vec::new();
        for &(port, payload) in &*self.0.log.borrow() {
            if payload > 0 && !ports.contains(&port) {
                ports.push(port);
            }
        }
        ports
    }

    async fn segment(&self, mut wanted: impl FnMut(&Segment) -> bool) -> Segment {
        let heard = self.hear(|heard| match heard {
            Heard::Segment(segment) => wanted(segment),
            Heard::EchoReply(_) => false,
        });
        match heard.await {
            Heard::Segment(segment) => segment,
            Heard::EchoReply(_) => unreachable!("only segments are wanted"),
        }
    }

    /// Waits for the first thing that is wanted; the rest stays for others.
    async fn hear(&self, mut wanted: impl FnMut(&Heard) -> bool) -> Heard {
        loop {
            let at = self.0.heard.borrow().iter().position(&mut wanted);
            match at.and_then(|at| self.0.heard.borrow_mut().remove(at)) {
                Some(heard) => return heard,
                None => self.receive().await,
            }
        }
    }

    /// Waits until more was heard, by whoever reads it from the device.
    async fn receive(&self) {
        let mut packet = [0; 2048];
        let mut ready = tokio::select! {
            () = self.0.more.notified() => return,
            ready = self.0.device.readable() => ready.expect("the device can be polled"),
        };
        match ready.try_io(|device| device.get_ref().receive(&mut packet)) {
            Ok(Ok(octets)) => self.note(parse(&packet[..octets])),
            Ok(Err(error)) => panic!("the device failed: {error}"),
            Err(_would_block) => {}
        }
    }

    fn note(&self, heard: Option<Heard>) {
        if let Some(Heard::Segment(segment)) = &heard {
            self.0.log.borrow_mut().push((segment.port, segment.payload.len()));
        }
        self.0.heard.borrow_mut().extend(heard);
        self.0.more.notify_waiters();
    }

    fn send(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut packet = Vec::new();
        write(&mut packet);
        self.0.device.get_ref().send(&packet).expect("the device takes packets");
    }
}

/// Reads a packet to the peer; others, such as IPv6's, are not of interest.
fn parse(packet: &[u8]) -> Option<Heard> {
    let sliced = SlicedPacket::from_ip(packet).ok()?;
    if !matches!(sliced.net, Some(NetSlice::Ipv4(_))) {
        return None;
    }
    match sliced.transport? {
        TransportSlice::Tcp(tcp) => Some(Heard::Segment(Segment {
            port: tcp.source_port(),
            seq: tcp.sequence_number(),
            ack: tcp.acknowledgment_number(),
            syn: tcp.syn(),
            fin: tcp.fin(),
            rst: tcp.rst(),
            payload: tcp.payload().to_vec(),
            quote: packet[..packet.len().min(28)].to_vec(),
        })),
        TransportSlice::Icmpv4(icmp) => match icmp.icmp_type() {
            Icmpv4Type::EchoReply(echo) => Some(Heard::EchoReply(echo.seq)),
            _ => None,
        },
        _ => None,
    }
}

/// The scripted end of one connection.
pub struct Peer {
    net: Net,
    port: u16,
    /// The client's initial sequence number.
    irs: u32,
    /// The sequence number of the next byte to send.
    next: u32,
    /// What the client sent, in order.
    stream: Vec<u8>,
    /// Where the current request begins in it.
    base: usize,
    window: u16,
    last: Segment,
}

/// Any number does; one that wraps around soon finds what cannot stand it.
const ISS: u32 = u32::MAX - 40;

impl Peer {
    fn new(net: Net, syn: &Segment) -> Self {
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

    /// Waits until at least `octets` of the current request were heard.
    pub async fn expect_data(&mut self, octets: usize) {
        while self.request().len() < octets {
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
        if self.net.0.opens_tunnels.get() {
            self.open_tunnel().await;
        }
    }

    /// Grants a tunnel to an IPv4 address (RFC 1928).
    async fn open_tunnel(&mut self) {
        for (octets, answer) in [(3, &[5, 0][..]), (10, &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])] {
            self.begin_request();
            self.expect_data(octets).await;
            assert_eq!((self.request()[0], self.request().len()), (5, octets), "a greeting");
            self.data(answer, Covers::All);
        }
        self.begin_request();
    }

    /// Sends an acknowledgement.
    pub fn ack(&mut self, covers: Covers) {
        self.segment(covers).send();
    }

    /// Sends bytes.
    pub fn data(&mut self, octets: &[u8], covers: Covers) {
        self.segment(covers).data(octets).send();
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
        Draft { covers: Some(covers), ..Draft::new(self) }
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

    fn acknowledgement(&self, covers: Covers) -> u32 {
        let start = self.irs.wrapping_add(1).wrapping_add(self.base as u32);
        let heard = self.request().len() as u32;
        start.wrapping_add(match covers {
            Covers::Nothing => 0,
            Covers::Octets(octets) => octets,
            Covers::All => heard,
            Covers::Short(octets) => octets.wrapping_neg(),
            Covers::Beyond(octets) => heard + octets,
        })
    }
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
    fn new(peer: &'a mut Peer) -> Self {
        Self {
            peer,
            covers: None,
            data: &[],
            ahead: None,
            syn: false,
            fin: false,
            rst: false,
            urgent: false,
        }
    }

    pub fn data(mut self, octets: &'a [u8]) -> Self {
        self.data = octets;
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
    pub fn ahead(mut self, octets: i32) -> Self {
        self.ahead = Some(octets);
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
            let octets = self.data.len() as u32 + u32::from(self.syn) + u32::from(self.fin);
            peer.next = peer.next.wrapping_add(octets);
        }
    }
}

/// Returns whether a request's head and the body it announces are there.
fn is_whole(request: &[u8]) -> bool {
    let Some(head) = request.windows(4).position(|octets| octets == b"\r\n\r\n") else {
        return false;
    };
    let text = String::from_utf8_lossy(&request[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.map_or(0, |value| value.trim().parse().expect("a number"));
    request.len() >= head + 4 + length
}

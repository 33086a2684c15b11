//! The way into the namespace and out of it: what the client's kernel sent.

use std::cell::{Cell, RefCell};
use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::rc::Rc;

use etherparse::{Icmpv4Type, NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::spawn_local;

use super::device::Device;
use super::{Covers, LOCAL, PEER, Peer};

/// All that leaves the namespace, and the way into it. Clones share it.
#[derive(Clone)]
pub struct Net(Rc<Inner>);

struct Inner {
    device: AsyncFd<Device>,
    /// What was heard and not consumed yet.
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

impl Net {
    pub(super) fn new(device: Device) -> Self {
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

    /// Returns `true` if peers open tunnels.
    pub(super) fn opens_tunnels(&self) -> bool {
        self.0.opens_tunnels.get()
    }

    /// Returns what was heard and not consumed yet, for a script that hangs.
    pub(super) fn unheard(&self) -> String {
        format!("{:?}", self.0.heard.borrow())
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
    /// without taking the connect: another peer may answer it.
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

    pub(super) async fn segment(&self, mut wanted: impl FnMut(&Segment) -> bool) -> Segment {
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

    /// Waits until this task or another one has read more from the device.
    async fn receive(&self) {
        let mut packet = [0; 2048];
        let mut ready = tokio::select! {
            () = self.0.more.notified() => return,
            ready = self.0.device.readable() => ready.expect("the device can be polled"),
        };
        match ready.try_io(|device| device.get_ref().receive(&mut packet)) {
            Ok(Ok(bytes)) => self.note(parse(&packet[..bytes])),
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

    pub(super) fn send(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut packet = Vec::new();
        write(&mut packet);
        self.0.device.get_ref().send(&packet).expect("the device takes packets");
    }
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
    pub(super) quote: Vec<u8>,
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { port, seq, ack, syn, fin, rst, payload, .. } = self;
        let bytes = payload.len();
        write!(f, "{port}: seq {seq} ack {ack} syn {syn} fin {fin} rst {rst}, {bytes} bytes")
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

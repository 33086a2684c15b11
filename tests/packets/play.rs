//! How a case is played: the client, the call, the peer, and what is asserted.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::task::JoinHandle;
use tower_resend::pool::{OriginTrust, PoolOptions, Proxies, ResponseBody};
use tower_resend::{Attempt, Body, Client, Error, Policy};
use tower_resend_core::{Doubt, Fate, Ground, NoResend, Proof};

use crate::tun::{self, Covers, Net, PEER, PORT, Peer};
use testkit::body_script::{Script, Step};

pub(crate) type Outcome = Result<Response<ResponseBody>, Error>;

/// What the peer answers where all is well.
pub(crate) const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\npaid";
pub(crate) const CLOSING_599: &[u8] =
    b"HTTP/1.1 599 Away\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
pub(crate) const CLOSING_408: &[u8] =
    b"HTTP/1.1 408 Late\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
pub(crate) const CLOSING_413: &[u8] =
    b"HTTP/1.1 413 Big\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// A limit that is to run out. What a case does before is over by then on a
/// busy machine too.
pub(crate) const LATE: Duration = Duration::from_secs(1);

/// How a case is set up.
pub(crate) struct Setting {
    options: PoolOptions,
    policy: Policy,
    method: &'static str,
    bytes: usize,
    /// Whether the body comes in two frames, each a write of its own.
    is_framed: bool,
    /// Whether the connection carried an exchange before.
    is_used: bool,
    /// The window that the peer offers from the connect, or the last exchange, on.
    window: u16,
    /// Whether the peer is a SOCKS5 proxy.
    is_tunnel: bool,
    sysctls: &'static [(&'static str, u32)],
}

impl Setting {
    pub(crate) fn new() -> Self {
        Self {
            options: PoolOptions::new(),
            policy: Policy::new(),
            method: "POST",
            bytes: 3,
            is_framed: false,
            is_used: false,
            window: u16::MAX,
            is_tunnel: false,
            sysctls: &[],
        }
    }

    pub(crate) fn options(mut self, set: impl FnOnce(PoolOptions) -> PoolOptions) -> Self {
        self.options = set(self.options);
        self
    }

    pub(crate) fn trusting(self, trust: OriginTrust) -> Self {
        self.options(|options| options.trust(origin(), trust))
    }

    pub(crate) fn policy(mut self, set: impl FnOnce(Policy) -> Policy) -> Self {
        self.policy = set(self.policy);
        self
    }

    pub(crate) fn method(self, method: &'static str) -> Self {
        Self { method, ..self }
    }

    pub(crate) fn bytes(self, bytes: usize) -> Self {
        Self { bytes, ..self }
    }

    pub(crate) fn framed(self) -> Self {
        Self { is_framed: true, ..self }
    }

    pub(crate) fn used(self, is_used: bool) -> Self {
        Self { is_used, ..self }
    }

    pub(crate) fn window(self, window: u16) -> Self {
        Self { window, ..self }
    }

    /// Through the peer as a proxy of this scheme.
    pub(crate) fn through(mut self, scheme: &str) -> Self {
        self.is_tunnel = scheme.starts_with("socks5");
        let proxies = Proxies::builder().http(format!("{scheme}://{PEER}:{PORT}")).build();
        self.options(|options| options.proxies(proxies.expect("a proxy")))
    }

    pub(crate) fn sysctls(self, sysctls: &'static [(&'static str, u32)]) -> Self {
        Self { sysctls, ..self }
    }

    pub(crate) fn client(&self) -> Client {
        Client::builder().policy(self.policy.clone()).pool(self.options.clone()).build()
    }

    pub(crate) fn request(&self) -> Request<Body> {
        let body = if self.is_framed { frames(self.bytes) } else { vec![b'P'; self.bytes].into() };
        let uri = format!("http://{PEER}/orders");
        Request::builder().method(self.method).uri(uri).body(body).expect("a request")
    }
}

/// A body whose first byte goes out with the head, and the rest after it.
fn frames(bytes: usize) -> Body {
    Body::from_factory(move || {
        let rest = Step::Data(vec![b'P'; bytes - 1]);
        Script::sized([Step::data("P"), Step::Pending, rest])
    })
}

/// One call under way, and the peer of the connection that it uses.
pub(crate) struct Call {
    pub(crate) net: Net,
    pub(crate) peer: Peer,
    pub(crate) outcome: JoinHandle<Outcome>,
}

impl Call {
    /// Sends the request of a case and waits until its first bytes are heard,
    /// or it is known to wait for the peer's window.
    pub(crate) async fn start(net: &Net, setting: &Setting) -> Self {
        for &(name, value) in setting.sysctls {
            net.sysctl(name, value);
        }
        if setting.is_tunnel {
            net.open_tunnels();
        }
        let client = setting.client();
        let (mut peer, outcome) = if setting.is_used {
            let mut peer = exchange(net, &client, Covers::All).await;
            if setting.window == 0 {
                peer.set_window(0);
                peer.ack(Covers::All);
                net.barrier().await;
            }
            (peer, tokio::spawn(client.request(setting.request())))
        } else {
            let outcome = tokio::spawn(client.request(setting.request()));
            let mut peer = net.listen().await;
            peer.set_window(setting.window);
            peer.syn_ack().await;
            (peer, outcome)
        };
        peer.begin_request();
        match (setting.window, setting.bytes) {
            (0, _) => peer.expect_probe().await,
            (_, 0..10_000) => drop(peer.expect_request().await),
            _ => peer.expect_data(10_000).await,
        }
        Self { net: net.clone(), peer, outcome }
    }

    /// Waits for the end of the call, with a server that answers whatever
    /// else the client sends.
    pub(crate) async fn end(self) -> Ended {
        let Self { net, peer, outcome } = self;
        let served = net.serve(ANSWER);
        let outcome = outcome.await.expect("no panic");
        let mut elsewhere = net.talkative_ports().await;
        elsewhere.retain(|port| *port != peer.port());
        let served = served.borrow().clone();
        Ended { outcome, peer, elsewhere: elsewhere.len(), served }
    }
}

/// An exchange that goes well, except that its answer may acknowledge less
/// than the request. Returns its peer; the client keeps the connection.
pub(crate) async fn exchange(net: &Net, client: &Client, covers: Covers) -> Peer {
    let answered = tokio::spawn(client.request(Setting::new().request()));
    let mut peer = net.accept().await;
    peer.expect_request().await;
    peer.data(ANSWER, covers);
    let response = answered.await.expect("no panic").expect("an answer");
    assert_eq!(text(response).await, "paid");
    peer.expect_ack().await;
    peer
}

pub(crate) async fn text(response: Response<ResponseBody>) -> Bytes {
    response.into_body().collect().await.expect("a whole body").to_bytes()
}

/// Removes the offer, which is made by one connection and not by another, and names
/// it.
fn without_offer(request: &[u8]) -> Vec<u8> {
    let lines = request.split_inclusive(|&byte| byte == b'\n');
    let is_offer = |line: &&[u8]| {
        line.starts_with(b"retry-contract: ") || line.starts_with(b"connection: retry-contract\r")
    };
    lines.filter(|line| !is_offer(line)).flatten().copied().collect()
}

/// What became of a call.
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    pub(crate) peer: Peer,
    /// How many other connections carried bytes.
    pub(crate) elsewhere: usize,
    /// The requests that were read whole there.
    pub(crate) served: Vec<Vec<u8>>,
}

impl Ended {
    /// The request was sent again, once, on the ground of this proof.
    pub(crate) async fn assert_resent(mut self, proof: Proof) {
        let response = self.outcome.expect("an answer");
        let attempts = tower_resend::attempts(&response);
        let fates: Vec<_> = attempts.iter().map(Attempt::fate).collect();
        assert_eq!(fates, [Fate::NotApplied(proof), Fate::Completed]);
        assert_eq!(attempts[0].ground(), Some(Ground::Proven(proof)));
        assert_eq!(self.elsewhere, 1, "connections that carried it again");
        assert_eq!(self.served.len(), 1, "requests that were read whole");
        let [again, first] = [&self.served[0], self.peer.request()].map(without_offer);
        assert!(again.starts_with(&first), "the same bytes");
        assert_eq!(text(response).await, "paid");
        self.peer.expect_gone().await;
    }

    /// The request failed for this doubt, and was not heard again.
    pub(crate) async fn assert_unknown(mut self, doubt: Doubt) {
        let error = self.outcome.expect_err("no answer");
        assert_eq!(error.fate(), Fate::Unknown(doubt), "{error}");
        assert_eq!(error.no_resend(), NoResend::Doubt(doubt), "{error}");
        assert_eq!(error.attempts().len(), 1, "{error:?}");
        assert!(error.attempts()[0].evidence().counts.written > 0, "{error}");
        assert_eq!(self.elsewhere, 0, "connections that carried it again");
        self.peer.expect_gone().await;
    }

    /// The request failed for this doubt, and was not read again. Another
    /// connection may have greeted its proxy meanwhile.
    pub(crate) async fn assert_unknown_through(mut self, doubt: Doubt) {
        let error = self.outcome.expect_err("no answer");
        assert_eq!(error.fate(), Fate::Unknown(doubt), "{error}");
        assert_eq!(error.attempts().len(), 1, "{error:?}");
        assert_eq!(self.served, Vec::<Vec<u8>>::new(), "requests that were read again");
        self.peer.expect_gone().await;
    }

    /// The peer's own answer was delivered.
    pub(crate) async fn assert_answered(self, status: u16) {
        let response = self.outcome.expect("an answer");
        assert_eq!(response.status(), StatusCode::from_u16(status).expect("a status"));
        assert_eq!(self.elsewhere, 0, "connections that carried it again");
    }
}

/// Plays a case: as the first request of its connection, and as a later one.
pub(crate) fn play(
    setting: impl Fn() -> Setting,
    script: impl AsyncFn(&mut Call),
    check: impl AsyncFn(Ended),
) {
    for is_used in [false, true] {
        tun::run(async |net| {
            let setting = setting().used(is_used);
            let mut call = Call::start(&net, &setting).await;
            script(&mut call).await;
            check(call.end().await).await;
        });
    }
}

macro_rules! cases {
    ($($(#[$doc:meta])* $name:ident: $setting:expr, $script:expr => $check:ident($with:expr);)+) => {
        $($(#[$doc])* #[test] fn $name() {
            play(|| $setting, $script, async |ended| ended.$check($with).await);
        })+
    };
}

pub(crate) fn post() -> Setting {
    Setting::new()
}

/// A POST too large for the peer's window and the client's send buffer.
pub(crate) fn large_post() -> Setting {
    post().bytes(8 << 20)
}

pub(crate) fn origin() -> http::uri::Authority {
    PEER.to_string().parse().expect("an authority")
}

//! The real client against a scripted peer, segment by segment: what each end
//! of an exchange looks like on the wire, and what becomes of a POST.
//!
//! Most cases are played twice: with the POST as the first request of its
//! connection and as a later one. In all of them a POST that is not proven
//! unapplied must not be heard a second time, on any connection.
#![cfg(target_os = "linux")]

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::task::JoinHandle;
use tower::util::BoxCloneService;
use tower::{ServiceBuilder, ServiceExt};
use tower_resend::classify::{
    Acked, ConnectFailure, Doubt, Errno, Fate, Ground, Proof, Refusal, Role, Verdict,
};
use tower_resend::pool::{Pool, PoolOptions, ResponseBody};
use tower_resend::{Attempt, Body, Error, Policy, ResendLayer};

#[path = "support/skip.rs"]
mod skip;
#[path = "support/tun/mod.rs"]
mod tun;

use tun::{Covers, Net, PEER, Peer};

type Client = BoxCloneService<Request<Body>, Response<ResponseBody>, Error>;
type Outcome = Result<Response<ResponseBody>, Error>;

/// What the peer answers where all is well.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\npaid";
const CLOSING_599: &[u8] = b"HTTP/1.1 599 Away\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
const CLOSING_408: &[u8] = b"HTTP/1.1 408 Late\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
const CLOSING_413: &[u8] = b"HTTP/1.1 413 Big\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

// ===== what is played =====

/// How a case is set up.
struct Setting {
    options: PoolOptions,
    policy: Policy,
    method: &'static str,
    octets: usize,
    /// Whether the connection carried an exchange before.
    is_used: bool,
    /// The window that the peer offers from the connect, or the last exchange, on.
    window: u16,
    sysctls: &'static [(&'static str, u32)],
}

impl Setting {
    fn new() -> Self {
        Self {
            options: PoolOptions::new(),
            policy: Policy::new(),
            method: "POST",
            octets: 3,
            is_used: false,
            window: u16::MAX,
            sysctls: &[],
        }
    }

    fn options(mut self, set: impl FnOnce(PoolOptions) -> PoolOptions) -> Self {
        self.options = set(self.options);
        self
    }

    fn policy(mut self, set: impl FnOnce(Policy) -> Policy) -> Self {
        self.policy = set(self.policy);
        self
    }

    fn method(self, method: &'static str) -> Self {
        Self { method, ..self }
    }

    fn octets(self, octets: usize) -> Self {
        Self { octets, ..self }
    }

    fn window(self, window: u16) -> Self {
        Self { window, ..self }
    }

    fn sysctls(self, sysctls: &'static [(&'static str, u32)]) -> Self {
        Self { sysctls, ..self }
    }

    fn client(&self) -> Client {
        let stack = ServiceBuilder::new()
            .layer(ResendLayer::new(self.policy.clone()))
            .service(Pool::new(self.options.clone()));
        BoxCloneService::new(stack)
    }

    fn request(&self) -> Request<Body> {
        let body = Body::from(vec![b'P'; self.octets]);
        let uri = format!("http://{PEER}/orders");
        Request::builder().method(self.method).uri(uri).body(body).expect("a request")
    }
}

/// One call under way, and the peer of the connection that it uses.
struct Call {
    net: Net,
    peer: Peer,
    outcome: JoinHandle<Outcome>,
}

impl Call {
    /// Sends the request of a case and waits until its first octets are heard,
    /// or it is known to wait for the peer's window.
    async fn start(net: &Net, setting: &Setting) -> Self {
        for &(name, value) in setting.sysctls {
            net.sysctl(name, value);
        }
        let client = setting.client();
        let (mut peer, outcome) = if setting.is_used {
            let mut peer = exchange(net, &client, Covers::All).await;
            if setting.window == 0 {
                peer.set_window(0);
                peer.ack(Covers::All);
                net.barrier().await;
            }
            (peer, tokio::spawn(client.oneshot(setting.request())))
        } else {
            let outcome = tokio::spawn(client.oneshot(setting.request()));
            let mut peer = net.listen().await;
            peer.set_window(setting.window);
            peer.syn_ack().await;
            (peer, outcome)
        };
        peer.begin_request();
        match (setting.window, setting.octets) {
            (0, _) => peer.expect_probe().await,
            (_, 0..1000) => drop(peer.expect_request().await),
            _ => peer.expect_data(10_000).await,
        }
        Self { net: net.clone(), peer, outcome }
    }

    /// Waits for the end of the call, with a server that answers whatever
    /// else the client sends.
    async fn end(self) -> Ended {
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
async fn exchange(net: &Net, client: &Client, covers: Covers) -> Peer {
    let answered = tokio::spawn(client.clone().oneshot(Setting::new().request()));
    let mut peer = net.accept().await;
    peer.expect_request().await;
    peer.data(ANSWER, covers);
    let response = answered.await.expect("no panic").expect("an answer");
    assert_eq!(text(response).await, "paid");
    peer.expect_ack().await;
    peer
}

async fn text(response: Response<ResponseBody>) -> Bytes {
    response.into_body().collect().await.expect("a whole body").to_bytes()
}

/// What became of a call.
struct Ended {
    outcome: Outcome,
    peer: Peer,
    /// How many other connections carried octets.
    elsewhere: usize,
    /// The requests that were read whole there.
    served: Vec<Vec<u8>>,
}

impl Ended {
    /// The request was sent again, once, on the ground of this proof.
    async fn assert_resent(mut self, proof: Proof) {
        let response = self.outcome.expect("an answer");
        let attempts = tower_resend::attempts(&response);
        let fates: Vec<_> = attempts.iter().map(Attempt::fate).collect();
        assert_eq!(fates, [Fate::NotApplied(proof), Fate::Completed]);
        assert_eq!(attempts[0].ground(), Some(Ground::Proven(proof)));
        assert_eq!(self.elsewhere, 1, "connections that carried it again");
        assert_eq!(self.served.len(), 1, "requests that were read whole");
        assert!(self.served[0].starts_with(self.peer.request()), "the same octets");
        assert_eq!(text(response).await, "paid");
        self.peer.expect_gone().await;
    }

    /// The request failed for this doubt, and was not heard again.
    async fn assert_unknown(mut self, doubt: Doubt) {
        let error = self.outcome.expect_err("no answer");
        assert_eq!(error.fate(), Fate::Unknown(doubt), "{error}");
        assert_eq!(error.verdict(), Verdict::Refuse(Refusal::Doubt(doubt)), "{error}");
        assert_eq!(error.attempts().len(), 1, "{error:?}");
        assert!(error.attempts()[0].evidence().counts.written > 0, "{error}");
        assert_eq!(self.elsewhere, 0, "connections that carried it again");
        self.peer.expect_gone().await;
    }

    /// The peer's own answer was delivered.
    async fn assert_answered(self, status: u16) {
        let response = self.outcome.expect("an answer");
        assert_eq!(response.status(), StatusCode::from_u16(status).expect("a status"));
        assert_eq!(self.elsewhere, 0, "connections that carried it again");
    }
}

/// Plays a case: as the first request of its connection, and as a later one.
fn play(
    setting: impl Fn() -> Setting,
    script: impl AsyncFn(&mut Call),
    check: impl AsyncFn(Ended),
) {
    for is_used in [false, true] {
        tun::run(async |net| {
            let setting = Setting { is_used, ..setting() };
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

fn post() -> Setting {
    Setting::new()
}

/// A POST too large for the peer's window and the client's send buffer.
fn large_post() -> Setting {
    post().octets(8 << 20)
}

fn origin() -> http::uri::Authority {
    PEER.to_string().parse().expect("an authority")
}

// ===== FIN =====

cases! {
    fin_none_acked_then_rst: post(), async |call| {
        call.peer.fin(Covers::Nothing);
        call.peer.rst();
    } => assert_resent(Proof::NeverReceived);

    fin_none_acked_then_rst_while_settling: post(), async |call| {
        call.peer.fin(Covers::Nothing);
        call.net.connecting().await;
        call.peer.rst();
    } => assert_resent(Proof::NeverReceived);

    fin_none_acked_then_ack_of_all: post(), async |call| {
        call.peer.fin(Covers::Nothing);
        call.net.connecting().await;
        call.peer.ack(Covers::All);
    } => assert_unknown(Doubt::AcknowledgedAfterFin);

    fin_none_acked_then_ack_of_one_octet: post(), async |call| {
        call.peer.fin(Covers::Nothing);
        call.net.connecting().await;
        call.peer.ack(Covers::Octets(1));
    } => assert_unknown(Doubt::AcknowledgedAfterFin);

    fin_none_acked_then_ack_and_rst: post(), async |call| {
        call.peer.fin(Covers::Nothing);
        call.net.connecting().await;
        call.peer.ack(Covers::All);
        call.peer.rst();
    } => assert_unknown(Doubt::AcknowledgedAfterFin);

    fin_none_acked_then_silence: post(), async |call| {
        call.peer.fin(Covers::Nothing);
    } => assert_unknown(Doubt::Unsettled);

    /// The acknowledgement comes after the settle limit: too late to matter.
    fin_none_acked_then_ack_after_the_limit: post(), async |call| {
        call.peer.fin(Covers::Nothing);
        let outcome = (&mut call.outcome).await.expect("no panic");
        call.peer.ack(Covers::All);
        call.outcome = tokio::spawn(std::future::ready(outcome));
    } => assert_unknown(Doubt::Unsettled);

    fin_acks_half: post(), async |call| {
        call.peer.fin(Covers::Octets(30));
    } => assert_unknown(Doubt::PartlyAcknowledged);

    fin_acks_half_then_rst: post(), async |call| {
        call.peer.fin(Covers::Octets(30));
        call.peer.rst();
    } => assert_unknown(Doubt::PartlyAcknowledged);

    fin_acks_all: post(), async |call| {
        call.peer.fin(Covers::All);
    } => assert_unknown(Doubt::Acknowledged);

    fin_acks_all_then_rst: post(), async |call| {
        call.peer.fin(Covers::All);
        call.peer.rst();
    } => assert_unknown(Doubt::Acknowledged);

    ack_of_all_then_fin_with_an_older_ack: post(), async |call| {
        call.peer.ack(Covers::All);
        call.peer.fin(Covers::Nothing);
        call.peer.rst();
    } => assert_unknown(Doubt::Acknowledged);

    fin_sent_again_then_rst: post(), async |call| {
        call.peer.fin(Covers::Nothing);
        call.peer.segment(Covers::Nothing).fin().ahead(-1).send();
        call.net.connecting().await;
        call.peer.segment(Covers::Nothing).fin().ahead(-1).send();
        call.peer.rst();
    } => assert_resent(Proof::NeverReceived);

    fin_sent_again_that_acks: post(), async |call| {
        call.peer.fin(Covers::Nothing);
        call.net.connecting().await;
        call.peer.segment(Covers::All).fin().ahead(-1).send();
        call.peer.rst();
    } => assert_unknown(Doubt::AcknowledgedAfterFin);

    /// The FIN is lost: its RST stands behind it, is challenged, and then exact.
    fin_lost_then_rst: post(), async |call| {
        call.peer.segment(Covers::Nothing).rst().no_ack().ahead(1).send();
        call.peer.rst();
    } => assert_unknown(Doubt::Reset(Acked::None));

    fin_that_acks_what_was_never_sent_then_rst: post(), async |call| {
        call.peer.segment(Covers::Beyond(1)).fin().ahead(0).send();
        call.peer.rst();
    } => assert_unknown(Doubt::Reset(Acked::None));

    /// The end of a 599 and the FIN overtake its beginning.
    fin_out_of_order_with_a_599: post(), async |call| {
        let (head, tail) = CLOSING_599.split_at(20);
        call.peer.segment(Covers::Nothing).data(tail).fin().ahead(20).send();
        call.peer.segment(Covers::Nothing).data(head).ahead(0).send();
        let end = CLOSING_599.len() as i32 + 1;
        call.peer.segment(Covers::Nothing).rst().no_ack().ahead(end).send();
    } => assert_resent(Proof::RefusedBeforeReceipt);

    /// The FIN that overtakes carries the newer acknowledgement.
    fin_out_of_order_that_acks: post(), async |call| {
        let (head, tail) = CLOSING_599.split_at(20);
        call.peer.segment(Covers::All).data(tail).fin().ahead(20).send();
        call.peer.segment(Covers::Nothing).data(head).ahead(0).send();
        let end = CLOSING_599.len() as i32 + 1;
        call.peer.segment(Covers::Nothing).rst().no_ack().ahead(end).send();
    } => assert_answered(599);

    octets_behind_the_fin_then_rst: post(), async |call| {
        call.peer.fin(Covers::Nothing);
        call.peer.segment(Covers::Nothing).data(ANSWER).ahead(0).send();
        call.peer.rst();
    } => assert_resent(Proof::NeverReceived);
}

// ===== RST =====

cases! {
    rst_alone: post(), async |call| {
        call.peer.rst();
    } => assert_unknown(Doubt::Reset(Acked::None));

    /// The acknowledgement of a RST is worth nothing, in either direction.
    rst_that_acks_all: post(), async |call| {
        call.peer.rst_ack(Covers::All);
    } => assert_unknown(Doubt::Reset(Acked::None));

    ack_of_half_then_rst: post(), async |call| {
        call.peer.ack(Covers::Octets(30));
        call.peer.rst();
    } => assert_unknown(Doubt::Reset(Acked::Part));

    /// As by a listener that never accepted.
    ack_of_all_then_rst: post(), async |call| {
        call.peer.ack(Covers::All);
        call.peer.rst();
    } => assert_unknown(Doubt::Reset(Acked::All));

    /// In the window but not exact: challenged, and life goes on.
    rst_that_is_not_exact_then_an_answer: post(), async |call| {
        call.peer.segment(Covers::Nothing).rst().no_ack().ahead(1000).send();
        call.peer.data(ANSWER, Covers::All);
    } => assert_answered(200);

    rst_in_mid_upload: large_post(), async |call| {
        call.peer.ack(Covers::Octets(10_000));
        call.peer.rst();
    } => assert_unknown(Doubt::Reset(Acked::Part));
}

// ===== responses that come early =====

cases! {
    a_599_none_acked_then_fin_then_rst: post(), async |call| {
        call.peer.data(CLOSING_599, Covers::Nothing);
        call.peer.fin(Covers::Nothing);
        call.peer.rst();
    } => assert_resent(Proof::RefusedBeforeReceipt);

    a_599_and_fin_in_one_segment_then_rst: post(), async |call| {
        call.peer.segment(Covers::Nothing).data(CLOSING_599).fin().send();
        call.peer.rst();
    } => assert_resent(Proof::RefusedBeforeReceipt);

    a_599_in_two_segments_then_fin_then_rst: post(), async |call| {
        call.peer.data(&CLOSING_599[..9], Covers::Nothing);
        call.net.barrier().await;
        call.peer.data(&CLOSING_599[9..], Covers::Nothing);
        call.peer.fin(Covers::Nothing);
        call.peer.rst();
    } => assert_resent(Proof::RefusedBeforeReceipt);

    a_408_none_acked_then_fin_then_rst: post(), async |call| {
        call.peer.data(CLOSING_408, Covers::Nothing);
        call.peer.fin(Covers::Nothing);
        call.peer.rst();
    } => assert_resent(Proof::RefusedBeforeReceipt);

    a_599_without_close_then_fin_then_rst: post(), async |call| {
        call.peer.data(b"HTTP/1.1 599 Away\r\ncontent-length: 0\r\n\r\n", Covers::Nothing);
        call.peer.fin(Covers::Nothing);
        call.peer.rst();
    } => assert_resent(Proof::NeverReceived);

    a_599_none_acked_then_rst: post(), async |call| {
        call.peer.data(CLOSING_599, Covers::Nothing);
        call.peer.rst();
    } => assert_unknown(Doubt::StrayResponse);

    a_599_none_acked_then_fin_that_acks: post(), async |call| {
        call.peer.data(CLOSING_599, Covers::Nothing);
        call.net.barrier().await;
        call.net.connecting().await;
        call.peer.fin(Covers::All);
    } => assert_unknown(Doubt::StrayResponse);

    a_599_none_acked_then_fin_then_ack: post(), async |call| {
        call.peer.data(CLOSING_599, Covers::Nothing);
        call.net.connecting().await;
        call.peer.fin(Covers::Nothing);
        call.net.barrier().await;
        call.peer.ack(Covers::All);
        call.peer.rst();
    } => assert_unknown(Doubt::StrayResponse);

    a_599_none_acked_that_stays_open: post(), async |call| {
        call.peer.data(CLOSING_599, Covers::Nothing);
    } => assert_unknown(Doubt::StrayResponse);

    /// With a part acknowledged it may be an answer, and is one.
    a_599_with_part_acked: post(), async |call| {
        call.peer.data(CLOSING_599, Covers::Octets(30));
        call.peer.fin(Covers::Octets(30));
        call.peer.rst();
    } => assert_answered(599);

    a_599_with_all_acked: post(), async |call| {
        call.peer.data(CLOSING_599, Covers::All);
        call.peer.fin(Covers::All);
    } => assert_answered(599);

    a_408_with_all_acked: post(), async |call| {
        call.peer.data(CLOSING_408, Covers::All);
        call.peer.fin(Covers::All);
    } => assert_answered(408);

    a_599_behind_the_fin_then_rst: post(), async |call| {
        call.peer.fin(Covers::Nothing);
        call.peer.segment(Covers::Nothing).data(CLOSING_599).ahead(0).send();
        call.peer.rst();
    } => assert_resent(Proof::NeverReceived);

    /// Never handed to the caller as the answer to a request nobody had.
    a_stray_200_that_stays_open: post(), async |call| {
        call.peer.data(ANSWER, Covers::Nothing);
    } => assert_unknown(Doubt::StrayResponse);

    a_stray_200_then_the_request_is_acked_and_answered: post(), async |call| {
        call.peer.data(ANSWER, Covers::Nothing);
        call.net.connecting().await;
        call.peer.data(ANSWER, Covers::All);
    } => assert_unknown(Doubt::StrayResponse);

    a_stray_200_then_fin_then_rst: post(), async |call| {
        call.peer.data(ANSWER, Covers::Nothing);
        call.peer.fin(Covers::Nothing);
        call.peer.rst();
    } => assert_resent(Proof::NeverReceived);

    a_stray_200_then_rst: post(), async |call| {
        call.peer.data(ANSWER, Covers::Nothing);
        call.peer.rst();
    } => assert_unknown(Doubt::StrayResponse);

    a_stray_413_then_fin_then_rst: post(), async |call| {
        call.peer.data(CLOSING_413, Covers::Nothing);
        call.peer.fin(Covers::Nothing);
        call.peer.rst();
    } => assert_resent(Proof::NeverReceived);

    a_413_in_mid_upload_then_fin: large_post(), async |call| {
        call.peer.data(CLOSING_413, Covers::Octets(10_000));
        call.peer.fin(Covers::Octets(10_000));
    } => assert_answered(413);

    a_413_in_mid_upload_then_rst: large_post(), async |call| {
        call.peer.data(CLOSING_413, Covers::Octets(10_000));
        call.peer.rst();
    } => assert_answered(413);

    an_urgent_octet_then_rst: post(), async |call| {
        call.peer.segment(Covers::Nothing).data(b"!").urgent().send();
        call.peer.rst();
    } => assert_unknown(Doubt::StrayResponse);

    an_urgent_octet_then_fin_then_rst: post(), async |call| {
        call.peer.segment(Covers::Nothing).data(b"!").urgent().send();
        call.peer.fin(Covers::Nothing);
        call.peer.rst();
    } => assert_resent(Proof::NeverReceived);
}

// ===== responses that are cut =====

cases! {
    a_whole_answer_and_fin_in_one_segment: post(), async |call| {
        call.peer.segment(Covers::All).data(ANSWER).fin().send();
    } => assert_answered(200);

    a_103_then_fin: post(), async |call| {
        call.peer.data(b"HTTP/1.1 103 Early Hints\r\n\r\n", Covers::All);
        call.peer.fin(Covers::All);
    } => assert_unknown(Doubt::ResponseBegun);

    /// The acknowledgement at the first octet of an answer decides, whatever
    /// the rest of the request's was.
    a_103_with_part_acked_then_fin_then_rst: post(), async |call| {
        call.peer.data(b"HTTP/1.1 103 Early Hints\r\n\r\n", Covers::Octets(1));
        call.peer.fin(Covers::Octets(1));
        call.peer.rst();
    } => assert_unknown(Doubt::ResponseBegun);

    half_a_head_then_fin: post(), async |call| {
        call.peer.data(&ANSWER[..20], Covers::All);
        call.peer.fin(Covers::All);
    } => assert_unknown(Doubt::ResponseBegun);

    half_a_head_then_rst: post(), async |call| {
        call.peer.data(&ANSWER[..20], Covers::All);
        call.peer.rst();
    } => assert_unknown(Doubt::ResponseBegun);

    what_is_no_http_then_fin: post(), async |call| {
        call.peer.data(b"SSH-2.0-OpenSSH\r\n\r\n", Covers::All);
        call.peer.fin(Covers::All);
    } => assert_unknown(Doubt::MalformedResponse);
}

/// The head was delivered; then the body's error says that the response is
/// lost, and nothing is sent again.
#[test]
fn a_body_that_is_cut_is_a_lost_response() {
    let ends: [fn(&mut Peer); 2] = [|peer| peer.fin(Covers::All), Peer::rst];
    for end in ends {
        let script = async |call: &mut Call| {
            call.peer.data(&ANSWER[..ANSWER.len() - 2], Covers::All);
            end(&mut call.peer);
        };
        play(post, script, async |mut ended| {
            let response = ended.outcome.expect("a head");
            let error = response.into_body().collect().await.expect_err("cut");
            assert_eq!(error.fate(), Fate::ResponseLost);
            assert_eq!(ended.elsewhere, 0, "connections that carried it again");
            ended.peer.expect_gone().await;
        });
    }
}

// ===== timers, windows, ICMP =====

cases! {
    nothing_acked_until_the_kernel_gives_up: post().sysctls(&[("tcp_retries2", 1)]),
        async |call| call.peer.expect_retransmission().await
        => assert_unknown(Doubt::NoFin(Acked::None, Some(Errno::ETIMEDOUT)));

    nothing_acked_until_the_user_timeout:
        post().options(|options| options.tcp_user_timeout(Duration::from_millis(300))),
        async |call| call.peer.expect_retransmission().await
        => assert_unknown(Doubt::NoFin(Acked::None, Some(Errno::ETIMEDOUT)));

    host_unreachable_until_the_kernel_gives_up: post().sysctls(&[("tcp_retries2", 1)]),
        async |call| call.peer.host_unreachable()
        => assert_unknown(Doubt::NoFin(Acked::None, Some(Errno(libc::EHOSTUNREACH))));

    host_unreachable_then_an_answer: post(), async |call| {
        call.peer.host_unreachable();
        call.net.barrier().await;
        call.peer.data(ANSWER, Covers::All);
    } => assert_answered(200);

    all_acked_then_silence_until_keepalive_expires:
        post().options(|o| o.tcp_keepalive(Duration::from_secs(1), Duration::from_secs(1), 1)),
        async |call| call.peer.ack(Covers::All)
        => assert_unknown(Doubt::NoFin(Acked::All, Some(Errno::ETIMEDOUT)));

    a_timer_that_expires_after_the_fin: post().sysctls(&[("tcp_retries2", 1)]), async |call| {
        call.peer.expect_retransmission().await;
        call.peer.expect_retransmission().await;
        call.peer.fin(Covers::Nothing);
    } => assert_unknown(Doubt::NotByReset(Some(Errno::ETIMEDOUT)));

    a_request_sent_again_by_the_kernel_then_an_answer: post(), async |call| {
        call.peer.expect_retransmission().await;
        call.peer.data(ANSWER, Covers::All);
    } => assert_answered(200);

    a_request_sent_again_by_the_kernel_then_fin_then_rst: post(), async |call| {
        call.peer.expect_retransmission().await;
        call.peer.fin(Covers::Nothing);
        call.peer.rst();
    } => assert_resent(Proof::NeverReceived);

    a_closed_window_then_fin_then_rst: post().window(0), async |call| {
        call.peer.fin(Covers::Nothing);
        call.peer.rst();
    } => assert_resent(Proof::NeverReceived);

    a_closed_window_then_rst: post().window(0), async |call| {
        call.peer.rst();
    } => assert_unknown(Doubt::Reset(Acked::None));

    a_closed_window_until_the_user_timeout:
        post().window(0).options(|options| options.tcp_user_timeout(Duration::from_millis(300))),
        async |_| {}
        => assert_unknown(Doubt::NoFin(Acked::None, Some(Errno::ETIMEDOUT)));

    all_acked_then_silence_until_the_deadline:
        post().policy(|policy| policy.deadline(Duration::from_millis(300))),
        async |call| call.peer.ack(Covers::All)
        => assert_unknown(Doubt::TimedOut);

    nothing_acked_then_silence_until_the_deadline:
        post().policy(|policy| policy.deadline(Duration::from_millis(300))),
        async |_| {}
        => assert_unknown(Doubt::TimedOut);
}

// ===== large bodies, written in part =====

cases! {
    an_upload_of_which_nothing_is_acked_then_fin_then_rst: large_post(), async |call| {
        call.peer.fin(Covers::Nothing);
        call.peer.rst();
    } => assert_resent(Proof::NeverReceived);

    an_upload_cut_in_the_middle_by_fin_and_rst: large_post(), async |call| {
        call.peer.fin(Covers::Octets(10_000));
        call.peer.rst();
    } => assert_unknown(Doubt::PartlyAcknowledged);

    an_upload_cut_in_the_middle_at_an_origin_of_whole_messages:
        large_post().options(|options| options.complete_messages_only(origin())),
        async |call| {
            call.peer.fin(Covers::Octets(10_000));
            call.peer.rst();
        } => assert_resent(Proof::NeverComplete);
}

// ===== what an origin is stated to do =====

cases! {
    fin_none_acked_then_silence_at_an_origin_that_closes_fully:
        post().options(|options| options.closed_after_fin(origin())),
        async |call| call.peer.fin(Covers::Nothing)
        => assert_resent(Proof::NeverReceivedClosed);

    fin_acks_all_at_an_origin_that_closes_fully:
        post().options(|options| options.closed_after_fin(origin())),
        async |call| call.peer.fin(Covers::All)
        => assert_unknown(Doubt::Acknowledged);

    fin_acks_half_then_rst_at_an_origin_of_whole_messages:
        post().options(|options| options.complete_messages_only(origin())),
        async |call| {
            call.peer.fin(Covers::Octets(30));
            call.peer.rst();
        } => assert_resent(Proof::NeverComplete);

    fin_acks_half_then_the_rest_at_an_origin_of_whole_messages:
        post().options(|options| options.complete_messages_only(origin())),
        async |call| {
            call.peer.fin(Covers::Octets(30));
            call.net.connecting().await;
            call.peer.ack(Covers::All);
            call.peer.rst();
        } => assert_unknown(Doubt::PartlyAcknowledged);

    fin_acks_half_then_silence_at_an_origin_of_whole_messages:
        post().options(|options| options.complete_messages_only(origin())),
        async |call| call.peer.fin(Covers::Octets(30))
        => assert_unknown(Doubt::PartlyAcknowledged);
}

// ===== found before the request was sent =====

/// Keeps a connection, lets the peer end it, and then sends a POST: it must
/// go over another connection, as if nothing had been.
fn found_by_the_look(options: fn() -> PoolOptions, end: impl AsyncFn(&mut Peer)) {
    tun::run(async |net| {
        let client = post().options(|_| options()).client();
        let mut peer = exchange(&net, &client, Covers::All).await;
        peer.begin_request();
        end(&mut peer).await;
        net.barrier().await;
        let outcome = tokio::spawn(client.oneshot(post().request()));
        let ended = Call { net, peer, outcome }.end().await;
        let response = ended.outcome.expect("an answer");
        let attempts = tower_resend::attempts(&response);
        let found = attempts.iter().rev().skip(1).map(|attempt| attempt.fate().proof());
        let found: Vec<_> = found.map(|proof| proof.map(|proof| proof.id())).collect();
        assert!(found.iter().all(|id| *id == Some("G1")), "{attempts:?}");
        assert_eq!(ended.served.len(), 1, "requests that were read whole");
        assert!(ended.peer.request().is_empty(), "nothing was written to the dead connection");
        assert_eq!(text(response).await, "paid");
    });
}

macro_rules! found_by_the_look {
    ($($name:ident: $end:expr;)+) => {
        $(#[test] fn $name() { found_by_the_look(PoolOptions::new, $end) })+
    };
}

found_by_the_look! {
    a_fin_while_idle: async |peer| peer.fin(Covers::All);
    a_fin_and_rst_while_idle: async |peer| { peer.fin(Covers::All); peer.rst(); };
    a_rst_while_idle: async |peer| peer.rst();
    a_599_while_idle: async |peer| peer.data(CLOSING_599, Covers::All);
    a_599_and_fin_while_idle: async |peer| peer.segment(Covers::All).data(CLOSING_599).fin().send();
    a_408_while_idle: async |peer| peer.data(CLOSING_408, Covers::All);
    a_stray_200_while_idle: async |peer| peer.data(ANSWER, Covers::All);
    a_stray_octet_while_idle: async |peer| peer.data(b"!", Covers::All);
    an_urgent_octet_while_idle:
        async |peer| peer.segment(Covers::All).data(b"!").urgent().send();
}

#[test]
fn keepalive_that_expires_while_idle() {
    const SECOND: Duration = Duration::from_secs(1);
    let options = || PoolOptions::new().tcp_keepalive(SECOND, SECOND, 1);
    found_by_the_look(options, async |peer| {
        peer.expect_probe().await;
        peer.expect_rst().await;
    });
}

// ===== connects =====

#[test]
fn a_syn_that_is_reset_and_then_one_that_is_not() {
    tun::run(async |net| {
        let outcome = tokio::spawn(post().client().oneshot(post().request()));
        let mut peer = net.listen().await;
        peer.rst_ack(Covers::Nothing);
        let ended = Call { net, peer, outcome }.end().await;
        let response = ended.outcome.expect("an answer");
        let refused = ConnectFailure::Connect(Some(Errno::ECONNREFUSED));
        let fates: Vec<_> = tower_resend::attempts(&response).iter().map(Attempt::fate).collect();
        let not_connected = Fate::NotApplied(Proof::NotConnected(refused));
        assert_eq!(fates, [not_connected, Fate::Completed]);
        assert_eq!(ended.served.len(), 1);
    });
}

#[test]
fn syns_that_are_never_answered() {
    tun::run(async |net| {
        let setting = post()
            .options(|options| options.connect_timeout(Duration::from_millis(200)))
            .policy(|policy| policy.connect_patience(Duration::from_millis(100)));
        let outcome = setting.client().oneshot(setting.request()).await;
        let error = outcome.expect_err("no connection");
        let timed_out = Proof::NotConnected(ConnectFailure::TimedOut);
        assert_eq!(error.fate(), Fate::NotApplied(timed_out), "{error}");
        assert!(net.talkative_ports().await.is_empty());
    });
}

/// Accepted by the kernel, and then nothing: not even an acknowledgement.
#[test]
fn an_accept_and_then_nothing() {
    let setting = || post().policy(|policy| policy.attempt_timeout(Duration::from_millis(300)));
    play(setting, async |_| {}, async |ended| ended.assert_unknown(Doubt::TimedOut).await);
}

// ===== several attempts =====

fn grounds(response: &Response<ResponseBody>) -> Vec<Option<Ground>> {
    tower_resend::attempts(response).iter().map(Attempt::ground).collect()
}

#[test]
fn a_get_is_repeated_once_where_a_post_is_not() {
    play(
        || post().method("GET").octets(0),
        async |call| call.peer.fin(Covers::All),
        async |ended| {
            let response = ended.outcome.expect("an answer");
            assert_eq!(grounds(&response), [Some(Ground::Idempotent), None]);
            assert_eq!(ended.served.len(), 1);
        },
    );
}

/// Unknown, and then refused: it may still have been applied.
#[test]
fn an_unknown_get_and_then_refused_connects_stay_unknown() {
    let setting = || {
        let policy = |policy: Policy| policy.connect_patience(Duration::from_millis(100));
        post().method("GET").octets(0).policy(policy)
    };
    for is_used in [false, true] {
        tun::run(async |net| {
            let setting = Setting { is_used, ..setting() };
            let mut call = Call::start(&net, &setting).await;
            call.peer.fin(Covers::All);
            let refusing = async {
                loop {
                    net.listen().await.rst_ack(Covers::Nothing);
                }
            };
            let outcome = tokio::select! {
                outcome = call.outcome => outcome.expect("no panic"),
                () = refusing => unreachable!("refuses for ever"),
            };
            let error = outcome.expect_err("no connection");
            assert_eq!(error.fate(), Fate::Unknown(Doubt::Acknowledged), "{error}");
            assert!(error.attempts().len() > 1, "{error:?}");
        });
    }
}

/// A proof for the first attempt, and none for the second.
#[test]
fn a_resent_post_that_then_fails_unknown() {
    play(
        post,
        async |call| {
            call.peer.fin(Covers::Nothing);
            call.peer.rst();
            let mut second = call.net.accept().await;
            second.expect_request().await;
            second.fin(Covers::All);
            // Stay until the client has seen it.
            second.expect_rst().await;
        },
        async |ended| {
            let error = ended.outcome.expect_err("no answer");
            assert_eq!(error.fate(), Fate::Unknown(Doubt::Acknowledged), "{error}");
            let fates: Vec<_> = error.attempts().iter().map(Attempt::fate).collect();
            let proven = Fate::NotApplied(Proof::NeverReceived);
            assert_eq!(fates, [proven, Fate::Unknown(Doubt::Acknowledged)]);
            assert_eq!(ended.elsewhere, 1, "connections that carried it again");
            assert!(ended.served.is_empty());
        },
    );
}

#[test]
fn three_proofs_in_a_row() {
    play(
        post,
        async |call| {
            call.peer.fin(Covers::Nothing);
            call.peer.rst();
            for _ in 0..2 {
                let mut next = call.net.accept().await;
                next.expect_request().await;
                next.fin(Covers::Nothing);
                next.rst();
            }
        },
        async |ended| {
            let response = ended.outcome.expect("an answer");
            let proven = Some(Ground::Proven(Proof::NeverReceived));
            assert_eq!(grounds(&response), [proven, proven, proven, None]);
            assert_eq!(ended.served.len(), 1);
        },
    );
}

/// A proxy knows as much, and must not use it (RFC 9110 9.2.2).
#[test]
fn a_proxy_does_not_resend_a_post_that_left_it() {
    play(
        || post().policy(|policy| policy.role(Role::Proxy)),
        async |call| {
            call.peer.fin(Covers::Nothing);
            call.peer.rst();
        },
        async |ended| {
            let error = ended.outcome.expect_err("no answer");
            assert_eq!(error.fate(), Fate::NotApplied(Proof::NeverReceived), "{error}");
            assert_eq!(error.verdict(), Verdict::Refuse(Refusal::Proxy), "{error}");
            assert_eq!(ended.elsewhere, 0);
        },
    );
}

// ===== counts, and what the caller does =====

#[test]
fn the_counts_behind_a_doubt_are_those_of_the_request() {
    play(
        post,
        async |call| call.peer.fin(Covers::Octets(30)),
        async |ended| {
            let error = ended.outcome.expect_err("no answer");
            let counts = error.attempts()[0].evidence().counts;
            let written = ended.peer.request().len() as u64;
            assert_eq!((counts.written, counts.acked, counts.read), (written, Some(30), 0));
            let said = format!("(30/{written} bytes acknowledged, 0 read)");
            assert!(error.to_string().contains(&said), "{error}");
        },
    );
}

/// The exchange before was answered with its last octets not acknowledged.
#[test]
fn a_request_behind_unacknowledged_octets_of_the_one_before() {
    tun::run(async |net| {
        let client = post().client();
        let mut peer = exchange(&net, &client, Covers::Octets(50)).await;
        let unacknowledged = peer.request().len() as u32 - 50;
        let outcome = tokio::spawn(client.oneshot(post().request()));
        peer.expect_request().await;
        peer.fin(Covers::Short(unacknowledged));
        peer.rst();
        let ended = Call { net, peer, outcome }.end().await;
        ended.assert_resent(Proof::NeverReceived).await;
    });
}

/// A call that is dropped leaves nothing that the kernel would go on sending.
#[test]
fn a_dropped_call_resets_its_connection() {
    for is_used in [false, true] {
        tun::run(async |net| {
            let setting = Setting { is_used, ..large_post() };
            let mut call = Call::start(&net, &setting).await;
            call.outcome.abort();
            assert!(call.outcome.await.expect_err("dropped").is_cancelled());
            call.peer.expect_rst().await;
            call.peer.expect_gone().await;
            let talkative = net.talkative_ports().await;
            assert_eq!(talkative, [call.peer.port()]);
        });
    }
}

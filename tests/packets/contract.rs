//! What closes mean under a contract, segment by segment: rules C5 and C7,
//! and what address translation does to them.
#![cfg(target_os = "linux")]

use crate::play::{Call, Ended, Setting, text};
use http::Request;
use http::uri::Authority;
use testkit::tun::{self, Covers, LOCAL, Net, PEER, Peer};
use tower_resend::pool::{OriginTrust, PoolOptions};
use tower_resend::{Body, Client};
use tower_resend_core::{Acked, Doubt, Proof};

/// A case: what the peer announces, what it does to the next POST, and what
/// becomes of that.
struct Case {
    members: &'static str,
    /// The ends that the peer names: its own view of the client's and of its own.
    named: [&'static str; 2],
    options: PoolOptions,
    bytes: usize,
    /// What the peer is called: one that broke a promise is believed no more
    /// by this process, under that name.
    authority: &'static str,
}

fn under(members: &'static str) -> Case {
    let named = ["", ""];
    let authority = "10.66.0.2";
    Case { members, named, options: PoolOptions::new(), bytes: 3, authority }
}

impl Case {
    fn named(self, client: &'static str, server: &'static str) -> Self {
        Self { named: [client, server], ..self }
    }

    fn trusting(self) -> Self {
        let origin: Authority = PEER.to_string().parse().expect("an authority");
        Self { options: self.options.trust(origin, OriginTrust::new().behind_nat()), ..self }
    }

    fn called(self, authority: &'static str) -> Self {
        Self { authority, ..self }
    }

    fn request(&self, bytes: usize) -> Request<Body> {
        let mut request = Setting::new().bytes(bytes).request();
        let target = format!("http://{}/orders", self.authority);
        *request.uri_mut() = target.parse().expect("a target");
        request
    }

    fn upload(self) -> Self {
        Self { bytes: 200_000, ..self }
    }

    fn play(self, script: impl AsyncFn(&mut Call), check: impl AsyncFn(Ended)) {
        tun::run(async |net| {
            let client = Client::builder().pool(self.options.clone()).build();
            let mut peer = self.announced(&net, &client).await;
            let outcome = tokio::spawn(client.request(self.request(self.bytes)));
            match self.bytes {
                0..1000 => drop(peer.expect_request().await),
                _ => {
                    peer.begin_request();
                    peer.expect_data(10_000).await;
                }
            }
            let mut call = Call { net: net.clone(), peer, outcome };
            script(&mut call).await;
            check(call.end().await).await;
        });
    }

    /// An exchange whose answer announces.
    async fn announced(&self, net: &Net, client: &Client) -> Peer {
        let answered = tokio::spawn(client.request(self.request(3)));
        let mut peer = net.accept().await;
        peer.expect_request().await;
        let [client_end, server_end] = self.named;
        let client_end = match client_end {
            "" => format!("{LOCAL}:{}", peer.port()),
            other => format!("{other}:{}", peer.port()),
        };
        let server_end =
            if server_end.is_empty() { format!("{PEER}:80") } else { server_end.into() };
        let members = self.members;
        let answer = format!(
            "HTTP/1.1 200 OK\r\nconnection: retry-contract\r\nretry-contract: \
             hop=\"{client_end} {server_end}\", {members}\r\ncontent-length: 4\r\n\r\npaid"
        );
        peer.data(answer.as_bytes(), Covers::All);
        let response = answered.await.expect("no panic").expect("an answer");
        assert_eq!(text(response).await, "paid");
        peer.expect_ack().await;
        peer
    }
}

macro_rules! rows {
    ($($(#[$doc:meta])* $name:ident: $case:expr, $script:expr => $check:ident($with:expr);)+) => {
        $($(#[$doc])* #[test] fn $name() {
            $case.play($script, async |ended| ended.$check($with).await);
        })+
    };
}

const RST: &str = "max=65536, rst";
const FIN: &str = "max=65536, fin";

// ===== C7, line by line =====

rows! {
    rst_none_acked: under(RST), async |call| call.peer.rst()
        => assert_resent(Proof::ResetPromised);
    rst_all_acked: under(RST), async |call| {
        call.peer.ack(Covers::All);
        call.peer.rst();
    } => assert_resent(Proof::ResetPromised);
    rst_under_fin: under(FIN), async |call| call.peer.rst()
        => assert_unknown(Doubt::Reset(Acked::None));
    fin_acks_all_under_fin: under(FIN), async |call| call.peer.fin(Covers::All)
        => assert_resent(Proof::ClosePromised);
    fin_acks_part_under_fin: under(FIN), async |call| call.peer.fin(Covers::Bytes(30))
        => assert_resent(Proof::ClosePromised);
    /// Nothing settles, and nothing needs to.
    fin_acks_nothing_under_fin: under(FIN), async |call| call.peer.fin(Covers::Nothing)
        => assert_resent(Proof::ClosePromised);
    fin_acks_all_under_rst: under("max=65536, rst, half"),
        async |call| call.peer.fin(Covers::All)
        => assert_unknown(Doubt::Acknowledged);
    fin_acks_part_under_max_and_half: under("max=65536, half"),
        async |call| call.peer.fin(Covers::Bytes(30))
        => assert_resent(Proof::FinPromised);
    fin_acks_part_then_rst_under_max: under("max=65536"), async |call| {
        call.peer.fin(Covers::Bytes(30));
        call.peer.rst();
    } => assert_resent(Proof::FinPromised);
    fin_acks_part_under_max_alone: under("max=65536"),
        async |call| call.peer.fin(Covers::Bytes(30))
        => assert_unknown(Doubt::PartlyAcknowledged);
    fin_acks_part_under_half_alone: under("half"),
        async |call| call.peer.fin(Covers::Bytes(30))
        => assert_unknown(Doubt::PartlyAcknowledged);
    fin_acks_nothing_under_half: under("half"), async |call| call.peer.fin(Covers::Nothing)
        => assert_resent(Proof::NeverReceivedClosed);
    fin_acks_all_without_a_promise: under("gone"), async |call| call.peer.fin(Covers::All)
        => assert_unknown(Doubt::Acknowledged);
}

// ===== C4 and C5 =====

rows! {
    a_rst_after_a_retransmission: under(RST), async |call| {
        call.peer.expect_retransmission().await;
        call.peer.rst();
    } => assert_unknown(Doubt::Reset(Acked::None));
    a_fin_after_a_retransmission: under(FIN), async |call| {
        call.peer.expect_retransmission().await;
        call.peer.fin(Covers::All);
    } => assert_unknown(Doubt::Acknowledged);
    an_upload_that_is_cut_within_max: under("max=1048576, rst").upload(), async |call| call.peer.rst()
        => assert_resent(Proof::ResetPromised);
    an_upload_that_is_cut_by_a_fin_within_max: under("max=1048576, half").upload(),
        async |call| call.peer.fin(Covers::Bytes(1000))
        => assert_resent(Proof::FinPromised);
}

#[test]
fn upload_longer_than_max_is_so_before_max_is_written() {
    under("max=65536, rst").upload().play(
        async |call| call.peer.rst(),
        async |ended| {
            let error = ended.outcome.expect_err("no answer");
            assert!(matches!(error.fate().doubt(), Some(Doubt::Reset(_))), "{error}");
            assert_eq!(ended.elsewhere, 0);
        },
    );
}

// ===== C8: a refusal that crosses a request =====

/// A closing response, as the server at `client`'s peer writes it.
fn refusal(call: &Call, client: std::net::Ipv4Addr) -> Vec<u8> {
    let port = call.peer.port();
    let head = "HTTP/1.1 503 Leaving\r\nconnection: close, retry-contract\r\n";
    let field = format!("retry-contract: hop=\"{client}:{port} {PEER}:80\", refused\r\n");
    format!("{head}{field}content-length: 0\r\n\r\n").into_bytes()
}

rows! {
    /// It left before any of the request had come, and nothing else follows.
    a_refusal_that_acks_nothing: under(RST), async |call| {
        let refusal = refusal(call, LOCAL);
        call.peer.data(&refusal, Covers::Nothing);
    } => assert_resent(Proof::Refused);
    a_refusal_in_two_segments: under(RST), async |call| {
        let refusal = refusal(call, LOCAL);
        call.peer.data(&refusal[..40], Covers::Nothing);
        call.net.connecting().await;
        call.peer.data(&refusal[40..], Covers::Nothing);
    } => assert_resent(Proof::Refused);
    a_refusal_that_acks_all: under(RST), async |call| {
        let refusal = refusal(call, LOCAL);
        call.peer.data(&refusal, Covers::All);
    } => assert_resent(Proof::Refused);
    a_refusal_that_acks_nothing_of_another_connection: under(RST), async |call| {
        let refusal = refusal(call, PEER);
        call.peer.data(&refusal, Covers::Nothing);
    } => assert_unknown(Doubt::StrayResponse);
}

/// What is said after a refusal takes back what it said (C9).
#[test]
fn a_refusal_that_acks_nothing_and_goes_on() {
    // The same address by another name, which is no other test's.
    under(RST).called("10.66.2").play(
        async |call| {
            let mut bytes = refusal(call, LOCAL);
            bytes.extend_from_slice(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            call.peer.data(&bytes, Covers::Nothing);
        },
        async |ended| ended.assert_unknown(Doubt::StrayResponse).await,
    );
}

// ===== address translation =====

rows! {
    /// The server sees the translator's address.
    behind_a_source_nat: under(RST).named("192.0.2.1", ""), async |call| call.peer.rst()
        => assert_unknown(Doubt::Reset(Acked::None));
    /// The server has an address of its own, which the client does not know.
    behind_a_destination_nat: under(RST).named("", "192.168.7.9:8080"),
        async |call| call.peer.rst()
        => assert_unknown(Doubt::Reset(Acked::None));
    behind_both_under_fin: under(FIN).named("192.0.2.1", "192.168.7.9:8080"),
        async |call| call.peer.fin(Covers::All)
        => assert_unknown(Doubt::Acknowledged);
    /// The user's word: the same bytes, and now they count.
    control_a_trusted_nat: under(RST).named("192.0.2.1", "192.168.7.9:8080").trusting(),
        async |call| call.peer.rst()
        => assert_resent(Proof::ResetPromised);
}

//! hyper-util's legacy client over our connections against a scripted peer,
//! segment by segment: what the kernel's evidence says where no pool announces
//! a request.
//!
//! Each case is played with the POST as the first request of its connection
//! and as a later one, also after an exchange with a 1xx in mid-upload.
#![cfg(target_os = "linux")]

use testkit::tun;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::task::JoinHandle;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};
use tower_resend::hyper_util::{Connector, EvidenceClient, TrackedStream, with_evidence};
use tower_resend::{Attempt, Error, ResendLayer, attempts};
use tower_resend_core::{Acked, Doubt, Fate, Proof};

use self::tun::{Covers, Net, PEER, Peer};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\npaid";
const CLOSING_599: &[u8] = b"HTTP/1.1 599 Away\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
const HINTS: &[u8] = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
const LARGE: usize = 200_000;

type Pay = Full<Bytes>;
type Outcome = Result<Response<Incoming>, Error>;

fn post(bytes: usize) -> Request<Pay> {
    let body = Full::from(vec![b'P'; bytes]);
    Request::post(format!("http://{PEER}/orders")).body(body).expect("a request")
}

fn direct() -> EvidenceClient<Connector, Pay> {
    with_evidence(Client::builder(TokioExecutor::new()).build(Connector::new()))
}

fn send<C>(client: &EvidenceClient<C, Pay>, bytes: usize) -> JoinHandle<Outcome>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let service = ServiceBuilder::new().layer(ResendLayer::default()).service(client.clone());
    tokio::spawn(service.oneshot(post(bytes)))
}

async fn answered(outcome: JoinHandle<Outcome>) -> (Vec<Fate>, Bytes) {
    let response = outcome.await.expect("no panic").expect("an answer");
    let fates = attempts(&response).iter().map(Attempt::fate).collect();
    (fates, response.into_body().collect().await.expect("a whole body").to_bytes())
}

/// What the connection carried before.
#[derive(Clone, Copy, Debug)]
enum Before {
    Nothing,
    /// An exchange.
    Exchange,
    /// An upload that a 1xx interrupted before all of it was sent.
    HintsInMidUpload,
}

async fn exchange(
    net: &Net,
    client: &EvidenceClient<Connector, Pay>,
    before: Before,
) -> Option<Peer> {
    let bytes = match before {
        Before::Nothing => return None,
        Before::Exchange => 3,
        Before::HintsInMidUpload => LARGE,
    };
    let outcome = send(client, bytes);
    let mut peer = net.accept().await;
    match bytes {
        LARGE => {
            peer.begin_request();
            peer.expect_data(10_000).await;
            peer.data(HINTS, Covers::Bytes(5_000));
            take_the_rest(&mut peer, bytes).await;
        }
        _ => drop(peer.take_request().await),
    }
    peer.data(ANSWER, Covers::All);
    assert_eq!(answered(outcome).await, (Vec::new(), Bytes::from("paid")));
    peer.expect_ack().await;
    peer.begin_request();
    Some(peer)
}

/// Reads a request that was partly heard, with a body of this length.
async fn take_the_rest(peer: &mut Peer, body: usize) {
    let head = peer.request().windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let whole = head.expect("the head was heard") + 4 + body;
    while peer.request().len() < whole {
        peer.ack(Covers::All);
        peer.expect_data(peer.request().len() + 1).await;
    }
}

/// How a case must end.
#[derive(Clone, Copy, Debug)]
enum End {
    Resent(Proof),
    Unknown(Doubt),
}

fn play(script: impl AsyncFn(&mut Peer, &Net), end: End) {
    for before in [Before::Nothing, Before::Exchange, Before::HintsInMidUpload] {
        tun::run(async |net| {
            let client = direct();
            let used = exchange(&net, &client, before).await;
            let outcome = send(&client, 3);
            let mut peer = match used {
                Some(peer) => peer,
                None => {
                    let mut peer = net.accept().await;
                    peer.begin_request();
                    peer
                }
            };
            peer.expect_request().await;
            script(&mut peer, &net).await;
            let served = net.serve(ANSWER);
            match end {
                End::Resent(proof) => {
                    let expected = vec![Fate::NotApplied(proof), Fate::Completed];
                    let ended = answered(outcome).await;
                    assert_eq!(ended, (expected, Bytes::from("paid")), "{before:?}");
                    assert_eq!(served.borrow().len(), 1, "{before:?}");
                }
                End::Unknown(doubt) => {
                    let error = outcome.await.expect("no panic").expect_err("no answer");
                    assert_eq!(error.fate(), Fate::Unknown(doubt), "{before:?}: {error}");
                    assert_eq!(error.attempts().len(), 1, "{before:?}: {error:?}");
                    assert_eq!(served.borrow().len(), 0, "{before:?}");
                }
            }
        });
    }
}

macro_rules! cases {
    ($($name:ident: $script:expr => $end:expr;)+) => {
        $(#[test] fn $name() { play($script, $end); })+
    };
}

cases! {
    fin_none_acked_then_rst: async |peer, _| {
        peer.fin(Covers::Nothing);
        peer.rst();
    } => End::Resent(Proof::NeverReceived);

    a_599_none_acked_then_fin_then_rst: async |peer, _| {
        peer.data(CLOSING_599, Covers::Nothing);
        peer.fin(Covers::Nothing);
        peer.rst();
    } => End::Resent(Proof::RefusedBeforeReceipt);

    a_stray_200_none_acked_is_withheld: async |peer, _| {
        peer.data(ANSWER, Covers::Nothing);
    } => End::Unknown(Doubt::StrayResponse);

    a_stray_200_none_acked_then_fin_then_rst: async |peer, _| {
        peer.data(ANSWER, Covers::Nothing);
        peer.fin(Covers::Nothing);
        peer.rst();
    } => End::Resent(Proof::NeverReceived);

    fin_none_acked_then_silence: async |peer, _| {
        peer.fin(Covers::Nothing);
    } => End::Unknown(Doubt::Unsettled);

    fin_acks_a_part_then_rst: async |peer, _| {
        peer.fin(Covers::Bytes(30));
        peer.rst();
    } => End::Unknown(Doubt::PartlyAcknowledged);

    fin_acks_one_octet_then_rst: async |peer, _| {
        peer.fin(Covers::Bytes(1));
        peer.rst();
    } => End::Unknown(Doubt::PartlyAcknowledged);

    fin_acks_all_then_rst: async |peer, _| {
        peer.fin(Covers::All);
        peer.rst();
    } => End::Unknown(Doubt::Acknowledged);

    rst_alone: async |peer, _| peer.rst() => End::Unknown(Doubt::Reset(Acked::None));

    hints_acked_then_fin_then_rst: async |peer, _| {
        peer.data(HINTS, Covers::All);
        peer.fin(Covers::All);
        peer.rst();
    } => End::Unknown(Doubt::ResponseBegun);
}

// ===== below another protocol =====

/// A connection above ours that greets and swallows what is not HTTP, as TLS
/// does with its session tickets.
struct Sealed {
    io: TokioIo<TrackedStream>,
}

impl Connection for Sealed {
    fn connected(&self) -> Connected {
        self.io.inner().connected()
    }
}

impl Read for Sealed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut bytes = [0; 1024];
            let mut buf = ReadBuf::new(&mut bytes);
            ready!(tokio::io::AsyncRead::poll_read(Pin::new(&mut self.io), cx, &mut buf))?;
            let is_end = buf.filled().is_empty();
            let mut plain = buf.filled().to_vec();
            plain.retain(|byte| *byte != TICKET);
            if is_end || !plain.is_empty() {
                cursor.put_slice(&plain);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl Write for Sealed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        tokio::io::AsyncWrite::poll_write(Pin::new(&mut self.io), cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        tokio::io::AsyncWrite::poll_flush(Pin::new(&mut self.io), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        tokio::io::AsyncWrite::poll_shutdown(Pin::new(&mut self.io), cx)
    }
}

const GREETING: &[u8] = b"HELLO /there\r\n\r\n";
const WELCOME: &[u8] = b"hi";
const TICKET: u8 = 0x17;

#[derive(Clone)]
struct Seal(Connector);

impl Service<Uri> for Seal {
    type Response = Sealed;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Sealed, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let connecting = self.0.call(target);
        Box::pin(async move {
            let mut io = TokioIo::new(connecting.await?);
            io.write_all(GREETING).await?;
            io.read_exact(&mut [0; WELCOME.len()]).await?;
            Ok(Sealed { io })
        })
    }
}

/// Starts a call of this length over a connection that greets.
async fn sealed(net: &Net, bytes: usize) -> (Peer, JoinHandle<Outcome>) {
    let client = with_evidence(Client::builder(TokioExecutor::new()).build(Seal(Connector::new())));
    let outcome = send(&client, bytes);
    let mut peer = net.accept().await;
    peer.begin_request();
    peer.expect_data(GREETING.len()).await;
    peer.data(WELCOME, Covers::All);
    peer.begin_request();
    (peer, outcome)
}

/// Tickets that arrive while none of the request is acknowledged, and again in
/// mid-upload, are no stray response: nothing is withheld.
#[test]
fn tickets_in_mid_upload_harm_nothing() {
    for covers in [Covers::Nothing, Covers::Bytes(1), Covers::Bytes(5_000)] {
        tun::run(async |net| {
            let (mut peer, outcome) = sealed(&net, LARGE).await;
            peer.expect_data(10_000).await;
            peer.data(&[TICKET; 64], covers);
            take_the_rest(&mut peer, LARGE).await;
            peer.data(ANSWER, Covers::All);
            assert_eq!(answered(outcome).await, (Vec::new(), Bytes::from("paid")));
        });
    }
}

/// The wire would prove it, but whose bytes they are is not known.
#[test]
fn proof_on_the_wire_below_another_protocol_does_not_count() {
    for ticket in [&[][..], &[TICKET; 64]] {
        tun::run(async |net| {
            let (mut peer, outcome) = sealed(&net, 3).await;
            peer.expect_request().await;
            if !ticket.is_empty() {
                peer.data(ticket, Covers::Nothing);
            }
            peer.fin(Covers::Nothing);
            peer.rst();
            let error = outcome.await.expect("no panic").expect_err("no answer");
            assert_eq!(error.fate(), Fate::Unknown(Doubt::NoRequestBoundary), "{error}");
        });
    }
}

//! What the errors of reqwest's own client are made of, against real failures,
//! and the fate that each has: one test for each row of the table. A new
//! version of reqwest, hyper-util, hyper or rustls that changes a row fails here.

#![allow(clippy::unwrap_used, reason = "tests may")]

use crate::error_links;
use testkit::origin;
use testkit::stacks::still;

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use reqwest::dns::{Name, Resolve, Resolving};
use tower::{Layer, ServiceExt};
use tower_resend::{AttemptError, Policy, ResendLayer};
use tower_resend_core::{ConnectFailure, Doubt, Errno, Fate, Proof};
use tower_resend_reqwest::with_evidence;

use self::error_links::{Link, Says, below};
use self::origin::closed_port::ClosedPort;
use self::origin::{Origin, Peer};
use self::still::until_idle;

/// reqwest with nothing of the machine's own settings.
fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder().no_proxy().http1_only()
}

/// What came of one POST, without anything that resends, after `before` others
/// on its connection.
async fn sent(
    builder: reqwest::ClientBuilder,
    url: &str,
    before: usize,
) -> Result<Response<reqwest::Body>, AttemptError> {
    let client = with_evidence(builder).unwrap();
    let post = || Request::post(url).body(Full::<Bytes>::from("pay")).unwrap();
    for _ in 0..before {
        let response = client.clone().oneshot(post()).await.unwrap();
        response.into_body().collect().await.unwrap();
        until_idle().await;
    }
    client.oneshot(post()).await
}

/// What the error of one POST is made of, and its fate.
async fn failure(builder: reqwest::ClientBuilder, url: &str) -> (Vec<Link>, Fate) {
    failure_after(0, builder, url).await
}

async fn failure_after(
    before: usize,
    builder: reqwest::ClientBuilder,
    url: &str,
) -> (Vec<Link>, Fate) {
    let failure = sent(builder, url, before).await.unwrap_err();
    let fate = failure.attempt().fate();
    let source = failure.into_source().expect("a source");
    (below(source.downcast_ref::<reqwest::Error>().expect("an error of reqwest")), fate)
}

/// What the error of a response's body is made of.
async fn failure_of_body(builder: reqwest::ClientBuilder, url: &str) -> Vec<Link> {
    let response = sent(builder, url, 0).await.unwrap();
    let error = response.into_body().collect().await.unwrap_err();
    assert!(error.is_body(), "{error:?}");
    below(&error)
}

fn not_connected(why: ConnectFailure) -> Fate {
    Fate::NotApplied(Proof::NotConnected(why))
}

const UNKNOWN: Fate = Fate::Unknown(Doubt::NoEvidence);
const INCOMPLETE: [Link; 2] = [Link::OnConnection, Link::Hyper(Says::Incomplete)];
const MALFORMED: [Link; 2] = [Link::OnConnection, Link::Hyper(Says::Malformed)];

const RESET: [Link; 3] = [
    Link::OnConnection,
    Link::Hyper(Says::Nothing),
    Link::Io(ErrorKind::ConnectionReset, Some(libc::ECONNRESET)),
];
/// A body that ended too early; who says so is private to hyper or rustls.
const CUT_BODY: [Link; 3] = [Link::Hyper(Says::Nothing), CUT, Link::Private];
const CUT: Link = Link::Io(ErrorKind::UnexpectedEof, None);

/// What an origin does that has taken the request up.
type Act = fn(Peer);

const RESETS: Act = |peer| peer.reset();
const CLOSES: Act = drop;
const SAYS_HALF_A_HEAD: Act = |mut peer| peer.write("HTTP/1.1 200 OK\r\ncontent-le");
const SAYS_GARBAGE: Act = |mut peer| peer.write("SSH-2.0-OpenSSH_9.2\r\n\r\n");
const CUTS_ITS_BODY: Act = |mut peer| peer.write("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nok");

fn origin(before: usize, act: Act) -> Origin {
    Origin::start(1, move |_, mut peer| {
        peer.serve(before);
        peer.read_request();
        act(peer);
    })
}

/// As the first request on its connection and as a later one.
async fn after(act: Act) -> (Vec<Link>, Fate) {
    let first = failure(builder(), &origin(0, act).url("/orders")).await;
    let later = failure_after(2, builder(), &origin(2, act).url("/orders")).await;
    assert_eq!(first, later);
    later
}

#[tokio::test]
async fn a_refused_connect() {
    let (links, fate) = failure(builder(), &ClosedPort::new().url()).await;
    let refused = Link::Io(ErrorKind::ConnectionRefused, Some(libc::ECONNREFUSED));
    assert_eq!(links, [Link::NoConnection, Link::Private, refused]);
    assert_eq!(fate, not_connected(ConnectFailure::Connect(Some(Errno(libc::ECONNREFUSED)))));
}

/// What reqwest prints of a URL is all of it, a password and a token among it.
#[tokio::test]
async fn no_text_of_an_error_has_the_url_in_it() {
    let at = ClosedPort::new();
    let url = at.url().replacen("http://", "http://me:secret@", 1) + "?token=secret";
    let policy = Policy::new().connect_patience(Duration::ZERO);
    let client = ResendLayer::new(policy).layer(with_evidence(builder()).unwrap());
    let post = Request::post(url).body(Full::<Bytes>::from("pay")).unwrap();
    let error = client.oneshot(post).await.unwrap_err();
    assert!(error.fate().is_not_applied());
    assert!(format!("{error:#}").contains("error sending request"), "{error:#}");
    for text in [format!("{error:#}"), format!("{error:?}")] {
        assert!(!text.contains("secret"), "{text}");
    }
}

#[tokio::test]
async fn a_name_that_does_not_resolve() {
    struct Nowhere;
    impl Resolve for Nowhere {
        fn resolve(&self, _: Name) -> Resolving {
            Box::pin(async { Err(io::Error::other("no such name").into()) })
        }
    }
    let builder = builder().dns_resolver(Arc::new(Nowhere));
    let (links, fate) = failure(builder, "http://nowhere.invalid/").await;
    let not_found = Link::Io(ErrorKind::Other, None);
    let said = Link::Private;
    assert_eq!(links, [Link::NoConnection, Link::Private, Link::Private, not_found, said]);
    assert_eq!(fate, not_connected(ConnectFailure::Resolve));
}

#[tokio::test]
async fn a_reset() {
    assert_eq!(after(RESETS).await, (RESET.to_vec(), UNKNOWN));
}

#[tokio::test]
async fn a_fin() {
    assert_eq!(after(CLOSES).await, (INCOMPLETE.to_vec(), UNKNOWN));
}

#[tokio::test]
async fn half_a_head() {
    assert_eq!(after(SAYS_HALF_A_HEAD).await, (INCOMPLETE.to_vec(), UNKNOWN));
}

#[tokio::test]
async fn an_answer_that_is_not_http() {
    assert_eq!(after(SAYS_GARBAGE).await, (MALFORMED.to_vec(), UNKNOWN));
}

#[tokio::test]
async fn a_body_that_is_cut() {
    let links = failure_of_body(builder(), &origin(0, CUTS_ITS_BODY).url("/orders")).await;
    assert_eq!(links, CUT_BODY);
}

#[cfg(all(feature = "https", feature = "reqwest-rustls"))]
mod over_tls {
    use std::io::Read;
    use std::net::TcpStream;

    use tower_resend_core::StaleReason;

    use super::origin::tls::{Authority, Server};
    use super::*;

    /// A handshake that failed by this.
    fn no_handshake<const N: usize>(by: [Link; N]) -> Vec<Link> {
        [vec![Link::NoConnection, Link::Io(ErrorKind::Other, None)], by.to_vec()].concat()
    }

    const BROKEN: [Link; 2] = [Link::Io(ErrorKind::InvalidData, None), Link::Rustls];
    const TRUNCATED: [Link; 4] =
        [Link::OnConnection, Link::Hyper(Says::Nothing), CUT, Link::Private];

    /// reqwest that trusts an authority, and that one only.
    fn trusting(authority: &Authority) -> reqwest::ClientBuilder {
        let root = reqwest::Certificate::from_der(&authority.root()).unwrap();
        builder().tls_certs_only([root])
    }

    fn serving(server: &Server, before: usize, act: Act) -> Origin {
        Origin::start_tls(1, server, move |_, mut peer| {
            peer.serve(before);
            peer.read_request();
            act(peer);
        })
    }

    async fn after(act: Act) -> (Vec<Link>, Fate) {
        let authority = Authority::new();
        let mut seen = Vec::new();
        for before in [0, 2] {
            let url = serving(&authority.server(), before, act).url("/orders");
            seen.push(failure_after(before, trusting(&authority), &url).await);
        }
        let [first, later] = <[_; 2]>::try_from(seen).unwrap();
        assert_eq!(first, later);
        later
    }

    async fn body_after(act: Act) -> Vec<Link> {
        let authority = Authority::new();
        let origin = serving(&authority.server(), 0, act);
        failure_of_body(trusting(&authority), &origin.url("/orders")).await
    }

    /// The URL of an origin that gets a first record and knows nothing of TLS.
    fn speaking_no_tls(act: Act) -> (Origin, String) {
        let origin = Origin::start(1, move |_, peer| {
            let mut stream: &TcpStream = peer.stream();
            let mut record = [0; 5];
            stream.read_exact(&mut record).unwrap();
            let mut hello = vec![0; usize::from(u16::from_be_bytes([record[3], record[4]]))];
            stream.read_exact(&mut hello).unwrap();
            act(peer);
        });
        let url = format!("https://{}/orders", origin.address());
        (origin, url)
    }

    fn close_notify(mut peer: Peer) {
        let (session, stream) = peer.tls();
        session.close(stream);
    }

    #[tokio::test]
    async fn a_server_that_is_not_trusted() {
        let origin = serving(&Authority::new().server(), 0, CLOSES);
        let (links, fate) = failure(trusting(&Authority::new()), &origin.url("/orders")).await;
        assert_eq!(links, no_handshake(BROKEN));
        assert_eq!(fate, not_connected(ConnectFailure::Untrusted));
        assert_eq!(origin.finish(), [""; 0]);
    }

    #[tokio::test]
    async fn a_server_that_speaks_no_tls() {
        let (_origin, url) = speaking_no_tls(SAYS_GARBAGE);
        let (links, fate) = failure(trusting(&Authority::new()), &url).await;
        assert_eq!(links, no_handshake(BROKEN));
        assert_eq!(fate, not_connected(ConnectFailure::Untrusted));
    }

    #[tokio::test]
    async fn an_end_in_the_handshake() {
        let (_origin, url) = speaking_no_tls(CLOSES);
        let (links, fate) = failure(trusting(&Authority::new()), &url).await;
        assert_eq!(links, no_handshake([CUT, Link::Private]));
        assert_eq!(fate, not_connected(ConnectFailure::Connect(None)));
    }

    #[tokio::test]
    async fn a_reset_in_the_handshake() {
        let (_origin, url) = speaking_no_tls(RESETS);
        let (links, fate) = failure(trusting(&Authority::new()), &url).await;
        assert_eq!(links, no_handshake([RESET[2]]));
        let reset = ConnectFailure::Connect(Some(Errno(libc::ECONNRESET)));
        assert_eq!(fate, not_connected(reset));
    }

    /// The client is done with the handshake before the server has looked: the
    /// alert meets a request that is still in its channel, or was sent.
    #[tokio::test]
    async fn a_server_that_demands_a_certificate() {
        let authority = Authority::new();
        let origin = serving(&authority.demanding_server(), 0, CLOSES);
        let (links, fate) = failure(trusting(&authority), &origin.url("/orders")).await;
        assert_eq!(links[0], Link::OnConnection);
        let handed_back = Fate::NotApplied(Proof::HandedBack(StaleReason::Ended));
        assert!([handed_back, UNKNOWN].contains(&fate), "{fate:?}");
        assert_eq!(origin.finish(), [""; 0]);
    }

    #[tokio::test]
    async fn a_reset() {
        assert_eq!(after(RESETS).await, (RESET.to_vec(), UNKNOWN));
    }

    #[tokio::test]
    async fn a_close_notify() {
        assert_eq!(after(close_notify).await, (INCOMPLETE.to_vec(), UNKNOWN));
    }

    #[tokio::test]
    async fn a_truncation() {
        assert_eq!(after(CLOSES).await, (TRUNCATED.to_vec(), UNKNOWN));
    }

    #[tokio::test]
    async fn a_truncation_in_the_head() {
        assert_eq!(after(SAYS_HALF_A_HEAD).await, (TRUNCATED.to_vec(), UNKNOWN));
    }

    #[tokio::test]
    async fn an_answer_that_is_not_http() {
        assert_eq!(after(SAYS_GARBAGE).await, (MALFORMED.to_vec(), UNKNOWN));
    }

    #[tokio::test]
    async fn a_truncation_in_a_body_of_known_length() {
        assert_eq!(body_after(CUTS_ITS_BODY).await, CUT_BODY);
    }

    const UNTIL_ITS_END: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nok";

    #[tokio::test]
    async fn a_truncation_in_a_body_that_lasts_to_the_end() {
        assert_eq!(body_after(|mut peer| peer.write(UNTIL_ITS_END)).await, CUT_BODY);
    }

    #[tokio::test]
    async fn close_notify_ends_a_body_that_lasts_until_the_close() {
        let authority = Authority::new();
        let origin = serving(&authority.server(), 0, |mut peer| {
            peer.write(UNTIL_ITS_END);
            close_notify(peer);
        });
        let response = sent(trusting(&authority), &origin.url("/orders"), 0).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
    }
}

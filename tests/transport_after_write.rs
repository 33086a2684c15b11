//! A connection that ends after the request was written to it: what the
//! evidence says, as the first and as a later request on the connection.

#![allow(clippy::unwrap_used, reason = "a test helper panics when it is in the way")]

#[path = "support/origin.rs"]
mod origin;

use self::origin::{Origin, Peer};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use tower::ServiceExt;
use tower_resend::classify::{Acked, Doubt, Fate, HandOff};
use tower_resend::pool::{Failure, Pool, PoolOptions};

/// Serves `before` requests, then lets `act` treat the next one. Returns the
/// failure, and how often the last request was taken up.
async fn fail_after(before: usize, act: fn(Peer)) -> (Failure, usize) {
    let origin = Origin::start(1, move |_, mut peer| {
        peer.serve(before);
        act(peer);
    });
    let pool = Pool::new(PoolOptions::new());
    for _ in 0..before {
        let response = pool.clone().oneshot(request(&origin, "/before")).await.unwrap();
        response.into_body().collect().await.unwrap();
    }
    let failure = pool.oneshot(request(&origin, "/last")).await.unwrap_err();
    let taken_up = origin.finish().iter().filter(|target| *target == "/last").count();
    (failure, taken_up)
}

fn request(origin: &Origin, path: &str) -> Request<Full<Bytes>> {
    Request::post(origin.url(path)).body(Full::from("pay")).unwrap()
}

/// Asserts the doubt, and that the byte counts are behind it.
fn assert_unknown(failure: &Failure, doubts: &[Doubt]) {
    let attempt = failure.attempt();
    let Fate::Unknown(doubt) = attempt.fate() else { panic!("{attempt}") };
    assert!(doubts.contains(&doubt), "{doubt:?} is none of {doubts:?}");
    let evidence = attempt.evidence();
    assert_eq!(evidence.hand_off, HandOff::Written);
    assert!(evidence.counts.written > 0, "{:?}", evidence.counts);
    assert!(evidence.counts.acked.is_some(), "{:?}", evidence.counts);
}

macro_rules! after_write {
    ($($name:ident: $act:expr, $taken_up:expr => $doubts:expr;)*) => {
        $(#[tokio::test]
        async fn $name() {
            for before in [0, 1, 3] {
                let (failure, taken_up) = fail_after(before, $act).await;
                assert_unknown(&failure, &$doubts);
                assert_eq!(taken_up, $taken_up);
            }
        })*
    };
}

after_write! {
    read_then_fin_is_unknown: |mut peer| { peer.read_request(); }, 1
        => [Doubt::Acknowledged];
    read_then_reset_is_unknown: |mut peer| { peer.read_request(); peer.reset(); }, 1
        => [Doubt::Reset(Acked::None), Doubt::Reset(Acked::All)];
    an_unread_close_is_unknown: |peer| { peer.wait_for_bytes(); peer.close(); }, 0
        => [Doubt::Reset(Acked::None), Doubt::Reset(Acked::All)];
    a_half_close_that_reads_on_is_unknown: |mut peer| {
        peer.wait_for_bytes();
        peer.half_close();
        peer.read_request();
    }, 1 => [Doubt::Acknowledged];
    an_early_hint_and_then_a_cut_is_unknown: |mut peer| {
        peer.read_request();
        peer.write("HTTP/1.1 103 Early Hints\r\n\r\n");
    }, 1 => [Doubt::ResponseBegun];
    half_a_head_and_then_a_cut_is_unknown: |mut peer| {
        peer.read_request();
        peer.write("HTTP/1.1 200 OK\r\ncontent-le");
    }, 1 => [Doubt::ResponseBegun];
    an_answer_that_is_not_http_is_unknown: |mut peer| {
        peer.read_request();
        peer.write("SSH-2.0-OpenSSH_9.2\r\n\r\n");
    }, 1 => [Doubt::MalformedResponse];
    an_urgent_byte_is_no_fin: |mut peer| {
        peer.read_request();
        peer.write_urgent(b'!');
        peer.reset();
    }, 1 => [Doubt::MalformedResponse, Doubt::ResponseBegun, Doubt::Reset(Acked::All), Doubt::Reset(Acked::None)];
}

/// The listener's accept queue takes the request, and then it is reset.
#[tokio::test]
async fn a_listener_that_never_accepts_is_unknown() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let request = Request::post(url).body(Full::<Bytes>::from("pay")).unwrap();
    let sent = tokio::spawn(Pool::new(PoolOptions::new()).oneshot(request));
    let held = socket2::SockRef::from(&listener).try_clone().unwrap();
    // The request is in the queue once a clone of the listener can accept and
    // see it; the test closes that connection unread, as the kernel would.
    let (queued, _) = tokio::task::spawn_blocking(move || held.accept()).await.unwrap().unwrap();
    queued.set_nonblocking(false).unwrap();
    let queued = tokio::task::spawn_blocking(move || {
        queued.peek(&mut [std::mem::MaybeUninit::uninit()]).unwrap();
        queued
    });
    let queued = queued.await.unwrap();
    drop((queued, listener));
    let failure = sent.await.unwrap().unwrap_err();
    assert_unknown(&failure, &[Doubt::Reset(Acked::None), Doubt::Reset(Acked::All)]);
}

/// A bare 599 or 408, without close, after the request was taken up, is its
/// answer: nothing is resent.
#[tokio::test]
async fn a_599_or_408_after_take_up_is_an_answer() {
    for status in [599, 408] {
        let origin = Origin::start(1, move |_, mut peer| {
            peer.read_request();
            peer.write(&format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n"));
            assert_eq!(peer.read_request(), None);
        });
        let pool = Pool::new(PoolOptions::new());
        let response = pool.clone().oneshot(request(&origin, "/last")).await.unwrap();
        assert_eq!(response.status().as_u16(), status);
        drop((pool, response));
        let truth = tokio::task::spawn_blocking(|| origin.finish()).await.unwrap();
        assert_eq!(truth, ["/last"]);
    }
}

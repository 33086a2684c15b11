//! A connection that died or spoke while it was idle, and of which the kernel
//! knows but tokio does not: the request goes out on another connection, and
//! is executed once.

#![allow(clippy::unwrap_used, reason = "a test panics when something is in its way")]

#[path = "support/origin.rs"]
mod origin;

use http::{Request, StatusCode};
use http_body_util::BodyExt;
use tower_resend::classify::{Fate, Finding, Proof};
use tower_resend::{Attempt, Client, attempts};

use self::origin::{Origin, Peer, turnstile};

const ROUNDS: usize = 20;

/// What the origin does to its first connection once it is idle.
type Act = fn(Peer);

fn fin(peer: Peer) {
    peer.close();
}

fn reset(peer: Peer) {
    peer.reset();
}

fn says_599_and_closes(mut peer: Peer) {
    peer.write("HTTP/1.1 599 Going Away\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
}

fn says_408_and_closes(mut peer: Peer) {
    peer.write("HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
}

/// Leaks the connection, so that it stays open.
fn says_599_and_stays(mut peer: Peer) {
    peer.write("HTTP/1.1 599 Going Away\r\ncontent-length: 0\r\n\r\n");
    std::mem::forget(peer);
}

fn says_200_and_stays(mut peer: Peer) {
    peer.write("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nstray");
    std::mem::forget(peer);
}

fn says_half_a_head_and_stays(mut peer: Peer) {
    peer.write("HTTP/1.1 2");
    std::mem::forget(peer);
}

/// One round: `before` requests are served, then the origin acts, and the next
/// request is sent before the reactor has turned.
async fn round(act: Act, before: usize) -> Vec<Fate> {
    let (acted, has_acted) = turnstile();
    let (go, may_go) = turnstile();
    let origin = Origin::start(2, move |nth, mut peer| {
        if nth == 0 {
            peer.serve(before);
            may_go.recv().unwrap();
            act(peer);
            acted.send(()).unwrap();
        } else {
            peer.serve(1);
        }
    });
    let client = Client::new();
    for _ in 0..before {
        post(&client, &origin.url("/before")).await;
    }
    go.send(()).unwrap();
    has_acted.recv().unwrap();
    let fates = post(&client, &origin.url("/after")).await;
    let mut expected = vec!["/before"; before];
    expected.push("/after");
    assert_eq!(origin.finish(), expected);
    fates
}

/// Returns the fates of the attempts behind the answer; none if there was one
/// clean attempt.
async fn post(client: &Client, url: &str) -> Vec<Fate> {
    let response = client.request(Request::post(url).body("pay".into()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let fates = attempts(&response).iter().map(Attempt::fate).collect();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
    fates
}

async fn rounds(act: Act, found: Finding, is_sure: bool) {
    for nth in 0..ROUNDS {
        // The second request on the connection, and the fourth. Where another
        // thread drives the connection it may not be ready for a third when
        // that is sent, which would then open another connection.
        let fates = round(act, if is_sure { 1 + 2 * (nth % 2) } else { 1 }).await;
        match fates[..] {
            [Fate::NotApplied(Proof::HandedBack(what)), Fate::Completed] => {
                assert!(what == found || what == Finding::Ended && !is_sure, "{what:?}");
            }
            // Another thread's reactor saw it first, and the pool knew.
            [] if !is_sure => {}
            // The connection's task had just looked when the request came, and
            // looked again before it wrote.
            [Fate::NotApplied(Proof::NothingWritten), Fate::Completed] if !is_sure => {}
            _ => panic!("{fates:?}"),
        }
    }
}

macro_rules! idle {
    ($($name:ident: $act:expr => $found:expr;)*) => {
        mod current_thread {
            use super::*;
            $(#[tokio::test] async fn $name() { rounds($act, $found, true).await; })*
        }
        mod multi_thread {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { rounds($act, $found, false).await; })*
        }
    };
}

idle! {
    a_fin_is_found: fin => Finding::Fin;
    a_reset_is_found: reset => Finding::Reset;
    a_599_with_close_is_found: says_599_and_closes => Finding::Stray;
    a_408_with_close_is_found: says_408_and_closes => Finding::Stray;
    a_599_without_close_is_found: says_599_and_stays => Finding::Stray;
    a_stray_200_is_not_delivered: says_200_and_stays => Finding::Stray;
    half_a_stray_head_is_not_delivered: says_half_a_head_and_stays => Finding::Stray;
}

//! Under TLS: a connection that ended or spoke while it was idle, as the kernel knows and
//! tokio does not yet. An end or an unsolicited response hands the request back; a session
//! ticket or a key update leaves it on its connection.

#![allow(clippy::unwrap_used, reason = "a test panics when something is in its way")]

use testkit::origin;
use testkit::stacks::acts::{
    Act, close_notify_and_fin, close_notify_and_stays, fin, reset, says_200_and_stays,
    says_599_and_ends, says_599_and_stays, says_half_a_record_and_stays,
};
use testkit::stacks::heard;

use http::{Request, StatusCode};
use http_body_util::BodyExt;
use tower_resend::pool::PoolOptions;
use tower_resend::{Attempt, Client, attempts};
use tower_resend_core::{Fate, Proof, StaleReason};

use self::origin::tls::Authority;
use self::origin::{Origin, Peer, turnstile};

const ROUNDS: usize = 10;

fn key_update(mut peer: Peer) -> Option<Peer> {
    heard::receives(&mut peer, |peer| {
        let (session, stream) = peer.tls();
        session.0.refresh_traffic_keys().unwrap();
        session.flush(stream);
    });
    Some(peer)
}

/// One round: `before` requests are served, then the origin acts, and the next
/// request is sent before the reactor has turned. Returns the fates of the
/// attempts behind the last answer. `stays` says that the connection is good
/// for it.
async fn round(act: Act, before: usize, stays: bool) -> Vec<Fate> {
    let authority = Authority::new();
    let (acted, has_acted) = turnstile();
    let (go, may_go) = turnstile();
    let connections = if stays { 1 } else { 2 };
    let origin = Origin::start_tls(connections, &authority.server(), move |nth, mut peer| {
        if nth > 0 {
            return peer.serve(1);
        }
        peer.serve(before);
        may_go.recv().unwrap();
        let peer = act(peer);
        acted.send(()).unwrap();
        match peer {
            Some(mut peer) if stays => peer.serve(1),
            Some(peer) => peer.leave_open(),
            None => {}
        }
    });
    let client = client(&authority);
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

fn client(authority: &Authority) -> Client {
    let tls = authority.client().build().unwrap();
    Client::builder().pool(PoolOptions::new().hedged_connects(false).tls(tls)).build()
}

/// Returns the fates of the attempts behind the answer; none if there was one
/// clean attempt.
async fn post(client: &Client, url: &str) -> Vec<Fate> {
    let response = client.request(Request::post(url).body("pay").unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let fates = attempts(&response).iter().map(Attempt::fate).collect();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
    fates
}

async fn is_handed_back(act: Act, found: StaleReason, is_sure: bool) {
    for nth in 0..ROUNDS {
        let fates = round(act, if is_sure { 1 + 2 * (nth % 2) } else { 1 }, false).await;
        match fates[..] {
            [Fate::NotApplied(Proof::HandedBack(what)), Fate::Completed] if what == found => {}
            // Another thread's reactor saw it first, and the pool knew; or the
            // connection's task had just looked when the request came.
            [] if !is_sure => {}
            [Fate::NotApplied(Proof::HandedBack(StaleReason::Ended)), Fate::Completed]
                if !is_sure => {}
            [Fate::NotApplied(Proof::NothingWritten), Fate::Completed] if !is_sure => {}
            _ => panic!("{fates:?}"),
        }
    }
}

async fn is_no_matter(act: Act, is_sure: bool) {
    for nth in 0..ROUNDS {
        let fates = round(act, if is_sure { 1 + 2 * (nth % 2) } else { 1 }, true).await;
        assert_eq!(fates, []);
    }
}

macro_rules! idle {
    ($check:ident: $($name:ident: $act:expr $(=> $found:expr)?;)*) => {
        $(mod $name {
            use super::*;
            #[tokio::test] async fn current_thread() { $check($act, $($found,)? true).await; }
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn multi_thread() { $check($act, $($found,)? false).await; }
        })*
    };
}

idle! { is_handed_back:
    a_close_notify_is_found: close_notify_and_fin => StaleReason::EndOfTls;
    a_close_notify_without_a_fin_is_found: close_notify_and_stays => StaleReason::EndOfTls;
    a_truncation_is_found: fin => StaleReason::Fin;
    a_reset_is_found: reset => StaleReason::Reset;
    a_599_and_the_end_are_found: says_599_and_ends => StaleReason::Stray;
    a_599_without_close_is_found: says_599_and_stays => StaleReason::Stray;
    a_stray_200_is_not_delivered: says_200_and_stays => StaleReason::Stray;
    half_a_record_is_not_waited_for: says_half_a_record_and_stays => StaleReason::Stray;
}

idle! { is_no_matter:
    a_key_update_is_no_response: key_update;
}

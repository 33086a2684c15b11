//! A connection that ended or spoke while it was idle, as the kernel knows and tokio does
//! not yet, through every client stack: where there is a stale check, the request goes out
//! on another connection and is executed once.

#![allow(clippy::unwrap_used, reason = "a test panics when something is in its way")]

use testkit::stacks;

use std::future::poll_fn;
use std::sync::mpsc::channel;
use std::task::Poll;

use tower_resend_core::StaleReason;

use self::stacks::acts::{
    Act, fin, reset, says_200_and_stays, says_599_and_closes, says_599_and_stays,
};
use self::stacks::careless::{Blind, Careless};
use self::stacks::heard;
use self::stacks::judge::{self, Breach};
use self::stacks::origin::Peer;
use self::stacks::payload::Payload;
use self::stacks::site::Site;
use self::stacks::still::{hold_workers, until_idle};
use self::stacks::{Called, Level, Stack, for_each_stack};

const ROUNDS: usize = 20;

fn says_408_and_closes(mut peer: Peer) -> Option<Peer> {
    peer.write("HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    fin(peer)
}

fn says_half_a_head_and_stays(mut peer: Peer) -> Option<Peer> {
    heard::says(&mut peer, "HTTP/1.1 2");
    Some(peer)
}

async fn round<S: Stack>(
    act: Act,
    found: StaleReason,
    before: usize,
    payload: Payload,
) -> Result<(), Breach> {
    let (called, times) = after::<S>(act, before, payload).await;
    judge::idle(S::CLASS, found, &called, times)
}

/// One round: `before` requests are served, then the origin acts, and the next
/// request is handed over before the runtime has heard of that. Returns what
/// came of it, and how often it was dispatched.
async fn after<S: Stack>(act: Act, before: usize, payload: Payload) -> (Called, usize) {
    let (go, may_go) = channel();
    let (acted, has_acted) = channel();
    let site = Site::of::<S>(move |mut peer| {
        peer.serve(before);
        may_go.recv().unwrap();
        let kept = act(peer);
        acted.send(()).unwrap();
        kept
    });
    let stack = S::new(&site.settings(Level::Whole));
    for _ in 0..before {
        let called = stack.call(site.post("/before", Payload::small())).await;
        assert!(judge::is_own_answer(&called), "{called:?}");
        until_idle().await;
    }
    let held = hold_workers();
    go.send(()).unwrap();
    has_acted.recv().unwrap();
    let request = site.post("/after", payload);
    let mut call = Box::pin(async move { stack.call(request).await });
    let first = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
    drop(held);
    let called = match first {
        Poll::Ready(called) => called,
        Poll::Pending => call.await,
    };
    (called, site.times("/after").await)
}

/// The second request on the connection, and the fourth; in memory, and as a
/// stream.
async fn rounds<S: Stack>(act: Act, found: StaleReason) {
    for nth in 0..ROUNDS {
        let payload = if nth % 4 < 2 { Payload::small() } else { Payload::streamed() };
        let before = 1 + 2 * (nth % 2);
        if let Err(breach) = round::<S>(act, found, before, payload).await {
            panic!("round {nth}: {breach}");
        }
    }
}

macro_rules! acts {
    ($rows:ident, $acts:ident: $($name:ident: $act:expr => $found:expr;)*) => {
        macro_rules! $rows {
            ($stack:ty) => {
                mod current_thread {
                    use super::*;
                    $(#[tokio::test]
                    async fn $name() { rounds::<$stack>($act, $found).await; })*
                }
                mod multi_thread {
                    use super::*;
                    $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $name() { rounds::<$stack>($act, $found).await; })*
                }
            };
        }
        const $acts: &[(Act, StaleReason)] = &[$(($act, $found)),*];
    };
}

acts! { idle, ACTS:
    a_fin: fin => StaleReason::Fin;
    a_reset: reset => StaleReason::Reset;
    a_599_with_close: says_599_and_closes => StaleReason::Stray;
    a_408_with_close: says_408_and_closes => StaleReason::Stray;
    a_599_without_close: says_599_and_stays => StaleReason::Stray;
    a_stray_200: says_200_and_stays => StaleReason::Stray;
    half_a_stray_head: says_half_a_head_and_stays => StaleReason::Stray;
}

for_each_stack!(idle);

/// The same under TLS, where a FIN by itself cuts a session off, and what there
/// is only there.
#[cfg(feature = "https")]
mod under_tls {
    use super::stacks::acts::{
        close_notify_and_fin, close_notify_and_stays, says_599_and_ends,
        says_half_a_record_and_stays,
    };
    use super::stacks::for_each_tls_stack;
    use super::stacks::secure::Foreign;
    use super::*;

    /// What TLS answers is not written before the request: that goes elsewhere.
    fn key_update_and_fin(mut peer: Peer) -> Option<Peer> {
        let (session, stream) = peer.tls();
        session.0.refresh_traffic_keys().unwrap();
        session.flush(stream);
        fin(peer)
    }

    for_each_tls_stack!(idle);

    acts! { only_there, TLS_ACTS:
        a_close_notify: close_notify_and_fin => StaleReason::EndOfTls;
        a_close_notify_without_a_fin: close_notify_and_stays => StaleReason::EndOfTls;
        a_599_with_close_notify: says_599_and_ends => StaleReason::Stray;
        a_key_update_and_a_fin: key_update_and_fin => StaleReason::Fin;
    }

    mod only_there {
        use super::*;

        for_each_tls_stack!(only_there);
    }

    mod half_a_record {
        use super::*;

        macro_rules! half_a_record {
            ($stack:ty) => {
                #[tokio::test]
                async fn current_thread() {
                    half_a_record::<$stack>().await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn multi_thread() {
                    half_a_record::<$stack>().await;
                }
            };
        }

        for_each_tls_stack!(half_a_record);
    }

    async fn half_a_record<S: Stack>() {
        for nth in 0..ROUNDS {
            let act = says_half_a_record_and_stays;
            let (called, times) = after::<S>(act, 1 + 2 * (nth % 2), Payload::small()).await;
            judge::half_said(S::CLASS, &called, times).unwrap();
        }
    }

    #[tokio::test]
    async fn control_a_stack_without_a_stale_check_is_caught() {
        for acts in [ACTS, TLS_ACTS] {
            for breach in breaches::<Blind<Foreign>>(acts).await {
                assert!(
                    breach.as_ref().is_some_and(|it| it.starts_with("not survived")),
                    "{breach:?}"
                );
            }
        }
    }
}

/// A request in memory, after one request, with each act.
async fn breaches<S: Stack>(acts: &[(Act, StaleReason)]) -> Vec<Option<Breach>> {
    let mut breaches = Vec::new();
    for &(act, found) in acts {
        breaches.push(round::<S>(act, found, 1, Payload::small()).await.err());
    }
    breaches
}

#[tokio::test]
async fn control_a_stack_without_a_stale_check_is_caught() {
    for breach in breaches::<Blind>(ACTS).await {
        assert!(breach.as_ref().is_some_and(|it| it.starts_with("not survived")), "{breach:?}");
    }
}

/// A stack that resends after any error survives a connection that only ends. One that
/// speaks gives it a stray answer, or executes the request, which is then sent again.
#[tokio::test]
async fn control_stray_answers_and_doubles_are_caught() {
    let breaches = breaches::<Careless>(ACTS).await;
    let [Some(a_599), Some(a_200), Some(half)] = &breaches[4..] else { panic!("{breaches:?}") };
    assert!(a_599.contains("599") && a_200.contains("stray"), "{breaches:?}");
    assert!(half.starts_with("executed 2 times"), "{breaches:?}");
}

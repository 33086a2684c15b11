//! A connection that died or spoke while it was idle, and of which the kernel
//! knows but tokio does not, through every client stack: where there is a look
//! the request goes out on another connection, and is executed once.

#![allow(clippy::unwrap_used, reason = "a test panics when something is in its way")]

#[path = "support/stacks/mod.rs"]
mod stacks;

use std::future::poll_fn;
use std::sync::mpsc::channel;
use std::task::Poll;

use tower_resend::classify::Finding;

use self::stacks::careless::{Blind, Careless};
use self::stacks::heard;
use self::stacks::judge::{self, Breach};
use self::stacks::origin::Peer;
use self::stacks::payload::Payload;
use self::stacks::site::Site;
use self::stacks::still::{hold_workers, until_idle};
use self::stacks::{Level, Stack, for_each_stack};

const ROUNDS: usize = 20;

/// What the origin does to its first connection once it is idle. It returns a
/// connection that stays open.
type Act = fn(Peer) -> Option<Peer>;

fn fin(peer: Peer) -> Option<Peer> {
    heard::closes(peer);
    None
}

fn reset(peer: Peer) -> Option<Peer> {
    heard::resets(peer);
    None
}

fn says_599_and_closes(mut peer: Peer) -> Option<Peer> {
    peer.write("HTTP/1.1 599 Going Away\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    fin(peer)
}

fn says_408_and_closes(mut peer: Peer) -> Option<Peer> {
    peer.write("HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    fin(peer)
}

fn says_599_and_stays(mut peer: Peer) -> Option<Peer> {
    heard::says(&mut peer, "HTTP/1.1 599 Going Away\r\ncontent-length: 0\r\n\r\n");
    Some(peer)
}

fn says_200_and_stays(mut peer: Peer) -> Option<Peer> {
    heard::says(&mut peer, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nstray");
    Some(peer)
}

fn says_half_a_head_and_stays(mut peer: Peer) -> Option<Peer> {
    heard::says(&mut peer, "HTTP/1.1 2");
    Some(peer)
}

/// One round: `before` requests are served, then the origin acts, and the next
/// request is handed over before the runtime has heard of that.
async fn round<S: Stack>(
    act: Act,
    found: Finding,
    before: usize,
    payload: Payload,
) -> Result<(), Breach> {
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
    judge::idle(S::CLASS, found, &called, site.times("/after").await)
}

/// The second request on the connection, and the fourth; in memory, and as a
/// stream.
async fn rounds<S: Stack>(act: Act, found: Finding) {
    for nth in 0..ROUNDS {
        let payload = if nth % 4 < 2 { Payload::small() } else { Payload::streamed() };
        let before = 1 + 2 * (nth % 2);
        if let Err(breach) = round::<S>(act, found, before, payload).await {
            panic!("round {nth}: {breach}");
        }
    }
}

macro_rules! acts {
    ($($name:ident: $act:expr => $found:expr;)*) => {
        macro_rules! idle {
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
        const ACTS: [(Act, Finding); 7] = [$(($act, $found)),*];
    };
}

acts! {
    a_fin: fin => Finding::Fin;
    a_reset: reset => Finding::Reset;
    a_599_with_close: says_599_and_closes => Finding::Stray;
    a_408_with_close: says_408_and_closes => Finding::Stray;
    a_599_without_close: says_599_and_stays => Finding::Stray;
    a_stray_200: says_200_and_stays => Finding::Stray;
    half_a_stray_head: says_half_a_head_and_stays => Finding::Stray;
}

for_each_stack!(idle);

/// A request in memory, after one request, with each act.
async fn breaches<S: Stack>() -> Vec<Option<Breach>> {
    let mut breaches = Vec::new();
    for (act, found) in ACTS {
        breaches.push(round::<S>(act, found, 1, Payload::small()).await.err());
    }
    breaches
}

#[tokio::test]
async fn control_a_stack_without_the_look_is_caught_at_every_act() {
    for breach in breaches::<Blind>().await {
        assert!(breach.as_ref().is_some_and(|it| it.starts_with("not survived")), "{breach:?}");
    }
}

/// Who resends whatever fails survives what only ends. What speaks gives it a
/// stray answer, or its request is executed there and then again.
#[tokio::test]
async fn control_a_stray_answer_is_caught_and_what_is_executed_twice() {
    let breaches = breaches::<Careless>().await;
    let [Some(a_599), Some(a_200), Some(half)] = &breaches[4..] else { panic!("{breaches:?}") };
    assert!(a_599.contains("599") && a_200.contains("stray"), "{breaches:?}");
    assert!(half.starts_with("executed 2 times"), "{breaches:?}");
}

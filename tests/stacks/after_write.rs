//! A connection that ends or speaks after the request was written to it,
//! through every client stack: what is said of the request's fate is never
//! stronger than what can be known, and nothing is executed twice.

#![allow(clippy::unwrap_used, reason = "a test panics when something is in its way")]

use testkit::stacks;

use std::net::TcpListener;

use http::Request;
use tower_resend_core::{Acked, Doubt};

use self::stacks::careless::{Boastful, Careless};
use self::stacks::heard;
use self::stacks::judge::{self, Breach, Treats};
use self::stacks::origin::Peer;
use self::stacks::payload::Payload;
use self::stacks::site::Site;
use self::stacks::still::until_idle;
use self::stacks::{Level, Settings, Stack, for_each_stack};

/// What the origin does with a request that is on its way to it.
type Act = fn(Peer);

const RESET: &[Doubt] = &[Doubt::Reset(Acked::None), Doubt::Reset(Acked::All)];

/// The request after `before` others is treated by `act`, which takes it up as
/// often as `taken_up` says.
async fn written<S: Stack>(
    (act, treats, taken_up): (Act, Treats, usize),
    level: Level,
    before: usize,
    payload: Payload,
) -> Result<(), Breach> {
    let site = Site::of::<S>(move |mut peer| {
        peer.serve(before);
        act(peer);
        None
    });
    let stack = S::new(&site.settings(level));
    for _ in 0..before {
        let called = stack.call(site.post("/before", Payload::small())).await;
        assert!(judge::is_own_answer(&called), "{called:?}");
        until_idle().await;
    }
    let is_streamed = matches!(payload, Payload::Stream(_));
    let called = stack.call(site.post("/last", payload)).await;
    drop(stack);
    let times = site.times("/last").await;
    judge::written(S::CLASS, treats, is_streamed, &called, times)?;
    match times == taken_up {
        true => Ok(()),
        false => Err(format!("dispatched {times} times instead of {taken_up}: {called:?}")),
    }
}

/// As the first and as a later request on the connection; with a resending
/// layer and without; in memory and as a stream.
async fn rounds<S: Stack>(act: Act, treats: Treats, taken_up: usize) {
    for before in [0, 1, 3] {
        for level in [Level::Once, Level::Whole] {
            for payload in [Payload::small(), Payload::streamed()] {
                let what = format!("{payload:?} after {before}, {level:?}");
                let row = (act, treats, taken_up);
                if let Err(breach) = written::<S>(row, level, before, payload).await {
                    panic!("{what}: {breach}");
                }
            }
        }
    }
}

macro_rules! acts {
    ($rows:ident: $($name:ident: $act:expr, $taken_up:expr => $treats:expr;)*) => {
        macro_rules! $rows {
            ($stack:ty) => {
                mod current_thread {
                    use super::*;
                    $(#[tokio::test]
                    async fn $name() { rounds::<$stack>($act, $treats, $taken_up).await; })*
                }
                mod multi_thread {
                    use super::*;
                    $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $name() { rounds::<$stack>($act, $treats, $taken_up).await; })*
                }
            };
        }
    };
}

acts! { after_write:
    read_then_fin_is_unknown: read_then_fin, 1 => Treats::Fails(&[Doubt::Acknowledged]);
    read_then_reset_is_unknown: |mut peer| { peer.read_request(); peer.reset(); }, 1
        => Treats::Fails(RESET);
    an_unread_close_is_unknown: unread_close, 0 => Treats::Fails(RESET);
    a_half_close_that_reads_on_is_unknown: |mut peer| {
        peer.wait_for_bytes();
        peer.half_close();
        peer.read_request();
    }, 1 => Treats::Fails(&[Doubt::Acknowledged]);
    an_early_hint_and_then_a_cut_is_unknown: |mut peer| {
        peer.read_request();
        peer.write("HTTP/1.1 103 Early Hints\r\n\r\n");
    }, 1 => Treats::Fails(&[Doubt::ResponseBegun]);
    half_a_head_and_then_a_cut_is_unknown: |mut peer| {
        peer.read_request();
        peer.write("HTTP/1.1 200 OK\r\ncontent-le");
    }, 1 => Treats::Fails(&[Doubt::ResponseBegun]);
    an_answer_that_is_not_http_is_unknown: |mut peer| {
        peer.read_request();
        peer.write("SSH-2.0-OpenSSH_9.2\r\n\r\n");
    }, 1 => Treats::Fails(&[Doubt::MalformedResponse]);
    a_599_after_take_up_is_an_answer: |peer| answers(peer, 599), 1 => Treats::Answers(599);
    a_408_after_take_up_is_an_answer: |peer| answers(peer, 408), 1 => Treats::Answers(408);
    a_599_from_a_server_that_executes_then_is_no_proof: |mut peer| {
        peer.wait_for_bytes();
        peer.write("HTTP/1.1 599 Going Away\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        peer.read_request();
    }, 1 => Treats::Interrupts;
    a_stray_200_from_a_server_that_executes_then_is_no_proof: |mut peer| {
        peer.wait_for_bytes();
        peer.write("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nstray");
        peer.read_request();
    }, 1 => Treats::Interrupts;
}

fn read_then_fin(mut peer: Peer) {
    peer.read_request();
}

fn unread_close(peer: Peer) {
    peer.wait_for_bytes();
    peer.close();
}

/// Without `Connection: close`, and the connection stays open.
fn answers(mut peer: Peer, status: u16) {
    peer.read_request();
    peer.write(&format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n"));
    assert_eq!(peer.read_request(), None);
}

for_each_stack!(after_write);

mod over_tcp {
    use super::*;

    acts! { over_tcp:
        an_urgent_byte_is_no_fin: |mut peer| {
            peer.read_request();
            peer.write_urgent(b'!');
            peer.reset();
        }, 1 => Treats::Fails(&[
            Doubt::MalformedResponse,
            Doubt::ResponseBegun,
            Doubt::Reset(Acked::All),
            Doubt::Reset(Acked::None),
        ]);
    }

    for_each_stack!(over_tcp);
}

/// The same under TLS, where a FIN by itself cuts a session off.
#[cfg(feature = "https")]
mod under_tls {
    use std::io::Write;

    use super::stacks::for_each_tls_stack;
    use super::stacks::secure::Foreign;
    use super::*;

    for_each_tls_stack!(after_write);

    mod only_there {
        use super::*;

        /// The FIN is some microseconds behind. A stack that sees it in time says
        /// what it acknowledges; waiting for it is no use once something is
        /// acknowledged.
        const CLOSE_NOTIFY: &[Doubt] = &[Doubt::Acknowledged, Doubt::StillOpen];

        acts! { only_there:
            a_close_notify_after_take_up_is_unknown: |mut peer| {
                peer.read_request();
                close_notify(&mut peer);
            }, 1 => Treats::Fails(CLOSE_NOTIFY);
            a_close_notify_that_no_close_follows_is_unknown: |mut peer| {
                peer.read_request();
                close_notify(&mut peer);
                assert_eq!(peer.read_request(), None);
            }, 1 => Treats::Fails(&[Doubt::StillOpen]);
            a_close_notify_before_take_up_is_unknown: |mut peer| {
                peer.wait_for_bytes();
                close_notify(&mut peer);
                peer.half_close();
                peer.read_request();
            }, 1 => Treats::Fails(CLOSE_NOTIFY);
            a_close_notify_and_a_reset_are_unknown: |mut peer| {
                peer.read_request();
                close_notify(&mut peer);
                peer.reset();
            }, 1 => Treats::Fails(&[
                Doubt::StillOpen,
                Doubt::Reset(Acked::None),
                Doubt::Reset(Acked::All),
            ]);
            a_key_update_and_then_a_cut_is_unknown: |mut peer| {
                peer.read_request();
                let (session, stream) = peer.tls();
                session.0.refresh_traffic_keys().unwrap();
                session.flush(stream);
            }, 1 => Treats::Fails(&[Doubt::Acknowledged]);
            half_a_record_and_then_a_cut_is_unknown: |mut peer| {
                peer.read_request();
                let (session, stream) = peer.tls();
                let records = session.records("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(&records[..records.len() / 2]).unwrap();
            }, 1 => Treats::Fails(&[Doubt::Acknowledged]);
        }

        fn close_notify(peer: &mut Peer) {
            let (session, stream) = peer.tls();
            session.close(stream);
        }

        for_each_tls_stack!(only_there);
    }

    #[tokio::test]
    async fn control_a_stack_that_resends_on_any_error_is_caught() {
        let breach = breach::<Careless<Foreign>>(read_then_fin, 1).await;
        assert!(breach.starts_with("executed 2 times"), "{breach}");
    }

    #[tokio::test]
    async fn control_a_stack_that_takes_errors_for_proofs_is_caught() {
        let executed = breach::<Boastful<Foreign>>(read_then_fin, 1).await;
        assert!(executed.starts_with("executed and denied"), "{executed}");
    }
}

/// Without a handshake above TCP, which would get no answer.
mod a_connection_that_was_not_accepted_is_unknown {
    use super::*;

    macro_rules! not_accepted {
        ($stack:ty) => {
            #[tokio::test]
            async fn current_thread() {
                not_accepted::<$stack>().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn multi_thread() {
                not_accepted::<$stack>().await;
            }
        };
    }

    for_each_stack!(not_accepted);
}

/// The listener's queue takes the request, and is reset with its listener.
async fn not_accepted<S: Stack>() {
    for payload in [Payload::small(), Payload::streamed()] {
        let is_streamed = matches!(payload, Payload::Stream(_));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/last", listener.local_addr().unwrap());
        let request = Request::post(url).body(payload).unwrap();
        let stack = S::new(&Settings::new(Level::Whole));
        let call = tokio::spawn(async move { stack.call(request).await });
        tokio::task::spawn_blocking(move || heard::queued(&listener)).await.unwrap();
        let called = call.await.unwrap();
        judge::written(S::CLASS, Treats::Fails(RESET), is_streamed, &called, 0).unwrap();
    }
}

async fn breach<S: Stack>(act: Act, taken_up: usize) -> Breach {
    let row = (act, Treats::Fails(RESET), taken_up);
    written::<S>(row, Level::Whole, 0, Payload::small()).await.unwrap_err()
}

#[tokio::test]
async fn control_a_stack_that_resends_on_any_error_is_caught() {
    let breach = breach::<Careless>(read_then_fin, 1).await;
    assert!(breach.starts_with("executed 2 times"), "{breach}");
}

#[tokio::test]
async fn control_a_stack_that_takes_errors_for_proofs_is_caught() {
    let executed = breach::<Boastful>(read_then_fin, 1).await;
    assert!(executed.starts_with("executed and denied"), "{executed}");
    let unread = breach::<Boastful>(unread_close, 0).await;
    assert!(unread.contains("NothingWritten"), "{unread}");
}

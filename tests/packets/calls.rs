//! Several attempts, their counts, and callers that give up.

use std::time::Duration;

use http::Response;
use tower_resend::pool::ResponseBody;
use tower_resend::{Attempt, Policy};
use tower_resend_core::{Doubt, Fate, Ground, NoResend, Proof, Role};

use crate::play::*;
use crate::tun::{self, Covers};

// ===== several attempts =====

fn grounds(response: &Response<ResponseBody>) -> Vec<Option<Ground>> {
    tower_resend::attempts(response).iter().map(Attempt::ground).collect()
}

#[test]
fn a_get_is_repeated_once_where_a_post_is_not() {
    play(
        || post().method("GET").bytes(0),
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
        post().method("GET").bytes(0).policy(policy)
    };
    for is_used in [false, true] {
        tun::run(async |net| {
            let setting = setting().used(is_used);
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
    // A connect that looks slow on a busy machine would be taken for the next attempt's.
    play(
        || post().options(|options| options.hedged_connects(false)),
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
            assert_eq!(error.no_resend(), NoResend::Proxy, "{error}");
            assert_eq!(ended.elsewhere, 0);
        },
    );
}

// ===== counts, and what the caller does =====

#[test]
fn the_counts_behind_a_doubt_are_those_of_the_request() {
    play(
        post,
        async |call| call.peer.fin(Covers::Bytes(30)),
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

/// The exchange before was answered with its last bytes not acknowledged.
#[test]
fn a_request_behind_unacknowledged_bytes_of_the_one_before() {
    tun::run(async |net| {
        let client = post().client();
        let mut peer = exchange(&net, &client, Covers::Bytes(50)).await;
        let unacknowledged = peer.request().len() as u32 - 50;
        let outcome = tokio::spawn(client.request(post().request()));
        peer.expect_request().await;
        peer.fin(Covers::Short(unacknowledged));
        peer.rst();
        let ended = Call { net, peer, outcome }.end().await;
        // The segment in flight could be counted as the request's.
        ended.assert_unknown(Doubt::SegmentsUncounted).await;
    });
}

/// A call that is dropped leaves nothing that the kernel would go on sending.
#[test]
fn a_dropped_call_resets_its_connection() {
    for is_used in [false, true] {
        tun::run(async |net| {
            let setting = large_post().used(is_used);
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

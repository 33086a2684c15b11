//! What is found before the request is sent, and connects that fail.

use std::time::Duration;

use tower_resend::Attempt;
use tower_resend::pool::PoolOptions;
use tower_resend_core::{ConnectFailure, Doubt, Errno, Fate, Proof};

use crate::play::*;
use crate::tun::{self, Covers, Peer};

// ===== found before the request was sent =====

/// Keeps a connection, lets the peer end it, and then sends a POST: it must
/// go over another connection, as if nothing had been.
fn found_by_the_look(options: fn() -> PoolOptions, end: impl AsyncFn(&mut Peer)) {
    tun::run(async |net| {
        let client = post().options(|_| options()).client();
        let mut peer = exchange(&net, &client, Covers::All).await;
        peer.begin_request();
        end(&mut peer).await;
        net.barrier().await;
        let outcome = tokio::spawn(client.request(post().request()));
        let ended = Call { net, peer, outcome }.end().await;
        let response = ended.outcome.expect("an answer");
        let attempts = tower_resend::attempts(&response);
        let found = attempts.iter().rev().skip(1).map(|attempt| attempt.fate().proof());
        let found: Vec<_> = found.map(|proof| proof.map(|proof| proof.id())).collect();
        assert!(found.iter().all(|id| *id == Some("G1")), "{attempts:?}");
        assert_eq!(ended.served.len(), 1, "requests that were read whole");
        assert!(ended.peer.request().is_empty(), "nothing was written to the dead connection");
        assert_eq!(text(response).await, "paid");
    });
}

macro_rules! found_by_the_look {
    ($($name:ident: $end:expr;)+) => {
        $(#[test] fn $name() { found_by_the_look(PoolOptions::new, $end) })+
    };
}

found_by_the_look! {
    a_fin_while_idle: async |peer| peer.fin(Covers::All);
    a_fin_and_rst_while_idle: async |peer| { peer.fin(Covers::All); peer.rst(); };
    a_rst_while_idle: async |peer| peer.rst();
    a_599_while_idle: async |peer| peer.data(CLOSING_599, Covers::All);
    a_599_and_fin_while_idle: async |peer| peer.segment(Covers::All).data(CLOSING_599).fin().send();
    a_408_while_idle: async |peer| peer.data(CLOSING_408, Covers::All);
    a_stray_200_while_idle: async |peer| peer.data(ANSWER, Covers::All);
    a_stray_octet_while_idle: async |peer| peer.data(b"!", Covers::All);
    an_urgent_octet_while_idle:
        async |peer| peer.segment(Covers::All).data(b"!").urgent().send();
}

#[test]
fn keepalive_that_expires_while_idle() {
    const SECOND: Duration = Duration::from_secs(1);
    let options = || PoolOptions::new().tcp_keepalive(SECOND, SECOND, 1);
    found_by_the_look(options, async |peer| {
        peer.expect_probe().await;
        peer.expect_rst().await;
    });
}

// ===== connects =====

#[test]
fn a_syn_that_is_reset_and_then_one_that_is_not() {
    tun::run(async |net| {
        let outcome = tokio::spawn(post().client().request(post().request()));
        let mut peer = net.listen().await;
        peer.rst_ack(Covers::Nothing);
        let ended = Call { net, peer, outcome }.end().await;
        let response = ended.outcome.expect("an answer");
        let refused = ConnectFailure::Connect(Some(Errno::ECONNREFUSED));
        let fates: Vec<_> = tower_resend::attempts(&response).iter().map(Attempt::fate).collect();
        let not_connected = Fate::NotApplied(Proof::NotConnected(refused));
        assert_eq!(fates, [not_connected, Fate::Completed]);
        assert_eq!(ended.served.len(), 1);
    });
}

#[test]
fn syns_that_are_never_answered() {
    tun::run(async |net| {
        let setting = post()
            .options(|options| options.connect_timeout(Duration::from_millis(200)))
            .policy(|policy| policy.connect_patience(Duration::from_millis(100)));
        let outcome = setting.client().request(setting.request()).await;
        let error = outcome.expect_err("no connection");
        let timed_out = Proof::NotConnected(ConnectFailure::TimedOut);
        assert_eq!(error.fate(), Fate::NotApplied(timed_out), "{error}");
        assert!(net.talkative_ports().await.is_empty());
    });
}

/// Accepted by the kernel, and then nothing: not even an acknowledgement.
#[test]
fn an_accept_and_then_nothing() {
    let setting = || post().policy(|policy| policy.attempt_timeout(LATE));
    play(setting, async |_| {}, async |ended| ended.assert_unknown(Doubt::TimedOut).await);
}

//! A server that serves and drains, over real connections.

use crate::site;

use std::time::Duration;

use tokio::io::Interest;
use tower_resend::server::{ListenerOptions, ShutdownMode};
use tower_resend_core::contract::{Announcement, Hop, Max, accept};

use self::site::{End, OFFER, Site};

const REFUSED: &str = ", refused\r\n";

/// The promise that a client may rely on after this response.
fn promise(response: &str, client: &site::Client) -> Option<Announcement> {
    let mut parsed = http::Response::builder();
    let (head, _) = response.split_once("\r\n\r\n").expect("nothing fails on loopback");
    for line in head.lines().skip(1) {
        let (name, value) = line.split_once(": ").expect("nothing fails on loopback");
        parsed = parsed.header(name, value);
    }
    let own = Hop::seen_by_client(
        client.0.local_addr().expect("a socket has an address"),
        client.0.peer_addr().expect("a socket has an address"),
    );
    accept(&parsed.body(()).expect("nothing fails on loopback"), &own)
        .ok()
        .map(|promise| *promise.announced())
}

// ===== responses =====

#[tokio::test]
async fn client_that_offers_nothing_notices_nothing() {
    let site = Site::start().await;
    let mut client = site.client().await;
    for _ in 0..2 {
        client.get("/quick", "").await;
        let response = client.response().await;
        assert!(response.starts_with("http/1.1 200 ok\r\n"), "{response}");
        assert!(!response.contains("retry-contract") && !response.contains("connection"));
    }
}

#[tokio::test]
async fn every_response_to_an_offer_announces() {
    let site = Site::start().await;
    let mut client = site.client().await;
    for path in ["/quick", "/missing", "/foreign"] {
        client.get(path, OFFER).await;
        let announced = promise(&client.response().await, &client).unwrap();
        assert_eq!(announced.max(), Some(Max::default()), "{path}");
        assert!(announced.has_rst() && announced.has_half() && announced.gone().is_some());
        assert!(!announced.has_refused(), "what the service passed on is not the hop's");
    }
}

#[tokio::test]
async fn contract_field_is_for_one_hop() {
    let site = Site::start().await;
    let mut client = site.client().await;
    client.get("/field", OFFER).await;
    assert!(client.response().await.ends_with("false"), "the service does not see it");
    client.get("/foreign", "").await;
    assert!(!client.response().await.contains("retry-contract"), "it is not passed on");
}

#[tokio::test]
async fn http_1_0_and_upgrades_have_no_contract() {
    let site = Site::start().await;
    let mut old = site.client().await;
    old.send(&format!("GET /quick HTTP/1.0\r\n{OFFER}\r\n")).await;
    assert!(!old.rest().await.0.contains("retry-contract"));

    let mut tunnel = site.client().await;
    let upgrade = "Connection: upgrade, retry-contract\r\nUpgrade: other\r\n\
                   Retry-Contract: hop=\"{hop}\", rst, gone, half\r\n";
    tunnel.get("/upgrade", upgrade).await;
    let response = tunnel.response().await;
    assert!(response.starts_with("http/1.1 101"), "{response}");
    assert!(!response.contains("retry-contract"));
}

#[tokio::test]
async fn http2_preface_is_closed_without_a_response() {
    let site = Site::start().await;
    let mut client = site.client().await;
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!(client.rest().await, (String::new(), End::Fin));
    assert_eq!(site.app.seen(), [""; 0]);
}

#[tokio::test]
async fn application_can_state_that_nothing_was_applied() {
    let site = Site::start().await;
    let mut client = site.client().await;
    client.get("/not-applied", OFFER).await;
    let (response, end) = client.rest().await;
    assert_eq!(end, End::Fin);
    assert!(promise(&response, &client).unwrap().has_refused(), "{response}");

    let mut naive = site.client().await;
    naive.get("/not-applied", "").await;
    let (response, _) = naive.rest().await;
    assert!(response.starts_with("http/1.1 503") && !response.contains("retry-contract"));
}

// ===== whole requests =====

fn post(length: usize, offer: &str) -> String {
    format!("POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{offer}\r\n")
}

#[tokio::test]
async fn service_sees_no_part_of_a_request_before_it_is_whole() {
    let mut site = Site::start().await;
    let mut client = site.client().await;
    client.send(&post(6, OFFER)).await;
    client.send("abc").await;
    site.settle().await;
    assert!(!site.app.seen().contains(&"/body".to_owned()));
    client.send("def").await;
    assert!(client.response().await.ends_with("whole:6 "));
    // Control: a streamed request is seen before.
    let mut naive = site.client().await;
    naive.send(&post(6, "")).await;
    naive.send("abc").await;
    while site.hear().await != "part 3" {}
    naive.send("def").await;
    assert!(naive.response().await.ends_with("streamed:3 3 "));
}

#[tokio::test]
async fn promise_holds_for_a_later_request_without_an_offer() {
    let site = Site::start().await;
    let mut client = site.client().await;
    client.get("/quick", OFFER).await;
    client.response().await;
    client.send(&post(2, "")).await;
    client.send("ab").await;
    assert!(client.response().await.ends_with("whole:2 "));
}

#[tokio::test]
async fn chunked_request_keeps_its_trailers() {
    let site = Site::start().await;
    let mut client = site.client().await;
    let head = "POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n";
    client.send(&format!("{head}{OFFER}\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nx: y\r\n\r\n")).await;
    assert!(client.response().await.ends_with("whole:5 trailers 1"));
}

#[tokio::test]
async fn request_larger_than_max_is_dispatched_early_and_complete() {
    let options = ListenerOptions::new().max(Max::new(8).unwrap());
    let mut site = Site::start_with(options, |server| server).await;
    let mut declared = site.client().await;
    declared.send(&post(9, OFFER)).await;
    assert_eq!(site.hear().await, "/body");
    declared.send("123456789").await;
    assert!(declared.response().await.contains("streamed:"));

    let mut grown = site.client().await;
    let head = "POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n";
    grown.send(&format!("{head}{OFFER}\r\n8\r\n12345678\r\n")).await;
    site.settle().await;
    assert_eq!(site.app.seen().iter().filter(|path| *path == "/body").count(), 1);
    grown.send("1\r\n9\r\n").await;
    while site.hear().await != "part 1" {}
    grown.send("2\r\nab\r\n0\r\n\r\n").await;
    assert!(grown.response().await.ends_with("streamed:8 1 2 "));
}

#[tokio::test]
async fn request_with_a_body_of_exactly_max_bytes_is_received_whole() {
    let options = ListenerOptions::new().max(Max::new(8).unwrap());
    let site = Site::start_with(options, |server| server).await;
    let mut client = site.client().await;
    client.send(&post(8, OFFER)).await;
    client.send("12345678").await;
    assert!(client.response().await.ends_with("whole:8 "));
}

#[tokio::test]
async fn expect_100_continue_is_answered_before_the_dispatch() {
    let site = Site::start().await;
    let mut client = site.client().await;
    client.send(&post(2, &format!("Expect: 100-continue\r\n{OFFER}"))).await;
    let interim = client.response().await;
    assert_eq!(interim, "http/1.1 100 continue\r\n\r\n");
    assert_eq!(site.app.seen(), [""; 0]);
    client.send("ab").await;
    assert!(client.response().await.ends_with("whole:2 "));
}

#[tokio::test]
async fn service_never_sees_a_request_whose_body_fails() {
    let site = Site::start().await;
    let mut cut = site.client().await;
    cut.send(&post(6, OFFER)).await;
    cut.send("abc").await;
    drop(cut);
    let mut malformed = site.client().await;
    let head = "POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n";
    malformed.send(&format!("{head}{OFFER}\r\n3\r\nabcnonsense\r\n")).await;
    let (response, _) = malformed.rest().await;
    assert!(response.is_empty() || response.starts_with("http/1.1 400"), "{response}");
    site.settle().await;
    assert!(!site.app.seen().contains(&"/body".to_owned()));
}

#[tokio::test]
async fn request_with_a_late_body_is_refused() {
    let buffering = tower_resend::server::Buffering::new().with_arrival(Duration::from_millis(20));
    let site = Site::start_with(ListenerOptions::new(), |server| server.buffering(buffering)).await;
    let mut client = site.client().await;
    client.send(&post(6, OFFER)).await;
    let (response, end) = client.rest().await;
    assert!(response.starts_with("http/1.1 408") && response.contains(REFUSED), "{response}");
    assert_eq!((end, site.app.seen().len()), (End::Fin, 0));
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_in_the_queue() {
    let mut site =
        Site::start_with(ListenerOptions::new(), |server| server.max_connections(1)).await;
    let (mut first, mut second) = (site.client().await, site.client().await);
    first.get("/slow", "").await;
    assert_eq!(site.hear().await, "/slow");
    second.get("/quick", "").await;
    site.app.release(1);
    first.response().await;
    assert_eq!(site.app.seen(), ["/slow"]);
    drop(first);
    assert!(second.response().await.starts_with("http/1.1 200"));
}

// ===== the drain =====

#[tokio::test]
async fn dispatched_request_is_answered_and_closes_its_connection() {
    let mut site = Site::start().await;
    let (mut naive, mut knowing) = (site.client().await, site.client().await);
    naive.get("/slow", "").await;
    assert_eq!(site.hear().await, "/slow");
    knowing.get("/slow", OFFER).await;
    assert_eq!(site.hear().await, "/slow");
    site.leave_and_see().await;
    site.app.release(2);
    for client in [&mut naive, &mut knowing] {
        let (response, end) = client.rest().await;
        assert!(response.starts_with("http/1.1 200") && response.contains("close"), "{response}");
        assert_eq!(end, End::Fin);
    }
    drop((naive, knowing));
    let report = site.report().await;
    assert_eq!((report.answered, report.refused, report.is_clean()), (2, 0, true));
}

#[tokio::test]
async fn idle_connections_close_as_their_clients_understand() {
    let mut site = Site::start().await;
    let (mut naive, mut knowing) = (site.client().await, site.client().await);
    let mut unused = site.client().await;
    naive.get("/quick", "").await;
    naive.response().await;
    knowing.get("/quick", OFFER).await;
    knowing.response().await;
    site.settle().await;
    site.leave(ShutdownMode::Alone);
    assert_eq!(naive.rest().await, (String::new(), End::Fin));
    assert_eq!(unused.rest().await, (String::new(), End::Fin));
    let (response, end) = knowing.rest().await;
    assert!(response.starts_with("http/1.1 503") && response.contains(REFUSED), "{response}");
    assert!(promise(&response, &knowing).unwrap().has_refused());
    assert_eq!(end, End::Fin);
    drop((naive, knowing, unused));
    assert_eq!(site.report().await.closed, 3);
}

/// By the reset a client without a contract proves that its request was never
/// received. Reading on would acknowledge the request instead.
#[tokio::test]
async fn request_that_crosses_an_ordinary_close_is_reset() {
    let mut site = Site::start().await;
    let mut naive = site.client().await;
    naive.get("/quick", "").await;
    naive.response().await;
    site.settle().await;
    site.leave(ShutdownMode::Alone);
    assert_eq!(naive.rest().await, (String::new(), End::Fin));
    naive.get("/quick", "").await;
    let reset = naive.0.ready(Interest::ERROR);
    tokio::time::timeout(Duration::from_secs(10), reset).await.unwrap().unwrap();
    let error = naive.0.take_error().unwrap().and_then(|error| error.raw_os_error());
    assert_eq!(error, Some(libc::EPIPE));
    let seen = site.app.seen();
    assert_eq!(seen.iter().filter(|path| *path == "/quick").count(), 1);
}

#[tokio::test]
async fn never_used_connection_is_served_one_request() {
    let mut site = Site::start().await;
    let (mut witness, mut fresh) = (site.client().await, site.client().await);
    witness.get("/quick", "").await;
    witness.response().await;
    site.settle().await;
    site.leave(ShutdownMode::HandedOver);
    assert_eq!(witness.rest().await, (String::new(), End::Fin), "the drain has begun");
    fresh.get("/late", "").await;
    let (response, end) = fresh.rest().await;
    assert!(response.starts_with("http/1.1 200") && response.contains("close"), "{response}");
    assert_eq!(end, End::Fin);
}

#[tokio::test]
async fn refused_request_never_reaches_the_service() {
    let mut site = Site::start().await;
    let mut client = site.client().await;
    client.send(&post(6, OFFER)).await;
    client.send("abc").await;
    site.settle().await;
    site.leave(ShutdownMode::Alone);
    let (response, end) = client.rest().await;
    assert!(response.starts_with("http/1.1 503") && response.contains(REFUSED), "{response}");
    assert_eq!(end, End::Fin);
    drop(client);
    assert!(!site.app.seen().contains(&"/body".to_owned()));
    assert_eq!(site.report().await.refused, 1);
}

#[tokio::test]
async fn half_received_request_of_a_client_without_offer_is_answered() {
    let mut site = Site::start().await;
    let mut client = site.client().await;
    client.send(&post(6, "")).await;
    client.send("abc").await;
    while site.hear().await != "part 3" {}
    site.leave_and_see().await;
    client.send("def").await;
    let (response, _) = client.rest().await;
    assert!(response.starts_with("http/1.1 200") && response.ends_with("3 3 "), "{response}");
}

#[tokio::test]
async fn partial_head_is_refused() {
    let mut site = Site::start().await;
    let mut client = site.client().await;
    client.get("/quick", OFFER).await;
    client.response().await;
    client.send("GET /half HTTP/1.1\r\nHo").await;
    site.settle().await;
    site.leave(ShutdownMode::Alone);
    let (response, end) = client.rest().await;
    assert!(response.contains(REFUSED), "{response}");
    assert_eq!(end, End::Fin);
    drop(client);
    assert!(!site.app.seen().contains(&"/half".to_owned()));
}

/// Three clients wait in the accept queue when the drain begins, two of them with a
/// request. Returns how they ended.
async fn queue(leave: ShutdownMode) -> (u64, Vec<(bool, End)>) {
    let options = ListenerOptions::new();
    let mut site = Site::start_with(options, |server| server.max_connections(1)).await;
    let mut first = site.client().await;
    first.get("/slow", "").await;
    assert_eq!(site.hear().await, "/slow");
    let mut waiting = Vec::new();
    for offer in ["", OFFER] {
        let mut client = site.client().await;
        client.get("/quick", offer).await;
        waiting.push(client);
    }
    waiting.push(site.client().await);
    site.leave(leave);
    let mut ends = Vec::new();
    for client in &mut waiting {
        let (response, end) = client.rest().await;
        ends.push((response.starts_with("http/1.1 200") && response.contains("close"), end));
    }
    site.app.release(1);
    first.rest().await;
    drop((first, waiting));
    (site.report().await.from_queue, ends)
}

#[tokio::test]
async fn drain_serves_what_waits_in_the_accept_queue() {
    let (accepted, ends) = queue(ShutdownMode::Alone).await;
    assert_eq!(accepted, 3);
    assert_eq!(ends, [(true, End::Fin), (true, End::Fin), (false, End::Fin)]);
}

#[tokio::test]
async fn control_queue_that_is_not_accepted_is_reset() {
    let (accepted, ends) = queue(ShutdownMode::HandedOver).await;
    assert_eq!(accepted, 0);
    assert_eq!(ends, [(false, End::Reset); 3]);
}

#[tokio::test]
async fn longest_deadlines_do_not_overflow() {
    let mut site = Site::start_with(ListenerOptions::new(), |server| {
        server.drain_deadline(Duration::MAX).head_deadline(Duration::MAX)
    })
    .await;
    let mut client = site.client().await;
    client.get("/quick", "").await;
    assert!(client.response().await.starts_with("http/1.1 200 ok\r\n"));
    drop(client);
    site.leave(ShutdownMode::Alone);
    assert!(site.report().await.running.is_empty());
}

#[tokio::test]
async fn request_running_at_the_deadline_is_reported_and_cut_off() {
    let mut site = Site::start_with(ListenerOptions::new(), |server| {
        server.drain_deadline(Duration::from_millis(50))
    })
    .await;
    let mut client = site.client().await;
    client.get("/slow?secret=1", OFFER).await;
    assert_eq!(site.hear().await, "/slow");
    site.leave(ShutdownMode::Alone);
    assert_eq!(client.rest().await, (String::new(), End::Fin), "a reset would be a false promise");
    let report = site.report().await;
    assert_eq!(report.running.len(), 1);
    assert_eq!((report.running[0].method.as_str(), &*report.running[0].path), ("GET", "/slow"));
    let text = "0 answered, 0 refused, 0 connections closed, 0 accepted from the queue, \
                1 cut off: GET /slow";
    assert_eq!(report.to_string(), text);
}

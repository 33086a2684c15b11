//! What is resent, what is not, and what the caller is told.

use crate::inner;
use testkit::circular;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use circular::Circular;
use http::{Method, Request, Uri, Version};
use http_body_util::Full;
use inner::*;
use tower::{BoxError, Layer, ServiceExt};
use tower_resend::resend::Idempotent;
use tower_resend::{Policy, ResendLayer, attempts};
use tower_resend_core::{
    Answer, Counts, Doubt, EndedBy, Evidence, Fate, Ground, HandOff, NoResend, Opinion, Proof,
    RequestFacts, Role, StaleReason,
};

/// Replies in turn, and with 200 from then on.
fn script(replies: Vec<Reply>) -> impl FnMut(usize) -> Reply + Send + 'static {
    let mut replies = replies.into_iter();
    move |_| replies.next().unwrap_or_else(ok)
}

#[tokio::test(start_paused = true)]
async fn a_proof_allows_any_method_to_be_resent() {
    for evidence in proofs() {
        let played = play(Policy::new(), post(), script(vec![fail(evidence)])).await;
        let response = played.result.unwrap();
        let attempts = attempts(&response);
        assert_eq!(played.calls.len(), 2, "{evidence:?}");
        assert!(matches!(attempts[0].ground(), Some(Ground::Proven(_))), "{attempts:?}");
        assert_eq!(attempts[1].fate(), Fate::Completed);
        assert_eq!(attempts[1].ground(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_proof_a_post_is_not_resent() {
    for evidence in [reset(), answered(Answer::Begun), answered(Answer::FinalHead), dropped()] {
        let played = play(Policy::new(), post(), script(vec![fail(evidence)])).await;
        assert_eq!(played.calls.len(), 1, "{evidence:?}");
        assert!(!played.error().fate().is_not_applied());
    }
}

#[tokio::test(start_paused = true)]
async fn control_a_classifier_that_doubles_is_seen() {
    let policy = Policy::new().classifier(|_: &Fate, _: &RequestFacts| Opinion::Resend("test"));
    let played = play(policy, post(), script(vec![fail(reset())])).await;
    assert_eq!(played.calls.len(), 2, "the harness must see a second call");
    let response = played.result.unwrap();
    assert_eq!(attempts(&response)[0].ground(), Some(Ground::CallerSays("test")));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_nothing_recorded_is_unknown() {
    let played = play(Policy::new(), post(), script(vec![Reply::Fail(vec![])])).await;
    assert_eq!(played.calls.len(), 1);
    assert_eq!(played.error().fate(), Fate::Unknown(Doubt::NoEvidence));
}

/// What is recorded of one attempt does not speak for the next.
#[tokio::test(start_paused = true)]
async fn a_resend_that_nothing_recorded_is_unknown() {
    for evidence in proofs() {
        let replies = vec![fail(evidence), Reply::Fail(vec![]), fail(evidence)];
        let played = play(Policy::new(), post(), script(replies)).await;
        assert_eq!(played.calls.len(), 2);
        let error = played.error();
        assert_eq!(error.attempts().len(), 2);
        assert_eq!(error.fate(), Fate::Unknown(Doubt::NoEvidence));
    }
}

#[tokio::test(start_paused = true)]
async fn unknown_and_then_refused_stays_unknown() {
    let then_refused = || {
        let mut first = Some(fail(reset()));
        move |_| first.take().unwrap_or_else(|| fail(not_connected()))
    };
    let played = play(Policy::new(), post(), then_refused()).await;
    assert_eq!(played.calls.len(), 1);
    assert!(played.error().fate().is_unknown());

    let keyed = play(Policy::new().origins_deduplicate(), keyed_post(), then_refused()).await;
    let idempotent = play(Policy::new(), get(), then_refused()).await;
    for played in [keyed, idempotent] {
        assert!(played.calls.len() > 2);
        let error = played.error();
        assert!(error.fate().is_unknown(), "{error}");
        assert!(error.attempts().last().unwrap().fate().is_not_applied());
        assert_eq!(error.no_resend(), NoResend::ConnectPatience);
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_counts_only_where_the_origin_deduplicates() {
    let played = play(Policy::new(), keyed_post(), script(vec![fail(reset())])).await;
    assert_eq!(played.calls.len(), 1);
    let policy = Policy::new().origins_deduplicate();
    let played = play(policy.clone(), post(), script(vec![fail(reset())])).await;
    assert_eq!(played.calls.len(), 1);
    let played = play(policy, keyed_post(), script(vec![fail(reset())])).await;
    assert_eq!(attempts(&played.result.unwrap())[0].ground(), Some(Ground::Deduplicated));
}

/// An empty key tells no requests apart, and which of two keys an origin takes is unknown.
#[tokio::test(start_paused = true)]
async fn an_empty_key_and_several_are_no_ground() {
    for keys in [&[""][..], &["\"\""], &["\"a1\"", "\"a2\""], &["\"a1\"", ""]] {
        let mut request = post();
        for key in keys {
            request.headers_mut().append("idempotency-key", key.parse().unwrap());
        }
        let policy = Policy::new().origins_deduplicate();
        let played = play(policy, request, script(vec![fail(reset())])).await;
        assert_eq!(played.calls.len(), 1, "{keys:?}");
        assert!(played.error().fate().is_unknown());
    }
}

/// Such an error has no last one to walk to, and what it tells of is not known.
#[tokio::test(start_paused = true)]
async fn error_that_is_its_own_source_is_unknown_and_no_endless_loop() {
    let layers = |inner| {
        let circular = tower::util::MapErr::new(inner, |_: BoxError| Circular);
        ResendLayer::default().layer(circular)
    };
    let played = play_in(post(), script(vec![fail(handed_back())]), layers).await;
    assert_eq!(played.calls.len(), 1);
    assert!(played.error().fate().is_unknown());
}

/// A layer between had another hand-off, which only its error tells of.
#[tokio::test(start_paused = true)]
async fn hand_off_deep_in_the_chain_of_an_error_is_not_overlooked() {
    for depth in [0, 10, 63, 64, 1_000] {
        let hidden = play(Policy::new(), post(), script(vec![fail(reset())])).await.error();
        let buried = (0..depth).fold(BoxError::from(hidden), |below, _| Box::new(Over(below)));
        let buried = Arc::new(Mutex::new(Some(buried)));
        let layers = |inner| {
            let fails = move |error: BoxError| buried.lock().unwrap().take().unwrap_or(error);
            ResendLayer::default().layer(tower::util::MapErr::new(inner, fails))
        };
        let played = play_in(post(), script(vec![fail(handed_back())]), layers).await;
        assert_eq!(played.calls.len(), 1, "{depth}");
        assert!(played.error().fate().is_unknown(), "{depth}");
    }
}

#[derive(Debug)]
struct Over(BoxError);

impl std::fmt::Display for Over {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("over")
    }
}

impl std::error::Error for Over {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0)
    }
}

#[tokio::test(start_paused = true)]
async fn the_callers_mark_makes_a_request_idempotent() {
    let mut request = post();
    request.extensions_mut().insert(Idempotent);
    let played = play(Policy::new(), request, script(vec![fail(reset())])).await;
    assert_eq!(attempts(&played.result.unwrap())[0].ground(), Some(Ground::Idempotent));
}

#[tokio::test(start_paused = true)]
async fn the_fate_is_the_weakest_hand_off_of_one_call() {
    let fates = [
        (never_received(), Fate::NotApplied(Proof::NeverReceived)),
        (answered(Answer::Complete), Fate::Completed),
        (answered(Answer::FinalHead), Fate::ResponseLost),
        (answered(Answer::Begun), Fate::Unknown(Doubt::ResponseBegun)),
    ];
    let forbid = |_: &Fate, _: &RequestFacts| Opinion::Forbidden("test");
    for (i, (strong, _)) in fates.iter().enumerate() {
        for (weak, fate) in &fates[i..] {
            for hand_offs in [vec![*strong, *weak], vec![*weak, *strong]] {
                let policy = Policy::new().classifier(forbid);
                let played = play(policy, post(), script(vec![Reply::Fail(hand_offs)])).await;
                assert_eq!(played.error().fate(), *fate);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn answered_redirect_with_a_refused_next_hop_was_applied() {
    let hand_offs = || Reply::Fail(vec![answered(Answer::Complete), not_connected()]);
    let played = play(Policy::new(), post(), script(vec![hand_offs()])).await;
    assert_eq!(played.calls.len(), 1);
    let error = played.error();
    assert_eq!(error.fate(), Fate::Completed);
    assert_eq!(error.no_resend(), NoResend::Answered);
}

#[tokio::test(start_paused = true)]
async fn a_421_is_resent_once() {
    let misdirected = || Reply::Answer(421, vec![answered(Answer::Misdirected)]);
    let played = play(Policy::new(), post(), script(vec![misdirected()])).await;
    assert_eq!(played.calls.len(), 2);
    assert_eq!(played.result.unwrap().status(), 200);

    let played = play(Policy::new(), post(), script(vec![misdirected(), misdirected()])).await;
    assert_eq!(played.calls.len(), 2);
    let response = played.result.unwrap();
    assert_eq!(response.status(), 421);
    assert_eq!(attempts(&response).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn unrecorded_421_is_an_answer() {
    for hand_offs in [vec![], vec![answered(Answer::Complete)]] {
        let replies = vec![Reply::Answer(421, hand_offs)];
        let played = play(Policy::new(), post(), script(replies)).await;
        assert_eq!(played.calls.len(), 1);
        assert_eq!(played.result.unwrap().status(), 421);
    }
    // Nor does the record of an earlier 421 speak for a later one.
    let replies =
        vec![Reply::Answer(421, vec![answered(Answer::Misdirected)]), Reply::Answer(421, vec![])];
    let played = play(Policy::new(), post(), script(replies)).await;
    assert_eq!(played.calls.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_early_response_is_an_answer() {
    for status in [200, 408, 413, 503, 599] {
        let begun = answered(Answer::FinalHead).with_ended_by(EndedBy::RequestBody);
        let replies = vec![Reply::Answer(status, vec![begun])];
        let played = play(Policy::new(), get(), script(replies)).await;
        assert_eq!(played.calls.len(), 1);
        assert_eq!(played.result.unwrap().status(), status);
    }
}

#[tokio::test(start_paused = true)]
async fn a_clean_call_adds_no_extension() {
    let played = play(Policy::new(), post(), script(vec![])).await;
    assert!(played.result.unwrap().extensions().is_empty());
}

#[tokio::test(start_paused = true)]
async fn unrecorded_resend_is_listed_as_answered() {
    let replies = vec![fail(never_received()), Reply::Answer(200, vec![])];
    let played = play(Policy::new(), post(), script(replies)).await;
    let response = played.result.unwrap();
    let fates: Vec<_> = attempts(&response).iter().map(|attempt| attempt.fate()).collect();
    assert_eq!(fates, [Fate::NotApplied(Proof::NeverReceived), Fate::Completed]);
}

/// A transport may go on by itself where a connection hands the request back.
#[tokio::test(start_paused = true)]
async fn each_hand_off_has_the_ground_of_its_own_resend() {
    let hand_offs = Reply::Fail(vec![handed_back(), reset()]);
    let played = play(Policy::new(), get(), script(vec![hand_offs])).await;
    let response = played.result.unwrap();
    let ids: Vec<_> = attempts(&response)
        .iter()
        .map(|attempt| attempt.ground().map(|ground| ground.id()))
        .collect();
    assert_eq!(ids, [Some("G1"), Some("G6"), None]);
}

#[tokio::test(start_paused = true)]
async fn nested_layers_stand_down() {
    let layers = |inner| {
        let inner = ResendLayer::default().layer(inner);
        ResendLayer::default().layer(inner)
    };
    let replies = script(vec![fail(never_received()), fail(reset())]);
    let played = play_in(post(), replies, layers).await;
    assert_eq!(played.calls.len(), 2, "the outer layer resends, and only it");
    let error = played.error();
    assert_eq!(error.attempts().len(), 2);
    let source = std::error::Error::source(&error).unwrap();
    let inner: &tower_resend::Error = source.downcast_ref().unwrap();
    assert_eq!(inner.no_resend(), NoResend::StandsDown);
    assert!(inner.fate().is_unknown(), "the weakest of all that the token holds");
}

#[tokio::test(start_paused = true)]
async fn the_request_can_be_taken_out_of_the_error() {
    let mut request = keyed_post();
    request.extensions_mut().insert(7_u8);
    let mut error = play(Policy::new(), request, script(vec![fail(reset())])).await.error();
    assert!(error.take_request::<String>().is_none());
    let request = error.take_request::<Full<Bytes>>().unwrap();
    assert_eq!(request.method(), "POST");
    assert_eq!(request.uri(), "http://shop.test/orders?secret=1");
    assert_eq!(request.headers()["idempotency-key"], "\"a1\"");
    assert_eq!(request.extensions().get(), Some(&7_u8));
    assert!(request.extensions().get::<tower_resend::AttemptToken>().is_none());
    assert!(error.take_request::<Full<Bytes>>().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_classifier_forbids_what_is_proven() {
    let policy = Policy::new().classifier(|_: &Fate, _: &RequestFacts| Opinion::Forbidden("no"));
    for evidence in proofs() {
        let played = play(policy.clone(), get(), script(vec![fail(evidence)])).await;
        assert_eq!(played.calls.len(), 1);
        let error = played.error();
        assert!(error.fate().is_not_applied());
        assert_eq!(error.no_resend(), NoResend::Forbidden("no"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_proxy_resends_a_post_only_if_it_was_never_sent() {
    let policy = || Policy::new().role(Role::Proxy).origins_deduplicate();
    for evidence in [not_connected(), handed_back(), Evidence::new(HandOff::NothingWritten)] {
        let played = play(policy(), keyed_post(), script(vec![fail(evidence)])).await;
        assert_eq!(played.calls.len(), 2);
    }
    for evidence in [never_received(), reset()] {
        let played = play(policy(), keyed_post(), script(vec![fail(evidence)])).await;
        assert_eq!(played.calls.len(), 1);
        let error = played.error();
        assert_eq!(error.fate().is_not_applied(), evidence == never_received(), "{error}");
    }
    let played = play(policy(), get(), script(vec![fail(reset())])).await;
    assert_eq!(played.calls.len(), 2);
    let policy = Policy::new().role(Role::ProxyWithAllGrounds);
    let played = play(policy, post(), script(vec![fail(never_received())])).await;
    assert_eq!(played.calls.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_text_says_what_happened_and_what_was_missing() {
    let reset = reset().with_counts(Counts::new(318, Some(318), 0));
    let error = play(Policy::new(), post(), script(vec![fail(reset)])).await.error();
    assert_eq!(
        error.to_string(),
        "outcome unknown: POST /orders for shop.test was sent (318/318 bytes acknowledged, 0 read); \
         the connection was reset with all of the request acknowledged; \
         it may or may not have been applied: \
         look for it at the server before you send it again; \
         not resent: not idempotent, no idempotency key, no contract"
    );
    assert_eq!(error.name(), "outcome_unknown_reset");

    let replies = vec![fail(never_received()), fail(answered(Answer::FinalHead))];
    let error = play(Policy::new(), keyed_post(), script(replies)).await.error();
    assert_eq!(
        error.to_string(),
        "response lost: POST /orders for shop.test; its final response was begun and cut; \
         not resent: not idempotent, idempotency key not known to be honored (after 2 attempts)"
    );
}

/// Where no connection is named, nothing else says which host was down; and which
/// limit to change is not the deadline, which is thirty seconds.
#[tokio::test(start_paused = true)]
async fn text_of_an_unsent_request_names_its_host_and_limit() {
    let mut request = post();
    *request.uri_mut() = Uri::from_static("http://me:secret@shop.test:8080/orders");
    let error = play(Policy::new(), request, |_| fail(not_connected())).await.error();
    let text = error.to_string();
    assert!(
        text.starts_with(
            "not applied: POST /orders for shop.test:8080; never sent (connect failed); \
             not resent: connects failed for all of connect_patience (after "
        ),
        "{text}"
    );
    assert!(!text.contains("secret"));
}

#[tokio::test(start_paused = true)]
async fn the_long_text_says_what_the_sources_add_and_ends() {
    let layers = |inner| {
        let fails = tower::util::MapErr::new(inner, |_: BoxError| Circular);
        ResendLayer::default().layer(fails)
    };
    let error = play_in(post(), script(vec![fail(reset())]), layers).await.error();
    let long = format!("{error:#}");
    assert_eq!(long, format!("{error}: circular"));
    assert!(!error.to_string().contains("circular"));
}

fn line<B>(request: &Request<B>) -> (Method, Uri, Version) {
    (request.method().clone(), request.uri().clone(), request.version())
}

#[tokio::test(start_paused = true)]
async fn a_resend_carries_all_of_the_request() {
    let (mut service, mut handle) = spawn(Policy::new());
    tokio_test::assert_ready_ok!(service.poll_ready());
    let mut request = keyed_post();
    request.extensions_mut().insert(7_u8);
    *request.version_mut() = Version::HTTP_10;
    let mut call = tokio_test::task::spawn(service.call(request));
    tokio_test::assert_pending!(call.poll());
    let (first, respond) = taken(&mut handle);
    let (line, headers) = (line(&first), first.headers().clone());
    fail_taken((first, respond), handed_back());
    tokio_test::assert_pending!(call.poll());
    let (second, _respond) = taken(&mut handle);
    assert_eq!((self::line(&second), second.headers()), (line, &headers));
    assert_eq!(second.extensions().get(), Some(&7_u8));
    assert_eq!(token(&second).len(), 1, "one token for the whole call");
    let attempts = token(&second).attempts();
    assert_eq!(
        attempts[0].ground(),
        Some(Ground::Proven(Proof::HandedBack(StaleReason::Fin))),
        "{attempts:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_target_that_cannot_be_reached_is_not_tried_again() {
    use tower_resend_core::ConnectFailure;
    for why in [ConnectFailure::BadTarget, ConnectFailure::ProxyDenied] {
        let evidence = Evidence::new(HandOff::NotConnected(why));
        let played = play(Policy::new(), get(), script(vec![fail(evidence)])).await;
        assert_eq!(played.calls.len(), 1);
        assert!(played.error().fate().is_not_applied());
    }
}

#[tokio::test(start_paused = true)]
async fn control_a_proxy_that_made_no_connection_is_tried_again() {
    use tower_resend_core::ConnectFailure;
    let evidence = Evidence::new(HandOff::NotConnected(ConnectFailure::Proxy));
    let played = play(Policy::new(), get(), script(vec![fail(evidence)])).await;
    assert_eq!(played.calls.len(), 2);
}

/// The layer works on requests of any replayable body, and any response body.
#[tokio::test]
async fn the_inner_service_may_be_any_function() {
    let inner = tower::service_fn(|_: Request<String>| async {
        Ok::<_, std::io::Error>(http::Response::new("fine"))
    });
    let response =
        ResendLayer::default().layer(inner).oneshot(Request::new("pay".to_owned())).await.unwrap();
    assert_eq!(*response.body(), "fine");
}

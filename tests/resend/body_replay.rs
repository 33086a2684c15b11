//! Bodies that are sent again yield the same bytes, or an error; never less.

use testkit::body_script as script;

use bytes::Bytes;
use http_body::Body as _;
use proptest::collection::vec;
use proptest::prelude::*;
use tokio_test::{assert_pending, assert_ready, task};
use tower_resend::body::{Body, Error, NotReplayable, Replay, ReplayCaps, Replayable};

use self::script::{Log, Script, Step, drain, poll, trailers};

fn caps() -> ReplayCaps {
    ReplayCaps::default()
}

fn hello() -> Script {
    Script::new([Step::data("hello "), Step::Pending, Step::data("world")])
}

// ===== what a replay yields =====

#[test]
fn replay_before_the_first_poll_is_whole() {
    let body = Replay::new(hello(), &caps());
    let mut spare = body.replay().unwrap();
    drop(body);
    assert_eq!(drain(&mut spare).octets, b"hello world");
}

#[test]
fn replay_in_the_middle_goes_on_with_the_same_stream() {
    let mut body = Replay::new(hello(), &caps());
    let mut spare = body.replay().unwrap();
    assert!(poll(&mut body).is_ready());
    assert!(poll(&mut body).is_pending());
    assert_eq!(drain(&mut spare).octets, b"hello world");
}

#[test]
fn replay_after_the_end_is_whole_with_trailers() {
    let script = Script::new([Step::data("pay"), Step::Trailers(trailers("x-sum", "7"))]);
    let mut body = Replay::new(script, &caps());
    let first = drain(&mut body);
    let mut spare = body.replay().unwrap();
    let second = drain(&mut spare);
    assert_eq!(first, second);
    assert_eq!(second.trailers, Some(trailers("x-sum", "7")));
}

#[test]
fn a_copy_is_framed_like_the_first_body() {
    let mut body = Replay::new(Script::sized([Step::data("1234"), Step::data("56")]), &caps());
    assert_eq!(body.size_hint().exact(), Some(6));
    assert!(!body.is_end_stream());
    assert!(poll(&mut body).is_ready());
    assert_eq!(body.size_hint().exact(), Some(2));
    let copy = body.replay().unwrap();
    assert_eq!(copy.size_hint().exact(), Some(6));

    let empty = Replay::new(Script::sized([]), &caps());
    assert!(empty.is_end_stream());
    assert!(empty.replay().unwrap().is_end_stream());
}

#[test]
fn the_end_is_known_with_the_last_octets() {
    let mut body = Replay::new(Script::sized([Step::data("1234")]), &caps());
    let mut spare = body.replay().unwrap();
    assert!(poll(&mut body).is_ready());
    assert!(body.is_end_stream());
    assert!(!spare.is_end_stream());
    assert!(poll(&mut spare).is_ready());
    assert!(spare.is_end_stream());
    assert!(!body.is_end_stream(), "it was revoked");
}

#[test]
fn small_frames_are_handed_out_together() {
    let steps = (0..100).map(|_| Step::data("x"));
    let mut body = Replay::new(Script::new(steps), &caps());
    assert_eq!(drain(&mut body).frames, 100);
    assert_eq!(drain(&mut body.replay().unwrap()).frames, 1);
}

// ===== who may be polled =====

#[test]
fn a_revoked_body_fails_and_never_ends() {
    let mut body = Replay::new(Script::new([]), &caps());
    let spare = body.replay().unwrap();
    spare.revoke();
    for _ in 0..3 {
        assert!(!body.is_end_stream());
        let frame = assert_ready!(poll(&mut body));
        assert!(matches!(frame, Some(Err(Error::Revoked))));
    }
    assert_eq!(body.check_replay(), Err(NotReplayable::Revoked));
}

#[test]
fn taking_the_next_copy_revokes_the_one_before() {
    let mut body = Replay::new(hello(), &caps());
    let spare = body.replay().unwrap();
    assert!(poll(&mut body).is_ready(), "the spare takes nothing away");
    let _next = spare.replay().unwrap();
    let frame = assert_ready!(poll(&mut body));
    assert!(matches!(frame, Some(Err(Error::Revoked))));
}

#[test]
fn a_waiting_body_is_woken_by_its_revocation() {
    for by_poll in [false, true] {
        let mut body = Replay::new(Script::new([Step::Stuck]), &caps());
        let mut spare = body.replay().unwrap();
        let (mut old, mut new) = (task::spawn(()), task::spawn(()));
        assert_pending!(old.enter(|cx, _| script::poll_with(&mut body, cx)));
        if by_poll {
            assert_pending!(new.enter(|cx, _| script::poll_with(&mut spare, cx)));
        } else {
            spare.revoke();
        }
        assert!(old.is_woken());
        assert!(!new.is_woken());
        let frame = assert_ready!(poll(&mut body));
        assert!(matches!(frame, Some(Err(Error::Revoked))));
    }
}

#[test]
fn the_stream_wakes_the_body_that_took_over() {
    let (gate, script) = Script::gated([Step::data("late")]);
    let mut body = Replay::new(script, &caps());
    let mut spare = body.replay().unwrap();
    let (mut old, mut new) = (task::spawn(()), task::spawn(()));
    assert_pending!(old.enter(|cx, _| script::poll_with(&mut body, cx)));
    assert_pending!(new.enter(|cx, _| script::poll_with(&mut spare, cx)));
    assert!(!new.is_woken());
    gate.open();
    assert!(new.is_woken());
    assert_eq!(drain(&mut spare).octets, b"late");
}

#[test]
fn body_queued_on_an_old_connection_cannot_take_the_stream() {
    let queued = Replay::new(hello(), &caps());
    let mut spare = queued.replay().unwrap();
    assert!(poll(&mut spare).is_ready());
    let mut queued = queued;
    let frame = assert_ready!(poll(&mut queued));
    assert!(matches!(frame, Some(Err(Error::Revoked))));
    assert_eq!(drain(&mut spare).octets, b"world");
}

// ===== what cannot be replayed =====

#[test]
fn a_body_over_the_cap_is_sent_whole_and_not_replayed() {
    let caps = ReplayCaps::new(8, 100);
    let mut body = Replay::new(hello(), &caps);
    let mut spare = body.replay().unwrap();
    assert_eq!(drain(&mut body).octets, b"hello world");
    assert_eq!(caps.held(), 0, "the recording is given up at once");
    let reason = NotReplayable::CapExceeded { cap: 8 };
    assert_eq!(spare.check_replay(), Err(reason));
    assert_eq!(spare.replay().err(), Some(reason));
    let frame = assert_ready!(poll(&mut spare));
    assert!(matches!(frame, Some(Err(Error::Gone(r))) if r == reason));
}

#[test]
fn a_body_known_to_be_over_the_cap_is_not_recorded_at_all() {
    let caps = ReplayCaps::new(8, 100);
    let steps = [Step::data("hello "), Step::data("world")];
    let mut body = Replay::new(Script::sized(steps), &caps);
    assert_eq!(body.check_replay(), Ok(()), "nothing has been sent yet");
    assert!(poll(&mut body).is_ready());
    assert_eq!(caps.held(), 0);
    assert!(body.check_replay().is_err());
    assert_eq!(drain(&mut body).octets, b"world");
}

#[test]
fn copy_without_a_recording_takes_nothing_from_the_first_body() {
    let mut body = Replay::new(hello(), &ReplayCaps::new(3, 3));
    let mut spare = body.replay().unwrap();
    assert!(poll(&mut body).is_ready());
    assert!(matches!(assert_ready!(poll(&mut spare)), Some(Err(Error::Gone(_)))));
    assert!(spare.replay().is_err());
    assert_eq!(drain(&mut body).octets, b"world");
}

#[test]
fn all_recordings_share_one_total() {
    let caps = ReplayCaps::new(100, 15);
    let mut one = Replay::new(hello(), &caps);
    let mut two = Replay::new(hello(), &caps);
    drain(&mut one);
    assert_eq!(drain(&mut two).octets, b"hello world");
    assert_eq!(two.check_replay(), Err(NotReplayable::TotalExceeded { cap: 15 }));
    assert_eq!(caps.held(), 11);
    assert_eq!(drain(&mut one.replay().unwrap()).octets, b"hello world");
    drop(one);
    assert_eq!(caps.held(), 0);
}

#[test]
fn a_failed_stream_gives_its_error_once_and_then_others() {
    let script = Script::new([Step::data("half"), Step::Fail("disk on fire")]);
    let caps = caps();
    let mut body = Replay::new(script, &caps);
    let mut spare = body.replay().unwrap();
    assert!(poll(&mut body).is_ready());
    let Some(Err(error)) = assert_ready!(poll(&mut body)) else {
        panic!("the stream failed");
    };
    let source = std::error::Error::source(&error).unwrap();
    assert_eq!(source.to_string(), "disk on fire");
    assert_eq!(caps.held(), 0);
    assert_eq!(spare.check_replay(), Err(NotReplayable::Failed));
    for body in [&mut body, &mut spare] {
        assert!(!body.is_end_stream());
        let frame = assert_ready!(poll(body));
        assert!(matches!(frame, Some(Err(Error::Gone(NotReplayable::Failed)))));
    }
}

#[test]
fn a_stream_that_panicked_has_failed() {
    let mut body = Replay::new(Script::new([Step::data("half"), Step::Panic]), &caps());
    let mut spare = body.replay().unwrap();
    assert!(poll(&mut body).is_ready());
    let panicking = std::panic::AssertUnwindSafe(|| poll(&mut body));
    assert!(std::panic::catch_unwind(panicking).is_err());
    assert_eq!(spare.check_replay(), Err(NotReplayable::Failed));
    let frame = assert_ready!(poll(&mut spare));
    assert!(matches!(frame, Some(Err(Error::Gone(NotReplayable::Failed)))));
}

#[test]
fn frames_after_trailers_are_passed_on_but_not_recorded() {
    let script = Script::new([Step::Trailers(trailers("a", "b")), Step::data("odd")]);
    let mut body = Replay::new(script, &caps());
    assert_eq!(drain(&mut body).octets, b"odd");
    assert_eq!(body.check_replay(), Err(NotReplayable::Unrecordable));
}

// ===== the crate's own body =====

#[test]
fn bytes_in_memory_are_replayed_until_handed_out() {
    for mut body in [
        Body::from("pay"),
        Body::from(String::from("pay")),
        Body::from(b"pay".to_vec()),
        Body::from(Bytes::from_static(b"pay")),
        Body::new(Body::from("pay")),
        Body::from("pay").recorded(&caps()),
    ] {
        assert_eq!(body.size_hint().exact(), Some(3));
        let mut spare = body.replay().unwrap();
        assert_eq!(drain(&mut body).octets, b"pay");
        assert!(body.is_end_stream());
        assert_eq!(body.replay().err(), Some(NotReplayable::Polled));
        assert_eq!(drain(&mut spare).octets, b"pay");
    }
}

#[test]
fn an_empty_body_is_at_its_end() {
    for mut body in [Body::empty(), Body::default(), Body::from(()), Body::from("")] {
        assert!(body.is_end_stream());
        assert_eq!(body.size_hint().exact(), Some(0));
        assert_eq!(drain(&mut body), Log::default());
        assert!(body.replay().unwrap().is_end_stream());
    }
}

#[test]
fn a_stream_is_sent_once_unless_it_is_recorded() {
    let mut body = Body::new(hello());
    assert_eq!(body.check_replay(), Err(NotReplayable::OneShot));
    assert_eq!(drain(&mut body).octets, b"hello world");

    let mut body = Body::new(hello()).recorded(&caps());
    let mut spare = body.replay().unwrap();
    assert!(poll(&mut body).is_ready());
    assert_eq!(drain(&mut spare).octets, b"hello world");
    assert!(matches!(assert_ready!(poll(&mut body)), Some(Err(Error::Revoked))));
}

#[test]
fn a_factory_is_called_once_for_each_attempt() {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    };
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let mut body = Body::from_factory(move || {
        counter.fetch_add(1, SeqCst);
        Script::sized([Step::data("hello "), Step::Stuck])
    });
    let mut spare = body.replay().unwrap();
    assert_eq!(calls.load(SeqCst), 0);
    assert_eq!(body.size_hint().exact(), Some(6));
    let mut old = task::spawn(());
    assert!(old.enter(|cx, _| script::poll_with(&mut body, cx)).is_ready());
    assert_pending!(old.enter(|cx, _| script::poll_with(&mut body, cx)));
    assert_eq!(calls.load(SeqCst), 1);

    let next = spare.replay().unwrap();
    assert!(old.is_woken());
    assert!(matches!(assert_ready!(poll(&mut body)), Some(Err(Error::Revoked))));
    assert!(!body.is_end_stream());
    assert_eq!(body.replay().err(), Some(NotReplayable::Revoked));
    assert!(poll(&mut spare).is_ready());
    assert_eq!(calls.load(SeqCst), 2);
    drop(next);
    assert_eq!(calls.load(SeqCst), 2);
}

#[test]
fn a_stream_must_keep_to_its_declared_length() {
    let long = Script::declaring(4, [Step::data("123"), Step::data("456")]);
    let mut body = Body::new(long);
    assert!(poll(&mut body).is_ready());
    let frame = assert_ready!(poll(&mut body));
    assert!(matches!(frame, Some(Err(Error::TooLong { declared: 4 }))));

    let short = Script::declaring(4, [Step::data("123")]);
    let mut body = Body::new(short);
    assert!(poll(&mut body).is_ready());
    assert!(!body.is_end_stream());
    let frame = assert_ready!(poll(&mut body));
    assert!(matches!(frame, Some(Err(Error::TooShort { declared: 4, missing: 1 }))));
    let frame = assert_ready!(poll(&mut body));
    assert!(matches!(frame, Some(Err(Error::Gone(NotReplayable::Failed)))));
}

#[test]
fn bodies_are_send_sync_and_do_not_print_their_bytes() {
    fn assert_send_sync<T: Send + Sync + 'static>(_: &T) {}
    /// `Send`, but not `Sync`.
    struct Unsync(Script, std::cell::Cell<u8>);
    impl http_body::Body for Unsync {
        type Data = Bytes;
        type Error = <Script as http_body::Body>::Error;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
            self.1.set(1);
            std::pin::Pin::new(&mut self.0).poll_frame(cx)
        }
    }
    let unsync = || Unsync(hello(), std::cell::Cell::new(0));
    assert_send_sync(&Body::new(unsync()));
    assert_send_sync(&Body::from_factory(unsync));
    assert_send_sync(&Replay::new(unsync(), &caps()));
    assert_eq!(format!("{:?}", Body::from("secret")), "Body(held, 6 bytes)");
    assert!(size_of::<Body>() <= 56, "{}", size_of::<Body>());
}

// ===== on a connection =====

#[tokio::test]
async fn a_connection_never_completes_the_message_of_a_revoked_body() {
    use hyper::client::conn::http1;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, duplex};

    let (client, mut server) = duplex(4096);
    let (mut sender, connection) = http1::handshake(TokioIo::new(client)).await.unwrap();
    tokio::spawn(connection);
    let body = Body::new(Script::new([Step::data("half"), Step::Stuck])).recorded(&caps());
    let spare = body.replay().unwrap();
    let response = tokio::spawn(sender.send_request(http::Request::post("/").body(body).unwrap()));

    let mut seen = Vec::new();
    while !seen.ends_with(b"half\r\n") {
        assert_ne!(server.read_buf(&mut seen).await.unwrap(), 0);
    }
    spare.revoke();
    while server.read_buf(&mut seen).await.unwrap() > 0 {
        assert!(!seen.ends_with(b"0\r\n\r\n"), "the message was completed");
    }
    assert!(seen.ends_with(b"half\r\n"), "{:?}", Bytes::from(seen));
    assert!(response.await.unwrap().is_err());
}

// ===== laws =====

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => vec(any::<u8>(), 0..40).prop_map(Step::Data),
        1 => Just(Step::Pending),
    ];
    let trailers = prop_oneof![Just(None), Just(Some(Step::Trailers(trailers("x-sum", "12345")))),];
    (vec(step, 0..20), trailers).prop_map(|(mut steps, trailers)| {
        steps.extend(trailers);
        steps
    })
}

proptest! {
    #[test]
    fn the_last_of_any_chain_of_attempts_yields_the_original(
        steps in steps(),
        takeovers in vec((0usize..30, any::<bool>()), 0..6),
    ) {
        let caps = caps();
        let original = drain(&mut Script::new(steps.clone()));
        let mut current = Replay::new(Script::new(steps), &caps);
        let mut past = Vec::new();
        for (polls, early) in takeovers {
            let early = early.then(|| current.replay().unwrap());
            for _ in 0..polls {
                let _ = poll(&mut current);
            }
            let next = early.unwrap_or_else(|| current.replay().unwrap());
            next.revoke();
            past.push(std::mem::replace(&mut current, next));
            for old in &mut past {
                prop_assert!(!old.is_end_stream());
                let frame = poll(old);
                prop_assert!(matches!(frame, std::task::Poll::Ready(Some(Err(Error::Revoked)))));
            }
        }
        let last = drain(&mut current);
        prop_assert_eq!(&last.octets, &original.octets);
        prop_assert_eq!(&last.trailers, &original.trailers);
        prop_assert_eq!(caps.held(), original.recorded_size());
        drop((current, past));
        prop_assert_eq!(caps.held(), 0);
    }

    #[test]
    fn caps_never_touch_the_first_attempt(
        steps in steps(),
        per_body in 0usize..500,
        in_all in 0usize..500,
    ) {
        let caps = ReplayCaps::new(per_body, in_all);
        let original = drain(&mut Script::new(steps.clone()));
        let mut body = Replay::new(Script::new(steps), &caps);
        let spare = body.replay().unwrap();
        let first = drain(&mut body);
        prop_assert_eq!(&first.octets, &original.octets);
        prop_assert_eq!(&first.trailers, &original.trailers);
        prop_assert!(caps.held() <= per_body.min(in_all));
        match spare.replay() {
            Ok(mut next) => prop_assert_eq!(drain(&mut next).octets, original.octets),
            Err(NotReplayable::CapExceeded { .. }) => {
                prop_assert!(original.recorded_size() > per_body);
            }
            Err(NotReplayable::TotalExceeded { .. }) => {
                prop_assert!(original.recorded_size() > in_all);
            }
            Err(reason) => prop_assert!(false, "{}", reason),
        }
    }
}

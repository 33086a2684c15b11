//! No lock of a body is held while a caller's code runs: a stream's, or a waker's. Each
//! of these calls uses another body of the same stream, and hung before.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use testkit::body_script as script;
use tower_resend::body::{Body, Error, NotReplayable, Replay, ReplayCaps, Replayable};

use self::script::drain;

type PollFrame = Poll<Option<Result<Frame<Bytes>, Infallible>>>;

/// A stream that calls `on_poll` when it is polled, and `on_drop` when it is dropped.
struct Calling {
    on_poll: Box<dyn FnMut() -> PollFrame + Send>,
    on_drop: Box<dyn FnMut() + Send>,
}

impl Calling {
    fn new(on_poll: impl FnMut() -> PollFrame + Send + 'static) -> Self {
        Self { on_poll: Box::new(on_poll), on_drop: Box::new(|| {}) }
    }
}

impl HttpBody for Calling {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> PollFrame {
        (self.on_poll)()
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        (self.on_drop)();
    }
}

/// A body that a stream or a waker finds once it is there.
type Slot<B> = Arc<Mutex<Option<B>>>;

/// Calls `use_it` with the slot's body, which is not in the slot meanwhile.
fn with<B>(slot: &Slot<B>, use_it: impl FnOnce(&mut B)) {
    let Some(mut body) = slot.lock().expect("no test panics with it").take() else { return };
    use_it(&mut body);
    *slot.lock().expect("no test panics with it") = Some(body);
}

/// A waker that counts how often it is woken, and calls `on_drop` with the last clone.
struct Counting<F: Fn() + Send + Sync> {
    woken: Arc<AtomicUsize>,
    on_drop: F,
}

impl<F: Fn() + Send + Sync> Wake for Counting<F> {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, Ordering::Relaxed);
    }
}

impl<F: Fn() + Send + Sync> Drop for Counting<F> {
    fn drop(&mut self) {
        (self.on_drop)();
    }
}

fn counting(on_drop: impl Fn() + Send + Sync + 'static) -> (Waker, Arc<AtomicUsize>) {
    let woken = Arc::new(AtomicUsize::new(0));
    (Arc::new(Counting { woken: Arc::clone(&woken), on_drop }).into(), woken)
}

type PollOf<B> = Poll<Option<Result<Frame<<B as HttpBody>::Data>, <B as HttpBody>::Error>>>;

fn poll<B: HttpBody + Unpin>(body: &mut B, waker: &Waker) -> PollOf<B> {
    Pin::new(body).poll_frame(&mut Context::from_waker(waker))
}

fn data(bytes: &'static str) -> PollFrame {
    Poll::Ready(Some(Ok(Frame::data(Bytes::from(bytes)))))
}

/// Runs a test that would hang if a lock were held.
fn unless_it_hangs(test: impl FnOnce() + Send + 'static) {
    let (done, is_done) = mpsc::channel();
    let test = thread::spawn(move || {
        test();
        done.send(()).expect("the test waits");
    });
    match is_done.recv_timeout(Duration::from_secs(20)) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it hangs"),
        Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => {
            test.join().expect("the test did not panic")
        }
    }
}

/// Polls a body with one waker after another; each asks `other` for its length
/// when it is dropped. Returns how many did.
fn poll_with_asking_wakers<B>(mut body: B, other: B) -> usize
where
    B: HttpBody + Unpin + Send + Sync + 'static,
{
    let (other, asked) = (Arc::new(other), Arc::new(AtomicUsize::new(0)));
    for _ in 0..3 {
        let (other, asked) = (Arc::clone(&other), Arc::clone(&asked));
        let (waker, _) = counting(move || {
            other.size_hint();
            other.is_end_stream();
            asked.fetch_add(1, Ordering::Relaxed);
        });
        assert!(poll(&mut body, &waker).is_pending());
    }
    drop(body);
    asked.load(Ordering::Relaxed)
}

#[test]
fn a_replaced_waker_may_use_a_recorded_body_when_it_drops() {
    unless_it_hangs(|| {
        let body = Replay::new(Calling::new(|| Poll::Pending), &ReplayCaps::default());
        let spare = body.replay().expect("the body is replayable");
        // The last waker is still registered.
        assert_eq!(poll_with_asking_wakers(body, spare), 2);
    });
}

#[test]
fn a_replaced_waker_may_use_a_factory_body_when_it_drops() {
    unless_it_hangs(|| {
        let body = Body::from_factory(|| Calling::new(|| Poll::Pending));
        let spare = body.replay().expect("the body is replayable");
        assert_eq!(poll_with_asking_wakers(body, spare), 2);
    });
}

#[test]
fn a_polled_stream_may_ask_the_other_bodies() {
    unless_it_hangs(|| {
        let slot: Slot<Replay<Calling>> = Slot::default();
        let (asked, spare) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&slot));
        let count = Arc::clone(&asked);
        let mut frames = ["pa", "y"].into_iter();
        let stream = Calling::new(move || {
            with(&spare, |spare| {
                assert!(!spare.is_end_stream());
                assert_eq!(spare.size_hint().exact(), None);
                assert_eq!(spare.check_replay(), Ok(()));
                count.fetch_add(1, Ordering::Relaxed);
            });
            frames.next().map_or(Poll::Ready(None), data)
        });
        let mut body = Replay::new(stream, &ReplayCaps::default());
        *slot.lock().expect("no test panics with it") =
            Some(body.replay().expect("the body is replayable"));
        assert_eq!(drain(&mut body).octets, b"pay");
        assert_eq!(asked.load(Ordering::Relaxed), 3);
        // Not a cycle any more.
        let mut spare =
            slot.lock().expect("no test panics with it").take().expect("the stream put it there");
        assert_eq!(drain(&mut spare).octets, b"pay");
    });
}

#[test]
fn a_dropped_stream_may_ask_the_other_bodies() {
    unless_it_hangs(|| {
        let slot: Slot<Replay<Calling>> = Slot::default();
        let (asked, spare) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&slot));
        let count = Arc::clone(&asked);
        let mut stream = Calling::new(|| Poll::Ready(None));
        stream.on_drop = Box::new(move || {
            with(&spare, |spare| {
                spare.is_end_stream();
                count.fetch_add(1, Ordering::Relaxed);
            });
        });
        let mut body = Replay::new(stream, &ReplayCaps::default());
        *slot.lock().expect("no test panics with it") =
            Some(body.replay().expect("the body is replayable"));
        assert_eq!(drain(&mut body).octets, b"");
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    });
}

/// Polls a body whose stream polls the spare before it yields `pay`. Returns what the body
/// yields, the spare, and how often the spare was woken.
fn take_over_within_a_poll(
    caps: &ReplayCaps,
) -> (Result<Bytes, Error>, Replay<Calling>, Arc<AtomicUsize>) {
    let slot: Slot<Replay<Calling>> = Slot::default();
    let (spares_waker, woken) = counting(|| {});
    let spare = Arc::clone(&slot);
    let mut frames = ["pay"].into_iter();
    let stream = Calling::new(move || {
        // Once: from then on it is the spare that polls.
        if let Some(frame) = frames.next() {
            with(&spare, |spare| assert!(poll(spare, &spares_waker).is_pending()));
            return data(frame);
        }
        Poll::Ready(None)
    });
    let mut body = Replay::new(stream, caps);
    *slot.lock().expect("no test panics with it") =
        Some(body.replay().expect("the body is replayable"));
    let Poll::Ready(Some(yielded)) = poll(&mut body, Waker::noop()) else {
        panic!("neither a frame nor an error");
    };
    let spare =
        slot.lock().expect("no test panics with it").take().expect("the stream put it there");
    (yielded.map(|frame| frame.into_data().expect("a stream of data")), spare, woken)
}

#[test]
fn a_frame_of_a_body_revoked_within_its_poll_goes_to_the_newer_one() {
    unless_it_hangs(|| {
        let (yielded, mut spare, woken) = take_over_within_a_poll(&ReplayCaps::default());
        assert!(matches!(yielded, Err(Error::Revoked)), "{yielded:?}");
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        assert_eq!(drain(&mut spare).octets, b"pay");
    });
}

#[test]
fn a_frame_that_cannot_be_kept_for_the_newer_body_fails_it() {
    unless_it_hangs(|| {
        let (yielded, mut spare, woken) = take_over_within_a_poll(&ReplayCaps::new(2, 2));
        assert!(matches!(yielded, Err(Error::Revoked)), "{yielded:?}");
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        for _ in 0..2 {
            let polled = poll(&mut spare, Waker::noop());
            let Poll::Ready(Some(Err(Error::Gone(reason)))) = polled else {
                panic!("{polled:?}");
            };
            assert_eq!(reason, NotReplayable::CapExceeded { cap: 2 });
        }
        assert!(!spare.is_end_stream());
    });
}

#[test]
fn control_a_body_that_stays_live_yields_its_frame_beyond_the_cap() {
    let mut frames = ["pay"].into_iter();
    let stream = Calling::new(move || frames.next().map_or(Poll::Ready(None), data));
    let mut body = Replay::new(stream, &ReplayCaps::new(2, 2));
    let _spare = body.replay().expect("the body is replayable");
    assert_eq!(drain(&mut body).octets, b"pay");
}

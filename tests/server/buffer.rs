//! Whole requests, poll by poll.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_test::{assert_pending, assert_ready_ok, task};
use tower::{Layer, Service};
use tower_resend::BoxError;
use tower_resend::server::{
    Buffering, Connection, Dispatch, DispatchBody, DispatchLayer, ListenerOptions, RequestBody,
};
use tower_resend_core::contract::Offer;
use tower_test::mock::{self, Mock};

type Requests = mock::Handle<Request<RequestBody<Scripted>>, Response<Full<Bytes>>>;
type Inner = Mock<Request<RequestBody<Scripted>>, Response<Full<Bytes>>>;

/// A body whose frames the test sends.
struct Scripted {
    frames: mpsc::UnboundedReceiver<Result<Frame<Bytes>, BoxError>>,
    polls: Arc<AtomicUsize>,
    hint: SizeHint,
}

struct Script {
    frames: mpsc::UnboundedSender<Result<Frame<Bytes>, BoxError>>,
    polls: Arc<AtomicUsize>,
}

impl Script {
    fn data(&self, bytes: &'static str) {
        self.frames.send(Ok(Frame::data(Bytes::from(bytes)))).expect("nothing fails on loopback");
    }

    fn polls(&self) -> usize {
        self.polls.load(Ordering::SeqCst)
    }
}

fn body(hint: SizeHint) -> (Script, Scripted) {
    let (sender, frames) = mpsc::unbounded_channel();
    let polls = Arc::default();
    (Script { frames: sender, polls: Arc::clone(&polls) }, Scripted { frames, polls, hint })
}

impl Body for Scripted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.polls.fetch_add(1, Ordering::SeqCst);
        self.frames.poll_recv(cx)
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

/// An accepted connection, and its service side.
struct Site {
    _client: TcpStream,
    connection: Connection,
    requests: Requests,
    inner: Inner,
}

impl Site {
    async fn new() -> Self {
        // The offers of these requests name no connection.
        let options = ListenerOptions::new().trust_nat(true);
        let mut listener = options.bind(([127, 0, 0, 1], 0).into()).await.expect("a free port");
        let mut client =
            TcpStream::connect(listener.local_addr().expect("a socket has an address"))
                .await
                .expect("a socket has an address");
        let (mut connection, _) = listener.accept().await;
        // The first byte of the request.
        client.write_all(b"P").await.expect("nothing fails on loopback");
        connection.read_exact(&mut [0]).await.expect("nothing fails on loopback");
        let (inner, requests) = mock::pair();
        Self { _client: client, connection, requests, inner }
    }

    fn service(&self, buffering: &Buffering) -> Dispatch<Inner> {
        DispatchLayer::new(self.connection.handle().clone())
            .with_buffering(buffering.clone())
            .layer(self.inner.clone())
    }
}

fn request(body: Scripted) -> Request<Scripted> {
    let mut request = Request::post("/order").body(body).expect("nothing fails on loopback");
    let hop = "127.0.0.1:1 127.0.0.1:2".parse().expect("two ends");
    Offer::all().write(&hop, request.headers_mut()).expect("a valid field");
    request
}

async fn call(
    service: &mut Dispatch<Inner>,
    body: Scripted,
) -> task::Spawn<impl Future<Output = Result<Response<DispatchBody<Full<Bytes>>>, BoxError>> + use<>>
{
    task::spawn(service.call(request(body)))
}

#[tokio::test(start_paused = true)]
async fn service_is_not_polled_before_the_request_is_whole() {
    let mut site = Site::new().await;
    site.requests.allow(0);
    let (script, body) = body(SizeHint::new());
    let mut call = call(&mut site.service(&Buffering::new()), body).await;
    assert_pending!(call.poll());
    script.data("abc");
    assert_pending!(call.poll());
    script.data("def");
    drop(script);
    // Whole, and the service is not ready: nothing is dispatched.
    assert_pending!(call.poll());
    assert_eq!(site.connection.handle().counters().dispatched, 0);
    site.requests.allow(1);
    assert!(call.is_woken());
    assert_pending!(call.poll());
    assert_eq!(site.connection.handle().counters().dispatched, 1);
    let (request, answer) = site.requests.next_request().await.unwrap();
    assert!(request.body().is_whole() && !request.headers().contains_key("retry-contract"));
    assert_eq!(request.body().size_hint().exact(), Some(6));
    assert_eq!(request.into_body().collect().await.unwrap().to_bytes(), "abcdef");
    answer.send_response(Response::new(Full::from("answer")));
    let response = assert_ready_ok!(call.poll());
    assert_eq!(response.body().size_hint().exact(), Some(6));
    assert!(response.headers().contains_key("retry-contract"));
}

#[tokio::test(start_paused = true)]
async fn request_that_waits_for_the_service_can_be_refused() {
    let mut site = Site::new().await;
    site.requests.allow(0);
    let (script, body) = body(SizeHint::with_exact(3));
    let mut call = call(&mut site.service(&Buffering::new()), body).await;
    script.data("abc");
    drop(script);
    assert_pending!(call.poll());
    site.connection.handle().go_away();
    assert!(call.is_woken());
    let response = assert_ready_ok!(call.poll());
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers()["retry-contract"].to_str().unwrap().ends_with("refused"));
    assert!(response.body().is_end_stream());
    let counters = site.connection.handle().counters();
    assert_eq!((counters.dispatched, counters.refused), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn request_that_does_not_arrive_in_time_is_refused() {
    let mut site = Site::new().await;
    site.requests.allow(1);
    let buffering = Buffering::new().with_arrival(Duration::from_secs(5));
    let (script, body) = body(SizeHint::with_exact(3));
    let mut call = call(&mut site.service(&buffering), body).await;
    assert_pending!(call.poll());
    tokio::time::advance(Duration::from_secs(4)).await;
    assert_pending!(call.poll());
    tokio::time::advance(Duration::from_secs(2)).await;
    let response = assert_ready_ok!(call.poll());
    assert_eq!(response.status(), StatusCode::REQUEST_TIMEOUT);
    assert_eq!(site.connection.handle().counters().dispatched, 0);
    drop(script);
}

#[tokio::test(start_paused = true)]
async fn request_whose_body_fails_is_not_dispatched() {
    let mut site = Site::new().await;
    site.requests.allow(1);
    let (script, body) = body(SizeHint::new());
    let mut call = call(&mut site.service(&Buffering::new()), body).await;
    script.data("abc");
    script.frames.send(Err("cut".into())).unwrap();
    let response = assert_ready_ok!(call.poll());
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let options: Vec<_> = response.headers().get_all("connection").iter().collect();
    assert_eq!(options, ["retry-contract", "close"]);
    assert_eq!(site.connection.handle().counters().dispatched, 0);
}

/// A budget of ten bytes in which no request is small, and none is the only one of
/// its peer: all come from one address.
fn ten() -> Buffering {
    Buffering::new().with_total_bytes(10).with_small(0, 0).with_bytes_per_peer(10)
}

#[tokio::test(start_paused = true)]
async fn requests_wait_for_memory_with_one_part_read() {
    let buffering = ten();
    let (mut first, mut second) = (Site::new().await, Site::new().await);
    first.requests.allow(1);
    second.requests.allow(1);
    let (first_script, first_body) = body(SizeHint::with_exact(6));
    let (second_script, second_body) = body(SizeHint::with_exact(5));
    let mut first_call = call(&mut first.service(&buffering), first_body).await;
    let mut second_call = call(&mut second.service(&buffering), second_body).await;
    assert_pending!(first_call.poll());
    assert_eq!(buffering.held(), 0, "nothing has arrived");
    first_script.data("123456");
    drop(first_script);
    assert_pending!(first_call.poll());
    second_script.data("12345");
    assert_pending!(second_call.poll());
    assert_eq!((second_script.polls(), buffering.held()), (1, 6));
    // The service has the first: its bytes are still in memory.
    assert!(!second_call.is_woken());
    let (request, _answer) = first.requests.next_request().await.unwrap();
    request.into_body().collect().await.unwrap();
    assert!(second_call.is_woken());
    drop(second_script);
    assert_pending!(second_call.poll());
    let (request, _answer) = second.requests.next_request().await.unwrap();
    assert_eq!(request.into_body().collect().await.unwrap().to_bytes(), "12345");
    assert_eq!(buffering.held(), 0);
}

#[tokio::test]
async fn attack_no_waker_is_cloned_under_the_lock_of_the_budget() {
    let buffering = ten();
    let (mut first, mut second) = (Site::new().await, Site::new().await);
    first.requests.allow(1);
    second.requests.allow(1);
    let (first_script, first_body) = body(SizeHint::with_exact(6));
    let (second_script, second_body) = body(SizeHint::with_exact(5));
    let mut first_call = call(&mut first.service(&buffering), first_body).await;
    first_script.data("123456");
    assert_pending!(first_call.poll());
    second_script.data("12345");
    let mut second_call = Box::pin(second.service(&buffering).call(request(second_body)));
    let (done, is_done) = std::sync::mpsc::channel();
    let runtime = tokio::runtime::Handle::current();
    std::thread::spawn(move || {
        let _entered = runtime.enter();
        let clones = Box::leak(Box::new((buffering, AtomicUsize::new(0))));
        let waker = asking_waker(clones);
        let polled = second_call.as_mut().poll(&mut Context::from_waker(&waker));
        let _ = done.send((polled.is_pending(), clones.1.load(Ordering::SeqCst)));
    });
    let waited = tokio::task::spawn_blocking(move || is_done.recv_timeout(Duration::from_secs(20)));
    let Ok((waits, clones)) = waited.await.unwrap() else {
        // Its drop would wait for the lock too.
        std::mem::forget(first_call);
        panic!("the lock was held, or the thread failed");
    };
    assert!(waits, "the first holds the memory");
    // Control: it was cloned, by the budget among others.
    assert!(clones > 1, "{clones}");
}

/// Returns a waker that asks for the held memory whenever it is cloned, and counts.
#[allow(unsafe_code, reason = "only a raw waker runs code when it is cloned")]
fn asking_waker(asked: &'static (Buffering, AtomicUsize)) -> Waker {
    const VTABLE: RawWakerVTable = RawWakerVTable::new(clone, |_| {}, |_| {}, |_| {});

    fn clone(data: *const ()) -> RawWaker {
        // SAFETY: each waker of this table has the same data, which lives forever.
        let (buffering, clones) = unsafe { &*data.cast::<(Buffering, AtomicUsize)>() };
        clones.fetch_add(1, Ordering::SeqCst);
        buffering.held();
        RawWaker::new(data, &VTABLE)
    }

    // SAFETY: the functions of the table keep the contract: they are thread-safe, and
    // own nothing.
    unsafe { Waker::from_raw(RawWaker::new(std::ptr::from_ref(asked).cast(), &VTABLE)) }
}

/// No memory stays reserved, whenever a call is dropped.
#[tokio::test(start_paused = true)]
async fn dropped_call_gives_its_memory_back() {
    for stage in 0..5 {
        let buffering = ten();
        let (mut first, mut second) = (Site::new().await, Site::new().await);
        first.requests.allow(1);
        second.requests.allow(1);
        let (first_script, first_body) = body(SizeHint::new());
        let (second_script, second_body) = body(SizeHint::new());
        let mut first_call = call(&mut first.service(&buffering), first_body).await;
        let mut second_call = call(&mut second.service(&buffering), second_body).await;
        if stage > 0 {
            first_script.data("123456");
            assert_pending!(first_call.poll());
            assert_eq!(buffering.held(), 6, "a part arrived");
        }
        if stage > 1 {
            second_script.data("12345");
            assert_pending!(second_call.poll());
            assert_eq!(buffering.held(), 6, "the second waits");
        }
        if stage > 2 {
            first_script.data("12345");
            assert!(is_refused(&assert_ready_ok!(first_call.poll())), "it is too large alone");
            assert_eq!(buffering.held(), 5, "the second was granted what it asked for");
        }
        if stage > 3 {
            drop(second_script);
            assert_pending!(second_call.poll());
            assert_eq!(second.connection.handle().counters().dispatched, 1);
        }
        drop(first_call);
        drop((second_call, first.requests, second.requests));
        assert_eq!(buffering.held(), 0, "after stage {stage}");
    }
}

fn is_refused<B>(response: &Response<B>) -> bool {
    let said = response.headers()["retry-contract"].to_str().unwrap_or_default();
    let options: Vec<_> = response.headers().get_all("connection").iter().collect();
    response.status() == StatusCode::SERVICE_UNAVAILABLE
        && said.ends_with("refused")
        && options.contains(&&http::HeaderValue::from_static("close"))
}

#[tokio::test(start_paused = true)]
async fn silent_request_gives_way_to_one_that_waits() {
    let buffering = ten().with_stall_limit(Duration::from_secs(3));
    let (mut first, mut second) = (Site::new().await, Site::new().await);
    first.requests.allow(1);
    second.requests.allow(1);
    let (first_script, first_body) = body(SizeHint::new());
    let (second_script, second_body) = body(SizeHint::new());
    let mut first_call = call(&mut first.service(&buffering), first_body).await;
    let mut second_call = call(&mut second.service(&buffering), second_body).await;
    first_script.data("123456");
    assert_pending!(first_call.poll());
    tokio::time::advance(Duration::from_secs(2)).await;
    second_script.data("12345");
    assert_pending!(second_call.poll());
    assert!(!first_call.is_woken(), "it was silent for two seconds");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(second_call.is_woken(), "it keeps the time");
    assert_pending!(second_call.poll());
    assert!(first_call.is_woken());
    assert!(is_refused(&assert_ready_ok!(first_call.poll())));
    assert_eq!(first.connection.handle().counters().dispatched, 0);
    drop(second_script);
    assert!(second_call.is_woken());
    assert_pending!(second_call.poll());
    assert_eq!(second.connection.handle().counters().dispatched, 1);
}

#[tokio::test(start_paused = true)]
async fn request_that_waits_for_memory_in_vain_is_refused() {
    let buffering = ten().with_arrival(Duration::from_secs(5));
    let (mut first, mut second) = (Site::new().await, Site::new().await);
    first.requests.allow(0);
    second.requests.allow(1);
    let (first_script, first_body) = body(SizeHint::with_exact(10));
    let (second_script, second_body) = body(SizeHint::with_exact(1));
    let mut first_call = call(&mut first.service(&buffering), first_body).await;
    let mut second_call = call(&mut second.service(&buffering), second_body).await;
    first_script.data("1234567890");
    drop(first_script);
    assert_pending!(first_call.poll());
    second_script.data("1");
    drop(second_script);
    assert_pending!(second_call.poll());
    tokio::time::advance(Duration::from_secs(6)).await;
    assert!(is_refused(&assert_ready_ok!(second_call.poll())));
    assert_eq!(second.connection.handle().counters().dispatched, 0);
    assert!(!first_call.is_woken(), "it is whole, and waits for its service");
}

/// Bodies are received in many parts, as many as fit, and copied together.
#[tokio::test(start_paused = true)]
async fn body_in_many_parts_holds_at_most_twice_what_arrived() {
    let buffering = Buffering::new();
    let mut site = Site::new().await;
    site.requests.allow(1);
    let (script, body) = body(SizeHint::new());
    let mut call = call(&mut site.service(&buffering), body).await;
    for arrived in 1..=3_000 {
        script.data("x");
        assert_pending!(call.poll());
        // Otherwise Tokio's budget for one turn runs out.
        tokio::task::yield_now().await;
        assert!((arrived..=2 * arrived).contains(&buffering.held()), "{arrived}");
    }
    drop(script);
    assert_pending!(call.poll());
    let (request, _answer) = site.requests.next_request().await.unwrap();
    assert_eq!(request.into_body().collect().await.unwrap().to_bytes(), "x".repeat(3_000));
    assert_eq!(buffering.held(), 0);
}

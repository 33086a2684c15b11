//! Which waiter gets which connection, and when another is made.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::net::TcpListener;

use super::super::key::KeyRef;
use super::*;
use tower_resend_core::HandOff;

async fn origin(options: PoolOptions) -> (TcpListener, Arc<OriginPool<Full<Bytes>>>) {
    origin_on(Handle::current(), options).await
}

async fn origin_on(
    runtime: Handle,
    options: PoolOptions,
) -> (TcpListener, Arc<OriginPool<Full<Bytes>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("http://{}/", listener.local_addr().unwrap());
    let request = Request::post(target).body(Full::<Bytes>::default()).unwrap();
    let dialer = Dialer::new(&options.connect);
    let (blocklist, permits) = (Arc::default(), Arc::new(Semaphore::new(2)));
    let key = KeyRef::new(&request, None).unwrap().to_key();
    let common =
        Common { options: &options, dialer: &dialer, blocklist: &blocklist, permits: &permits };
    (listener, OriginPool::new(key, &common, runtime))
}

/// With a limit of one, a resend waits for an unused connection while a used one
/// is returned, which has to make room.
#[tokio::test]
async fn connection_that_no_waiter_accepts_makes_room_for_a_new_one() {
    let (_listener, origin) = origin(PoolOptions::new().max_per_origin(1)).await;
    let mut used = origin.obtain(Freshness::Any).await.unwrap();
    assert!(poll_fn(|cx| used.connection.poll_ready(cx)).await);
    used.connection.mark_used();
    let mut unused = tokio_test::task::spawn(origin.obtain(Freshness::Unused));
    assert!(unused.poll().is_pending());
    Arc::clone(&origin).put(used);
    assert!(!unused.await.unwrap().connection.is_used());
}

/// Such a waiter started no connect of its own. No other would come.
#[tokio::test]
async fn waiter_gets_new_connect_when_shared_one_fails() {
    let (_listener, origin) = origin(PoolOptions::new()).await;
    for is_made in [true, false] {
        origin.lock().connects.begin();
        let made = match is_made {
            true => {
                Some(origin.connect(origin.limits.clone().acquire().await.unwrap()).await.unwrap())
            }
            false => None,
        };
        let now = time::now();
        let mut younger = tokio_test::task::spawn(origin.obtain(Freshness::UnusedSince(now)));
        assert!(younger.poll().is_pending());
        assert_eq!(origin.lock().connects.under_way(), 1, "control: there is no other connect");
        origin.end_connect(None, Ok(made));
        let obtained = time::timeout_at(now + origin.wait_timeout / 2, younger).await;
        assert!(obtained.expect("a connect").unwrap().connection.born() >= now);
        assert_eq!(origin.lock().connects.under_way(), 0);
    }
}

/// This waiter started no connect of its own either.
#[tokio::test]
async fn failure_goes_to_a_call_that_still_waits() {
    let (_listener, origin) = origin(PoolOptions::new()).await;
    origin.lock().connects.begin();
    origin.lock().connects.begin();
    let mut gone = tokio_test::task::spawn(origin.obtain(Freshness::Any));
    assert!(gone.poll().is_pending());
    let mut waits = tokio_test::task::spawn(origin.obtain(Freshness::Any));
    assert!(waits.poll().is_pending());
    drop(gone);
    origin.end_connect(None, Ok(None));
    assert!(waits.poll().is_pending(), "control: another connect is under way");
    let failure = ConnectFailure::Connect(None);
    origin.end_connect(None, Err(DialError::of(failure)));
    let told = tokio_test::assert_ready!(waits.poll());
    assert_eq!(told.unwrap_err().evidence().hand_off, HandOff::NotConnected(failure));
    assert_eq!(origin.lock().connects.under_way(), 0);
}

#[tokio::test]
async fn connect_that_is_dropped_with_its_runtime_has_failed() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (_listener, origin) = origin_on(runtime.handle().clone(), PoolOptions::new()).await;
    assert!(origin.obtain(Freshness::Any).await.is_ok(), "control");
    runtime.shutdown_background();
    let soon = time::now() + origin.wait_timeout / 2;
    let told = time::timeout_at(soon, origin.obtain(Freshness::Any)).await.expect("a failure");
    let not_connected = HandOff::NotConnected(ConnectFailure::Connect(None));
    assert_eq!(told.unwrap_err().evidence().hand_off, not_connected);
    assert_eq!(origin.lock().connects.under_way(), 0);
}

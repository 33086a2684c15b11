//! Who is given what, and when.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::net::TcpListener;

use super::super::key::KeyOf;
use super::*;
use tower_resend_core::HandOff;

async fn host(options: PoolOptions) -> (TcpListener, Arc<OriginPool<Full<Bytes>>>) {
    host_on(Handle::current(), options).await
}

async fn host_on(
    runtime: Handle,
    options: PoolOptions,
) -> (TcpListener, Arc<OriginPool<Full<Bytes>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("http://{}/", listener.local_addr().unwrap());
    let request = Request::post(target).body(Full::<Bytes>::default()).unwrap();
    let connector = Dialer::new(&options.connect);
    let places = Arc::new(Semaphore::new(2));
    let key = KeyOf::new(&request, None).unwrap().to_key();
    let host = OriginPool::new(key, connector, &options, places, &Arc::default(), runtime);
    (listener, Arc::new(host))
}

impl OriginPool<Full<Bytes>> {
    async fn places(&self) -> Permits {
        let (of_host, of_all) = (Arc::clone(&self.places), Arc::clone(&self.places_of_all));
        Permits::take(of_host, of_all).await.unwrap()
    }
}

/// With one place, a resend waits for an unused connection while a used
/// one is given back: that one must make room.
#[tokio::test]
async fn a_connection_that_suits_nobody_makes_room_for_one_that_does() {
    let (_listener, host) = host(PoolOptions::new().max_per_origin(1)).await;
    let mut used = host.obtain(Freshness::Any).await.unwrap();
    assert!(poll_fn(|cx| used.connection.poll_ready(cx)).await);
    used.connection.mark_used();
    let mut unused = tokio_test::task::spawn(host.obtain(Freshness::Unused));
    assert!(unused.poll().is_pending());
    host.put(used);
    assert!(!unused.await.unwrap().connection.is_used());
}

/// Such a waiter started no connect of its own, and would wait for none.
#[tokio::test]
async fn who_counted_on_a_connect_that_came_to_nothing_for_him_gets_another() {
    let (_listener, host) = host(PoolOptions::new()).await;
    for is_made in [true, false] {
        host.lock().connecting += 1;
        let made = match is_made {
            true => Some(host.connect(host.places().await).await.unwrap()),
            false => None,
        };
        let now = time::now();
        let mut younger = tokio_test::task::spawn(host.obtain(Freshness::UnusedSince(now)));
        assert!(younger.poll().is_pending());
        assert_eq!(host.lock().connecting, 1, "control: there is no other connect");
        host.end_connect(None, Ok(made));
        let obtained = time::timeout_at(now + host.wait_timeout / 2, younger).await;
        assert!(obtained.expect("a connect").unwrap().connection.born() >= now);
        assert_eq!(host.lock().connecting, 0);
    }
}

/// This waiter started no connect of its own either.
#[tokio::test]
async fn a_failure_is_told_to_whoever_still_waits() {
    let (_listener, host) = host(PoolOptions::new()).await;
    host.lock().connecting = 2;
    let mut gone = tokio_test::task::spawn(host.obtain(Freshness::Any));
    assert!(gone.poll().is_pending());
    let mut waits = tokio_test::task::spawn(host.obtain(Freshness::Any));
    assert!(waits.poll().is_pending());
    drop(gone);
    host.end_connect(None, Ok(None));
    assert!(waits.poll().is_pending(), "control: another connect is under way");
    let failure = ConnectFailure::Connect(None);
    host.end_connect(None, Err(DialError::of(failure)));
    let told = tokio_test::assert_ready!(waits.poll());
    assert_eq!(told.unwrap_err().evidence().hand_off, HandOff::NotConnected(failure));
    assert_eq!(host.lock().connecting, 0);
}

#[tokio::test]
async fn a_connect_that_is_dropped_with_its_runtime_has_failed() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (_listener, host) = host_on(runtime.handle().clone(), PoolOptions::new()).await;
    assert!(host.obtain(Freshness::Any).await.is_ok(), "control");
    runtime.shutdown_background();
    let soon = time::now() + host.wait_timeout / 2;
    let told = time::timeout_at(soon, host.obtain(Freshness::Any)).await.expect("a failure");
    let not_connected = HandOff::NotConnected(ConnectFailure::Connect(None));
    assert_eq!(told.unwrap_err().evidence().hand_off, not_connected);
    assert_eq!(host.lock().connecting, 0);
}

//! A waker is foreign code: it may use the pool while it is woken or dropped.

#![allow(clippy::unwrap_used, reason = "a test panics when something is in its way")]

use testkit::origin;

use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use origin::Origin;
use tower::Service;
use tower_resend::pool::{Pool, PoolOptions};

type FullBody = Full<Bytes>;

/// Begins a call when it is woken, and another when it is dropped.
struct Nosy {
    pool: Pool<FullBody>,
    url: String,
}

impl Nosy {
    fn ask(&self) {
        let request = Request::post(&self.url).body(FullBody::from("pay")).unwrap();
        drop(self.pool.clone().call(request));
    }
}

impl Wake for Nosy {
    fn wake(self: Arc<Self>) {
        self.ask();
    }
}

impl Drop for Nosy {
    fn drop(&mut self) {
        self.ask();
    }
}

/// What the waiting call does in the end.
#[derive(Clone, Copy)]
enum Waits {
    UntilItIsServed,
    NoLonger,
}

async fn wait_with_a_nosy_waker(waits: Waits) {
    let origin = Origin::start(1, |_, mut peer| {
        peer.serve(1);
        // Until the other end closes.
        peer.read_request();
    });
    let request = || Request::post(origin.url("/")).body(FullBody::from("pay")).unwrap();
    let options = PoolOptions::new().max_per_origin(1).hedged_connects(false);
    let mut pool = Pool::new(options);
    let answered = pool.call(request()).await.unwrap();

    let waker = Waker::from(Arc::new(Nosy { pool: pool.clone(), url: origin.url("/nosy") }));
    let mut waiting = Box::pin(pool.call(request()));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop(waker);
    match waits {
        Waits::UntilItIsServed => drop(answered.into_body().collect().await.unwrap()),
        Waits::NoLonger => {
            drop(waiting);
            // The next in the queue finds that the one before has left it.
            let mut next = pin!(pool.call(request()));
            assert!(next.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
    }
}

/// If the pool were locked, the waker would wait for its own thread.
#[test]
fn attack_a_waker_that_uses_the_pool_finds_it_unlocked() {
    for waits in [Waits::UntilItIsServed, Waits::NoLonger] {
        let (done, is_done) = channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(wait_with_a_nosy_waker(waits));
            done.send(()).unwrap();
        });
        is_done.recv_timeout(Duration::from_secs(20)).expect("the pool is locked");
    }
}

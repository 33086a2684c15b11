//! Parts for the legacy client that a test holds in its hand: a connector that
//! waits, connections whose reads wait and that can be dropped, an executor
//! that stops.

#![allow(clippy::unwrap_used, reason = "a test helper panics when it is in the way")]

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use http::Uri;
use hyper::rt::{Executor, Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::sync::watch;
use tower::Service;
use tower_resend::hyper_util::{ConnectError, Connector, TrackedStream};

/// Our connector behind a gate.
#[derive(Clone)]
pub(crate) struct Gated {
    inner: Connector,
    is_open: watch::Sender<bool>,
    /// How many connects were begun, and how many of them waited.
    begun: watch::Sender<(usize, usize)>,
    ios: Arc<Mutex<Vec<Slot>>>,
    stop: Arc<Mutex<Option<Stop>>>,
}

impl Gated {
    pub(crate) fn new() -> Self {
        Self {
            inner: Connector::new(),
            is_open: watch::Sender::new(true),
            begun: watch::Sender::new((0, 0)),
            ios: Arc::default(),
            stop: Arc::default(),
        }
    }

    /// Lets connects wait from here on.
    pub(crate) fn close(&self) {
        self.is_open.send_replace(false);
    }

    pub(crate) fn open(&self) {
        self.is_open.send_replace(true);
    }

    /// Returns how many connects were begun.
    pub(crate) fn connects(&self) -> usize {
        self.begun.borrow().0
    }

    /// Returns once so many connects have come to a closed gate.
    pub(crate) async fn until_waiting(&self, connects: usize) {
        self.begun.subscribe().wait_for(|(_, waited)| *waited >= connects).await.unwrap();
    }

    /// Stops the thread of the next read that finds nothing, until the sender
    /// says so or is dropped.
    pub(crate) fn stop_after_read(&self) -> (Receiver<()>, Sender<()>) {
        let (has_read, read) = channel();
        let (go, may_go) = channel();
        *self.stop.lock().unwrap() = Some(Stop { has_read, may_go });
        (read, go)
    }

    /// Cancels a stop that has not happened yet.
    pub(crate) fn cancel_stop(&self) {
        self.stop.lock().unwrap().take();
    }

    /// Drops what is below hyper of all connections.
    pub(crate) fn drop_ios(&self) {
        self.ios.lock().unwrap().drain(..).for_each(|io| drop(io.lock().unwrap().take()));
    }
}

impl Service<Uri> for Gated {
    type Response = Held;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Held, ConnectError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let waits = usize::from(!*self.is_open.borrow());
        self.begun.send_modify(|(begun, waited)| (*begun, *waited) = (*begun + 1, *waited + waits));
        let mut this = self.clone();
        Box::pin(async move {
            this.is_open.subscribe().wait_for(|is_open| *is_open).await.unwrap();
            let metered = this.inner.call(target).await?;
            let slot = Arc::new(Mutex::new(Some(metered)));
            this.ios.lock().unwrap().push(Arc::clone(&slot));
            Ok(Held { slot, stop: this.stop })
        })
    }
}

type Slot = Arc<Mutex<Option<TrackedStream>>>;

/// Says that a read found nothing, and waits there.
struct Stop {
    has_read: Sender<()>,
    may_go: Receiver<()>,
}

/// A connection that others can drop, and stop after a read.
pub(crate) struct Held {
    slot: Slot,
    stop: Arc<Mutex<Option<Stop>>>,
}

impl Held {
    fn with<T>(
        &self,
        poll: impl FnOnce(Pin<&mut TrackedStream>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match &mut *self.slot.lock().unwrap() {
            Some(metered) => poll(Pin::new(metered)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl Connection for Held {
    fn connected(&self) -> Connected {
        self.slot.lock().unwrap().as_ref().unwrap().connected()
    }
}

impl Read for Held {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let read = self.with(|metered| metered.poll_read(cx, buf));
        let stop = if read.is_pending() { self.stop.lock().unwrap().take() } else { None };
        if let Some(stop) = stop {
            let _ = stop.has_read.send(());
            let _ = stop.may_go.recv();
        }
        read
    }
}

impl Write for Held {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.with(|metered| metered.poll_write(cx, octets))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|metered| metered.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|metered| metered.poll_shutdown(cx))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.slot.lock().unwrap().take());
    }
}

/// Runs tasks on tokio until it is frozen.
#[derive(Clone, Default)]
pub(crate) struct Freezing(Arc<AtomicBool>);

impl Freezing {
    pub(crate) fn freeze(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl<F> Executor<F> for Freezing
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        let is_frozen = Arc::clone(&self.0);
        let mut task = Box::pin(task);
        tokio::spawn(std::future::poll_fn(move |cx| match is_frozen.load(Ordering::SeqCst) {
            true => Poll::Pending,
            false => task.as_mut().poll(cx),
        }));
    }
}

/// Wakes a task, and then blocks the thread that woke it until something is received, once,
/// if that was requested.
#[derive(Clone, Default)]
pub(crate) struct Keeping(Arc<Mutex<Option<Receiver<()>>>>);

impl Keeping {
    pub(crate) fn until(&self, received: Receiver<()>) {
        *self.0.lock().unwrap() = Some(received);
    }

    /// Runs a future that is woken so.
    pub(crate) async fn run<F: Future>(self, future: F) -> F::Output {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|cx| {
            let waker = Kept { inner: cx.waker().clone(), keeping: self.clone() };
            let waker = Waker::from(Arc::new(waker));
            future.as_mut().poll(&mut Context::from_waker(&waker))
        })
        .await
    }
}

struct Kept {
    inner: Waker,
    keeping: Keeping,
}

impl Wake for Kept {
    fn wake(self: Arc<Self>) {
        self.inner.wake_by_ref();
        let received = self.keeping.0.lock().unwrap().take();
        if let Some(received) = received {
            let _ = received.recv();
        }
    }
}

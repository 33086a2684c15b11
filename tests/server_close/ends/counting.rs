//! Control: a server that arms when as many requests have finished as have started,
//! counted in the service. It arms in the middle of a second request.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tower_resend_core::contract::{Announcement, Hop, Max};

use super::server::{Latest, say, work};

#[derive(Debug, Default)]
pub(crate) struct Counts {
    started: AtomicU64,
    finished: AtomicU64,
    is_armed: AtomicBool,
}

/// Serves until killed.
pub(crate) async fn serve(address: SocketAddr, latest: Latest) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    say(&listener.local_addr()?.to_string());
    loop {
        let (stream, peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let hop = Hop::seen_by_server(peer, stream.local_addr()?);
        let counts = Arc::new(Counts::default());
        let state = Arc::clone(&counts);
        *latest.lock().unwrap() = Some(Box::new(move || state.describe()));
        let io = TokioIo::new(Counting { stream, counts: Arc::clone(&counts) });
        let service = service_fn(move |request| respond(hop, Arc::clone(&counts), request));
        tokio::spawn(async move {
            let _ = http1::Builder::new().serve_connection(io, service).await;
        });
    }
}

async fn respond(
    hop: Hop,
    counts: Arc<Counts>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    counts.started.fetch_add(1, SeqCst);
    let (head, body) = request.into_parts();
    body.collect().await?;
    work(head.uri.path(), std::future::pending()).await;
    counts.finished.fetch_add(1, SeqCst);
    let mut response = Response::new(Full::from("done"));
    let announcement = Announcement::new(hop).with_rst(Max::default());
    announcement.write(response.headers_mut()).unwrap();
    Ok(response)
}

impl Counts {
    fn describe(&self) -> String {
        let is_running = self.started.load(SeqCst) > self.finished.load(SeqCst);
        let phase = if is_running { "Dispatched" } else { "Idle" };
        format!("{phase} {}", if self.is_armed.load(SeqCst) { "armed" } else { "clear" })
    }
}

struct Counting {
    stream: TcpStream,
    counts: Arc<Counts>,
}

impl Counting {
    fn arm(&self, is_armed: bool) {
        let linger = is_armed.then_some(Duration::ZERO);
        SockRef::from(&self.stream).set_linger(linger).unwrap();
        self.counts.is_armed.store(is_armed, SeqCst);
    }

    fn arm_if_even(&self) {
        let finished = self.counts.finished.load(SeqCst);
        if finished > 0 && finished == self.counts.started.load(SeqCst) {
            self.arm(true);
        }
    }
}

impl AsyncRead for Counting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        match polled {
            Poll::Ready(_) => self.arm(false),
            Poll::Pending => self.arm_if_even(),
        }
        polled
    }
}

impl AsyncWrite for Counting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.arm_if_even();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

//! The staged close (S5): the closing response if one is owed, the FIN, and
//! then reading on until the client's FIN, so that no reset erases the
//! response.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::time::{Sleep, now, sleep};
use tower_resend_core::contract::{Announcement, ClosingStatus, Hop};

/// How long the client's FIN is waited for, and how long a closing response
/// may take to be written.
const PATIENCE: Duration = Duration::from_secs(2);
/// Reads in one turn of the task.
const READS: u32 = 16;

/// The closing response (S4, S6).
pub(super) fn refusal(hop: Hop, status: ClosingStatus) -> Vec<u8> {
    let code = status.code();
    let reason = code.canonical_reason().unwrap_or("Going Away");
    let contract = Announcement::new(hop).with_refused();
    format!(
        "HTTP/1.1 {} {reason}\r\nConnection: close, retry-contract\r\n\
         Retry-Contract: {contract}\r\nContent-Length: 0\r\n\r\n",
        code.as_str(),
    )
    .into_bytes()
}

/// What a client is told that never sent anything.
pub(super) fn unused(hop: Hop) -> Vec<u8> {
    refusal(hop, ClosingStatus::GoingAway)
}

/// A connection on its way to its end.
#[derive(Debug)]
pub(super) struct Closing {
    stage: Stage,
    reads_on: bool,
    deadline: Pin<Box<Sleep>>,
}

#[derive(Debug)]
enum Stage {
    ClosingMessage { octets: Vec<u8>, written: usize },
    Flush,
    Fin,
    Drain,
    Done,
}

impl Closing {
    /// Returns a close that begins with these bytes, and reads on after the
    /// FIN so that no reset erases them or a response before them.
    pub(super) fn staged(octets: Vec<u8>) -> Self {
        let stage = Stage::ClosingMessage { octets, written: 0 };
        Self { stage, reads_on: true, deadline: Box::pin(sleep(PATIENCE)) }
    }

    /// Returns a close with nothing left to lose.
    pub(super) fn at_once() -> Self {
        Self { stage: Stage::Flush, reads_on: false, deadline: Box::pin(sleep(PATIENCE)) }
    }

    /// Returns `true` if the FIN is still to be sent.
    pub(super) fn is_before_fin(&self) -> bool {
        matches!(self.stage, Stage::ClosingMessage { .. } | Stage::Flush | Stage::Fin)
    }

    /// Goes on closing; ready when the stream may be dropped.
    pub(super) fn poll<S>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut stream = Pin::new(stream);
        loop {
            let stepped = match &mut self.stage {
                Stage::ClosingMessage { octets, written } if *written < octets.len() => {
                    let polled = stream.as_mut().poll_write(cx, &octets[*written..]);
                    polled.map_ok(|octets| *written += octets).map(|done| done.map(|()| None))
                }
                Stage::ClosingMessage { .. } => Poll::Ready(Ok(Some(Stage::Flush))),
                Stage::Flush => stream.as_mut().poll_flush(cx).map_ok(|()| Some(Stage::Fin)),
                Stage::Fin if self.reads_on => {
                    stream.as_mut().poll_shutdown(cx).map_ok(|()| Some(Stage::Drain))
                }
                Stage::Fin => stream.as_mut().poll_shutdown(cx).map_ok(|()| Some(Stage::Done)),
                Stage::Drain => drain(stream.as_mut(), cx).map_ok(|()| Some(Stage::Done)),
                Stage::Done => return Poll::Ready(()),
            };
            match stepped {
                Poll::Ready(Ok(None)) => {}
                Poll::Ready(Ok(Some(stage))) => self.enter(stage),
                // The stream failed: no peer is left to tell.
                Poll::Ready(Err(_)) => self.stage = Stage::Done,
                Poll::Pending => {
                    ready!(self.deadline.as_mut().poll(cx));
                    self.stage = Stage::Done;
                }
            }
        }
    }

    fn enter(&mut self, stage: Stage) {
        if matches!(stage, Stage::Drain) {
            self.deadline.as_mut().reset(now() + PATIENCE);
        }
        self.stage = stage;
    }
}

/// Reads and discards until the peer's FIN.
fn drain<S: AsyncRead>(mut stream: Pin<&mut S>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    let mut discarded = [0; 4096];
    for _ in 0..READS {
        let mut buf = ReadBuf::new(&mut discarded);
        ready!(stream.as_mut().poll_read(cx, &mut buf))?;
        if buf.filled().is_empty() {
            return Poll::Ready(Ok(()));
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

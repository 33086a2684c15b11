//! The staged close (S5): the closing response if one is owed, the FIN, and
//! then reading on until the client's FIN, so that no reset erases the
//! response.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::tracker::{CloseOrder, CloseTracker};
use crate::time::{Sleep, now, sleep};
use tower_resend_core::close::{CloseMachine, ClosingMessage};
use tower_resend_core::contract::{Announcement, ClosingStatus, Hop};

/// A connection on its way to its end.
///
/// ```text
/// ClosingResponse --> Flush --> Fin --> Drain --> Done
///                                 |                 ^
///                                 +-- no reading on +
/// ```
///
/// An error, and two seconds without progress to `Drain` or through it, lead to
/// `Done`.
pub(super) struct StagedClose {
    stage: Stage,
    reads_on: bool,
    deadline: Pin<Box<Sleep>>,
    tracker: Arc<CloseTracker>,
}

#[derive(Debug)]
enum Stage {
    ClosingResponse { bytes: Vec<u8>, written: usize },
    Flush,
    Fin,
    Drain,
    Done,
}

impl StagedClose {
    pub(super) fn new(order: CloseOrder, tracker: Arc<CloseTracker>) -> Self {
        let stage = match order.response {
            Some(status) => {
                Stage::ClosingResponse { bytes: closing_response(tracker.hop, status), written: 0 }
            }
            None => Stage::Flush,
        };
        Self { stage, reads_on: order.reads_on, deadline: Box::pin(sleep(PATIENCE)), tracker }
    }

    /// Returns `true` if the FIN is still to be sent.
    pub(super) fn is_before_fin(&self) -> bool {
        matches!(self.stage, Stage::ClosingResponse { .. } | Stage::Flush | Stage::Fin)
    }

    /// Goes on closing; ready when the stream may be dropped.
    pub(super) fn poll<S>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut stream = Pin::new(stream);
        loop {
            let stepped = match &mut self.stage {
                Stage::ClosingResponse { bytes, written } if *written < bytes.len() => {
                    // Each time: once the connection is disarmed, the rest would
                    // be bytes in a tunnel.
                    if self.tracker.ask(CloseMachine::closing_message) == ClosingMessage::Silent {
                        self.stage = Stage::Flush;
                        continue;
                    }
                    let polled = stream.as_mut().poll_write(cx, &bytes[*written..]);
                    polled.map_ok(|count| *written += count).map(|done| done.map(|()| None))
                }
                Stage::ClosingResponse { .. } => Poll::Ready(Ok(Some(Stage::Flush))),
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
                Poll::Ready(Ok(Some(stage))) => {
                    if matches!(stage, Stage::Drain) {
                        self.deadline.as_mut().reset(now() + PATIENCE);
                    }
                    self.stage = stage;
                }
                // The stream failed: no peer is left to tell.
                Poll::Ready(Err(_)) => self.stage = Stage::Done,
                Poll::Pending => {
                    ready!(self.deadline.as_mut().poll(cx));
                    self.stage = Stage::Done;
                }
            }
        }
    }
}

/// Returns the closing response (S4, S6).
fn closing_response(hop: Hop, status: ClosingStatus) -> Vec<u8> {
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

/// Reads and discards until the peer's FIN.
fn drain<S: AsyncRead>(mut stream: Pin<&mut S>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    let mut discarded = [0; 4096];
    for _ in 0..READS_PER_TURN {
        let mut buf = ReadBuf::new(&mut discarded);
        ready!(stream.as_mut().poll_read(cx, &mut buf))?;
        if buf.filled().is_empty() {
            return Poll::Ready(Ok(()));
        }
    }
    // A peer that sends without end must not keep the task from its others.
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// How long the client's FIN is waited for, and how long a closing response
/// may take to be written.
const PATIENCE: Duration = Duration::from_secs(2);
const READS_PER_TURN: u32 = 16;

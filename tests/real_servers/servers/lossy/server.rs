//! The server behind the relay: it acts on a request's head, and ends.

use std::io;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

use super::Ends;
use crate::servers::truth::Recorder;

/// On which connection an order was dispatched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// One that had carried a request before: the first that the order was sent on.
    OnUsed,
    /// One of its own.
    OnFresh,
}

impl Taken {
    /// Returns the number by which it is recorded of an order.
    pub(crate) fn number(self, id: u64) -> u64 {
        id * 2 + u64::from(self == Self::OnFresh)
    }
}

/// Serves until killed.
pub(crate) async fn serve(
    ends: Ends,
    listener: TcpListener,
    recorder: Rc<Recorder>,
) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let recorder = Rc::clone(&recorder);
        spawn_local(async move { drop(connection(ends, stream, &recorder).await) });
    }
}

/// Answers what warms the connection up, until an order comes.
async fn connection(ends: Ends, mut stream: TcpStream, recorder: &Recorder) -> io::Result<()> {
    let mut taken = Taken::OnFresh;
    let mut unread = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break unread.drain(..end + 4).collect::<Vec<_>>();
            }
            if stream.read_buf(&mut unread).await? == 0 {
                return Ok(());
            }
        };
        if let Some(id) = order(&head) {
            recorder.dispatch(taken.number(id));
            return match ends {
                Ends::Resets => stream.set_zero_linger(),
                Ends::Closes => Ok(()),
            };
        }
        taken = Taken::OnUsed;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await?;
    }
}

/// Returns the number of the order whose head this is.
fn order(head: &[u8]) -> Option<u64> {
    let head = std::str::from_utf8(head).ok()?;
    head.strip_prefix("POST /orders/")?.split(' ').next()?.parse().ok()
}

//! What a proxy is told before its tunnel is open, and what it answers.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::conn::TrackedIo;

/// The protocol that a proxy speaks. Which side resolves the target's name follows
/// curl.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Protocol {
    Http,
    Socks4 { resolves: bool },
    Socks5 { resolves: bool },
}

/// A connection to a proxy, until the proxy's answer is read.
///
/// It is read byte by byte: what follows the answer comes from the origin, and a
/// connector that read it too would drop it. What an origin sends unasked must be
/// there for the stale check to find.
pub(super) struct Greeting {
    io: TrackedIo,
    heard: Heard,
}

impl Greeting {
    /// Returns a connection whose first bytes are noted in `heard`.
    pub(super) fn new(io: TrackedIo, heard: Heard) -> Self {
        Self { io, heard }
    }

    /// Returns the connection once the proxy's answer is read.
    pub(super) fn into_io(self) -> TrackedIo {
        self.io
    }
}

impl AsyncRead for Greeting {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let greeting = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let mut byte = [0];
        let mut read = ReadBuf::new(&mut byte);
        ready!(Pin::new(&mut greeting.io).poll_read(cx, &mut read))?;
        greeting.heard.on_bytes(read.filled());
        buf.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Greeting {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

/// The first bytes that a proxy sent, as many as tell why it refused.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Arc<Mutex<Vec<u8>>>);

impl Heard {
    const MOST: usize = 12;

    fn on_bytes(&self, bytes: &[u8]) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = Self::MOST - heard.len();
        heard.extend_from_slice(&bytes[..room.min(bytes.len())]);
    }

    /// Returns what was heard as an answer of this protocol.
    pub(super) fn answer(&self, protocol: Protocol) -> ProxyAnswer {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match protocol {
            Protocol::Http => {
                let status = status(&heard);
                ProxyAnswer { status, is_denied: status.is_some_and(is_denial) }
            }
            Protocol::Socks4 { .. } => {
                ProxyAnswer { status: None, is_denied: matches!(*heard, [0, 92 | 93, ..]) }
            }
            Protocol::Socks5 { .. } => {
                ProxyAnswer { status: None, is_denied: is_denied_by_socks5(&heard) }
            }
        }
    }
}

/// What a proxy that opened no tunnel said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProxyAnswer {
    /// Of a CONNECT.
    pub(super) status: Option<StatusCode>,
    /// It would refuse the same request again.
    pub(super) is_denied: bool,
}

/// Returns `true` if the proxy would answer the same CONNECT so again.
fn is_denial(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::PROXY_AUTHENTICATION_REQUIRED
            | StatusCode::NOT_IMPLEMENTED
    )
}

/// Returns `true` for: no acceptable method, credentials refused (RFC 1929), or the
/// connection is not allowed (RFC 1928 6).
fn is_denied_by_socks5(heard: &[u8]) -> bool {
    match heard {
        [5, 0xff, ..] => true,
        [5, 2, 1, refused, ..] if *refused != 0 => true,
        [5, 2, 1, 0, 5, reply, ..] | [5, 0, 5, reply, ..] => *reply == 2,
        _ => false,
    }
}

/// Reads `HTTP/1.x nnn` (RFC 9112 4).
fn status(heard: &[u8]) -> Option<StatusCode> {
    let [b'H', b'T', b'T', b'P', b'/', b'1', b'.', _, b' ', code @ ..] = heard else {
        return None;
    };
    StatusCode::from_bytes(code.get(..3)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_denied(protocol: Protocol, said: &[u8]) -> bool {
        let heard = Heard::default();
        said.chunks(1).for_each(|byte| heard.on_bytes(byte));
        heard.answer(protocol).is_denied
    }

    #[test]
    fn permanent_refusals_are_told_from_temporary_ones() {
        const SOCKS4: Protocol = Protocol::Socks4 { resolves: true };
        const SOCKS5: Protocol = Protocol::Socks5 { resolves: true };
        for (protocol, said) in [
            (Protocol::Http, &b"HTTP/1.1 407 Credentials\r\n"[..]),
            (Protocol::Http, b"HTTP/1.0 403 No\r\n"),
            (SOCKS4, &[0, 93, 0, 0]),
            (SOCKS5, &[5, 255]),
            (SOCKS5, &[5, 2, 1, 1]),
            (SOCKS5, &[5, 2, 1, 0, 5, 2, 0]),
            (SOCKS5, &[5, 0, 5, 2, 0]),
        ] {
            assert!(is_denied(protocol, said), "{said:?}");
        }
        for (protocol, said) in [
            (Protocol::Http, &b""[..]),
            (Protocol::Http, b"HTTP/1.1 40"),
            (Protocol::Http, b"HTTP/1.1 503 Later\r\n"),
            (Protocol::Http, b"SSH-2.0-407 407\r\n"),
            (SOCKS4, &[0, 91, 0, 0]),
            (SOCKS5, &[5, 0, 5, 5, 0]),
            (SOCKS5, &[5, 2, 1, 0, 5, 1, 0]),
            (SOCKS5, b"HTTP/1.1 407"),
        ] {
            assert!(!is_denied(protocol, said), "{said:?}");
        }
    }
}

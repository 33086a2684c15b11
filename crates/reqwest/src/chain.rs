//! What an error of reqwest's client proves about the one request that it sent.
//!
//! The chain is walked one known type at a time, never searched. A request's body may fail
//! with an error of another client, whose failed connect or stream says nothing about this
//! request.

use std::error::Error as StdError;
use std::io;

use hyper_util::client::legacy;
use tower_resend::__adapter::chain as causes;
#[cfg(feature = "tls")]
use tower_resend::__adapter::ends_every_handshake;
use tower_resend_core::{Answer, ConnectFailure, Errno, Evidence, HandOff, StaleReason};

/// Returns the evidence of a call that sent at most one request.
///
/// `is_body_polled`: whether a connection polled the request's body.
pub(crate) fn evidence(error: &reqwest::Error, is_body_polled: bool) -> Evidence {
    let unrecorded = Evidence::new(HandOff::Unrecorded);
    let Some(client) = source::<legacy::Error>(error) else { return unrecorded };
    if client.is_connect() {
        return Evidence::new(HandOff::NotConnected(connect_failure(error, client)));
    }
    let Some(connection) = source::<hyper::Error>(client) else { return unrecorded };
    if connection.is_canceled() {
        return Evidence::new(HandOff::HandedBack(StaleReason::Ended));
    }
    // An error of the request's own body is one of hyper's user errors.
    if !connection.is_user()
        && let Some(stream) = source::<h2::Error>(connection)
        && is_refused(stream, is_body_polled)
    {
        return Evidence::new(HandOff::Written).with_answer(Answer::RefusedStream);
    }
    unrecorded
}

/// Returns an error's direct source, if it is of this type.
fn source<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    error.source()?.downcast_ref()
}

/// Returns `true` if the peer guarantees that it processed nothing of a stream
/// (RFC 9113 8.7): it reset the stream with `REFUSED_STREAM`, or sent a GOAWAY
/// whose last stream is an earlier one.
///
/// By the peer's GOAWAY, h2 ends only the streams after the last one that it names. But
/// between opening a stream and first polling its body, hyper asks h2 whether the connection
/// takes more. If it does not, this request fails with the same error, even if the GOAWAY
/// names its stream as one that is being processed. So the error proves nothing if no body
/// was polled.
fn is_refused(error: &h2::Error, is_body_polled: bool) -> bool {
    error.is_remote()
        && match error.is_go_away() {
            true => is_body_polled,
            false => error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM),
        }
}

fn connect_failure(error: &reqwest::Error, client: &legacy::Error) -> ConnectFailure {
    if error.is_dns() {
        return ConnectFailure::Resolve;
    }
    let mut causes = client.source().into_iter().flat_map(causes);
    let found = causes.find_map(|cause| connect_failure_of(cause.downcast_ref()?));
    found.unwrap_or_else(|| match error.is_timeout() {
        true => ConnectFailure::TimedOut,
        false => ConnectFailure::Connect(None),
    })
}

/// Looks into an I/O error and the errors that it wraps, which `source` skips. A connector
/// over TLS wraps the handshake's I/O error, which wraps that of rustls.
fn connect_failure_of(error: &io::Error) -> Option<ConnectFailure> {
    if let Some(errno) = error.raw_os_error() {
        return Some(ConnectFailure::Connect(Some(Errno(errno))));
    }
    let inner = error.get_ref()?;
    #[cfg(feature = "tls")]
    if let Some(handshake) = inner.downcast_ref() {
        return Some(match ends_every_handshake(handshake) {
            true => ConnectFailure::Untrusted,
            false => ConnectFailure::Tls,
        });
    }
    connect_failure_of(inner.downcast_ref()?)
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use bytes::Bytes;
    use http::{Request, Uri};
    use http_body_util::{BodyExt, Full, StreamBody};
    use hyper::rt::{Read, ReadBufCursor, Write};
    use hyper_util::client::legacy::connect::{Connected, Connection};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::sync::mpsc;
    use tower::service_fn;

    use super::*;
    use tower_resend_core::{Contract, Doubt, Fate, Proof, classify};

    /// A connection in memory, which ends when its other end is dropped.
    struct Pipe(TokioIo<DuplexStream>);

    impl Connection for Pipe {
        fn connected(&self) -> Connected {
            Connected::new()
        }
    }

    impl Read for Pipe {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: ReadBufCursor<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, buf)
        }
    }

    impl Write for Pipe {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(cx, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    /// Returns the error of a request that the legacy client handed to a connection that had
    /// ended.
    async fn handed_back() -> legacy::Error {
        let (give, mut origin) = mpsc::unbounded_channel();
        let connector = service_fn(move |_: Uri| {
            let (near, far) = duplex(4096);
            let given = give.send(far).map_err(io::Error::other);
            std::future::ready(given.map(|()| Pipe(TokioIo::new(near))))
        });
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        let client = builder.retry_canceled_requests(false).build(connector);
        let request = || {
            let body = Full::<Bytes>::from("pay");
            client.request(Request::post("http://origin.invalid/").body(body).unwrap())
        };

        let first = tokio::spawn(request());
        let mut far: DuplexStream = origin.recv().await.unwrap();
        assert!(far.read(&mut [0; 4096]).await.unwrap() > 0);
        far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        first.await.unwrap().unwrap();
        // Nothing else runs until the next request has been queued.
        drop(far);
        request().await.unwrap_err()
    }

    /// Returns an error of reqwest with this source, by failing a body.
    async fn of_reqwest(source: impl Into<tower::BoxError>) -> reqwest::Error {
        let failed = Err::<http_body::Frame<Bytes>, _>(source.into());
        let body = StreamBody::new(tokio_stream::once(failed));
        reqwest::Body::wrap(body).frame().await.unwrap().unwrap_err()
    }

    fn fate(error: &reqwest::Error) -> Fate {
        classify(&evidence(error, true), &Contract::none())
    }

    #[tokio::test]
    async fn request_that_was_handed_back_was_never_sent() {
        let error = of_reqwest(handed_back().await).await;
        assert_eq!(fate(&error), Fate::NotApplied(Proof::HandedBack(StaleReason::Ended)));
    }

    #[tokio::test]
    async fn hand_back_deeper_in_the_chain_proves_nothing() {
        let error = of_reqwest(io::Error::other(handed_back().await)).await;
        assert_eq!(fate(&error), Fate::Unknown(Doubt::NoEvidence));
        let error = of_reqwest(of_reqwest(handed_back().await).await).await;
        assert_eq!(fate(&error), Fate::Unknown(Doubt::NoEvidence));
    }
}

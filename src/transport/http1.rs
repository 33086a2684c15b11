//! One HTTP/1.1 connection, driven by hyper in a task of its own.

use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use pin_project_lite::pin_project;
use tokio::net::TcpStream;
use tokio_util::sync::ReusableBoxFuture;

use super::meter::Meter;
use super::record::Record;
use super::settle::Failure;
use crate::body::RequestBody;
use crate::classify::Finding;
use crate::error::BoxError;
use crate::time::{self, Instant};

type Answered<B> = Result<Response<Incoming>, TrySendError<Request<Outgoing<B>>>>;

/// One HTTP/1.1 connection. Hyper drives it in a task of its own.
pub(crate) struct Connection<B> {
    /// Gone once the connection can take no further request.
    sender: Option<SendRequest<Outgoing<B>>>,
    record: Arc<Record>,
    /// One allocation for all exchanges of the connection.
    answer: ReusableBoxFuture<'static, Answered<B>>,
    born: Instant,
    is_used: bool,
}

/// An exchange that failed before its response's head.
#[derive(Debug)]
pub(crate) enum Broken<B> {
    /// The connection gave the request back, its body never polled.
    HandedBack(Box<Request<B>>),
    /// The request is gone.
    Lost(Failure, hyper::Error),
}

impl<B: RequestBody> Connection<B> {
    /// Starts HTTP/1.1 on a stream that was just connected.
    pub(crate) async fn start(stream: TcpStream) -> hyper::Result<Self> {
        let (meter, record) = Meter::new(stream);
        let (sender, connection) = http1::handshake(TokioIo::new(meter)).await?;
        tokio::spawn(async move {
            // Its error reaches the exchange; an idle end is in the record.
            let _ = connection.with_upgrades().await;
        });
        Ok(Self {
            sender: Some(sender),
            record,
            answer: ReusableBoxFuture::new(std::future::pending()),
            born: time::now(),
            is_used: false,
        })
    }

    /// Hands a request over, to be answered by [`poll_answer`].
    ///
    /// # Errors
    ///
    /// Returns the request if the connection is known to be dead.
    ///
    /// [`poll_answer`]: Self::poll_answer
    #[inline]
    pub(crate) fn send(&mut self, request: Request<B>) -> Result<(), Box<(Finding, Request<B>)>> {
        let Some(sender) = &mut self.sender else {
            return Err(Box::new((Finding::Ended, request)));
        };
        if let Err(found) = self.record.arm() {
            return Err(Box::new((found, request)));
        }
        self.is_used = true;
        self.answer.set(sender.try_send_request(request.map(Outgoing::new)));
        Ok(())
    }

    /// Waits for the head of the response to the request that was sent.
    #[inline]
    pub(crate) fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<Incoming>, Broken<B>>> {
        loop {
            if let Poll::Ready(answer) = self.answer.poll(cx) {
                return Poll::Ready(answer.map_err(|error| broken(error, &self.record)));
            }
            // Hyper can leave a request in its channel for ever when the
            // connection ends at the moment of sending. It hands it back once
            // the sender is dropped.
            if self.sender.is_none() || !self.record.poll_gone(cx.waker()) {
                return Poll::Pending;
            }
            self.sender = None;
        }
    }

    /// Returns whether the connection could take a request now.
    pub(crate) fn is_ready(&self) -> bool {
        self.sender.as_ref().is_some_and(SendRequest::is_ready)
    }

    /// Waits until the connection can take a request; false if it never will.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        match &mut self.sender {
            Some(sender) => sender.poll_ready(cx).map(|ready| ready.is_ok()),
            None => Poll::Ready(false),
        }
    }
}

impl<B> Connection<B> {
    /// Returns the connection's record.
    pub(crate) fn record(&self) -> &Arc<Record> {
        &self.record
    }

    /// Returns when the connection was made.
    pub(crate) fn born(&self) -> Instant {
        self.born
    }

    /// Returns whether the connection is known to have ended.
    pub(crate) fn is_dead(&self) -> bool {
        self.sender.as_ref().is_none_or(SendRequest::is_closed) || self.record.found().is_some()
    }

    #[cfg(test)]
    pub(crate) fn mark_used(&mut self) {
        self.is_used = true;
    }

    /// Returns whether a request was ever sent on the connection.
    pub(crate) fn is_used(&self) -> bool {
        self.is_used
    }
}

impl<B> fmt::Debug for Connection<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("record", &self.record)
            .field("is_used", &self.is_used)
            .finish_non_exhaustive()
    }
}

fn broken<B>(mut error: TrySendError<Request<Outgoing<B>>>, record: &Record) -> Broken<B> {
    match error.take_message() {
        // Hyper hands back only what it did not touch; the ledger must agree.
        Some(request) if !record.is_written() => {
            Broken::HandedBack(Box::new(request.map(|body| body.inner)))
        }
        Some(_) | None => {
            let error = error.into_error();
            Broken::Lost(failure(&error), error)
        }
    }
}

fn failure(error: &hyper::Error) -> Failure {
    if error.is_body_write_aborted() || is_of_the_body(error) {
        Failure::RequestBody
    } else if error.is_parse() {
        Failure::Malformed
    } else {
        Failure::Broken
    }
}

fn is_of_the_body(error: &hyper::Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        if error.is::<BodyFailed>() {
            return true;
        }
        source = error.source();
    }
    false
}

pin_project! {
    /// A request's body on its way out, whose failure can be told by its type.
    pub(crate) struct Outgoing<B> {
        #[pin]
        inner: B,
    }
}

impl<B> Outgoing<B> {
    fn new(inner: B) -> Self {
        Self { inner }
    }
}

impl<B> Body for Outgoing<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BodyFailed;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BodyFailed>>> {
        let frame = self.project().inner.poll_frame(cx);
        frame.map(|frame| frame.map(|frame| frame.map_err(|error| BodyFailed(error.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The request's own body failed; the source is its own error.
#[derive(Debug)]
pub(crate) struct BodyFailed(BoxError);

impl fmt::Display for BodyFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request's body failed")
    }
}

impl StdError for BodyFailed {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use bytes::Bytes;
    use http_body_util::Full;
    use tokio::net::TcpListener;

    use super::*;

    async fn connection() -> (Connection<Full<Bytes>>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        (Connection::start(client).await.unwrap(), server)
    }

    /// Hyper can leave a request in its channel when the connection ends at
    /// the moment of sending; the answer then comes only once the sender is
    /// dropped. The stand-in for that answer does just that.
    #[tokio::test]
    async fn an_answer_that_hyper_lost_is_waited_for_no_longer_than_the_connection() {
        let (mut connection, server) = connection().await;
        connection.record.arm().unwrap();
        connection.answer.set(std::future::pending());
        drop(server);
        let record = Arc::clone(&connection.record);
        let gone = poll_fn(|cx| {
            assert!(connection.poll_answer(cx).is_pending());
            if connection.sender.is_none() { Poll::Ready(()) } else { Poll::Pending }
        });
        gone.await;
        assert_eq!(record.found(), Some(Finding::Fin));
    }

    #[tokio::test]
    async fn a_connection_that_lost_its_sender_takes_no_request() {
        let (mut connection, _server) = connection().await;
        connection.sender = None;
        let request = Request::post("/").body(Full::<Bytes>::from("pay")).unwrap();
        let refused = connection.send(request).unwrap_err();
        assert_eq!(refused.0, Finding::Ended);
        assert!(connection.is_dead());
    }
}

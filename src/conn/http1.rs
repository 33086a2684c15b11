//! One HTTP/1.1 connection, driven by hyper in a task of its own.

use std::error::Error as StdError;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderValue, Method, Request, Response, Uri, Version, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::ReusableBoxFuture;

use super::connected::{Connected, Io};
use super::limit_monitor::LimitMonitor;
use super::offer::{self, ContractTrust, OfferUndo};
use super::served::Served;
use super::settle::FailureKind;
use super::tracker::ConnTracker;
use crate::body::{Framed, Framing, OnEnd, SendableBody, Trailers};
use crate::chain::{BoxError, chain};
use crate::time::{self, Instant};
use tower_resend_core::contract::{ContractStatus, Ignored, Promise, RETRY_CONTRACT, accept_bound};
use tower_resend_core::{Contract, StaleReason};

type Sent<B> = Result<Response<Incoming>, TrySendError<Request<Outgoing<B>>>>;

/// One HTTP/1.1 connection. Hyper drives it in a task of its own.
pub(crate) struct Connection<B> {
    /// Gone once the connection can take no further request.
    sender: Option<SendRequest<Outgoing<B>>>,
    record: Arc<ConnTracker>,
    /// One allocation for all exchanges of the connection.
    answer: ReusableBoxFuture<'static, Sent<B>>,
    born: Instant,
    is_used: bool,
    /// What was served before the request that is on it.
    served: Served,
    belief: ContractTrust,
    /// The contract that the request on the connection went out under, and
    /// from its response on that of the next one (C6).
    standing: ContractStatus,
    added: OfferUndo,
    is_drained: bool,
    /// Its server answered by HTTP/1.0: hyper makes HTTP/1.0 of all that follows, and
    /// leaves out a body that comes in chunks.
    is_http10: bool,
}

/// What a final response means for the connection's contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResponseOutcome {
    /// It is the answer to its request.
    Answer,
    /// It refuses its request (C8).
    NoResend,
    /// It refuses its request, and then the server went on (C9).
    BrokenRefusal,
}

/// Why a request that was handed to a connection has no response head.
#[derive(Debug)]
pub(crate) enum SendError<B> {
    /// The connection returned the request, its body never polled, for this reason.
    HandedBack(StaleReason, Box<Request<B>>),
    /// The request is gone.
    Lost(FailureKind, hyper::Error),
}

impl<B: SendableBody> Connection<B> {
    /// Starts HTTP/1.1 on a connection that was just made.
    pub(crate) async fn start(connected: Connected) -> hyper::Result<Self> {
        let Connected { io, record } = connected;
        let sender = match io {
            Io::Plain(meter) => drive(meter).await,
            #[cfg(feature = "tls")]
            Io::Tls(tap) => drive(tap).await,
        }?;
        Ok(Self {
            sender: Some(sender),
            record,
            answer: ReusableBoxFuture::new(std::future::pending()),
            born: time::now(),
            is_used: false,
            served: Served::Nothing,
            belief: ContractTrust::None,
            standing: ContractStatus::FirstRequest,
            added: OfferUndo::Nothing,
            is_drained: false,
            is_http10: false,
        })
    }

    /// Hands a request over, framed so, to be answered by [`poll_answer`].
    ///
    /// Asks the server for a contract where one would be believed and may come;
    /// a request that comes back is as it was.
    ///
    /// # Errors
    ///
    /// [`SendError::HandedBack`] if the connection is known to be dead, or would not
    /// send all of the request.
    ///
    /// [`poll_answer`]: Self::poll_answer
    #[inline]
    pub(crate) fn send(
        &mut self,
        mut request: Request<B>,
        framing: Framing,
        belief: ContractTrust,
    ) -> Result<(), SendError<B>> {
        let is_cut = self.is_http10 && framing.has_chunks();
        if self.sender.is_none() || is_cut {
            return Err(SendError::HandedBack(StaleReason::Ended, Box::new(request)));
        }
        let watch = self.watch(belief, framing);
        let on_end = watch.is_some().then(|| Arc::clone(&self.record) as Arc<dyn OnEnd>);
        if let Err(found) = self.record.arm(self.belief, watch) {
            return Err(SendError::HandedBack(found, Box::new(request)));
        }
        self.added = match self.record.offer(self.belief) {
            Some(offer) => offer::add(&mut request, offer),
            None => OfferUndo::Nothing,
        };
        self.dispatch(Framed::wrap_lean(request, framing, on_end, Outgoing::new));
        Ok(())
    }

    fn dispatch(&mut self, request: Request<Outgoing<B>>) {
        if let Some(sender) = &mut self.sender {
            if self.is_used {
                self.served = Served::Before;
            }
            self.is_used = true;
            self.answer.set(sender.try_send_request(request));
        }
    }

    /// Settles what contract the next request goes out under, and watches it
    /// if there is one.
    fn watch(&mut self, belief: ContractTrust, framing: Framing) -> Option<Box<LimitMonitor>> {
        self.belief = belief;
        match (belief, self.standing) {
            (ContractTrust::None, _) => self.standing = ContractStatus::NotOffered,
            (ContractTrust::Revoked, _) => self.standing = ContractStatus::Distrusted,
            (
                ContractTrust::SameHop | ContractTrust::AnyHop,
                ContractStatus::FirstRequest | ContractStatus::InForce(_),
            ) => {}
            // A contract begins with the first response or never (C6).
            (ContractTrust::SameHop | ContractTrust::AnyHop, _) => {
                self.belief = ContractTrust::None
            }
        }
        let promise = *self.standing.promise()?;
        Some(Box::new(LimitMonitor::new(promise, framing.on_the_wire())))
    }

    /// Sends `OPTIONS *` (RFC 9110 9.3.7) and reads its response, so that a
    /// promise may be in force from then on (C6). False if the connection
    /// cannot be used.
    ///
    /// # Cancel safety
    ///
    /// A connection whose priming was dropped cannot be used.
    pub(crate) async fn prime(&mut self, host: &HeaderValue, belief: ContractTrust) -> bool {
        if self.record.arm(belief, None).is_err() {
            return false;
        }
        self.belief = belief;
        let mut request = Request::new(Outgoing::new(Framed::none()));
        *request.method_mut() = Method::OPTIONS;
        *request.uri_mut() = Uri::from_static("*");
        request.headers_mut().insert(header::HOST, host.clone());
        if let Some(offer) = self.record.offer(belief) {
            offer::add(&mut request, offer);
        }
        self.dispatch(request);
        let Ok(response) = poll_fn(|cx| self.poll_answer(cx)).await else { return false };
        if self.on_response(&response) != ResponseOutcome::Answer {
            return false;
        }
        let body = Limited::new(response.into_body(), LONGEST_PRIMER);
        if body.collect().await.is_err() {
            return false;
        }
        self.record.resolve();
        poll_fn(|cx| self.poll_ready(cx)).await && !self.is_dead()
    }

    /// Waits for the head of the response to the request that was sent.
    #[inline]
    pub(crate) fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<Incoming>, SendError<B>>> {
        loop {
            if let Poll::Ready(answer) = self.answer.poll(cx) {
                if let Ok(response) = &answer {
                    self.is_http10 |= response.version() == Version::HTTP_10;
                }
                return Poll::Ready(answer.map_err(|e| send_error(e, &self.record, self.added)));
            }
            // Hyper can leave a request in its channel for ever when the
            // connection ends at the moment of sending. It hands it back once
            // the sender is dropped.
            if self.sender.is_none() || !self.record.poll_gone(ALONE, cx.waker()) {
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
    pub(crate) fn record(&self) -> &Arc<ConnTracker> {
        &self.record
    }

    /// Returns the contract that a failed request went out under, if its
    /// server had one, or why there was none.
    pub(crate) fn standing(&self) -> ContractStatus {
        match (self.standing, self.record.exceeded()) {
            (ContractStatus::InForce(promise), Some(why)) => ContractStatus::Exceeded(promise, why),
            (standing, _) => standing,
        }
    }

    /// Returns what the promise in force means for a request's fate.
    pub(crate) fn announced(&self) -> Contract {
        self.standing.promise().map(Promise::contract).unwrap_or_default()
    }

    /// Takes the contract from a final response: it is in force from here on
    /// (C6), and what refuses a request is no answer to it (C8).
    #[inline]
    pub(crate) fn on_response(&mut self, response: &Response<Incoming>) -> ResponseOutcome {
        if self.belief == ContractTrust::None {
            return ResponseOutcome::Answer;
        }
        // Of the few names there are, a comparison is cheaper than a hash.
        if !response.headers().keys().any(|name| name == RETRY_CONTRACT) {
            self.standing = ContractStatus::Ignored(Ignored::Absent);
            return ResponseOutcome::Answer;
        }
        self.on_announcement(response)
    }

    #[cold]
    fn on_announcement(&mut self, response: &Response<Incoming>) -> ResponseOutcome {
        let Some(tie) = self.belief.tie(self.record.hop()) else {
            return ResponseOutcome::Answer;
        };
        let accepted = accept_bound(response, &tie);
        self.standing = accepted.map_or_else(ContractStatus::Ignored, ContractStatus::InForce);
        let Ok(promise) = accepted else {
            return ResponseOutcome::Answer;
        };
        self.is_drained |= promise.announced().has_drain();
        if !promise.is_refusal() {
            return ResponseOutcome::Answer;
        }
        self.record.take_over_refused(response.body().is_end_stream());
        match self.record.has_broken_promise() {
            true => ResponseOutcome::BrokenRefusal,
            false => ResponseOutcome::NoResend,
        }
    }

    /// Returns what the connection served before the request that is on it, or
    /// was last.
    pub(crate) fn served(&self) -> Served {
        self.served
    }

    /// Returns `true` if a response showed that the server speaks HTTP/1.0.
    pub(crate) fn is_http10(&self) -> bool {
        self.is_http10
    }

    /// Returns when the connection was made.
    pub(crate) fn born(&self) -> Instant {
        self.born
    }

    /// Returns whether the connection is known to have ended, or to be about
    /// to.
    pub(crate) fn is_dead(&self) -> bool {
        self.is_drained
            || self.sender.as_ref().is_none_or(SendRequest::is_closed)
            || self.record.found().is_some()
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

/// Starts a task in which hyper drives the connection.
async fn drive<B: SendableBody>(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> hyper::Result<SendRequest<Outgoing<B>>> {
    let (sender, connection) = http1::handshake(TokioIo::new(io)).await?;
    tokio::spawn(async move {
        // Its error reaches the exchange; an idle end is in the record.
        let _ = connection.with_upgrades().await;
    });
    Ok(sender)
}

fn send_error<B>(
    mut error: TrySendError<Request<Outgoing<B>>>,
    record: &ConnTracker,
    added: OfferUndo,
) -> SendError<B> {
    // Hyper hands back only what it did not touch; the ledger must agree.
    let untouched = error.take_message().filter(|_| !record.is_written());
    if let Some((mut head, Some(body))) =
        untouched.map(Request::into_parts).map(|(head, body)| (head, body.inner.into_inner()))
    {
        offer::remove(&mut head.headers, added);
        let request = Box::new(Request::from_parts(head, body));
        let found = record.found().unwrap_or(StaleReason::Ended);
        record.abort();
        return SendError::HandedBack(found, request);
    }
    let error = error.into_error();
    SendError::Lost(failure(&error), error)
}

fn failure(error: &hyper::Error) -> FailureKind {
    if error.is_body_write_aborted() || is_of_the_body(error) {
        FailureKind::RequestBody
    } else if error.is_parse() {
        FailureKind::Malformed
    } else {
        FailureKind::Broken
    }
}

fn is_of_the_body(error: &hyper::Error) -> bool {
    error.source().into_iter().flat_map(chain).any(|error| error.is::<BodyFailed>())
}

pin_project! {
    /// A request's body on its way out, whose failure can be told by its type.
    pub(crate) struct Outgoing<B> {
        #[pin]
        inner: Framed<B>,
    }
}

impl<B> Outgoing<B> {
    fn new(inner: Framed<B>) -> Self {
        Self { inner }
    }
}

impl<B: SendableBody> Body for Outgoing<B> {
    type Data = B::Data;
    type Error = BodyFailed;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BodyFailed>>> {
        self.project().inner.poll_framed(cx, Trailers::Named).map_err(BodyFailed)
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

/// The one exchange that may wait for the connection's end.
const ALONE: usize = 0;

/// The longest body of a response to `OPTIONS *` that is read.
const LONGEST_PRIMER: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn connection() -> (Connection<Full<Bytes>>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        (Connection::start(Connected::plain(client)).await.unwrap(), server)
    }

    /// Hyper can leave a request in its channel when the connection ends at
    /// the moment of sending; the answer then comes only once the sender is
    /// dropped. The stand-in for that answer does just that.
    #[tokio::test]
    async fn an_answer_that_hyper_lost_is_waited_for_no_longer_than_the_connection() {
        let (mut connection, server) = connection().await;
        connection.record.arm(ContractTrust::None, None).unwrap();
        connection.answer.set(std::future::pending());
        drop(server);
        let record = Arc::clone(&connection.record);
        let gone = poll_fn(|cx| {
            assert!(connection.poll_answer(cx).is_pending());
            if connection.sender.is_none() { Poll::Ready(()) } else { Poll::Pending }
        });
        gone.await;
        assert_eq!(record.found(), Some(StaleReason::Fin));
    }

    #[tokio::test]
    async fn a_connection_that_lost_its_sender_takes_no_request() {
        let (mut connection, _server) = connection().await;
        connection.sender = None;
        let request = Request::post("/").body(Full::<Bytes>::from("pay")).unwrap();
        let framing = Framing::of(&request).unwrap();
        let refused = connection.send(request, framing, ContractTrust::None).unwrap_err();
        assert!(matches!(refused, SendError::HandedBack(StaleReason::Ended, _)));
        assert!(connection.is_dead());
    }
}

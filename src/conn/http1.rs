//! One HTTP/1.1 connection, driven by hyper in a task of its own.

use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use http::{HeaderValue, Method, Request, Response, Uri, Version, header};
use http_body::Body;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::ReusableBoxFuture;

use super::connected::{Connected, Io};
use super::failure::failure_kind;
use super::offer::{self, OfferUndo};
use super::outgoing::Outgoing;
use super::tracker::ConnTracker;
use crate::body::{Framed, Framing, OnEnd, SendableBody};
use crate::time::{self, Instant};
use tower_resend_core::contract::ContractStatus;
use tower_resend_core::{
    Armed, Contract, ContractTrust, FailureKind, Outbound, ResponseOutcome, Reuse, Served,
    StaleReason,
};

type Sent<B> = Result<Response<Incoming>, TrySendError<Request<Outgoing<B>>>>;

/// One HTTP/1.1 connection. Hyper drives it in a task of its own.
pub(crate) struct Http1Connection<B> {
    /// Gone once the connection can take no further request.
    sender: Option<SendRequest<Outgoing<B>>>,
    tracker: Arc<ConnTracker>,
    /// One allocation for all exchanges of the connection.
    answer: ReusableBoxFuture<'static, Sent<B>>,
    born: Instant,
    is_used: bool,
    /// What was served before the request that is on it.
    served: Served,
    /// The field by which a contract is asked for, made with the first request.
    offer: OnceLock<Option<HeaderValue>>,
    /// What was added to the request that is on it.
    undo: OfferUndo,
    /// Whether the response to the request that is on it may have a contract.
    reads_contract: bool,
    /// Its server answered by HTTP/1.0: hyper makes HTTP/1.0 of all that follows, and
    /// leaves out a body that comes in chunks.
    is_http10: bool,
}

/// Why a request that was handed to a connection has no response head.
#[derive(Debug)]
pub(crate) enum SendError<B> {
    /// The connection returned the request, its body never polled, for this reason.
    HandedBack(StaleReason, Box<Request<B>>),
    /// The request is gone.
    Lost(FailureKind, hyper::Error),
}

impl<B: SendableBody> Http1Connection<B> {
    /// Starts HTTP/1.1 on a connection that was just made.
    pub(crate) async fn start(connected: Connected) -> hyper::Result<Self> {
        let Connected { io, tracker } = connected;
        let sender = match io {
            Io::Plain(io) => drive(io).await,
            #[cfg(feature = "tls")]
            Io::Tls(io) => drive(io).await,
        }?;
        Ok(Self {
            sender: Some(sender),
            tracker,
            answer: ReusableBoxFuture::new(std::future::pending()),
            born: time::now(),
            is_used: false,
            served: Served::Nothing,
            offer: OnceLock::new(),
            undo: OfferUndo::Nothing,
            reads_contract: false,
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
        trust: ContractTrust,
    ) -> Result<(), SendError<B>> {
        let is_cut = self.is_http10 && framing.has_chunks();
        if self.sender.is_none() || is_cut {
            return Err(SendError::HandedBack(StaleReason::Ended, Box::new(request)));
        }
        let armed = match self.tracker.arm(Outbound::new(trust, framing.on_the_wire())) {
            Ok(armed) => armed,
            Err(found) => return Err(SendError::HandedBack(found, Box::new(request))),
        };
        self.undo = self.add_offer(&mut request, trust, armed);
        let on_end = armed.watches_body.then(|| Arc::clone(&self.tracker) as Arc<dyn OnEnd>);
        self.hand_over(Framed::wrap_lean(request, framing, on_end, Outgoing::new));
        Ok(())
    }

    /// Puts the offer on a request that carries one.
    #[inline]
    fn add_offer<T>(
        &mut self,
        request: &mut Request<T>,
        trust: ContractTrust,
        armed: Armed,
    ) -> OfferUndo {
        self.reads_contract = armed.reads_contract;
        if !armed.offers {
            return OfferUndo::Nothing;
        }
        // What is believed of a connection changes to nothing only.
        match self.offer.get_or_init(|| offer::field(trust, self.tracker.hop())) {
            Some(offer) => offer::add(request, offer.clone()),
            None => OfferUndo::Nothing,
        }
    }

    fn hand_over(&mut self, request: Request<Outgoing<B>>) {
        if let Some(sender) = &mut self.sender {
            if self.is_used {
                self.served = Served::Before;
            }
            self.is_used = true;
            self.answer.set(sender.try_send_request(request));
        }
    }

    /// Sends `OPTIONS *` (RFC 9110 9.3.7) and reads its response, so that a
    /// promise may be in force from then on (C6). `false` if the connection
    /// cannot be used.
    ///
    /// # Cancel safety
    ///
    /// A connection whose priming was dropped cannot be used.
    pub(crate) async fn prime(&mut self, host: &HeaderValue, trust: ContractTrust) -> bool {
        let Ok(armed) = self.tracker.arm(Outbound::primer(trust)) else { return false };
        let mut request = Request::new(Outgoing::new(Framed::none()));
        *request.method_mut() = Method::OPTIONS;
        *request.uri_mut() = Uri::from_static("*");
        request.headers_mut().insert(header::HOST, host.clone());
        self.add_offer(&mut request, trust, armed);
        self.hand_over(request);
        let Ok(response) = poll_fn(|cx| self.poll_answer(cx)).await else { return false };
        if self.on_response(&response) != ResponseOutcome::Answer {
            return false;
        }
        let body = Limited::new(response.into_body(), LONGEST_PRIMER);
        if body.collect().await.is_err() {
            return false;
        }
        self.tracker.finish();
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
                return Poll::Ready(answer.map_err(|e| send_error(e, &self.tracker, self.undo)));
            }
            // Hyper can leave a request in its channel for ever when the
            // connection ends at the moment of sending. It hands it back once
            // the sender is dropped.
            if self.sender.is_none() || !self.tracker.poll_gone_alone(cx.waker()) {
                return Poll::Pending;
            }
            self.sender = None;
        }
    }

    /// Returns `true` if the connection could take a request now.
    pub(crate) fn is_ready(&self) -> bool {
        self.sender.as_ref().is_some_and(SendRequest::is_ready)
    }

    /// Waits until the connection can take a request; `false` if it never will.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        match &mut self.sender {
            Some(sender) => sender.poll_ready(cx).map(|ready| ready.is_ok()),
            None => Poll::Ready(false),
        }
    }
}

impl<B> Http1Connection<B> {
    /// Returns the connection's tracker.
    pub(crate) fn tracker(&self) -> &Arc<ConnTracker> {
        &self.tracker
    }

    /// Returns the contract that a failed request went out under, if its
    /// server had one, or why there was none.
    pub(crate) fn contract_status(&self) -> ContractStatus {
        self.tracker.contract_status()
    }

    /// Returns what the promise in force means for a request's fate.
    pub(crate) fn promised(&self) -> Contract {
        self.tracker.promised()
    }

    /// Notes that the exchange's answer was read to its end. Returns `true` if
    /// the connection takes another request, as far as is known.
    #[inline]
    pub(crate) fn finish(&mut self) -> bool {
        self.tracker.finish() == Reuse::Possible && !self.is_closed()
    }

    /// Returns `true` if hyper has ended the connection. Takes no lock: what was found
    /// on the socket a moment ago is told by [`send`](Self::send).
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.as_ref().is_none_or(SendRequest::is_closed)
    }

    /// Takes the contract from a final response: it is in force from here on
    /// (C6), and a response that refuses its request is no answer to it (C8).
    #[inline]
    pub(crate) fn on_response(&mut self, response: &Response<Incoming>) -> ResponseOutcome {
        if !self.reads_contract {
            return ResponseOutcome::Answer;
        }
        self.tracker.on_response(response, response.body().is_end_stream())
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

    /// Returns `true` if the connection is known to have ended, or to be about
    /// to.
    pub(crate) fn is_dead(&self) -> bool {
        self.is_closed() || self.tracker.reuse() != Reuse::Possible
    }

    #[cfg(test)]
    pub(crate) fn mark_used(&mut self) {
        self.is_used = true;
    }

    /// Returns `true` if a request was ever sent on the connection.
    pub(crate) fn is_used(&self) -> bool {
        self.is_used
    }
}

impl<B> fmt::Debug for Http1Connection<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http1Connection")
            .field("tracker", &self.tracker)
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
        // Its error reaches the exchange; an idle end is with the tracker.
        let _ = connection.with_upgrades().await;
    });
    Ok(sender)
}

fn send_error<B>(
    mut error: TrySendError<Request<Outgoing<B>>>,
    tracker: &ConnTracker,
    undo: OfferUndo,
) -> SendError<B> {
    // Hyper hands back only what it did not touch; the ledger must agree.
    let untouched = error.take_message().filter(|_| !tracker.is_written());
    if let Some((mut head, Some(body))) =
        untouched.map(Request::into_parts).map(|(head, body)| (head, body.into_inner()))
    {
        offer::remove(&mut head.headers, undo);
        let request = Box::new(Request::from_parts(head, body));
        return SendError::HandedBack(tracker.abort_handed_back(), request);
    }
    let error = error.into_error();
    SendError::Lost(failure_kind(&error), error)
}

/// The longest body of a response to `OPTIONS *` that is read.
const LONGEST_PRIMER: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn connection() -> (Http1Connection<Full<Bytes>>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        (Http1Connection::start(Connected::plain(client)).await.unwrap(), server)
    }

    /// Hyper can leave a request in its channel when the connection ends at
    /// the moment of sending; the answer then comes only once the sender is
    /// dropped. The stand-in for that answer does just that.
    #[tokio::test]
    async fn an_answer_that_hyper_lost_is_waited_for_no_longer_than_the_connection() {
        let (mut connection, server) = connection().await;
        connection.tracker.arm(Outbound::new(ContractTrust::None, None)).unwrap();
        connection.answer.set(std::future::pending());
        drop(server);
        let tracker = Arc::clone(&connection.tracker);
        let gone = poll_fn(|cx| {
            assert!(connection.poll_answer(cx).is_pending());
            if connection.sender.is_none() { Poll::Ready(()) } else { Poll::Pending }
        });
        gone.await;
        assert_eq!(tracker.reuse(), Reuse::Stale(StaleReason::Fin));
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

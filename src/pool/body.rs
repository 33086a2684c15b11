//! The response's body, which holds its connection until it ends.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::attempt::ResponseBodyError;

/// The body of a response.
///
/// It holds its connection and returns it to the pool when it ends. Dropped earlier,
/// it closes the connection.
///
/// A failure is a [`ResponseBodyError`]: the request was answered, but the
/// response is lost.
pub struct ResponseBody {
    incoming: Incoming,
    connection: Option<Box<dyn ReturnToPool>>,
}

/// A connection that can be returned to its pool.
pub(super) trait ReturnToPool: Send + Sync {
    /// Returns the connection after its exchange.
    fn give_back(self: Box<Self>);
    /// Resets the connection, because its response was cut.
    fn cut(&self);
}

impl ResponseBody {
    /// Returns a body that returns `connection` to its pool when it ends: at once if
    /// it is empty.
    pub(super) fn new(incoming: Incoming, connection: Box<dyn ReturnToPool>) -> Self {
        let mut body = Self { incoming, connection: Some(connection) };
        body.give_back_at_end();
        body
    }

    /// Returns the body of a response after which the connection is not HTTP any more.
    pub(super) fn upgraded(incoming: Incoming) -> Self {
        Self { incoming, connection: None }
    }

    fn give_back_at_end(&mut self) {
        if self.incoming.is_end_stream()
            && let Some(connection) = self.connection.take()
        {
            connection.give_back();
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = ResponseBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResponseBodyError>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        match frame {
            Some(Ok(frame)) => {
                self.give_back_at_end();
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                if let Some(connection) = self.connection.take() {
                    connection.cut();
                }
                Poll::Ready(Some(Err(ResponseBodyError::new(error))))
            }
            None => {
                if let Some(connection) = self.connection.take() {
                    connection.give_back();
                }
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").field("incoming", &self.incoming).finish_non_exhaustive()
    }
}

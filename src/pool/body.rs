//! The response's body, which holds its connection until it ends.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::{fmt, mem};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::ReadError;
use crate::attempt::ResponseBodyError;

/// The body of a response.
///
/// It holds its connection and returns it to the pool when it ends. Dropped earlier,
/// it closes the connection.
///
/// A failure is a [`ResponseBodyError`]: the request was answered, but the
/// response is lost.
///
/// [`bytes`](Self::bytes) and [`text`](Self::text) read all of it. Read a long one piece
/// by piece, by [`http_body::Body`].
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

    /// Reads the body to its end, if it is at most `limit` bytes long. Trailers are
    /// dropped.
    ///
    /// Memory is taken for what has arrived, not for what a `Content-Length` says.
    ///
    /// # Errors
    ///
    /// [`ReadError::TooLong`] once more than `limit` bytes have arrived, or at once where
    /// the `Content-Length` says so; the connection is closed. [`ReadError::Failed`] if the
    /// body fails. What was read is lost then.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropping the future closes the connection, and what was read is
    /// lost. The request was answered all the same.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), tower_resend::BoxError> {
    /// let client = tower_resend::Client::new();
    /// let request = http::Request::get("http://127.0.0.1:8080/orders").body(())?;
    /// let response = client.request(request).await?;
    /// let orders = response.into_body().bytes(1024 * 1024).await?;
    /// # drop(orders);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn bytes(mut self, limit: usize) -> Result<Bytes, ReadError> {
        if usize::try_from(self.size_hint().lower()).map_or(true, |least| least > limit) {
            return Err(ReadError::TooLong { limit });
        }
        // A short body is one frame, which is handed on as it is.
        let mut only = Bytes::new();
        let mut joined = BytesMut::new();
        while let Some(frame) = self.frame().await {
            let Ok(data) = frame.map_err(ReadError::Failed)?.into_data() else { continue };
            if data.len() > limit - only.len().max(joined.len()) {
                return Err(ReadError::TooLong { limit });
            }
            if only.is_empty() && joined.is_empty() {
                only = data;
                continue;
            }
            joined.extend_from_slice(&mem::take(&mut only));
            joined.extend_from_slice(&data);
        }
        Ok(if joined.is_empty() { only } else { joined.freeze() })
    }

    /// Reads the body to its end as UTF-8, if it is at most `limit` bytes long.
    ///
    /// A charset that the `Content-Type` names is not looked at, and none is guessed. A
    /// byte order mark is kept.
    ///
    /// # Errors
    ///
    /// Those of [`bytes`](Self::bytes), and [`ReadError::NotUtf8`], which says where the
    /// fault is.
    ///
    /// # Cancel safety
    ///
    /// As for [`bytes`](Self::bytes).
    pub async fn text(self, limit: usize) -> Result<String, ReadError> {
        let bytes = self.bytes(limit).await?;
        String::from_utf8(bytes.into()).map_err(|error| {
            let valid_up_to = error.utf8_error().valid_up_to();
            ReadError::NotUtf8 { valid_up_to }
        })
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

//! A stream of a caller, boxed and watched.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;

use super::{Error, NotReplayable};
use crate::chain::BoxError;

/// Makes sure that a caller's stream ends as it declared, or with an error.
///
/// A stream with an exact size hint must yield that many bytes: the
/// connection would cut a longer one in silence. After an error the stream is
/// dropped and every poll gives an error.
#[derive(Debug)]
pub(super) struct LengthChecked {
    /// `None` after an error.
    inner: Option<UnsyncBoxBody<Bytes, Error>>,
    declared: Option<u64>,
    yielded: u64,
}

impl LengthChecked {
    pub(super) fn new<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self {
            declared: body.size_hint().exact(),
            inner: Some(body.map_err(Error::from_caller).boxed_unsync()),
            yielded: 0,
        }
    }

    /// Counts a frame's bytes against the declared length.
    fn count(&mut self, frame: &Frame<Bytes>) -> Result<(), Error> {
        self.yielded += frame.data_ref().map_or(0, |data| data.len() as u64);
        match self.declared {
            Some(declared) if self.yielded > declared => Err(Error::TooLong { declared }),
            Some(_) | None => Ok(()),
        }
    }

    /// Checks at the end that the declared length was reached.
    fn finish(&self) -> Result<(), Error> {
        match self.declared {
            Some(declared) if self.yielded < declared => {
                Err(Error::TooShort { declared, missing: declared - self.yielded })
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl HttpBody for LengthChecked {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        let Some(inner) = &mut this.inner else {
            return Poll::Ready(Some(Err(Error::Gone(NotReplayable::Failed))));
        };
        let next = match ready!(Pin::new(inner).poll_frame(cx)) {
            Some(Ok(frame)) => this.count(&frame).map(|()| Some(frame)),
            Some(Err(error)) => Err(error),
            None => this.finish().map(|()| None),
        };
        if next.is_err() {
            this.inner = None;
        }
        Poll::Ready(next.transpose())
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Some(inner) => inner.is_end_stream() && self.finish().is_ok(),
            None => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(SizeHint::new, HttpBody::size_hint)
    }
}

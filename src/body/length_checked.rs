//! A caller's stream, boxed and held to its size hint.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;

use super::{Error, NotReplayable};
use crate::BoxError;

/// Makes sure that a caller's stream ends as it declared, or with an error.
///
/// A stream with an exact size hint must yield that many bytes: hyper would silently cut
/// a longer one. After an error the stream is dropped, and every poll gives an error.
///
/// The stream's code runs in [`new`](Self::new), in `poll_frame` and when this is
/// dropped, and nowhere else: what it says of its end and its length is kept, so that it
/// can be read under a lock.
#[derive(Debug)]
pub(super) struct LengthChecked {
    /// `None` after an error.
    stream: Option<UnsyncBoxBody<Bytes, Error>>,
    is_end: bool,
    hint: SizeHint,
    /// In bytes, if the size hint was exact at first.
    declared: Option<u64>,
    /// In bytes.
    yielded: u64,
}

impl LengthChecked {
    pub(super) fn new<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (is_end, hint) = (body.is_end_stream(), body.size_hint());
        let declared = hint.exact();
        let stream = Some(body.map_err(Error::from_caller).boxed_unsync());
        Self { stream, is_end, hint, declared, yielded: 0 }
    }

    /// Counts a frame's bytes against the declared length.
    fn count(&mut self, frame: &Frame<Bytes>) -> Result<(), Error> {
        self.yielded += frame.data_ref().map_or(0, |data| data.len() as u64);
        match self.declared {
            Some(declared) if self.yielded > declared => Err(Error::TooLong { declared }),
            Some(_) | None => Ok(()),
        }
    }

    /// Checks that the declared length was reached.
    fn check_end(&self) -> Result<(), Error> {
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
        let Some(stream) = &mut this.stream else {
            return Poll::Ready(Some(Err(Error::Gone(NotReplayable::Failed))));
        };
        let polled = ready!(Pin::new(&mut *stream).poll_frame(cx));
        (this.is_end, this.hint) = (stream.is_end_stream(), stream.size_hint());
        let next = match polled {
            Some(Ok(frame)) => this.count(&frame).map(|()| Some(frame)),
            Some(Err(error)) => Err(error),
            None => this.check_end().map(|()| None),
        };
        if next.is_err() {
            this.stream = None;
            this.hint = SizeHint::new();
        }
        Poll::Ready(next.transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_some() && self.is_end && self.check_end().is_ok()
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

//! The bodies of the cells: honest ones of every kind, and some that lie.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tower_resend::Body;

/// What is given as a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Empty,
    Held,
    Factory,
    /// A stream that says how long it is, and is at its end after the last frame.
    Known,
    Unknown,
    /// A stream that turns out to be empty.
    UnknownEmpty,
    /// It says that it is empty, and not that it is at its end.
    KnownEmpty,
    /// Trailers, which the request names.
    Trailers,
    /// The same after a body of known length.
    KnownTrailers,
    /// Trailers that the request does not name.
    UnnamedTrailers,
    /// It says 3 bytes and yields one frame with 4.
    LongFrame,
    /// It says 3 bytes, yields them, and then another.
    LongTail,
    /// It says 3 bytes and ends after 2.
    Short,
    /// It says that it is empty, and is not.
    FullAfterAll,
}

use Kind::*;

impl Kind {
    pub(crate) const ALL: [Self; 14] = [
        Empty,
        Held,
        Factory,
        Known,
        Unknown,
        UnknownEmpty,
        KnownEmpty,
        Trailers,
        KnownTrailers,
        UnnamedTrailers,
        LongFrame,
        LongTail,
        Short,
        FullAfterAll,
    ];

    /// Returns `true` if it yields what it says: no other is ever answered.
    pub(crate) fn is_honest(self) -> bool {
        !matches!(self, LongFrame | LongTail | Short | FullAfterAll)
    }

    pub(crate) fn names_trailers(self) -> bool {
        matches!(self, Trailers | KnownTrailers)
    }

    pub(crate) fn has_trailers(self) -> bool {
        self.names_trailers() || self == UnnamedTrailers
    }

    /// Returns the bytes that the caller means.
    pub(crate) fn content(self) -> &'static str {
        match self {
            Empty | UnknownEmpty | KnownEmpty => "",
            _ => "pay",
        }
    }

    /// Returns it as a body of a type that this crate does not know.
    pub(crate) fn raw(self) -> Raw {
        let frames = match self {
            Empty | UnknownEmpty | KnownEmpty => &[][..],
            Held | Factory => &["pay"],
            LongFrame => &["pay!"],
            LongTail => &["pay", "!"],
            Short => &["pa"],
            _ => &["pa", "", "y"],
        };
        let hint = match self {
            Unknown | UnknownEmpty | Trailers | UnnamedTrailers => None,
            Empty | KnownEmpty | FullAfterAll => Some(0),
            _ => Some(3),
        };
        let is_shy = matches!(self, Unknown | UnknownEmpty | KnownEmpty) || self.has_trailers();
        Raw {
            frames: frames.iter().copied().collect(),
            hint,
            is_shy,
            trailers: self.has_trailers(),
        }
    }

    /// Returns it as this crate's.
    pub(crate) fn body(self) -> Body {
        match self {
            Empty => Body::empty(),
            Held => Body::from("pay"),
            Factory => Body::from_factory(|| Factory.raw()),
            streamed => Body::new(streamed.raw()),
        }
    }

    /// Returns it as reqwest's.
    pub(crate) fn of_reqwest(self) -> reqwest::Body {
        match self {
            Empty => reqwest::Body::default(),
            Held | Factory => reqwest::Body::from("pay"),
            streamed => reqwest::Body::wrap(streamed.raw()),
        }
    }
}

/// A body that does as it was told.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    frames: VecDeque<&'static str>,
    hint: Option<u64>,
    /// It does not say when it is at its end.
    is_shy: bool,
    trailers: bool,
}

impl HttpBody for Raw {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(frame) = self.frames.pop_front() {
            let length = frame.len() as u64;
            self.hint = self.hint.map(|hint| hint.saturating_sub(length));
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(frame.as_bytes())))));
        }
        if std::mem::take(&mut self.trailers) {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", HeaderValue::from_static("1"));
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        !self.is_shy && self.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.hint.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

//! A body that keeps to its framing, or fails.

use std::any::Any;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Buf;
use http::header::{self, HeaderMap, HeaderName, TRAILER};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::framing::Framing;
use super::{Error, NotReplayable, RequestBody};
use crate::chain::BoxError;

pin_project! {
    /// A request's body on its way out, held to its [`Framing`].
    ///
    /// A body that yields more or less than was declared, or trailers that would be
    /// dropped, fails before the message is whole. So the frame that would complete
    /// a message is held back until the body has said that nothing follows: hyper
    /// would not ask once more.
    pub(crate) struct Framed<B> {
        #[pin]
        inner: B,
        framing: Framing,
        yielded: u64,
        state: State,
        rare: Option<Box<Rare>>,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nobody has asked for a frame.
    Fresh,
    Open,
    Ended,
    Failed,
}

/// What few bodies have.
#[derive(Default)]
struct Rare {
    /// The `Frame` that is held back. A box, since its type is the body's; and in
    /// a mutex, never contended, that makes the body `Sync` where its data is not.
    held: Mutex<Option<Box<dyn Any + Send>>>,
    is_holding: bool,
    /// The trailers that the head names.
    trailers: Vec<HeaderName>,
}

/// Whether trailers need to be named: HTTP/2 sends any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trailers {
    Named,
    Any,
}

impl<B> Framed<B> {
    /// Returns a body that is sent with this head.
    #[inline]
    pub(crate) fn new(inner: B, framing: Framing, headers: &HeaderMap) -> Self {
        let rare = match framing {
            Framing::Chunked(_) => Rare::naming(headers),
            Framing::Bare | Framing::Length(_) => None,
        };
        Self { inner, framing, yielded: 0, state: State::Fresh, rare }
    }

    /// Returns the body, which was never polled.
    pub(crate) fn into_inner(self) -> B {
        self.inner
    }

    /// Returns `true` if the body has content that was never polled: a message
    /// that was sent all the same went out without it.
    pub(crate) fn is_unasked(&self) -> bool {
        self.state == State::Fresh && !matches!(self.framing, Framing::Bare | Framing::Length(0))
    }
}

impl<B: RequestBody> Framed<B> {
    /// Polls the next frame.
    #[inline]
    pub(crate) fn poll_framed(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        trailers: Trailers,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        loop {
            let this = self.as_mut().project();
            match *this.state {
                State::Fresh | State::Open => *this.state = State::Open,
                State::Ended => return Poll::Ready(None),
                // Never an end: it would complete the message.
                State::Failed => {
                    let failed = Error::Gone(NotReplayable::Failed);
                    return Poll::Ready(Some(Err(failed.into())));
                }
            }
            let next = match ready!(this.inner.poll_frame(cx)) {
                Some(Ok(frame)) => self.as_mut().on_frame(frame, trailers),
                Some(Err(error)) => Err(error.into()),
                None => self.as_mut().on_end(),
            };
            match next {
                Ok(Step::More) => {}
                Ok(Step::Frame(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(Step::End) => return Poll::Ready(None),
                Err(error) => {
                    *self.as_mut().project().state = State::Failed;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }

    #[inline]
    fn on_frame(
        self: Pin<&mut Self>,
        frame: Frame<B::Data>,
        trailers: Trailers,
    ) -> Result<Step<B::Data>, BoxError> {
        let this = self.project();
        if is_nothing(&frame) {
            return Ok(Step::More);
        }
        // Hyper is done once so many bytes were written, by HTTP/1 only.
        let by_length = matches!(*this.framing, Framing::Length(_)) && trailers == Trailers::Named;
        if let Some(rare) = this.rare
            && rare.is_holding
        {
            return Err(too_much(&frame, by_length, *this.yielded).into());
        }
        let may_complete = match frame.data_ref() {
            Some(data) => {
                *this.yielded = this.yielded.saturating_add(data.remaining() as u64);
                match this.framing.declared() {
                    Some(declared) if *this.yielded > declared => {
                        return Err(Error::TooLong { declared }.into());
                    }
                    Some(declared) => by_length && *this.yielded == declared,
                    None => false,
                }
            }
            None => {
                check_length(*this.framing, *this.yielded)?;
                check_trailers(&frame, *this.framing, trailers, this.rare.as_deref())?;
                true
            }
        };
        if !may_complete || this.inner.is_end_stream() {
            return Ok(Step::Frame(frame));
        }
        this.rare.get_or_insert_default().hold(frame);
        Ok(Step::More)
    }

    fn on_end(self: Pin<&mut Self>) -> Result<Step<B::Data>, BoxError> {
        let this = self.project();
        check_length(*this.framing, *this.yielded)?;
        *this.state = State::Ended;
        let held = this.rare.as_deref_mut().and_then(Rare::release);
        Ok(held.map_or(Step::End, Step::Frame))
    }
}

impl<B: RequestBody> Body for Framed<B> {
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        self.poll_framed(cx, Trailers::Named)
    }

    /// Not before the first poll where there are chunks: hyper would leave out the
    /// last one of a body that is at its end.
    #[inline]
    fn is_end_stream(&self) -> bool {
        match self.state {
            State::Fresh if matches!(self.framing, Framing::Chunked(_)) => false,
            State::Fresh | State::Open => {
                let is_whole = self.framing.declared().is_none_or(|all| all == self.yielded);
                let is_holding = self.rare.as_deref().is_some_and(|rare| rare.is_holding);
                is_whole && !is_holding && self.inner.is_end_stream()
            }
            State::Ended => true,
            State::Failed => false,
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match self.framing {
            Framing::Bare => SizeHint::with_exact(0),
            Framing::Length(length) => SizeHint::with_exact(length.saturating_sub(self.yielded)),
            // Hyper would frame it by its length.
            Framing::Chunked(_) => SizeHint::new(),
        }
    }
}

enum Step<D> {
    Frame(Frame<D>),
    /// Ask once more.
    More,
    End,
}

fn is_nothing<D: Buf>(frame: &Frame<D>) -> bool {
    match frame.data_ref() {
        Some(data) => !data.has_remaining(),
        None => frame.trailers_ref().is_some_and(HeaderMap::is_empty),
    }
}

/// What follows a frame that was to be the last.
#[cold]
fn too_much<D>(next: &Frame<D>, by_length: bool, declared: u64) -> Error {
    match (by_length, next.is_data()) {
        (true, true) => Error::TooLong { declared },
        (true, false) => Error::UnnamedTrailers,
        (false, _) => Error::AfterTrailers,
    }
}

fn check_length(framing: Framing, yielded: u64) -> Result<(), Error> {
    match framing.declared() {
        Some(declared) if yielded < declared => {
            Err(Error::TooShort { declared, missing: declared - yielded })
        }
        Some(_) | None => Ok(()),
    }
}

/// Hyper drops trailers that the head does not name, and those that belong there
/// (RFC 9110 6.5.1), and all that do not follow chunks.
#[cold]
fn check_trailers<D>(
    frame: &Frame<D>,
    framing: Framing,
    needed: Trailers,
    rare: Option<&Rare>,
) -> Result<(), Error> {
    let named = rare.map_or(&[][..], |rare| &rare.trailers);
    let is_sent = |name| named.contains(name) && !BELONG_IN_HEADS.contains(name);
    let are_sent = frame.trailers_ref().is_none_or(|fields| fields.keys().all(is_sent));
    match needed == Trailers::Any || matches!(framing, Framing::Chunked(_)) && are_sent {
        true => Ok(()),
        false => Err(Error::UnnamedTrailers),
    }
}

impl Rare {
    /// Returns what names trailers, if the head does.
    fn naming(headers: &HeaderMap) -> Option<Box<Self>> {
        let named = headers.get_all(TRAILER).iter().filter_map(|field| field.to_str().ok());
        let names = named.flat_map(|field| field.split(','));
        let trailers: Vec<_> = names.filter_map(|name| name.trim().parse().ok()).collect();
        (!trailers.is_empty()).then(|| Box::new(Self { trailers, ..Self::default() }))
    }

    fn hold<D: Send + 'static>(&mut self, frame: Frame<D>) {
        self.is_holding = true;
        self.held = Mutex::new(Some(Box::new(frame)));
    }

    fn release<D: 'static>(&mut self) -> Option<Frame<D>> {
        self.is_holding = false;
        let held = self.held.get_mut().unwrap_or_else(PoisonError::into_inner).take()?;
        held.downcast().ok().map(|frame| *frame)
    }
}

/// What hyper sends in no trailers, named or not.
const BELONG_IN_HEADS: [HeaderName; 12] = [
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::HOST,
    header::MAX_FORWARDS,
    header::SET_COOKIE,
    header::TE,
    TRAILER,
    header::TRANSFER_ENCODING,
];

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use bytes::Bytes;
    use http::HeaderValue;
    use tokio_test::task;

    use super::*;

    /// What each poll of a body gives: a frame, nothing yet, or its end.
    struct Script(VecDeque<Poll<Option<Frame<Bytes>>>>);

    impl Body for Script {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            self.0.pop_front().unwrap_or(Poll::Ready(None)).map(|frame| frame.map(Ok))
        }
    }

    fn data(bytes: &'static str) -> Poll<Option<Frame<Bytes>>> {
        Poll::Ready(Some(Frame::data(Bytes::from(bytes))))
    }

    fn fields() -> HeaderMap {
        HeaderMap::from_iter([(TRAILER, HeaderValue::from_static("x-sum, host"))])
    }

    fn trailers(name: &'static str) -> Poll<Option<Frame<Bytes>>> {
        let name = HeaderName::from_static(name);
        let fields = HeaderMap::from_iter([(name, HeaderValue::from_static("1"))]);
        Poll::Ready(Some(Frame::trailers(fields)))
    }

    /// Polls to the end or the error, and says what came, in words.
    fn polled<const N: usize>(
        framing: Framing,
        needed: Trailers,
        script: [Poll<Option<Frame<Bytes>>>; N],
    ) -> String {
        let mut body = task::spawn(Framed::new(Script(script.into()), framing, &fields()));
        let mut words = Vec::new();
        loop {
            words.push(match body.enter(|cx, body| body.poll_framed(cx, needed)) {
                Poll::Pending => "wait".to_owned(),
                Poll::Ready(None) => {
                    assert!(body.is_end_stream());
                    words.push("end".to_owned());
                    return words.join(" ");
                }
                Poll::Ready(Some(Err(error))) => {
                    let again = body.enter(|cx, body| body.poll_framed(cx, needed));
                    assert!(matches!(again, Poll::Ready(Some(Err(_)))), "never an end");
                    assert!(!body.is_end_stream());
                    let error = error.downcast::<Error>().unwrap();
                    words.push(format!("{error:?}"));
                    return words.join(" ");
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => String::from_utf8(data.into()).unwrap(),
                    Err(_) => "trailers".to_owned(),
                },
            });
        }
    }

    #[test]
    fn the_frame_that_completes_a_length_waits_for_the_end() {
        let of = |then| {
            polled(
                Framing::Length(3),
                Trailers::Named,
                [data("pa"), data("y"), Poll::Pending, then],
            )
        };
        assert_eq!(of(Poll::Ready(None)), "pa wait y end");
        assert_eq!(of(data("")), "pa wait y end");
        assert_eq!(of(data("!")), "pa wait TooLong { declared: 3 }");
        assert_eq!(of(trailers("x-sum")), "pa wait UnnamedTrailers");
    }

    #[test]
    fn chunks_wait_for_nothing_but_what_follows_trailers() {
        let of = |then| {
            let script = [data("pay"), Poll::Pending, trailers("x-sum"), Poll::Pending, then];
            polled(Framing::Chunked(Some(3)), Trailers::Named, script)
        };
        assert_eq!(of(Poll::Ready(None)), "pay wait wait trailers end");
        assert_eq!(of(data("!")), "pay wait wait AfterTrailers");
    }

    #[test]
    fn trailers_are_sent_that_are_named_and_no_fields_of_heads() {
        let of =
            |name, needed| polled(Framing::Chunked(None), needed, [data("pay"), trailers(name)]);
        assert_eq!(of("x-sum", Trailers::Named), "pay trailers end");
        assert_eq!(of("x-other", Trailers::Named), "pay UnnamedTrailers");
        assert_eq!(of("host", Trailers::Named), "pay UnnamedTrailers");
        assert_eq!(of("x-other", Trailers::Any), "pay trailers end");
    }

    /// HTTP/2 ends a message by a frame of its own.
    #[test]
    fn over_http2_nothing_waits_and_everything_is_counted() {
        let of =
            |then| polled(Framing::Length(3), Trailers::Any, [data("pay"), Poll::Pending, then]);
        assert_eq!(of(Poll::Ready(None)), "pay wait end");
        assert_eq!(of(trailers("x-other")), "pay wait trailers end");
        assert_eq!(of(data("!")), "pay wait TooLong { declared: 3 }");
    }
}

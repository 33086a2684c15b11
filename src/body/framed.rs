//! A request's body that keeps to its framing, or fails.

use std::any::Any;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::Request;
use http::header::{self, HeaderMap, HeaderName, TRAILER};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use pin_project_lite::pin_project;

use super::framing::Framing;
use super::{Error, NotReplayable, SendableBody};
use crate::chain::BoxError;

pin_project! {
    /// A request's body on its way out, held to its [`Framing`].
    ///
    /// A body that yields more or fewer bytes than declared, or trailers that would be
    /// dropped, fails before the message is complete. Hyper stops polling at the declared
    /// length, so the frame that reaches it is held back until the body has ended.
    pub(crate) struct Framed<B> {
        // `None` for a request that is a head and nothing else.
        #[pin]
        inner: Option<B>,
        // `None` if the body cannot break its framing. A box, because hyper moves a request
        // about fifteen times: inline it cost 2 % of the instructions of `benches/cost`.
        guard: Option<Box<FramingGuard>>,
    }
}

/// Learns that a body yields nothing more.
pub(crate) trait OnEnd: Send + Sync {
    fn on_body_end(&self);
}

impl<B: Body + 'static> Framed<B> {
    /// Returns the request with its body held to `framing`, and put into `wrap`.
    pub(crate) fn wrap<T>(
        request: Request<B>,
        framing: Framing,
        wrap: impl FnOnce(Self) -> T,
    ) -> Request<T> {
        // An empty body is never polled.
        let is_empty = matches!(framing, Framing::Bare | Framing::Length(0));
        let guard = (!is_empty).then(|| FramingGuard::new(framing, request.headers(), None));
        request.map(|inner| wrap(Self { inner: Some(inner), guard }))
    }

    /// Does the same at less cost for a body in memory that has no `on_end` to call.
    /// Whether such a body [was polled](Self::is_unpolled) is not known.
    #[inline]
    pub(crate) fn wrap_lean<T>(
        request: Request<B>,
        framing: Framing,
        on_end: Option<Arc<dyn OnEnd>>,
        wrap: impl FnOnce(Self) -> T,
    ) -> Request<T> {
        let is_kept = match framing {
            // An empty body is never polled.
            Framing::Bare | Framing::Length(0) => true,
            // One frame, as long as `Framing::of` was told.
            Framing::Length(_) => is_in_memory(request.body()),
            Framing::SizedChunks(_) | Framing::UnsizedChunks => false,
        };
        let is_guarded = !is_kept || on_end.is_some();
        let guard = is_guarded.then(|| FramingGuard::new(framing, request.headers(), on_end));
        request.map(|inner| wrap(Self { inner: Some(inner), guard }))
    }
}

impl<B> Framed<B> {
    /// Returns the body of a request that is a head and nothing else.
    pub(crate) fn none() -> Self {
        Self { inner: None, guard: None }
    }

    /// Returns the body, which must not have been polled.
    pub(crate) fn into_inner(self) -> Option<B> {
        self.inner
    }

    /// Returns `true` if the body has content that was never polled: a message that was
    /// sent all the same went out without it.
    pub(crate) fn is_unpolled(&self) -> bool {
        self.guard.as_ref().is_some_and(|guard| guard.state == State::Unpolled)
    }
}

impl<B: SendableBody> Framed<B> {
    /// Polls the next frame.
    #[inline]
    pub(crate) fn poll_framed(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        trailers: Trailers,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let this = self.project();
        match (this.inner.as_pin_mut(), this.guard) {
            (None, _) => Poll::Ready(None),
            (Some(inner), None) => inner.poll_frame(cx).map_err(Into::into),
            (Some(inner), Some(guard)) => guard.poll(inner, cx, trailers),
        }
    }
}

impl<B: SendableBody> Body for Framed<B> {
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        self.poll_framed(cx, Trailers::Named)
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        match (&self.inner, &self.guard) {
            (None, _) => true,
            (Some(inner), None) => inner.is_end_stream(),
            (Some(inner), Some(guard)) => guard.is_end_stream(inner),
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match (&self.inner, &self.guard) {
            (None, _) => SizeHint::with_exact(0),
            (Some(inner), None) => inner.size_hint(),
            (Some(_), Some(guard)) => guard.size_hint(),
        }
    }
}

/// Which trailers a connection sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trailers {
    /// Those that the head names (HTTP/1.1).
    Named,
    /// All (HTTP/2).
    Any,
}

/// What a body is held to, and what it has yielded so far.
struct FramingGuard {
    framing: Framing,
    /// The trailers that the head names.
    trailers: Vec<HeaderName>,
    on_end: Option<Arc<dyn OnEnd>>,
    /// In bytes.
    yielded: u64,
    state: State,
    is_holding: bool,
    /// The `Frame` that is held back. A box, since its type is the body's. The mutex is
    /// never contended: it makes the body `Sync` where its data is not.
    held: Mutex<Option<Box<dyn Any + Send>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unpolled,
    Open,
    Ended,
    Failed,
}

/// Goes on if the body must be polled once more.
type Polled<D> = ControlFlow<Option<Frame<D>>>;

impl FramingGuard {
    // Apart, so that `wrap` stays small enough to be inlined.
    #[inline(never)]
    fn new(framing: Framing, headers: &HeaderMap, on_end: Option<Arc<dyn OnEnd>>) -> Box<Self> {
        let trailers = match framing.has_chunks() {
            true => named_trailers(headers),
            false => Vec::new(),
        };
        let state = State::Unpolled;
        let held = Mutex::new(None);
        Box::new(Self { framing, trailers, on_end, yielded: 0, state, is_holding: false, held })
    }

    fn poll<B: SendableBody>(
        &mut self,
        mut body: Pin<&mut B>,
        cx: &mut Context<'_>,
        trailers: Trailers,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        match self.state {
            State::Unpolled | State::Open => self.state = State::Open,
            State::Ended => {
                // The last frame was held back, and said nothing of the end.
                self.tell_end();
                return Poll::Ready(None);
            }
            // Never an end: it would complete the message.
            State::Failed => {
                let failed = Error::Gone(NotReplayable::Failed);
                return Poll::Ready(Some(Err(failed.into())));
            }
        }
        loop {
            let polled = match ready!(body.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => self.on_frame(frame, &*body, trailers).map_err(Into::into),
                Some(Err(error)) => Err(error.into()),
                None => self.on_end().map(ControlFlow::Break).map_err(Into::into),
            };
            match polled {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(frame)) => {
                    // Nothing follows trailers either.
                    if frame.as_ref().is_none_or(Frame::is_trailers) {
                        self.tell_end();
                    }
                    return Poll::Ready(frame.map(Ok));
                }
                Err(error) => {
                    self.state = State::Failed;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }

    fn on_frame<B: Body>(
        &mut self,
        frame: Frame<B::Data>,
        body: &B,
        trailers: Trailers,
    ) -> Result<Polled<B::Data>, Error>
    where
        B::Data: Send + 'static,
    {
        if is_nothing(&frame) {
            return Ok(ControlFlow::Continue(()));
        }
        // HTTP/1 is done once this many bytes are written; HTTP/2 ends a message by a
        // flag of its own.
        let ends_by_length =
            matches!(self.framing, Framing::Length(_)) && trailers == Trailers::Named;
        if self.is_holding {
            return Err(too_much(&frame, ends_by_length, self.yielded));
        }
        let may_complete = match frame.data_ref() {
            Some(data) => {
                self.yielded = self.yielded.saturating_add(data.remaining() as u64);
                match self.framing.declared() {
                    Some(declared) if self.yielded > declared => {
                        return Err(Error::TooLong { declared });
                    }
                    Some(declared) => ends_by_length && self.yielded == declared,
                    None => false,
                }
            }
            None => {
                self.check_length()?;
                self.check_trailers(&frame, trailers)?;
                true
            }
        };
        if !may_complete || body.is_end_stream() {
            return Ok(ControlFlow::Break(Some(frame)));
        }
        self.is_holding = true;
        self.held = Mutex::new(Some(Box::new(frame)));
        Ok(ControlFlow::Continue(()))
    }

    /// Returns the frame that was held back, if one was.
    fn on_end<D: 'static>(&mut self) -> Result<Option<Frame<D>>, Error> {
        self.check_length()?;
        self.state = State::Ended;
        self.is_holding = false;
        let held = self.held.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        Ok(held.and_then(|held| held.downcast().ok()).map(|frame| *frame))
    }

    fn is_end_stream(&self, body: &impl Body) -> bool {
        let is_end = match self.state {
            // Hyper would omit the last chunk of a body that is at its end before it was
            // polled.
            State::Unpolled if self.framing.has_chunks() => false,
            State::Unpolled | State::Open => {
                !self.is_holding && self.check_length().is_ok() && body.is_end_stream()
            }
            State::Ended => true,
            State::Failed => false,
        };
        if is_end {
            self.tell_end();
        }
        is_end
    }

    fn tell_end(&self) {
        if let Some(on_end) = &self.on_end {
            on_end.on_body_end();
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.framing {
            Framing::Bare => SizeHint::with_exact(0),
            Framing::Length(length) => SizeHint::with_exact(length.saturating_sub(self.yielded)),
            // Hyper would frame a known length by `Content-Length`.
            Framing::SizedChunks(_) | Framing::UnsizedChunks => SizeHint::new(),
        }
    }

    fn check_length(&self) -> Result<(), Error> {
        match self.framing.declared() {
            Some(declared) if self.yielded < declared => {
                Err(Error::TooShort { declared, missing: declared - self.yielded })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Rejects trailers that hyper would drop: those that the head does not name, those
    /// that are not allowed as trailers (RFC 9110 6.5.1), and all that do not follow
    /// chunks.
    fn check_trailers<D>(&self, frame: &Frame<D>, sent: Trailers) -> Result<(), Error> {
        let is_sent = |name| self.trailers.contains(name) && !HEAD_ONLY.contains(name);
        let are_sent = frame.trailers_ref().is_none_or(|fields| fields.keys().all(is_sent));
        match sent == Trailers::Any || self.framing.has_chunks() && are_sent {
            true => Ok(()),
            false => Err(Error::UnnamedTrailers),
        }
    }
}

/// Returns `true` if a body is one frame of bytes in memory, as long as its size hint.
fn is_in_memory<B: 'static>(body: &B) -> bool {
    let body: &dyn Any = body;
    body.is::<Full<Bytes>>() || body.downcast_ref().is_some_and(super::Body::is_held)
}

/// Returns the trailers that the head names.
#[cold]
fn named_trailers(headers: &HeaderMap) -> Vec<HeaderName> {
    let fields = headers.get_all(TRAILER).iter().filter_map(|field| field.to_str().ok());
    let names = fields.flat_map(|field| field.split(','));
    names.filter_map(|name| name.trim().parse().ok()).collect()
}

/// Returns `true` for a frame that has no bytes and no fields.
fn is_nothing<D: Buf>(frame: &Frame<D>) -> bool {
    match frame.data_ref() {
        Some(data) => !data.has_remaining(),
        None => frame.trailers_ref().is_some_and(HeaderMap::is_empty),
    }
}

/// Returns the error for a frame that follows the one held back as the last.
#[cold]
fn too_much<D>(next: &Frame<D>, ends_by_length: bool, declared: u64) -> Error {
    match (ends_by_length, next.is_data()) {
        (true, true) => Error::TooLong { declared },
        (true, false) => Error::UnnamedTrailers,
        (false, _) => Error::AfterTrailers,
    }
}

/// The fields that hyper does not send as trailers, named or not.
const HEAD_ONLY: [HeaderName; 12] = [
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
        let mut request = Request::new(Script(script.into()));
        *request.headers_mut() = fields();
        let body = Framed::wrap(request, framing, |body| body).into_body();
        let mut body = task::spawn(body);
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
            polled(Framing::SizedChunks(3), Trailers::Named, script)
        };
        assert_eq!(of(Poll::Ready(None)), "pay wait wait trailers end");
        assert_eq!(of(data("!")), "pay wait wait AfterTrailers");
    }

    #[test]
    fn trailers_are_sent_that_are_named_and_no_fields_of_heads() {
        let of =
            |name, needed| polled(Framing::UnsizedChunks, needed, [data("pay"), trailers(name)]);
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

//! Bodies made anew for each attempt.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::line::Generations;
use super::stream::LengthChecked;
use super::{Error, NotReplayable, Replayable};

/// A body from a factory. The factory is called when the body is first
/// looked at, so that a spare that is never sent costs nothing.
pub(super) struct FactoryBody {
    factory: Arc<Factory<dyn Fn() -> LengthChecked + Send + Sync>>,
    place: u64,
    /// In a mutex because a size hint is asked for through a shared reference.
    stream: Mutex<Option<LengthChecked>>,
}

struct Factory<F: ?Sized> {
    line: Mutex<Generations>,
    make: F,
}

impl FactoryBody {
    pub(super) fn new(make: impl Fn() -> LengthChecked + Send + Sync + 'static) -> Self {
        let line = Mutex::new(Generations::default());
        Self {
            factory: Arc::new(Factory { line, make }),
            place: Generations::FIRST,
            stream: Mutex::new(None),
        }
    }

    fn line(&self) -> MutexGuard<'_, Generations> {
        lock(&self.factory.line)
    }

    /// Looks at the stream, which is made if need be; `None` once revoked.
    fn look<T>(&self, look: impl FnOnce(&LengthChecked) -> T) -> Option<T> {
        if self.line().is_revoked(self.place) {
            return None;
        }
        let mut stream = lock(&self.stream);
        Some(look(stream.get_or_insert_with(&self.factory.make)))
    }

    /// Takes the line over, or reports that a newer body has.
    fn enter(&self) -> Result<Option<Waker>, Error> {
        let mut line = self.line();
        match line.is_revoked(self.place) {
            true => Err(Error::Revoked),
            false => Ok(line.advance_to(self.place)),
        }
    }

    /// Waits for the stream, or for a revocation, which may have come already.
    fn wait(&self, waker: &Waker) -> Result<(), Error> {
        let mut line = self.line();
        if line.is_revoked(self.place) {
            return Err(Error::Revoked);
        }
        line.wait(waker);
        Ok(())
    }
}

impl HttpBody for FactoryBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        match this.enter() {
            Ok(revoked) => revoked.into_iter().for_each(Waker::wake),
            Err(error) => return Poll::Ready(Some(Err(error))),
        }
        let stream = this.stream.get_mut().unwrap_or_else(PoisonError::into_inner);
        let stream = stream.get_or_insert_with(&this.factory.make);
        if let Poll::Ready(next) = Pin::new(stream).poll_frame(cx) {
            return Poll::Ready(next);
        }
        match this.wait(cx.waker()) {
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.look(LengthChecked::is_end_stream).unwrap_or(false)
    }

    fn size_hint(&self) -> SizeHint {
        self.look(LengthChecked::size_hint).unwrap_or_default()
    }
}

impl Replayable for FactoryBody {
    fn replay(&self) -> Result<Self, NotReplayable> {
        self.check_replay()?;
        self.revoke();
        Ok(Self {
            factory: Arc::clone(&self.factory),
            place: self.line().append(),
            stream: Mutex::new(None),
        })
    }

    fn check_replay(&self) -> Result<(), NotReplayable> {
        match self.line().is_revoked(self.place) {
            true => Err(NotReplayable::Revoked),
            false => Ok(()),
        }
    }

    fn revoke(&self) {
        let revoked = self.line().advance_to(self.place);
        revoked.into_iter().for_each(Waker::wake);
    }
}

impl fmt::Debug for FactoryBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FactoryBody").field("place", &self.place).finish_non_exhaustive()
    }
}

/// Locks although a factory may have panicked; nothing was half done then.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

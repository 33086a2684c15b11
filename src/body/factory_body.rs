//! Bodies that a factory makes, one for each attempt.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::generations::Generations;
use super::length_checked::LengthChecked;
use super::{Error, NotReplayable, Replayable};

/// A body from a factory, which is called when the body is first polled or asked for its
/// length, so that a spare that is never sent costs nothing.
pub(super) struct FactoryBody {
    factory: Arc<Factory<dyn Fn() -> LengthChecked + Send + Sync>>,
    generation: u64,
    /// In a mutex because the length is asked for through a shared reference. Nothing of
    /// the caller's runs under it.
    stream: Mutex<Option<LengthChecked>>,
}

impl FactoryBody {
    pub(super) fn new(make: impl Fn() -> LengthChecked + Send + Sync + 'static) -> Self {
        let generations = Mutex::new(Generations::default());
        Self {
            factory: Arc::new(Factory { generations, make }),
            generation: Generations::FIRST,
            stream: Mutex::new(None),
        }
    }

    fn generations(&self) -> MutexGuard<'_, Generations> {
        lock(&self.factory.generations)
    }

    /// Reads from the stream, which is made if need be; `None` once revoked.
    fn read<T>(&self, read: impl Fn(&LengthChecked) -> T) -> Option<T> {
        if self.generations().is_revoked(self.generation) {
            return None;
        }
        if let Some(stream) = &*lock(&self.stream) {
            return Some(read(stream));
        }
        let made = (self.factory.make)();
        let value = read(&made);
        // The factory may have read from this body, or another thread.
        let mut stream = lock(&self.stream);
        let surplus = match &*stream {
            Some(_) => Some(made),
            None => stream.replace(made),
        };
        drop(stream);
        drop(surplus);
        Some(value)
    }

    /// Becomes the live body, or reports that a newer one is.
    fn advance(&self) -> Result<Option<Waker>, Error> {
        let mut generations = self.generations();
        match generations.is_revoked(self.generation) {
            true => Err(Error::Revoked),
            false => Ok(generations.advance_to(self.generation)),
        }
    }

    /// Waits for the stream, or for a revocation, which may have come already.
    fn wait(&self, waker: Waker) -> Result<(), Error> {
        let mut generations = self.generations();
        if generations.is_revoked(self.generation) {
            drop(generations);
            return Err(Error::Revoked);
        }
        let replaced = generations.wait(waker);
        drop(generations);
        drop(replaced);
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
        match this.advance() {
            Ok(revoked) => revoked.into_iter().for_each(Waker::wake),
            Err(error) => return Poll::Ready(Some(Err(error))),
        }
        let stream = this.stream.get_mut().unwrap_or_else(PoisonError::into_inner);
        let stream = stream.get_or_insert_with(&this.factory.make);
        if let Poll::Ready(next) = Pin::new(stream).poll_frame(cx) {
            return Poll::Ready(next);
        }
        match this.wait(cx.waker().clone()) {
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read(LengthChecked::is_end_stream).unwrap_or(false)
    }

    fn size_hint(&self) -> SizeHint {
        self.read(LengthChecked::size_hint).unwrap_or_default()
    }
}

impl Replayable for FactoryBody {
    fn replay(&self) -> Result<Self, NotReplayable> {
        self.check_replay()?;
        self.revoke();
        Ok(Self {
            factory: Arc::clone(&self.factory),
            generation: self.generations().append(),
            stream: Mutex::new(None),
        })
    }

    fn check_replay(&self) -> Result<(), NotReplayable> {
        match self.generations().is_revoked(self.generation) {
            true => Err(NotReplayable::Revoked),
            false => Ok(()),
        }
    }

    fn revoke(&self) {
        let revoked = self.generations().advance_to(self.generation);
        revoked.into_iter().for_each(Waker::wake);
    }
}

impl fmt::Debug for FactoryBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FactoryBody").field("generation", &self.generation).finish_non_exhaustive()
    }
}

struct Factory<F: ?Sized> {
    generations: Mutex<Generations>,
    make: F,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The kinds of body that are not simply bytes in memory.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use super::error::Error;
use super::factory_body::FactoryBody;
use super::length_checked::LengthChecked;
use super::replay::Replay;
use super::replayable::{NotReplayable, Replayable};

/// Where the bytes of a streamed body come from.
pub(super) enum BodySource {
    /// A stream that can be sent once.
    ///
    /// The mutex makes the body `Sync` where the stream is not. None of the stream's code
    /// runs under it: see [`LengthChecked`].
    OneShot(Mutex<LengthChecked>, StreamId),
    Factory(FactoryBody),
    Recorded(Replay<LengthChecked>),
}

impl BodySource {
    pub(super) fn one_shot(stream: LengthChecked) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let id = StreamId(LAST.fetch_add(1, Ordering::Relaxed));
        Self::OneShot(Mutex::new(stream), id)
    }

    pub(super) fn id(&self) -> Option<StreamId> {
        match self {
            Self::OneShot(_, id) => Some(*id),
            Self::Factory(_) | Self::Recorded(_) => None,
        }
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self {
            Self::OneShot(stream, _) => {
                let stream = stream.get_mut().unwrap_or_else(PoisonError::into_inner);
                Pin::new(stream).poll_frame(cx)
            }
            Self::Factory(body) => Pin::new(body).poll_frame(cx),
            Self::Recorded(replay) => Pin::new(replay).poll_frame(cx),
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        match self {
            Self::OneShot(stream, _) => lock(stream).is_end_stream(),
            Self::Factory(body) => body.is_end_stream(),
            Self::Recorded(replay) => replay.is_end_stream(),
        }
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Self::OneShot(stream, _) => lock(stream).size_hint(),
            Self::Factory(body) => body.size_hint(),
            Self::Recorded(replay) => replay.size_hint(),
        }
    }

    pub(super) fn replay(&self) -> Result<Self, NotReplayable> {
        match self {
            Self::OneShot(..) => Err(NotReplayable::OneShot),
            Self::Factory(body) => Ok(Self::Factory(body.replay()?)),
            Self::Recorded(replay) => Ok(Self::Recorded(replay.replay()?)),
        }
    }

    pub(super) fn check_replay(&self) -> Result<(), NotReplayable> {
        match self {
            Self::OneShot(..) => Err(NotReplayable::OneShot),
            Self::Factory(body) => body.check_replay(),
            Self::Recorded(replay) => replay.check_replay(),
        }
    }

    pub(super) fn revoke(&self) {
        match self {
            Self::OneShot(..) => {}
            Self::Factory(body) => body.revoke(),
            Self::Recorded(replay) => replay.revoke(),
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::OneShot(..) => "stream",
            Self::Factory(_) => "factory",
            Self::Recorded(_) => "recorded stream",
        }
    }
}

/// Tells a stream that can be sent once from every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamId(u64);

fn lock(stream: &Mutex<LengthChecked>) -> MutexGuard<'_, LengthChecked> {
    stream.lock().unwrap_or_else(PoisonError::into_inner)
}

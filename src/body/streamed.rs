//! The kinds of body that are not simply bytes in memory.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use super::StreamId;
use super::error::Error;
use super::made::FactoryBody;
use super::replay::Replay;
use super::replayable::{NotReplayable, Replayable};
use super::stream::LengthChecked;

/// A body that is a stream.
pub(super) enum BodySource {
    /// A stream that can be sent once. The mutex is never contended: it makes
    /// the body `Sync` where the stream is not.
    OneShot(Mutex<LengthChecked>, StreamId),
    FactoryBody(FactoryBody),
    Recorded(Replay<LengthChecked>),
}

impl BodySource {
    pub(super) fn one_shot(stream: LengthChecked) -> Self {
        Self::OneShot(Mutex::new(stream), StreamId::new())
    }

    pub(super) fn id(&self) -> Option<StreamId> {
        match self {
            Self::OneShot(_, id) => Some(*id),
            Self::FactoryBody(_) | Self::Recorded(_) => None,
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
            Self::FactoryBody(made) => Pin::new(made).poll_frame(cx),
            Self::Recorded(replay) => Pin::new(replay).poll_frame(cx),
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        match self {
            Self::OneShot(stream, _) => look(stream, LengthChecked::is_end_stream),
            Self::FactoryBody(made) => made.is_end_stream(),
            Self::Recorded(replay) => replay.is_end_stream(),
        }
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Self::OneShot(stream, _) => look(stream, LengthChecked::size_hint),
            Self::FactoryBody(made) => made.size_hint(),
            Self::Recorded(replay) => replay.size_hint(),
        }
    }

    pub(super) fn replay(&self) -> Result<Self, NotReplayable> {
        match self {
            Self::OneShot(..) => Err(NotReplayable::OneShot),
            Self::FactoryBody(made) => Ok(Self::FactoryBody(made.replay()?)),
            Self::Recorded(replay) => Ok(Self::Recorded(replay.replay()?)),
        }
    }

    pub(super) fn check_replay(&self) -> Result<(), NotReplayable> {
        match self {
            Self::OneShot(..) => Err(NotReplayable::OneShot),
            Self::FactoryBody(made) => made.check_replay(),
            Self::Recorded(replay) => replay.check_replay(),
        }
    }

    pub(super) fn revoke(&self) {
        match self {
            Self::OneShot(..) => {}
            Self::FactoryBody(made) => made.revoke(),
            Self::Recorded(replay) => replay.revoke(),
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::OneShot(..) => "stream",
            Self::FactoryBody(_) => "factory",
            Self::Recorded(_) => "recorded stream",
        }
    }
}

fn look<T>(stream: &Mutex<LengthChecked>, look: impl FnOnce(&LengthChecked) -> T) -> T {
    look(&stream.lock().unwrap_or_else(PoisonError::into_inner))
}

//! What one body has yielded.

use std::mem;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

use super::NotReplayable;
use super::replay_caps::{BufferReservation, ReplayCaps};

/// The bytes and trailers that a stream has yielded so far.
///
/// Bytes are copied. A slice would keep the whole buffer alive that it was cut from, and
/// the caps would not count the memory in use.
#[derive(Debug)]
pub(super) struct ReplayBuffer {
    /// Bytes that were handed to replays, which share each chunk.
    chunks: Vec<Bytes>,
    /// The bytes after the chunks. It still grows.
    tail: Vec<u8>,
    trailers: Option<HeaderMap>,
    reservation: BufferReservation,
}

impl ReplayBuffer {
    pub(super) fn new(caps: ReplayCaps) -> Self {
        Self {
            chunks: Vec::new(),
            tail: Vec::new(),
            trailers: None,
            reservation: BufferReservation::new(caps),
        }
    }

    /// Records one more frame of a body that has at least `foreseen` bytes.
    ///
    /// # Errors
    ///
    /// If the frame does not fit the caps, or cannot be recorded.
    pub(super) fn record(
        &mut self,
        frame: &Frame<Bytes>,
        foreseen: u64,
    ) -> Result<(), NotReplayable> {
        if self.trailers.is_some() {
            return Err(NotReplayable::Unrecordable);
        }
        if let Some(data) = frame.data_ref() {
            self.reservation.check(foreseen)?;
            self.reservation.add(data.len())?;
            self.tail.extend_from_slice(data);
        } else if let Some(trailers) = frame.trailers_ref() {
            self.reservation.add(size_of(trailers))?;
            self.trailers = Some(trailers.clone());
        } else {
            return Err(NotReplayable::Unrecordable);
        }
        Ok(())
    }

    /// Returns the chunk at `index`, if it was recorded.
    pub(super) fn chunk(&mut self, index: usize) -> Option<Bytes> {
        if index == self.chunks.len() && !self.tail.is_empty() {
            self.chunks.push(mem::take(&mut self.tail).into());
        }
        self.chunks.get(index).cloned()
    }

    /// Returns `true` if all recorded bytes come before the chunk at `index`.
    pub(super) fn is_at_end(&self, index: usize) -> bool {
        index >= self.chunks.len() && self.tail.is_empty()
    }

    pub(super) fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }
}

fn size_of(trailers: &HeaderMap) -> usize {
    trailers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

//! The recording of one body.

use std::mem;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

use super::NotReplayable;
use super::replay_caps::{BufferReservation, ReplayCaps};

/// Holds the bytes and trailers a stream has yielded so far.
///
/// Bytes are copied. A slice would keep alive the whole buffer it was cut
/// from, and the caps would count something else than memory.
#[derive(Debug)]
pub(super) struct ReplayBuffer {
    /// Bytes that copies are handed; each chunk is shared between them.
    chunks: Vec<Bytes>,
    /// Bytes after the chunks, still growing.
    tail: Vec<u8>,
    trailers: Option<HeaderMap>,
    charge: BufferReservation,
}

impl ReplayBuffer {
    pub(super) fn new(caps: ReplayCaps) -> Self {
        Self {
            chunks: Vec::new(),
            tail: Vec::new(),
            trailers: None,
            charge: BufferReservation::new(caps),
        }
    }

    /// Records one more frame of a body at least `foreseen` bytes long.
    pub(super) fn record(
        &mut self,
        frame: &Frame<Bytes>,
        foreseen: u64,
    ) -> Result<(), NotReplayable> {
        if self.trailers.is_some() {
            return Err(NotReplayable::Unrecordable);
        }
        if let Some(data) = frame.data_ref() {
            self.charge.foresee(foreseen)?;
            self.charge.add(data.len())?;
            self.tail.extend_from_slice(data);
        } else if let Some(trailers) = frame.trailers_ref() {
            self.charge.add(size_of(trailers))?;
            self.trailers = Some(trailers.clone());
        } else {
            return Err(NotReplayable::Unrecordable);
        }
        Ok(())
    }

    /// Returns the chunk at `index`, if there are that many bytes.
    pub(super) fn chunk(&mut self, index: usize) -> Option<Bytes> {
        if index == self.chunks.len() && !self.tail.is_empty() {
            self.chunks.push(mem::take(&mut self.tail).into());
        }
        self.chunks.get(index).cloned()
    }

    /// Tells whether all recorded bytes come before chunk `index`.
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

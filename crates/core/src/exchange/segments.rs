//! How many data segments carried a request.
//!
//! A relay that half-closed and goes on forwarding can take the first segment
//! of a request, lose its acknowledgement, and reset the second. To us that
//! looks like a peer that never had any of it. A request in *one* segment has
//! no second one to be reset: if it was taken and the acknowledgement was
//! lost, our retransmission of it is acknowledged.
//!
//! Linux counts, since the connect:
//!
//! - `tcpi_data_segs_out`: the segments of every buffer with payload that
//!   `__tcp_transmit_skb` hands down, retransmissions included. A buffer that
//!   segmentation offload will cut counts as the segments that it becomes.
//!   Pure acknowledgements and window or keepalive probes have no payload and
//!   do not count. A tail loss probe, an MTU probe and a probe that carries
//!   queued data do, like any data.
//! - `tcpi_total_retrans` and `tcpi_bytes_retrans`: segments and bytes that
//!   `__tcp_retransmit_skb` is about to send again, a tail loss probe's among
//!   them. Both grow before the send, so one that fails leaves `bytes_sent`
//!   behind: the counters are not conserved then. Retransmitted SYNs count
//!   too, but come before the stale check.
//!
//! The difference of the two is the number of segments that were new. It does
//! not show that a segment was cut when it was sent *again*, after the path's
//! MTU or the peer's window shrank: a piece adds one to both counters, and is
//! a segment of its own to the peer. So every retransmission must have carried
//! all the bytes. No retransmission carries more, since nothing older was in
//! flight at the stale check; so if the bytes add up, none carried less.

use super::snapshot::Snapshot;
use crate::fate::Segments;

/// The segment counters at the stale check, when all that was written before the
/// request had been acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SegmentBase {
    written: u64,
    data_segs_out: u32,
    total_retrans: u32,
    bytes_retrans: u64,
}

/// The largest payload of one TCP segment, by IP's 16-bit length.
const LARGEST: u64 = u16::MAX as u64;

impl SegmentBase {
    /// Returns the counters at a stale check, `written` bytes after the connect.
    ///
    /// `None` if any of those bytes is unsent or unacknowledged, or the kernel
    /// does not count segments: no later count can then be told to be that of
    /// the request.
    pub fn at_stale_check(written: u64, snapshot: &Snapshot) -> Option<Self> {
        let is_quiet =
            snapshot.notsent == 0 && written.checked_add(1) == Some(snapshot.bytes_acked);
        let counted = (snapshot.data_segs_out?, snapshot.total_retrans?);
        is_quiet.then_some(Self {
            written,
            data_segs_out: counted.0,
            total_retrans: counted.1,
            bytes_retrans: snapshot.bytes_retrans,
        })
    }

    /// Counts the segments that carried what was written since the stale check, with
    /// `written` bytes in all since the connect.
    ///
    /// `snapshot` must be conserved, like that of the stale check.
    pub fn count(&self, written: u64, snapshot: &Snapshot) -> Segments {
        let (Some(sent), Some(again)) = (snapshot.data_segs_out, snapshot.total_retrans) else {
            return Segments::Uncounted;
        };
        let sent = sent.wrapping_sub(self.data_segs_out);
        let again = again.wrapping_sub(self.total_retrans);
        match sent.checked_sub(again) {
            Some(1) if self.is_whole(written, again, snapshot) => Segments::One,
            Some(0 | 1) | None => Segments::Uncounted,
            Some(_) => Segments::Several,
        }
    }

    /// Returns `true` if all that was written since the stale check was sent, can be
    /// one segment, and was whole in each of `again` retransmissions.
    fn is_whole(&self, written: u64, again: u32, snapshot: &Snapshot) -> bool {
        let Some(length) = written.checked_sub(self.written) else { return false };
        let bytes_again = snapshot.bytes_retrans.checked_sub(self.bytes_retrans);
        snapshot.notsent == 0
            && (1..=LARGEST).contains(&length)
            && bytes_again.is_some()
            && bytes_again == length.checked_mul(again.into())
    }
}

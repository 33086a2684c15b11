//! The kernel's counters for one TCP socket, as read at one moment.

use std::time::Duration;

/// One reading of the kernel's counters for a TCP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The connection's state.
    pub state: TcpState,
    /// Bytes acknowledged by the peer, our SYN (and FIN) counted as one each.
    pub bytes_acked: u64,
    /// Bytes received in order, the peer's FIN counted as one.
    pub bytes_received: u64,
    /// Payload bytes sent, retransmissions included.
    pub bytes_sent: u64,
    /// Payload bytes retransmitted.
    pub bytes_retrans: u64,
    /// Bytes written but not yet sent once.
    pub notsent: u64,
    /// The retransmission timeout.
    pub rto: Duration,
    /// The smoothed round-trip time.
    pub rtt: Duration,
    /// Segments retransmitted since the connect; none if the kernel gives no
    /// such count.
    pub total_retrans: Option<u32>,
    /// Segments with payload sent, retransmissions included; none if the kernel
    /// gives no such count.
    pub data_segs_out: Option<u32>,
    /// Probes that have no answer yet; none if the kernel gives no such count.
    pub probes: Option<u8>,
}

impl Snapshot {
    /// Returns the snapshot of a connection in this state, all counters zero.
    pub fn new(state: TcpState) -> Self {
        Self {
            state,
            bytes_acked: 0,
            bytes_received: 0,
            bytes_sent: 0,
            bytes_retrans: 0,
            notsent: 0,
            rto: Duration::ZERO,
            rtt: Duration::ZERO,
            total_retrans: None,
            data_segs_out: None,
            probes: None,
        }
    }

    /// Returns `true` if TCP sent or holds exactly the `written` bytes that the
    /// socket accepted, no more and no less.
    pub fn is_conserved(&self, written: u64) -> bool {
        self.bytes_sent
            .checked_sub(self.bytes_retrans)
            .and_then(|once| once.checked_add(self.notsent))
            == Some(written)
    }
}

/// The state of a TCP connection, as far as the rule tells states apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TcpState {
    /// Open in both directions.
    Established,
    /// Over: reset, timed out or destroyed.
    Close,
    /// Any other state, by Linux's number.
    Other(u8),
}

impl TcpState {
    /// Returns the state that Linux numbers so.
    pub fn from_linux(number: u8) -> Self {
        match number {
            1 => Self::Established,
            7 => Self::Close,
            other => Self::Other(other),
        }
    }
}

//! Our kernel's socket of one connection, as Linux shows it to its user.

use tower_resend_core::fin_rule::LastRead;
use tower_resend_core::{Errno, Snapshot, TcpState};

use super::premises::Premises;

/// Bytes of an exchange that was on the connection before, each way.
pub(crate) const EARLIER: u64 = 1;

/// Our kernel's end of one connection, as far as this exchange moves it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Socket {
    /// Bytes of the request, each a segment of its own.
    request: u8,
    pub(crate) written: u8,
    /// Bytes of them that were sent once, the first ones.
    pub(crate) sent: u8,
    /// Bytes of them that traveled outside TCP.
    pub(crate) bypassed: u8,
    pub(crate) acked: u8,
    /// Bytes of the response that arrived in order.
    received: u8,
    /// Bytes of it that were read, by whomever.
    read: u8,
    /// A FIN came before the bytes in front of it.
    is_fin_early: bool,
    has_fin: bool,
    is_over: bool,
    /// What the next call on the socket reports, once.
    error: Option<Errno>,
}

impl Socket {
    /// Returns the socket of a request of so many bytes.
    pub(crate) fn new(request: u8) -> Self {
        Self { request, ..Self::default() }
    }

    /// Returns `true` if some of the request is not written yet.
    pub(crate) fn wants_more(&self) -> bool {
        self.written < self.request
    }

    /// An acknowledgement arrives, on a segment of its own or on another.
    pub(crate) fn on_ack(&mut self, ack: u8) {
        if !self.is_over && ack <= self.sent {
            self.acked = self.acked.max(ack);
        }
    }

    /// Returns `true` if a segment that carries `ack` would change anything.
    pub(crate) fn is_news(&self, ack: u8) -> bool {
        !self.is_over && ack <= self.sent && ack > self.acked
    }

    pub(crate) fn wants_response(&self) -> bool {
        !self.is_over && self.received == 0
    }

    pub(crate) fn has_response(&self) -> bool {
        self.received > 0
    }

    pub(crate) fn wants_fin(&self) -> bool {
        !self.is_over && !self.has_fin && !self.is_fin_early
    }

    pub(crate) fn wants_reset(&self) -> bool {
        !self.is_over
    }

    pub(crate) fn on_response(&mut self) {
        self.received = 1;
        self.has_fin = self.is_fin_early;
    }

    /// A FIN arrives; `before` is how many bytes of response are in front.
    pub(crate) fn on_fin(&mut self, before: u8) {
        if self.received >= before { self.has_fin = true } else { self.is_fin_early = true }
    }

    pub(crate) fn on_reset(&mut self) {
        let errno = if self.has_fin { Errno::EPIPE } else { Errno::ECONNRESET };
        self.end(errno);
    }

    /// The socket ends, for a reason of this host perhaps.
    pub(crate) fn end(&mut self, errno: Errno) {
        self.is_over = true;
        self.error = Some(errno);
    }

    /// Our kernel sends the next byte, if it holds one.
    pub(crate) fn can_send(&self) -> bool {
        !self.is_over && self.sent + self.bypassed < self.written
    }

    pub(crate) fn send(&mut self) {
        self.sent += 1;
    }

    pub(crate) fn has_unread(&self) -> bool {
        self.received > self.read
    }

    /// Another reader takes a byte.
    pub(crate) fn read_elsewhere(&mut self) {
        self.read += 1;
    }

    pub(crate) fn has_error(&self) -> bool {
        self.error.is_some()
    }

    /// Takes the pending error.
    pub(crate) fn take_error(&mut self) -> Option<Errno> {
        self.error.take()
    }

    pub(crate) fn write(&mut self) -> Result<(), Errno> {
        if self.is_over {
            return Err(self.take_error().unwrap_or(Errno::EPIPE));
        }
        self.written += 1;
        Ok(())
    }

    /// Reads as Linux does: data first; after a FIN the end, for ever; else
    /// the error, once; then the end.
    pub(crate) fn read(&mut self) -> Result<bool, LastRead> {
        if self.has_unread() {
            self.read += 1;
            return Ok(true);
        }
        match self.has_fin || (self.is_over && self.error.is_none()) {
            true => Err(LastRead::End),
            false if self.is_over => Err(LastRead::Failed),
            false => Err(LastRead::WouldBlock),
        }
    }

    /// The counters. The state is read before them: it may be an older one.
    pub(crate) fn snapshot(&self, premises: &Premises, is_lagging: bool) -> Snapshot {
        let mut snapshot = Snapshot::new(match (self.is_over && !is_lagging, self.has_fin) {
            (true, _) => TcpState::Close,
            (false, true) => TcpState::Other(8),
            (false, false) => TcpState::Established,
        });
        let acked = if premises.honest_counters { self.acked } else { 0 };
        snapshot.bytes_acked = 1 + EARLIER + u64::from(acked);
        snapshot.bytes_received = EARLIER + u64::from(self.received) + u64::from(self.has_fin);
        snapshot.bytes_sent = EARLIER + u64::from(self.sent);
        snapshot.data_segs_out = Some(EARLIER as u32 + u32::from(self.sent));
        snapshot.total_retrans = Some(0);
        snapshot.notsent = u64::from(self.written - self.bypassed - self.sent);
        snapshot
    }
}

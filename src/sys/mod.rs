//! The system calls that no crate offers in a safe form: behind the evidence
//! `TCP_INFO`, raw reads and the abort; for the server half `SIOCOUTQ`.
//!
//! `linux.rs` is the only file of this crate with unsafe code; `fallback.rs`
//! stands in where the kernel offers no evidence and says so.

#[cfg(not(target_os = "linux"))]
mod fallback;
#[cfg(target_os = "linux")]
mod linux;

#[cfg(not(target_os = "linux"))]
pub(crate) use fallback::{Fd, unacked};
#[cfg(target_os = "linux")]
pub(crate) use linux::{Fd, unacked};

/// What a raw, non-blocking read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// So many bytes.
    Octets(usize),
    /// The end of the stream.
    End,
    /// Nothing now, and no end.
    Nothing,
    /// An error, with its number.
    Failed(tower_resend_core::Errno),
}

//! The system calls that no crate offers in a safe form: `TCP_INFO`, raw reads and the
//! abort for the evidence, `SIOCOUTQ` for the server half.
//!
//! `linux.rs` is the only file of this crate with unsafe code. On every other system
//! `fallback.rs` reports that there is no evidence.

#[cfg(not(target_os = "linux"))]
mod fallback;
#[cfg(target_os = "linux")]
mod linux;

#[cfg(not(target_os = "linux"))]
pub(crate) use fallback::{Fd, unacked};
#[cfg(target_os = "linux")]
pub(crate) use linux::{Fd, unacked};

/// The result of one non-blocking read of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RawRead {
    /// This many bytes were read.
    Bytes(usize),
    /// The end of the stream: a FIN.
    End,
    /// Nothing to read at this moment.
    Nothing,
    /// An error; the stream gives no more.
    Failed(tower_resend_core::Errno),
}

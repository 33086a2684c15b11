//! The kernel's counters of a socket, read in the test itself.
#![allow(unsafe_code, reason = "TCP_INFO has no safe interface")]

use std::mem::{MaybeUninit, size_of};
use std::os::fd::AsRawFd;
use std::time::Duration;

use tower_resend_core::{Snapshot, TcpState};

/// Returns how many segments with payload arrived.
#[allow(dead_code, unreachable_pub, reason = "a module of a test, not of a library")]
pub fn data_segs_in(socket: &impl AsRawFd) -> u32 {
    tcp_info(socket).tcpi_data_segs_in
}

/// Reads the counters of a socket.
#[allow(dead_code, unreachable_pub, reason = "a module of a test, not of a library")]
pub fn snapshot(socket: &impl AsRawFd) -> Snapshot {
    let info = tcp_info(socket);
    let mut snapshot = Snapshot::new(TcpState::from_linux(info.tcpi_state));
    snapshot.bytes_acked = info.tcpi_bytes_acked;
    snapshot.bytes_received = info.tcpi_bytes_received;
    snapshot.bytes_sent = info.tcpi_bytes_sent;
    snapshot.bytes_retrans = info.tcpi_bytes_retrans;
    snapshot.notsent = info.tcpi_notsent_bytes.into();
    snapshot.rto = Duration::from_micros(info.tcpi_rto.into());
    snapshot.total_retrans = Some(info.tcpi_total_retrans);
    snapshot.data_segs_out = Some(info.tcpi_data_segs_out);
    snapshot.rtt = Duration::from_micros(info.tcpi_rtt.into());
    snapshot
}

fn tcp_info(socket: &impl AsRawFd) -> libc::tcp_info {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the descriptor is open while `socket` is borrowed; the buffer and
    // its length are its own.
    let failed = unsafe {
        let to = info.as_mut_ptr().cast();
        let fd = socket.as_raw_fd();
        libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, to, &raw mut len)
    };
    assert_eq!(failed, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: zeroed before, and every field is an integer.
    unsafe { info.assume_init() }
}

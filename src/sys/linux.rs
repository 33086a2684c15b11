//! The Linux system calls. The only unsafe code of this crate.

#![allow(
    unsafe_code,
    reason = "getsockopt, setsockopt, recv, connect and ioctl have no safe form here"
)]

use std::io;
use std::mem::{MaybeUninit, offset_of, size_of};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use libc::{c_int, c_void, socklen_t, tcp_info};
use tokio::net::TcpStream;

use super::RawRead;
use tower_resend_core::{Errno, Snapshot, TcpState, Unavailable};

/// The descriptor of a socket that another object owns.
///
/// Use it only while that owner is known to be alive (`ConnTracker` does so under its
/// lock). A stale number could name another socket, whose counters would then be taken
/// for this one's. Memory safety does not depend on it: every call passes the kernel a
/// buffer of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fd(RawFd);

/// `TCP_INFO` must reach to the end of `tcpi_bytes_retrans` (Linux 4.19).
const NEEDED: usize = offset_of!(tcp_info, tcpi_bytes_retrans) + size_of::<u64>();

/// The count of segments is older (Linux 4.6), and lies before that end.
const _: () = assert!(offset_of!(tcp_info, tcpi_data_segs_out) + size_of::<u32>() <= NEEDED);

/// Linux's number of the `ulp` option, which names kTLS and the like.
const TCP_ULP: c_int = 31;

impl Fd {
    /// Returns the descriptor of a stream.
    pub(crate) fn of(stream: &TcpStream) -> Self {
        Self(stream.as_raw_fd())
    }

    /// Prepares a socket for evidence (step A): it must be plain TCP over IP without an
    /// upper layer protocol, and urgent data is kept in line.
    ///
    /// # Errors
    ///
    /// Why this socket yields no evidence.
    pub(crate) fn prepare(self) -> Result<(), Unavailable> {
        let domain = self.option(libc::SOL_SOCKET, libc::SO_DOMAIN)?;
        let protocol = self.option(libc::SOL_SOCKET, libc::SO_PROTOCOL)?;
        let is_ip = domain == libc::AF_INET || domain == libc::AF_INET6;
        if !is_ip || protocol != libc::IPPROTO_TCP || self.has_upper_layer() {
            return Err(Unavailable::NotPlainTcp);
        }
        self.set_option(libc::SOL_SOCKET, libc::SO_OOBINLINE, &1_i32)
            .map_err(|_| Unavailable::UrgentData)
    }

    /// Reads the socket's counters (`TCP_INFO`).
    ///
    /// # Errors
    ///
    /// If the system call fails, or the kernel is too old to know all of them.
    #[inline]
    pub(crate) fn snapshot(self) -> Result<Snapshot, Unavailable> {
        let mut info = MaybeUninit::<tcp_info>::zeroed();
        let len = self
            .get(libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), size_of::<tcp_info>())
            .map_err(Unavailable::SystemCall)?;
        if len < NEEDED {
            return Err(Unavailable::ShortInfo(u32::try_from(len).unwrap_or(u32::MAX)));
        }
        // SAFETY: the value was zeroed, the kernel wrote a prefix of it, and
        // every field of `tcp_info` is an integer.
        let info = unsafe { info.assume_init() };
        let mut snapshot = Snapshot::new(TcpState::from_linux(info.tcpi_state));
        snapshot.bytes_acked = info.tcpi_bytes_acked;
        snapshot.bytes_received = info.tcpi_bytes_received;
        snapshot.bytes_sent = info.tcpi_bytes_sent;
        snapshot.bytes_retrans = info.tcpi_bytes_retrans;
        snapshot.notsent = info.tcpi_notsent_bytes.into();
        snapshot.rto = Duration::from_micros(info.tcpi_rto.into());
        snapshot.rtt = Duration::from_micros(info.tcpi_rtt.into());
        snapshot.total_retrans = Some(info.tcpi_total_retrans);
        snapshot.data_segs_out = Some(info.tcpi_data_segs_out);
        snapshot.probes = Some(info.tcpi_probes);
        Ok(snapshot)
    }

    /// Reads without waiting. It bypasses tokio, whose readiness may lag behind the
    /// kernel.
    pub(crate) fn receive(self, buffer: &mut [u8]) -> RawRead {
        self.receive_with(buffer, 0)
    }

    /// Returns `true` if bytes are waiting to be read.
    pub(crate) fn has_data(self) -> bool {
        matches!(self.receive_with(&mut [0], libc::MSG_PEEK), RawRead::Bytes(_))
    }

    /// Takes the socket's pending error.
    pub(crate) fn take_error(self) -> Option<Errno> {
        self.option(libc::SOL_SOCKET, libc::SO_ERROR).ok().filter(|&n| n != 0).map(Errno)
    }

    /// Resets the connection at once, even if the descriptor has other holders. It also
    /// zeroes the counters.
    pub(crate) fn abort(self) {
        // Connecting to `AF_UNSPEC` disconnects a TCP socket (`tcp_disconnect`).
        let sa_family = libc::AF_UNSPEC as libc::sa_family_t;
        let nowhere = libc::sockaddr { sa_family, sa_data: [0; 14] };
        // SAFETY: the address lives across the call and its length is its own.
        unsafe {
            libc::connect(self.0, &raw const nowhere, size_of::<libc::sockaddr>() as socklen_t);
        }
    }

    fn receive_with(self, buffer: &mut [u8], flags: c_int) -> RawRead {
        // SAFETY: the buffer lives across the call and its length is its own.
        let got = unsafe {
            libc::recv(
                self.0,
                buffer.as_mut_ptr().cast::<c_void>(),
                buffer.len(),
                flags | libc::MSG_DONTWAIT,
            )
        };
        match usize::try_from(got) {
            Ok(0) => RawRead::End,
            Ok(count) => RawRead::Bytes(count),
            Err(_) => match last_errno() {
                Errno(libc::EAGAIN | libc::EINTR) => RawRead::Nothing,
                errno => RawRead::Failed(errno),
            },
        }
    }

    fn has_upper_layer(self) -> bool {
        let mut name = [0_u8; 16];
        let len = self.get(libc::IPPROTO_TCP, TCP_ULP, name.as_mut_ptr().cast(), name.len());
        matches!(len, Ok(len) if len > 0) && name[0] != 0
    }

    fn option(self, level: c_int, name: c_int) -> Result<c_int, Unavailable> {
        let mut value: c_int = 0;
        self.get(level, name, (&raw mut value).cast(), size_of::<c_int>())
            .map_err(Unavailable::SystemCall)?;
        Ok(value)
    }

    /// Calls `getsockopt` with a buffer of `len` bytes, which the caller owns. Returns the
    /// bytes that the kernel wrote.
    fn get(self, level: c_int, name: c_int, to: *mut c_void, len: usize) -> Result<usize, Errno> {
        let mut len = len as socklen_t;
        // SAFETY: the callers above pass a buffer that they own and its length.
        let failed = unsafe { libc::getsockopt(self.0, level, name, to, &raw mut len) };
        if failed == 0 { Ok(len as usize) } else { Err(last_errno()) }
    }

    fn set_option<T>(self, level: c_int, name: c_int, value: &T) -> Result<(), Errno> {
        let len = size_of::<T>() as socklen_t;
        // SAFETY: the value lives across the call and the length is its own.
        let failed =
            unsafe { libc::setsockopt(self.0, level, name, std::ptr::from_ref(value).cast(), len) };
        if failed == 0 { Ok(()) } else { Err(last_errno()) }
    }
}

/// Returns the bytes written to `stream` that its peer has not acknowledged
/// (`SIOCOUTQ`), not counting a FIN.
///
/// # Errors
///
/// If the system call fails.
pub(crate) fn unacked(stream: &TcpStream) -> io::Result<u32> {
    let mut count: c_int = 0;
    // SAFETY: the descriptor is open as long as `stream` lives, and the kernel
    // writes one int, which lives across the call.
    let failed = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    u32::try_from(count).map_err(|_| io::ErrorKind::InvalidData.into())
}

fn last_errno() -> Errno {
    Errno(io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use socket2::SockRef;
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn errno_constants_are_those_of_linux() {
        assert_eq!(Errno::EPIPE, Errno(libc::EPIPE));
        assert_eq!(Errno::ECONNRESET, Errno(libc::ECONNRESET));
        assert_eq!(Errno::ETIMEDOUT, Errno(libc::ETIMEDOUT));
        assert_eq!(Errno::ECONNREFUSED, Errno(libc::ECONNREFUSED));
    }

    #[tokio::test]
    async fn a_fresh_connection_calibrates_and_abort_zeroes_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let fd = Fd::of(&stream);
        assert_eq!(fd.prepare(), Ok(()));
        assert_eq!(tower_resend_core::exchange::calibrate(&fd.snapshot().unwrap()), Ok(()));
        assert_eq!(fd.receive(&mut [0; 8]), RawRead::Nothing);
        fd.abort();
        let after = fd.snapshot().unwrap();
        assert_eq!((after.state, after.bytes_acked), (TcpState::Close, 0));
    }

    #[tokio::test]
    async fn a_unix_socket_has_no_evidence() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(Fd(one.as_raw_fd()).prepare(), Err(Unavailable::NotPlainTcp));
    }

    #[tokio::test]
    async fn bytes_beyond_the_peers_window_are_not_acknowledged() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_peer, _) = listener.accept().await.unwrap();
        assert_eq!(unacked(&stream).unwrap(), 0);
        let socket = SockRef::from(&stream);
        while (&*socket).write(&[0; 65_536]).is_ok() {}
        assert!(unacked(&stream).unwrap() > 0);
    }
}

//! The Linux system calls of the server half.

#![allow(unsafe_code, reason = "ioctl has no safe form")]

use std::io;
use std::os::fd::AsRawFd;

use libc::c_int;
use tokio::net::TcpStream;

/// Returns how many octets that were written to `stream` its peer has not
/// acknowledged (`SIOCOUTQ`), a FIN not counted.
pub(crate) fn unacked(stream: &TcpStream) -> io::Result<u32> {
    let mut octets: c_int = 0;
    // SAFETY: the descriptor is open as long as `stream` lives, and the kernel
    // writes one int, which lives across the call.
    let failed = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut octets) };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    u32::try_from(octets).map_err(|_| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use socket2::SockRef;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_the_peer_has_no_room_for_is_not_acknowledged() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_peer, _) = listener.accept().await.unwrap();
        assert_eq!(unacked(&stream).unwrap(), 0);
        let socket = SockRef::from(&stream);
        while (&*socket).write(&[0; 65_536]).is_ok() {}
        assert!(unacked(&stream).unwrap() > 0);
    }
}

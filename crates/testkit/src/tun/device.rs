//! A TUN device in a network namespace of its own.
#![allow(unsafe_code, reason = "namespaces and devices have no safe interface in std")]

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::mem::size_of;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

/// What the calling thread's namespace sends, and the way to send to it.
#[derive(Debug)]
pub struct Device(File);

impl Device {
    /// Moves the calling thread into a new network namespace, with a device
    /// that leads from `local` to `peer`. It ends with the thread.
    pub fn in_new_namespace(local: Ipv4Addr, peer: Ipv4Addr) -> Result<Self, String> {
        // SAFETY: takes flags only, and changes the calling thread only.
        let failed = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        if failed != 0 {
            return Err(format!("no network namespace: {}", io::Error::last_os_error()));
        }
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")
            .map_err(|error| format!("no /dev/net/tun: {error}"))?;
        configure(&device, local, peer).map_err(|error| format!("no TUN device: {error}"))?;
        Ok(Self(device))
    }

    /// Reads the next packet; `WouldBlock` if there is none.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buffer)
    }

    /// Hands a packet to the namespace.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        (&self.0).write_all(packet)
    }
}

impl AsRawFd for Device {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

fn configure(device: &File, local: Ipv4Addr, peer: Ipv4Addr) -> io::Result<()> {
    let flags = |flags: libc::c_int| (flags as u16).to_ne_bytes();
    let kind = flags(libc::IFF_TUN | libc::IFF_NO_PI);
    ioctl(device, libc::TUNSETIFF, &Request::new(&kind))?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    ioctl(&socket, libc::SIOCSIFADDR, &Request::new(&internet(local)))?;
    ioctl(&socket, libc::SIOCSIFDSTADDR, &Request::new(&internet(peer)))?;
    let up = flags(libc::IFF_UP | libc::IFF_RUNNING);
    ioctl(&socket, libc::SIOCSIFFLAGS, &Request::new(&up))
}

/// `struct ifreq`: the device's name, and what to set.
#[repr(C)]
struct Request {
    name: [u8; 16],
    value: [u8; 24],
}

const _: () = assert!(size_of::<Request>() >= size_of::<libc::ifreq>());

impl Request {
    fn new(value: &[u8]) -> Self {
        let mut request = Self { name: [0; 16], value: [0; 24] };
        request.name[..4].copy_from_slice(b"tun0");
        request.value[..value.len()].copy_from_slice(value);
        request
    }
}

fn ioctl(fd: &impl AsRawFd, code: impl TryInto<u32>, request: &Request) -> io::Result<()> {
    let code: u32 = code.try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the descriptor is open while `fd` is borrowed. Each code used here
    // takes a pointer to a `struct ifreq`, reads at most that, and `Request` is
    // at least as long.
    let failed = unsafe { libc::ioctl(fd.as_raw_fd(), code as _, std::ptr::from_ref(request)) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `struct sockaddr_in` with port 0.
fn internet(address: Ipv4Addr) -> [u8; 8] {
    let mut raw = [0; 8];
    raw[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
    raw[4..].copy_from_slice(&address.octets());
    raw
}

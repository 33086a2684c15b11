//! A TUN device in a network namespace of its own.
#![allow(unsafe_code, reason = "network devices are configured by ioctl")]

use std::ffi::c_int;
use std::fs::{File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::sched::{CloneFlags, unshare};

use super::Unavailable;

/// The packets that one namespace sends, and the way to send some to it.
#[derive(Debug)]
pub struct Tun(File);

impl Tun {
    /// Moves the calling thread into a new namespace and makes a device there
    /// that leads from `address` to `peer`.
    pub fn in_new_namespace(
        address: Ipv4Addr,
        peer: Ipv4Addr,
    ) -> Result<(OwnedFd, Self), Unavailable> {
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|e| Unavailable::at("make a network namespace")(e.into()))?;
        let namespace = File::open("/proc/thread-self/ns/net")
            .map_err(Unavailable::at("open the network namespace"))?;
        let tun = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")
            .map_err(Unavailable::at("open /dev/net/tun"))?;
        configure(&tun, address, peer).map_err(Unavailable::at("configure the TUN device"))?;
        Ok((namespace.into(), Self(tun)))
    }

    /// Reads the next packet; `WouldBlock` when there is none.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        io::Read::read(&mut &self.0, buffer)
    }

    /// Hands a packet to the namespace.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        io::Write::write(&mut &self.0, packet).map(drop)
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn configure(tun: &File, address: Ipv4Addr, peer: Ipv4Addr) -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let up = flags(libc::IFF_UP | libc::IFF_RUNNING);
    ioctl(tun, libc::TUNSETIFF, &Request::new("wire", &flags(libc::IFF_TUN | libc::IFF_NO_PI)))?;
    ioctl(&socket, libc::SIOCSIFADDR, &Request::new("wire", &internet(address)))?;
    ioctl(&socket, libc::SIOCSIFDSTADDR, &Request::new("wire", &internet(peer)))?;
    ioctl(&socket, libc::SIOCSIFTXQLEN, &Request::new("wire", &QUEUE.to_ne_bytes()))?;
    ioctl(&socket, libc::SIOCSIFFLAGS, &Request::new("wire", &up))?;
    ioctl(&socket, libc::SIOCSIFFLAGS, &Request::new("lo", &up))
}

/// `struct ifreq`: the name of a device, and what to set.
#[repr(C)]
struct Request {
    name: [u8; 16],
    value: [u8; 24],
}

impl Request {
    fn new(name: &str, value: &[u8]) -> Self {
        let mut request = Self { name: [0; 16], value: [0; 24] };
        request.name[..name.len()].copy_from_slice(name.as_bytes());
        request.value[..value.len()].copy_from_slice(value);
        request
    }
}

fn ioctl(fd: &impl AsRawFd, code: impl TryInto<u32>, request: &Request) -> io::Result<()> {
    let code: u32 = code.try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the descriptor is open as long as `fd` is borrowed; every code used here takes a
    // pointer to a `struct ifreq`, which `Request` is, and reads no further than its end.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), code as _, std::ptr::from_ref(request)) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn flags(flags: c_int) -> [u8; 2] {
    (flags as u16).to_ne_bytes()
}

/// `struct sockaddr_in` with port 0.
fn internet(address: Ipv4Addr) -> [u8; 8] {
    let mut raw = [0; 8];
    raw[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
    raw[4..].copy_from_slice(&address.octets());
    raw
}

/// Packets that the device holds until the relay reads them.
const QUEUE: c_int = 5000;

//! Systems whose kernel offers no evidence: everything is reported as unavailable.

use std::io;

use tokio::net::TcpStream;

use super::RawRead;
use tower_resend_core::{Errno, Snapshot, Unavailable};

/// Placeholder for a socket descriptor; reports no evidence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fd;

impl Fd {
    pub(crate) fn of(_: &TcpStream) -> Self {
        Self
    }

    pub(crate) fn prepare(self) -> Result<(), Unavailable> {
        Err(Unavailable::Platform)
    }

    pub(crate) fn snapshot(self) -> Result<Snapshot, Unavailable> {
        Err(Unavailable::Platform)
    }

    pub(crate) fn receive(self, _: &mut [u8]) -> RawRead {
        RawRead::Nothing
    }

    pub(crate) fn has_data(self) -> bool {
        false
    }

    pub(crate) fn take_error(self) -> Option<Errno> {
        None
    }

    pub(crate) fn abort(self) {}
}

/// Reports that the count is not supported here.
///
/// # Errors
///
/// Always.
pub(crate) fn unacked(_: &TcpStream) -> io::Result<u32> {
    Err(io::ErrorKind::Unsupported.into())
}

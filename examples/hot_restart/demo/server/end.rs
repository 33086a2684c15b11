//! How a server process ends when it is killed.

use std::io;
use std::thread;

use nix::sched::{CloneFlags, unshare};

/// Lets the sockets of this process close first when it is killed.
///
/// The kernel takes a dead process's memory apart before it closes its
/// descriptors. That takes half a millisecond on a virtual machine, in which
/// requests reach sockets that no process will read: a constant that depends on
/// the machine and not on how a client judges what crosses on the wire. The
/// last thread to end takes the memory apart, so a few threads that only sleep
/// are there to be the last, and the calling thread, which serves, keeps the
/// descriptors that it makes from here on for itself.
pub(super) fn sockets_first() -> io::Result<()> {
    for _ in 0..4 {
        thread::Builder::new().stack_size(64 << 10).spawn(|| {
            loop {
                thread::park();
            }
        })?;
    }
    Ok(unshare(CloneFlags::CLONE_FILES)?)
}

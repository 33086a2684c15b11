//! A scripted TCP peer: every segment that a client meets is written by hand.
//!
//! [`run`] gives a test a network namespace of its own, in which everything
//! sent to [`PEER`] comes out of a TUN device. [`Net::accept`] waits for a
//! connection there, and the [`Peer`] it returns says what its end does:
//! `syn_ack`, `expect_request`, `data`, `ack`, `fin`, `rst`. How much of the
//! request a segment acknowledges is always said, by a [`Covers`].
//!
//! A script waits for what the client *sends*, never for a time. Where it must
//! know that the client's kernel has digested what it was sent, it asks with
//! [`Net::barrier`].

mod device;
mod draft;
mod net;
mod peer;

use std::future::Future;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::task::LocalSet;

use self::device::Device;
pub use self::draft::{Covers, Draft};
pub use self::net::{Net, Segment};
pub use self::peer::Peer;
use crate::skip::skip;

/// The address of the namespace's own end.
pub const LOCAL: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 1);
/// The address of the scripted end.
pub const PEER: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 2);
/// The port of the scripted end.
pub const PORT: u16 = 80;

/// Runs a script in a namespace of its own, or says why it cannot.
///
/// Everything runs on the calling thread, since a namespace is a thread's.
/// Scripts end by themselves; one that hangs fails after thirty seconds.
pub fn run<F: Future<Output = ()>>(script: impl FnOnce(Net) -> F) {
    let device = match Device::in_new_namespace(LOCAL, PEER) {
        Ok(device) => device,
        Err(why) => return skip(why),
    };
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let net = Net::new(device);
        let script = tokio::time::timeout(Duration::from_secs(30), script(net.clone()));
        if script.await.is_err() {
            panic!("the script hangs; not yet consumed: {:?}", net.unheard());
        }
    });
}

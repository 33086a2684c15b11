//! A network between two kernels' worth of sockets, inside one process.
//!
//! [`Wire::new`] makes two network namespaces, puts a TUN device into each and
//! starts a thread that carries packets between them with delay, jitter, loss
//! and reordering. Sockets at the two [`End`]s therefore meet as they do over a
//! real network: a close and a request can cross on the way.
//!
//! The namespaces have no name anywhere. They live as long as their file
//! descriptors, so nothing is left behind, however the process ends.
//!
//! A namespace belongs to a *thread*: a thread that shall open sockets at an
//! end calls [`End::enter`] first, and a child process lives where the thread
//! that spawned it lived. [`End::run`] does both on a thread of its own.
//!
//! ```ignore
//! let wire = Wire::new(Config::default().delay(Duration::from_millis(5)))?;
//! let listener = wire.server().run(|| TcpListener::bind((wire.server().address(), 80)))?;
//! let client = wire.client().clone();
//! let runtime = Builder::new_multi_thread().on_thread_start(move || client.enter().unwrap());
//! ```
#![cfg(target_os = "linux")]

mod device;
mod nat;
mod relay;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};

pub use nat::Nat;
pub use relay::{Counts, Way};

/// How the wire treats each packet, the same in both directions.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    delay: Duration,
    jitter: Duration,
    loss: f64,
    reorder: f64,
    seed: u64,
    queue: usize,
    nat: Option<Nat>,
}

impl Config {
    /// Sets the time every packet spends on the wire, one way.
    pub fn delay(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// Sets the longest further delay; each packet draws its own, evenly.
    ///
    /// Jitter alone keeps the order of packets.
    pub fn jitter(self, jitter: Duration) -> Self {
        Self { jitter, ..self }
    }

    /// Sets the share of packets that vanish, from 0 to 1.
    pub fn loss(self, loss: f64) -> Self {
        Self { loss, ..self }
    }

    /// Sets the share of packets, from 0 to 1, that spend twice the delay (at
    /// least 1 ms more) on the wire while those behind them pass.
    pub fn reorder(self, reorder: f64) -> Self {
        Self { reorder, ..self }
    }

    /// Sets the seed: the n-th packet of a direction always meets the same fate.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Sets how many packets may be on the wire in one direction; the next is lost.
    pub fn queue(self, queue: usize) -> Self {
        Self { queue, ..self }
    }

    /// Translates addresses on the way; see [`Nat`]. There is none by default.
    #[cfg(feature = "peers")]
    pub fn nat(self, nat: impl Into<Option<Nat>>) -> Self {
        Self { nat: nat.into(), ..self }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            reorder: 0.0,
            seed: 0,
            queue: 16_384,
            nat: None,
        }
    }
}

/// The address of the clients' end, in its own namespace.
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The address of the servers' end, in its own namespace.
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// Two network namespaces and the packets between them; ends when dropped.
#[derive(Debug)]
pub struct Wire {
    client: End,
    server: End,
    relay: relay::Relay,
    nat: Nat,
}

impl Wire {
    /// Lays a wire.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] where this process may not make namespaces (it is not
    /// root) or the system has no TUN devices.
    pub fn new(config: Config) -> Result<Self, Unavailable> {
        let nat = config.nat.unwrap_or_default();
        let (client, from_client) = End::new(CLIENT, nat.server_for_clients())?;
        let (server, from_server) = End::new(SERVER, nat.client_for_servers())?;
        let relay = relay::Relay::start(config, from_client, from_server)
            .map_err(Unavailable::at("start the relay"))?;
        Ok(Self { client, server, relay, nat })
    }

    /// Returns the end where clients belong.
    pub fn client(&self) -> &End {
        &self.client
    }

    /// Returns the end where servers belong.
    pub fn server(&self) -> &End {
        &self.server
    }

    /// Returns where clients reach a server that listens on `port` of its end.
    pub fn server_for_clients(&self, port: u16) -> SocketAddr {
        (self.nat.server_for_clients(), self.nat.port_for_clients(port)).into()
    }

    /// Returns what has happened so far to the packets that went one way.
    pub fn counts(&self, way: Way) -> Counts {
        self.relay.counts(way)
    }
}

/// One end of a [`Wire`]: a network namespace with an address in it.
///
/// It may outlive the wire, whose packets then go nowhere.
#[derive(Clone, Debug)]
pub struct End {
    namespace: Arc<OwnedFd>,
    address: Ipv4Addr,
}

impl End {
    fn new(address: Ipv4Addr, peer: Ipv4Addr) -> Result<(Self, device::Tun), Unavailable> {
        let (namespace, tun) = on_scratch_thread(|| device::Tun::in_new_namespace(address, peer))?;
        Ok((Self { namespace: Arc::new(namespace), address }, tun))
    }

    /// Returns the address of this end.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Moves the calling thread to this end, for good.
    ///
    /// Sockets it opened before stay where they were.
    ///
    /// # Errors
    ///
    /// The error of `setns`.
    pub fn enter(&self) -> io::Result<()> {
        Ok(setns(&*self.namespace, CloneFlags::CLONE_NEWNET)?)
    }

    /// Runs `work` at this end, on a thread of its own, and waits for it.
    ///
    /// Child processes that it spawns live at this end.
    ///
    /// # Errors
    ///
    /// That of [`enter`](Self::enter), or of the work itself.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        on_scratch_thread(|| {
            self.enter()?;
            work()
        })
    }
}

/// Says why there is no wire on this machine.
#[derive(Debug)]
pub struct Unavailable {
    step: &'static str,
    source: io::Error,
}

impl Unavailable {
    fn at(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { step, source }
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.step, self.source)?;
        match self.source.kind() {
            io::ErrorKind::PermissionDenied => f.write_str(" (this needs root)"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Unavailable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Runs `work` on a thread of its own, so that its namespace can be changed.
fn on_scratch_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| match scope.spawn(work).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

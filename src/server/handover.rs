//! Handing a listening socket from one process to the next, so that no
//! connection is refused or reset between them.
//!
//! A listening socket belongs to all processes that have it open, and so does
//! its accept queue: what the old process does not accept, the new one does.
//! That loses nothing, with systemd's socket activation or with a process that
//! starts its own [`Successor`] (hot restart, graceful upgrade). A server that leaves
//! after a hand-over says so with
//! [`ShutdownMode::HandedOver`](super::ShutdownMode::HandedOver). If a process keeps a
//! copy of the socket for its successor, it must drop it when it leaves: otherwise
//! connections wait in a queue from which it accepts no more.
//!
//! # `SO_REUSEPORT` instead
//!
//! Two sockets of one port have two accept queues, and the kernel resets what
//! waits in the queue of a socket that is closed. The drain of
//! [`serve`](super::serve()) empties the queue before it closes the socket. What it
//! misses are connections whose handshake ends between the two: some 70 of 82,500
//! in 1,200 hand-overs (`cargo run --release --example hot_deploy -- --plan reuseport`
//! counts such losses). Since Linux 5.14 the kernel moves those to another socket of
//! the port if `net.ipv4.tcp_migrate_req` is set (none lost of 42,500 in 600
//! hand-overs); [`migrates_requests`] tells.

use std::io::{self, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command};
use std::time::Duration;
use std::{env, fmt, fs};

use command_fds::{CommandFdExt, FdMapping};
use listenfd::ListenFd;
use socket2::SockRef;

use crate::time;

/// What this process inherited from its parent.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Inherited {
    /// The listening sockets, in order, non-blocking.
    pub listeners: Vec<InheritedSocket>,
    /// How to say that this process is ready.
    pub ready: Readiness,
}

/// An inherited listening socket.
#[derive(Debug)]
#[non_exhaustive]
pub struct InheritedSocket {
    /// Its name (systemd's `FileDescriptorName=`), if it has one.
    pub name: Option<String>,
    /// The socket, to be given to [`Listener`](super::Listener).
    pub socket: TcpListener,
}

/// Takes the sockets that this process inherited, from systemd (`LISTEN_FDS`,
/// `LISTEN_PID`, `LISTEN_FDNAMES`) or from a predecessor ([`Successor`]).
///
/// There are none if `LISTEN_FDS` is not set or `LISTEN_PID` names another process;
/// without `LISTEN_PID` they are for this one. Call it once, at the start of `main`:
/// it removes the variables from the environment, which C code in other threads may
/// be reading.
///
/// # Errors
///
/// If an inherited descriptor is not a listening TCP socket.
pub fn inherited() -> io::Result<Inherited> {
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').filter(|name| !name.is_empty()).map(str::to_owned);
    let mut descriptors = ListenFd::from_env();
    let mut found = Inherited::default();
    for at in 0..descriptors.len() {
        match names.next() {
            Some(name) if name == READY => found.ready = Readiness::take(&mut descriptors, at)?,
            name => found.listeners.extend(listener(&mut descriptors, at, name)?),
        }
    }
    Ok(found)
}

fn listener(
    from: &mut ListenFd,
    at: usize,
    name: Option<String>,
) -> io::Result<Option<InheritedSocket>> {
    let Some(socket) = from.take_tcp_listener(at)? else {
        return Ok(None);
    };
    if !SockRef::from(&socket).is_listener()? {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("inherited descriptor {} does not listen", FIRST as usize + at),
        ));
    }
    socket.set_nonblocking(true)?;
    Ok(Some(InheritedSocket { name, socket }))
}

/// Tells the predecessor that this process is ready to serve; without a predecessor
/// it does nothing.
///
/// Dropping it before the report tells that this process is not ready, as the end of
/// the process does.
#[derive(Debug, Default)]
#[must_use = "the predecessor serves on until this is reported"]
pub struct Readiness(Option<UnixStream>);

impl Readiness {
    fn take(from: &mut ListenFd, at: usize) -> io::Result<Self> {
        // The descriptor is one end of a stream pair. listenfd takes Unix stream
        // sockets as listeners only.
        let socket = from.take_unix_listener(at)?;
        Ok(Self(socket.map(|socket: UnixListener| UnixStream::from(OwnedFd::from(socket)))))
    }

    /// Returns `true` if a predecessor waits.
    pub fn is_awaited(&self) -> bool {
        self.0.is_some()
    }

    /// Reports that this process is ready: the predecessor stops accepting.
    ///
    /// # Errors
    ///
    /// If the predecessor no longer waits.
    pub fn report(self) -> io::Result<()> {
        match self.0 {
            Some(mut predecessor) => predecessor.write_all(b"1"),
            None => Ok(()),
        }
    }
}

/// A process that was started to replace this one.
///
/// # Examples
///
/// ```no_run
/// # async fn example(socket: &std::net::TcpListener) -> std::io::Result<()> {
/// use std::process::Command;
/// use std::time::Duration;
/// use tower_resend::server::handover::Successor;
///
/// let program = Command::new(std::env::current_exe()?);
/// match Successor::start(program, [("http", socket)])?.ready(Duration::from_secs(30)).await {
///     Ok(_child) => { /* drain, and leave */ }
///     Err(why) => println!("{why}; this process serves on"),
/// }
/// # Ok(())
/// # }
/// ```
///
/// Dropping it before it is ready kills the process.
#[derive(Debug)]
#[must_use = "a successor that is dropped is killed"]
pub struct Successor {
    child: KillOnDrop,
    ready: UnixStream,
}

impl Successor {
    /// Starts a process that inherits these listening sockets, each with its
    /// name, as [`inherited`] finds them. Its descriptors from 3 on are these;
    /// `LISTEN_PID` is not set.
    ///
    /// The successor must not accept before it reports ready: until then it may be
    /// killed.
    ///
    /// # Errors
    ///
    /// If the process cannot be started, or a name has a colon.
    pub fn start<'a, S: AsFd + 'a>(
        mut program: Command,
        listeners: impl IntoIterator<Item = (&'a str, &'a S)>,
    ) -> io::Result<Self> {
        let (ready, its_end) = UnixStream::pair()?;
        let mut names = Vec::new();
        let mut passed = Vec::new();
        for (name, socket) in listeners {
            if name.contains(':') || name == READY {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a name of a socket"));
            }
            names.push(name);
            passed.push(socket.as_fd().try_clone_to_owned()?);
        }
        names.push(READY);
        passed.push(its_end.into());
        program
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDS_FIRST_FD")
            .env("LISTEN_FDS", passed.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"));
        let mappings = (FIRST..).zip(passed);
        let mappings = mappings.map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd });
        program.fd_mappings(mappings.collect()).map_err(io::Error::other)?;
        // The command owns copies of the descriptors, the successor's end of the pair
        // among them: with it open, the end of the successor would go unnoticed.
        let child = program.spawn()?;
        drop(program);
        Ok(Self { child: KillOnDrop(Some(child)), ready })
    }

    /// Waits until the successor is ready to serve.
    ///
    /// # Errors
    ///
    /// If it ended first, or was not ready in time: then it is killed, so that it
    /// accepts nothing, and this process can go on serving.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future kills the successor.
    pub async fn ready(self, within: Duration) -> Result<Child, NotReady> {
        let Self { mut child, ready } = self;
        let why = match reported(ready, within).await {
            Ok(()) => match child.0.take() {
                Some(child) => return Ok(child),
                None => NotReady::Ended(io::ErrorKind::UnexpectedEof.into()),
            },
            Err(why) => why,
        };
        Err(why)
    }
}

/// Waits for the successor's report.
async fn reported(ready: UnixStream, within: Duration) -> Result<(), NotReady> {
    ready.set_nonblocking(true).map_err(NotReady::Ended)?;
    let ready = tokio::net::UnixStream::from_std(ready).map_err(NotReady::Ended)?;
    let report = async {
        loop {
            ready.readable().await?;
            match ready.try_read(&mut [0]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    };
    match time::timeout_at(time::from_now(within), report).await {
        Ok(reported) => reported.map_err(NotReady::Ended),
        Err(_) => Err(NotReady::Late),
    }
}

/// A child that is killed and reaped when dropped, unless it was taken out.
#[derive(Debug)]
struct KillOnDrop(Option<Child>);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // Fails if it ended by itself. A killed process ends at once, so the wait
            // is short.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Why a successor did not take over.
#[derive(Debug)]
#[non_exhaustive]
pub enum NotReady {
    /// It ended, or dropped its [`Readiness`], before it was ready.
    Ended(io::Error),
    /// It was not ready in time.
    Late,
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(_) => f.write_str("the successor ended before it was ready"),
            Self::Late => f.write_str("the successor was not ready in time"),
        }
    }
}

impl std::error::Error for NotReady {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Ended(error) => Some(error),
            Self::Late => None,
        }
    }
}

/// Returns `true` if the kernel moves the connections of a closed listening socket to
/// another one of its `SO_REUSEPORT` group (`net.ipv4.tcp_migrate_req`, Linux 5.14),
/// and `None` if that cannot be known.
pub fn migrates_requests() -> Option<bool> {
    match fs::read_to_string("/proc/sys/net/ipv4/tcp_migrate_req").ok()?.trim() {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

/// The first inherited descriptor (`SD_LISTEN_FDS_START`).
const FIRST: i32 = 3;
/// The name of the descriptor on which a successor reports that it is ready.
const READY: &str = "tower-resend-ready";

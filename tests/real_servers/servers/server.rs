//! The servers, and what they are told to do.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::config;

/// A server that requests are sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    Nginx,
    Apache,
    HaproxyHttp,
    /// A relay of bytes, which knows nothing of HTTP.
    HaproxyTcp,
    Node,
    Hyper,
    /// Ends an idle connection's sending side only, and executes what comes.
    HalfCloses,
    /// Executes, and then resets.
    Resets,
    /// Executes, and then closes.
    Closes,
}

/// What happens to a server under load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Connections reach their idle timeout just when a request is sent.
    Idle,
    Reload,
    Graceful,
    Term,
    KillWorker,
    KillAll,
    /// Connections reach their number of requests.
    Limit,
}

/// How a server is set up.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) listen: SocketAddr,
    /// Where proxies send requests.
    pub(crate) origin: SocketAddr,
    /// After how long an idle connection is closed; for the relay, how long
    /// it waits for the origin to say something.
    pub(crate) idle: Duration,
    /// How many requests a connection may carry.
    pub(crate) limit: u32,
    /// Whether the relay resets what it closes.
    pub(crate) no_linger: bool,
}

/// A signal, and whose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    pub(crate) signal: Signal,
    pub(crate) to: To,
    /// Whether the server's end is to be waited for.
    pub(crate) ends: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    Main,
    OneWorker,
    All,
}

impl Server {
    pub(crate) const ALL: [Self; 9] = [
        Self::Nginx,
        Self::Apache,
        Self::HaproxyHttp,
        Self::HaproxyTcp,
        Self::Node,
        Self::Hyper,
        Self::HalfCloses,
        Self::Resets,
        Self::Closes,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Apache => "apache",
            Self::HaproxyHttp => "haproxy-http",
            Self::HaproxyTcp => "haproxy-tcp",
            Self::Node => "node",
            Self::Hyper => "hyper",
            Self::HalfCloses => "half-closes",
            Self::Resets => "resets",
            Self::Closes => "closes",
        }
    }

    /// Returns `true` if it passes requests on to an origin, whose record is
    /// then the truth.
    pub(crate) fn is_proxy(self) -> bool {
        matches!(self, Self::Nginx | Self::Apache | Self::HaproxyHttp | Self::HaproxyTcp)
    }

    /// Returns `true` if it ends idle connections so that what comes later is
    /// refused by a reset.
    pub(crate) fn closes_fully(self) -> bool {
        matches!(self, Self::Nginx | Self::HaproxyHttp | Self::Node | Self::Hyper)
    }

    /// Finds the server's program.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub(crate) fn program(self) -> Result<PathBuf, String> {
        let names: &[&str] = match self {
            Self::Nginx => &["nginx"],
            Self::Apache => &["apache2", "httpd"],
            Self::HaproxyHttp | Self::HaproxyTcp => &["haproxy"],
            Self::Node => &["node", "nodejs"],
            Self::Hyper | Self::HalfCloses | Self::Resets | Self::Closes => {
                return std::env::current_exe().map_err(|error| error.to_string());
            }
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let usual = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
        let places: Vec<_> = std::env::split_paths(&path).chain(usual).collect();
        places
            .iter()
            .flat_map(|place| names.iter().map(move |name| place.join(name)))
            .find(|candidate| candidate.is_file())
            .ok_or_else(|| format!("{} is not installed", names[0]))
    }

    /// Writes the server's files and returns its arguments.
    pub(crate) fn arguments(self, setup: &Setup, directory: &Path) -> io::Result<Vec<OsString>> {
        let file = |name: &str, text: String| {
            let path = directory.join(name);
            fs::write(&path, text).map(|()| path)
        };
        let Setup { listen, idle, limit, .. } = setup;
        let words = |words: &[&str]| words.iter().map(OsString::from).collect();
        let mut arguments: Vec<OsString>;
        match self {
            Self::Nginx => {
                let config = file("nginx.conf", config::nginx(setup, directory))?;
                arguments = words(&["-e", "stderr", "-p"]);
                arguments.extend([directory.into(), "-c".into(), config.into()]);
            }
            Self::Apache => {
                let config = file("apache.conf", config::apache(setup, directory))?;
                arguments = words(&["-D", "FOREGROUND", "-f"]);
                arguments.push(config.into());
            }
            Self::HaproxyHttp | Self::HaproxyTcp => {
                let text = match self {
                    Self::HaproxyTcp => config::relay(setup),
                    _ => config::haproxy(setup),
                };
                arguments = words(&["-W", "-f"]);
                arguments.push(file("haproxy.cfg", text)?.into());
            }
            Self::Node => {
                arguments = vec![file("server.js", config::NODE.into())?.into()];
                let (ip, port) = (listen.ip().to_string(), listen.port().to_string());
                let (idle, limit) = (idle.as_millis().to_string(), limit.to_string());
                arguments.extend([ip, port, idle, limit].map(OsString::from));
            }
            Self::Hyper | Self::HalfCloses | Self::Resets | Self::Closes => {
                arguments = words(&[SERVE, self.name()]);
                let (listen, idle) = (listen.to_string(), idle.as_millis().to_string());
                arguments.extend([listen, idle].map(OsString::from));
            }
        }
        Ok(arguments)
    }

    /// Returns what to send to the server to bring an event about; none for
    /// those that come by themselves.
    ///
    /// # Panics
    ///
    /// If the server knows no such event.
    pub(crate) fn order(self, event: Event) -> Option<Order> {
        let main = |signal, ends| Order { signal, to: To::Main, ends };
        Some(match (event, self) {
            (Event::Idle | Event::Limit, _) => return None,
            (Event::Reload, Self::Nginx) => main(Signal::SIGHUP, false),
            (Event::Reload, Self::Apache) => main(Signal::SIGUSR1, false),
            (Event::Reload, Self::HaproxyHttp | Self::HaproxyTcp) => main(Signal::SIGUSR2, false),
            (Event::Graceful, Self::Nginx) => main(Signal::SIGQUIT, true),
            (Event::Graceful, Self::Apache) => main(Signal::SIGWINCH, true),
            (Event::Graceful, Self::HaproxyHttp | Self::HaproxyTcp) => main(Signal::SIGUSR1, true),
            (Event::Graceful, Self::Node | Self::Hyper) => main(Signal::SIGUSR2, true),
            (Event::Term, _) => main(Signal::SIGTERM, true),
            (Event::KillWorker, _) => {
                Order { signal: Signal::SIGKILL, to: To::OneWorker, ends: false }
            }
            (Event::KillAll, _) => Order { signal: Signal::SIGKILL, to: To::All, ends: true },
            (Event::Reload | Event::Graceful, _) => panic!("{self:?} knows no {event:?}"),
        })
    }

    /// Returns the events that the server knows.
    pub(crate) fn events(self) -> &'static [Event] {
        use Event::*;
        match self {
            Self::Nginx | Self::Apache => {
                &[Idle, Reload, Graceful, Term, KillWorker, KillAll, Limit]
            }
            Self::HaproxyHttp => &[Idle, Reload, Graceful, Term, KillWorker, KillAll],
            Self::HaproxyTcp => &[Reload, Graceful, Term, KillAll],
            Self::Node => &[Idle, Graceful, Term, KillWorker, KillAll, Limit],
            Self::Hyper => &[Idle, Graceful, Term, KillAll],
            Self::HalfCloses | Self::Resets | Self::Closes => &[Idle],
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Idle => "idle timeout",
            Self::Reload => "reload",
            Self::Graceful => "graceful stop",
            Self::Term => "SIGTERM",
            Self::KillWorker => "SIGKILL of a worker",
            Self::KillAll => "SIGKILL of all",
            Self::Limit => "request limit",
        })
    }
}

/// The first argument of this program when it is to be a server.
pub(crate) const SERVE: &str = "serve";

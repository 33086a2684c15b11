//! The command line.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use lexopt::prelude::*;
use testkit::demo::settings::{Settings, millis, to_millis};

/// What `--help` prints before the options that every demonstration has.
pub(super) const HELP: &str = "\
Deploys a service over itself under load and counts what became of every POST.

  --deployments N  how many times each plan replaces the server (200)
  --plan P         inherited, reuseport, killed, plain or plain-killed; may be
                   repeated (all five, in this order)
  --workers N      concurrent callers of each client (16)
";

/// What `--help` prints after them.
pub(super) const NOTES: &str = "
Exit code: 0; 1 if tower-resend's client executed a request twice, reported a false
success, or failed a request of a service that was replaced gracefully with an
inherited listening socket.
";

/// What this process shall do.
pub(super) enum Command {
    Run(Args),
    Serve(Orders),
    Help,
}

/// The demonstration's settings.
#[derive(Clone, Debug)]
pub(super) struct Args {
    pub(super) deployments: u64,
    pub(super) plans: Vec<Plan>,
    pub(super) workers: u64,
    pub(super) settings: Settings,
}

/// How a server is replaced, and by what it is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Ours, with a listening socket that every process inherits; drains.
    Inherited,
    /// Ours, each process with a listening socket of its own; drains.
    Reuseport,
    /// Ours, with an inherited listening socket; is killed.
    Killed,
    /// `axum::serve` with an inherited listening socket; drains.
    Plain,
    /// `axum::serve` with an inherited listening socket; is killed.
    PlainKilled,
}

impl Plan {
    const ALL: [Self; 5] =
        [Self::Inherited, Self::Reuseport, Self::Killed, Self::Plain, Self::PlainKilled];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Inherited => "inherited",
            Self::Reuseport => "reuseport",
            Self::Killed => "killed",
            Self::Plain => "plain",
            Self::PlainKilled => "plain-killed",
        }
    }

    /// Returns `true` if each process inherits the listening socket.
    pub(super) fn inherits(self) -> bool {
        self != Self::Reuseport
    }

    /// Returns `true` if a server drains before it ends.
    pub(super) fn drains(self) -> bool {
        !matches!(self, Self::Killed | Self::PlainKilled)
    }

    /// Returns `true` if the server half of this crate serves.
    pub(super) fn is_ours(self) -> bool {
        !matches!(self, Self::Plain | Self::PlainKilled)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Plan {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|plan| plan.name() == name);
        found.ok_or_else(|| format!("there is no plan {name:?}"))
    }
}

/// What a server process is told by the process that started it.
#[derive(Clone, Debug)]
pub(super) struct Orders {
    pub(super) plan: Plan,
    pub(super) address: SocketAddr,
    pub(super) handler: Duration,
}

impl Orders {
    /// Writes the orders as the arguments that [`parse`] reads.
    pub(super) fn to_args(&self) -> [String; 4] {
        let (plan, address) = (self.plan.name().into(), self.address.to_string());
        [SERVE.into(), plan, address, to_millis(self.handler)]
    }
}

/// The word that makes this program a server.
const SERVE: &str = "serve";

/// Reads the command line.
pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, lexopt::Error> {
    let mut parser = lexopt::Parser::from_args(args);
    let mut args = Args::default();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("deployments") => args.deployments = parser.value()?.parse()?,
            Long("plan") => args.plans.push(parser.value()?.parse()?),
            Long("workers") => args.workers = parser.value()?.parse()?,
            Long("help") | Short('h') => return Ok(Command::Help),
            Value(word) if word == SERVE => return orders(&mut parser).map(Command::Serve),
            Long(name) => {
                let name = name.to_owned();
                if !args.settings.read(&name, &mut parser)? {
                    return Err(Long(&name).unexpected());
                }
            }
            _ => return Err(arg.unexpected()),
        }
    }
    if args.plans.is_empty() {
        args.plans = Plan::ALL.into();
    }
    Ok(Command::Run(args))
}

impl Default for Args {
    fn default() -> Self {
        Self { deployments: 200, plans: Vec::new(), workers: 16, settings: Settings::default() }
    }
}

fn orders(parser: &mut lexopt::Parser) -> Result<Orders, lexopt::Error> {
    Ok(Orders {
        plan: parser.value()?.parse()?,
        address: parser.value()?.parse()?,
        handler: millis(parser)?,
    })
}

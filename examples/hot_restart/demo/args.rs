//! The command line.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Duration;

use lexopt::prelude::*;
use testkit::demo::settings::{Settings, millis, seconds, to_millis};

use super::clients::Kind;

/// What `--help` prints before the options that every demonstration has.
pub(super) const HELP: &str = "\
Restarts a server under load and counts what became of every POST, for tower-resend
and for clients without evidence.

  --seconds N      how long each client is measured in each mode (10)
  --workers N      concurrent callers (32)
  --mode M         idle, graceful or sigkill; may be repeated (all three)
  --server S       plain, a hyper server as anyone would write it (the default), or
                   ours, the server half of this crate
  --wrapped        this crate around the clients that people have: hyper-util with our
                   connector and under our layer, and reqwest with our middleware
                   (which needs `--features reqwest`)
  --hostile        a server that misleads instead of one that restarts; its modes are
                   mixed (the default), half-close, reset, late-599 and stray
  --details        print everything: why calls failed, the resends by their grounds,
                   what the host did, and three failures by name
";

/// What `--help` prints after them.
pub(super) const NOTES: &str = "
While a server is being killed, the host of a virtual machine may not run its
processor, so that requests reach it that no process will read. Restarts during which a
processor stood still for more than 1 ms are counted apart for every client alike, and
no claim about needless failures is made of them; claims about safety are made of all.

Exit code: 0; 1 if a client with this crate executed a request twice or reported a
false success (with --hostile: executed twice, or tower-resend delivered more than 3 % of
the stray answers that hyper-util's client delivers), or if a double or a false success
made on purpose was not counted; 64 if the demonstration could not be set up. Failures
and times never change it: they depend on the machine.
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
    pub(super) duration: Duration,
    pub(super) workers: u64,
    pub(super) modes: Vec<Mode>,
    pub(super) server: Server,
    pub(super) wrapped: bool,
    pub(super) hostile: bool,
    pub(super) details: bool,
    pub(super) settings: Settings,
}

/// What a server process is told by the process that started it.
#[derive(Clone, Debug)]
pub(super) struct Orders {
    pub(super) server: Server,
    pub(super) mode: Mode,
    pub(super) address: SocketAddr,
    pub(super) handler: Duration,
    pub(super) seed: u64,
}

/// By what the application is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Server {
    /// By hyper, with no help of ours.
    #[default]
    Plain,
    /// By the server half of this crate.
    Ours,
}

impl Server {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Ours => "ours",
        }
    }
}

impl std::str::FromStr for Server {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = [Self::Plain, Self::Ours].into_iter().find(|server| server.name() == name);
        found.ok_or_else(|| format!("there is no server {name:?}"))
    }
}

/// What the server does to its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Closes connections that were idle for 10 to 30 ms.
    Idle,
    /// Is restarted, and drains first.
    Graceful,
    /// Is killed and started anew.
    Sigkill,
    /// Every connection draws one of the following.
    Mixed,
    /// Sends its FIN on idle connections, reads on and executes.
    HalfClose,
    /// Resets, at times after it took a request up.
    Reset,
    /// Sends a 599 at the wrong time: after it took a request up, or reading on.
    Late599,
    /// Sends an unsolicited 200 on idle connections.
    Stray,
}

impl Mode {
    const ALL: [Self; 8] = {
        use Mode::*;
        [Idle, Graceful, Sigkill, Mixed, HalfClose, Reset, Late599, Stray]
    };

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Graceful => "graceful",
            Self::Sigkill => "sigkill",
            Self::Mixed => "mixed",
            Self::HalfClose => "half-close",
            Self::Reset => "reset",
            Self::Late599 => "late-599",
            Self::Stray => "stray",
        }
    }

    /// Says in a few words what the server does.
    pub(super) fn explain(self) -> &'static str {
        match self {
            Self::Idle => "closes connections that were idle for 10 to 30 ms",
            Self::Graceful => "drains, and is replaced",
            Self::Sigkill => "is killed, and started anew",
            Self::Mixed => "does one of the others on each connection",
            Self::HalfClose => "sends its FIN, reads on and executes",
            Self::Reset => "resets, at times after it took a request up",
            Self::Late599 => "answers 599 at the wrong time",
            Self::Stray => "sends an unsolicited 200",
        }
    }

    pub(super) fn is_hostile(self) -> bool {
        !matches!(self, Self::Idle | Self::Graceful | Self::Sigkill)
    }
}

impl std::str::FromStr for Mode {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|mode| mode.name() == name);
        found.ok_or_else(|| format!("there is no mode {name:?}"))
    }
}

/// Reads the command line.
pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, lexopt::Error> {
    let mut parser = lexopt::Parser::from_args(args);
    let mut args = Args::default();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("seconds") => args.duration = seconds(&mut parser)?,
            Long("workers") => args.workers = parser.value()?.parse()?,
            Long("mode") => args.modes.push(parser.value()?.parse()?),
            Long("server") => args.server = parser.value()?.parse()?,
            Long("wrapped") => args.wrapped = true,
            Long("hostile") => args.hostile = true,
            Long("details") => args.details = true,
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
    args.complete().map(Command::Run)
}

/// The word that makes this program a server.
const SERVE: &str = "serve";

impl Args {
    /// Returns the clients that are compared.
    pub(super) fn clients(&self) -> &'static [Kind] {
        if self.wrapped { Kind::WRAPPED } else { Kind::USUAL }
    }

    fn complete(mut self) -> Result<Self, lexopt::Error> {
        if self.modes.is_empty() {
            self.modes = if self.hostile {
                vec![Mode::Mixed]
            } else {
                vec![Mode::Idle, Mode::Graceful, Mode::Sigkill]
            };
        }
        if self.hostile && self.server == Server::Ours {
            return Err("--hostile is a server of its own".into());
        }
        match self.modes.iter().find(|mode| mode.is_hostile() != self.hostile) {
            Some(mode) if self.hostile => {
                Err(format!("--mode {} is not one of a hostile server", mode.name()).into())
            }
            Some(mode) => Err(format!("--mode {} needs --hostile", mode.name()).into()),
            None => Ok(self),
        }
    }
}

impl Default for Args {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(10),
            workers: 32,
            modes: Vec::new(),
            server: Server::Plain,
            wrapped: false,
            hostile: false,
            details: false,
            settings: Settings::default(),
        }
    }
}

impl Orders {
    /// Writes the orders as the arguments that [`parse`] reads.
    pub(super) fn to_args(&self) -> [String; 6] {
        [
            SERVE.into(),
            self.server.name().into(),
            self.mode.name().into(),
            self.address.to_string(),
            to_millis(self.handler),
            self.seed.to_string(),
        ]
    }
}

fn orders(parser: &mut lexopt::Parser) -> Result<Orders, lexopt::Error> {
    Ok(Orders {
        server: parser.value()?.parse()?,
        mode: parser.value()?.parse()?,
        address: parser.value()?.parse()?,
        handler: millis(parser)?,
        seed: parser.value()?.parse()?,
    })
}

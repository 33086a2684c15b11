//! The command line.

use std::ffi::OsString;
use std::net::Ipv4Addr;

use lexopt::prelude::*;

use super::peers::Peers;
use super::server::Orders;
use super::stack::Kind;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
Sends requests while the server closes, and compares what the client concludes
with what the server's application really dispatched.

  --trials N       how many trials (2000)
  --seed N         what they are drawn from (1)
  --loss L         one set of trials with this share of packets lost (with jitter, unless
                   it is 0); without it, half of the trials on a clean wire and half at 0.05
  --lanes N        trials at the same time, up to 64 (48)
  --replay SEED    the trial of this seed; with --trials N, N times
  --server NAME    one kind of server only: hostile (without a contract, closing in every
                   way); rst, fin, plain or mixed (the crate's own, by what its closes say);
                   broken (announces a contract and breaks it)
  --stack NAME     the client stack, by one of the names below (ours)
  --premise-p1     a server that breaks the one premise that no client can check
  --help

Exit code: 0, or 1 if a conclusion was wrong or the trials could not have shown it.
";

/// What this process shall do.
pub(crate) enum Command {
    Run(Args),
    Serve(Orders),
    List,
    Nothing,
    Help,
}

/// The settings of a run.
#[derive(Clone, Debug)]
pub(crate) struct Args {
    pub(crate) trials: u64,
    pub(crate) seed: u64,
    pub(crate) loss: Option<f64>,
    pub(crate) lanes: u16,
    pub(crate) replay: Option<u64>,
    /// The one kind of server; none for all of them.
    pub(crate) peers: Option<Peers>,
    /// The one client stack; none for all of them.
    pub(crate) stack: Option<Kind>,
}

impl Command {
    pub(crate) fn parse() -> Result<Self, lexopt::Error> {
        let mut args = Args {
            trials: 2000,
            seed: 1,
            loss: None,
            lanes: 48,
            replay: None,
            peers: None,
            stack: None,
        };
        let mut trials = None;
        let (mut serves, mut is_tls) = (None, false);
        let mut filters = Vec::<OsString>::new();
        let mut skipped = false;
        let mut parser = lexopt::Parser::from_env();
        while let Some(arg) = parser.next()? {
            match arg {
                Long("trials") => trials = Some(parser.value()?.parse()?),
                Long("seed") => args.seed = parser.value()?.parse()?,
                Long("loss") => args.loss = Some(parser.value()?.parse()?),
                Long("lanes") => args.lanes = parser.value()?.parse()?,
                Long("replay") => args.replay = Some(parser.value()?.parse()?),
                Long("premise-p1") => args.peers = Some(Peers::PremiseP1),
                Long("server") => args.peers = Some(parser.value()?.parse()?),
                Long("stack") => args.stack = Some(parser.value()?.parse()?),
                Long("serve") => serves = Some(parser.value()?.parse::<Ipv4Addr>()?),
                Long("tls") => is_tls = true,
                Long("help") | Short('h') => return Ok(Self::Help),
                // What test runners say to any test.
                Long("list") => return Ok(Self::List),
                Long("skip") => skipped |= matches(&parser.value()?),
                Long("test-threads" | "format" | "color" | "report-time") | Short('Z') => {
                    parser.value()?;
                }
                Long("ignored") => skipped = true,
                Long("nocapture" | "no-capture" | "show-output" | "quiet" | "exact") => {}
                Long("include-ignored") | Short('q') => {}
                Value(filter) => filters.push(filter),
                other => return Err(other.unexpected()),
            }
        }
        if let Some(address) = serves {
            let peers = args.peers.unwrap_or(Peers::Hostile);
            return Ok(Self::Serve(Orders { address, peers, is_tls }));
        }
        if skipped || !(filters.is_empty() || filters.iter().any(matches)) {
            return Ok(Self::Nothing);
        }
        args.trials = match (trials, args.replay) {
            (Some(trials), _) => trials,
            (None, Some(_)) => 1,
            (None, None) => args.trials,
        };
        Ok(Self::Run(args))
    }
}

fn matches(filter: &OsString) -> bool {
    filter.to_str().is_some_and(|filter| "crossing".contains(filter))
}

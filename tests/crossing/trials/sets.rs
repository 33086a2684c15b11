//! Which trials there are in one run.

use super::args::Args;
use super::peers::{Mapping, Peers};
use super::stack::Kind;
use testkit::stacks::Knows;

/// A set of trials, and how the wire is for all of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Set {
    pub(crate) trials: u64,
    pub(crate) loss: f64,
    pub(crate) peers: Peers,
    pub(crate) stack: Kind,
    /// What tells sets of one run apart.
    pub(crate) number: u64,
}

impl Set {
    /// Each kind of server, on a clean wire and on a lossy one; and then each other
    /// stack.
    pub(crate) fn all(args: &Args) -> Vec<Self> {
        let stack = args.stack.unwrap_or_else(Kind::ours);
        let own = args.trials / 5;
        let of = |mapping, trials| (Peers::Own(mapping), trials);
        let kinds = match args.peers {
            Some(peers) => vec![(peers, args.trials)],
            None if args.replay.is_some() => vec![(Peers::Hostile, args.trials)],
            None if stack.is_tls() => {
                vec![(Peers::Hostile, args.trials), (Peers::Broken, own)]
            }
            None => vec![
                (Peers::Hostile, args.trials),
                of(Mapping::Rst, own),
                of(Mapping::Fin, own),
                of(Mapping::Plain, own / 2),
                (Peers::Broken, own),
            ],
        };
        let mut all: Vec<_> =
            kinds.into_iter().map(|(peers, trials)| (stack, peers, trials)).collect();
        if args.peers.is_none() && args.stack.is_none() && args.replay.is_none() {
            let others = Kind::all().filter(|kind| *kind != Kind::ours());
            all.extend(others.map(|kind| (kind, Peers::Hostile, args.trials / share(kind))));
        }
        let mut sets = Vec::new();
        for (stack, peers, trials) in all {
            let half = trials / 2;
            let wires = match args.loss {
                Some(loss) => vec![(trials, loss)],
                // What is broken is seen on any wire.
                None if peers == Peers::Broken || stack.is_careless() => {
                    vec![(trials, 0.0)]
                }
                None => vec![(trials - half, 0.0), (half, 0.05)],
            };
            for (trials, loss) in wires {
                sets.push(Self { trials, loss, peers, stack, number: sets.len() as u64 });
            }
        }
        sets
    }

    /// Says what it is.
    pub(crate) fn name(self) -> String {
        let Self { trials, loss, .. } = self;
        let pair = self.pair();
        match loss {
            0.0 => format!("{pair}: {trials} trials, 5 ms each way"),
            loss => {
                let loss = loss * 100.0;
                format!("{pair}: {trials} trials, 5 ms each way, jitter 0-10 ms, {loss} % lost")
            }
        }
    }

    /// The pair of client and server; our own client needs no name.
    pub(crate) fn pair(self) -> String {
        match self.stack {
            stack if stack == Kind::ours() => self.peers.to_string(),
            stack => format!("{stack}, {}", self.peers),
        }
    }
}

/// How many times fewer trials a stack has than our own client.
fn share(kind: Kind) -> u64 {
    match kind.class.evidence {
        // A tenth of them and more go wrong: of two hundred none does once in 10^9 times.
        _ if kind.is_careless() => 10,
        _ if kind.is_ours() || !kind.is_tls() => 2,
        // One over TLS has as many trials as those that it wraps; those that know
        // nothing of what was sent have little to be wrong about.
        Knows::All => 4,
        Knows::Nothing(_) | Knows::Silent => 10,
    }
}

//! What the figures must show.

use std::fmt;

use super::args::{Args, Mode, Server};
use super::clients::Kind;
use super::named::Story;
use super::road::Road;
use super::tally::Tally;

/// Claims, each held or not, and what follows for the exit code.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    claims: Vec<(bool, String)>,
    not_stressed: Vec<String>,
    unsafe_resend: bool,
    needs_stress: bool,
}

impl Verdict {
    pub(super) fn exit_code(&self) -> u8 {
        match (self.unsafe_resend, self.needs_stress && !self.not_stressed.is_empty()) {
            (true, _) => 1,
            (false, true) => 2,
            (false, false) => 0,
        }
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = (bool, &str)> {
        self.claims.iter().map(|(passed, claim)| (*passed, claim.as_str()))
    }

    fn claim(&mut self, passed: bool, claim: String) {
        self.claims.push((passed, claim));
    }

    /// A claim whose failure fails the run.
    fn must(&mut self, passed: bool, claim: String) {
        self.unsafe_resend |= !passed;
        self.claim(passed, claim);
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for trouble in &self.not_stressed {
            writeln!(f, "NOT STRESSED  {trouble}")?;
        }
        for (passed, claim) in self.lines() {
            writeln!(f, "{}  {claim}", if passed { "PASS" } else { "FAIL" })?;
        }
        Ok(())
    }
}

/// Fewer failures of hyper-util's client than this prove nothing about anyone.
const STRESS: u64 = 20;

/// Holds the figures against what is claimed of this crate.
pub(super) fn check(args: &Args, road: &Road, tallies: &[Tally], stories: &[Story]) -> Verdict {
    let mut verdict = Verdict { needs_stress: road.is_wire(), ..Verdict::default() };
    for &mode in &args.modes {
        let of = |kind| tallies.iter().find(|tally| tally.mode == mode && tally.kind == kind);
        if let [Some(ours), Some(peer), Some(blind)] = Kind::ALL.map(of) {
            verdict
                .must(ours.twice == 0, format!("{}: executed twice: {}", mode.name(), ours.twice));
            if mode.is_hostile() {
                check_hostile(&mut verdict, ours, peer);
            } else {
                check_restarts(&mut verdict, ours, peer, blind);
                if args.server == Server::Ours {
                    check_promise(&mut verdict, ours);
                }
            }
        }
    }
    for story in stories {
        verdict.claim(story.went_well, format!("{:?}: answered, and executed once", story.name));
    }
    verdict
}

/// A server that says how it ends leaves next to no failure needless, but for
/// the first request on a connection, before which it could not say anything.
fn check_promise(verdict: &mut Verdict, ours: &Tally) {
    let (mode, later) = (ours.mode.name(), ours.needless - ours.first);
    let failed = later + ours.taken_up;
    verdict.claim(
        later * 100 <= failed,
        format!(
            "{mode}: needless failures: {later} of {failed}, of which a hundredth is allowed, \
             and {} of first requests on their connections",
            ours.first
        ),
    );
}

fn check_hostile(verdict: &mut Verdict, ours: &Tally, peer: &Tally) {
    let mode = ours.mode.name();
    let few = ours.strays * 100 <= peer.strays * 3;
    verdict.must(
        few,
        format!(
            "{mode}: stray answers delivered: {}; hyper-util {}, of which at most 3 % are allowed",
            ours.strays, peer.strays
        ),
    );
    let harm = peer.needless + peer.taken_up + peer.strays;
    if harm < STRESS {
        verdict
            .not_stressed
            .push(format!("{mode}: hyper-util's client came to harm only {harm} times"));
    }
}

fn check_restarts(verdict: &mut Verdict, ours: &Tally, peer: &Tally, blind: &Tally) {
    let mode = ours.mode.name();
    verdict.must(ours.falsely_ok == 0, format!("{mode}: falsely successful: {}", ours.falsely_ok));
    if peer.needless < STRESS {
        verdict.not_stressed.push(format!(
            "{mode}: hyper-util's client had only {} needless failures",
            peer.needless
        ));
        verdict.claim(
            ours.needless <= peer.needless,
            format!("{mode}: needless failures: {}; hyper-util {}", ours.needless, peer.needless),
        );
    } else {
        let part = if ours.mode == Mode::Idle { 10 } else { 20 };
        verdict.claim(
            ours.needless * part <= peer.needless,
            format!(
                "{mode}: needless failures: {}; hyper-util {}, of which a {part}th are allowed",
                ours.needless, peer.needless
            ),
        );
    }
    let (p99, limit) = (ours.quantile(0.99), blind.quantile(0.99) * 1.15);
    verdict.claim(
        p99 <= limit,
        format!("{mode}: p99 {p99:.1} ms; 1.15 times that of retry-on-error is {limit:.1} ms"),
    );
    if ours.mode == Mode::Sigkill {
        verdict.claim(
            blind.twice > 0,
            format!("{mode}: retry-on-error executed twice: {}", blind.twice),
        );
    }
}

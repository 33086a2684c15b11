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
        for tally in args.clients().iter().filter_map(|&kind| of(kind)) {
            check_safety(&mut verdict, tally);
        }
        let [Some(ours), Some(peer)] = [Kind::TowerResend, Kind::HyperUtil].map(of) else {
            continue;
        };
        if mode.is_hostile() {
            check_harm(&mut verdict, peer);
            for tally in args.clients().iter().filter_map(|&kind| of(kind)) {
                check_strays(&mut verdict, tally, peer);
            }
            continue;
        }
        check_restarts(&mut verdict, ours, peer);
        if let Some(blind) = of(Kind::RetryOnError) {
            check_blind(&mut verdict, ours, blind);
        }
        if let Some(wrapped) = of(Kind::HyperUtilResend)
            && peer.undisturbed().failures >= STRESS
        {
            // Nobody tells the adapter where a request begins, so it may prove less.
            check_part(&mut verdict, wrapped, peer, 5);
        }
        #[cfg(feature = "reqwest")]
        if let Some(through) = of(Kind::ReqwestResend) {
            check_reqwest(&mut verdict, through, ours);
        }
        if args.server == Server::Ours {
            check_promise(&mut verdict, ours);
        }
    }
    for story in stories {
        verdict.claim(story.went_well, format!("{:?}: answered, and executed once", story.name));
    }
    verdict
}

/// Holds for every call, whatever the host did.
fn check_safety(verdict: &mut Verdict, tally: &Tally) {
    let (mode, client) = (tally.mode.name(), tally.kind.name());
    if tally.kind.is_ours() || tally.kind == Kind::HyperUtilConnector {
        verdict.must(tally.twice == 0, format!("{mode}: {client} executed twice: {}", tally.twice));
    }
    if tally.kind.is_ours() && !tally.mode.is_hostile() {
        let false_ones = tally.falsely_ok;
        verdict.must(false_ones == 0, format!("{mode}: {client} falsely successful: {false_ones}"));
    }
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

/// A stray answer that crosses a request can pass for its answer, at times; a
/// little more often where the adapter does not know where a request begins.
fn check_strays(verdict: &mut Verdict, tally: &Tally, peer: &Tally) {
    let (own, strays) = (tally.kind == Kind::TowerResend, tally.strays);
    let percent = if own { 3 } else { 5 };
    let few = strays * 100 <= peer.strays * percent;
    let claim = format!(
        "{}: stray answers that {} delivered: {strays}; hyper-util {}, \
         of which at most {percent} % are allowed",
        tally.mode.name(),
        tally.kind.name(),
        peer.strays
    );
    if own {
        verdict.must(few, claim);
    } else if tally.kind.is_ours() {
        verdict.claim(few, claim);
    }
}

fn check_harm(verdict: &mut Verdict, peer: &Tally) {
    let mode = peer.mode.name();
    let harm = peer.needless + peer.taken_up + peer.strays;
    if harm < STRESS {
        verdict
            .not_stressed
            .push(format!("{mode}: hyper-util's client came to harm only {harm} times"));
    }
}

/// Compares the needless failures in which the host had no part.
fn check_restarts(verdict: &mut Verdict, ours: &Tally, peer: &Tally) {
    let mode = ours.mode.name();
    let (needless, theirs) = (ours.undisturbed(), peer.undisturbed());
    if theirs.failures < STRESS {
        verdict
            .not_stressed
            .push(format!("{mode}: hyper-util's client had only {theirs} needless failures"));
    }
    if !needless.are_many || !theirs.are_many {
        verdict.not_stressed.push(format!("{mode}: the host disturbed most of the restarts"));
    }
    let part = match ours.mode {
        _ if theirs.failures < STRESS => 1,
        Mode::Idle => 10,
        _ => 20,
    };
    check_part(verdict, ours, peer, part);
}

/// A client has at most so small a part of hyper-util's needless failures.
fn check_part(verdict: &mut Verdict, tally: &Tally, peer: &Tally, part: u64) {
    let (needless, theirs) = (tally.undisturbed(), peer.undisturbed());
    let allowed = match part {
        1 => String::new(),
        part => format!(", of which a {part}th are allowed"),
    };
    let all = match tally.disturbed_restarts + peer.disturbed_restarts {
        0 => String::new(),
        _ => format!(" (with the disturbed restarts: {} and {})", tally.needless, peer.needless),
    };
    verdict.claim(
        needless.are_at_most_a(part, theirs),
        format!(
            "{}: needless failures of {}: {needless}; {} {theirs}{allowed}{all}",
            tally.mode.name(),
            tally.kind.name(),
            peer.kind.name()
        ),
    );
}

fn check_blind(verdict: &mut Verdict, ours: &Tally, blind: &Tally) {
    let mode = ours.mode.name();
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

/// The middleware sends through this crate's client, and must do as well.
#[cfg(feature = "reqwest")]
fn check_reqwest(verdict: &mut Verdict, through: &Tally, ours: &Tally) {
    let (needless, own) = (through.undisturbed(), ours.undisturbed());
    let limit = own.failures * 6 / 5 + 5;
    verdict.claim(
        needless.failures <= limit,
        format!(
            "{}: needless failures of {}: {needless}; tower-resend {own}, \
             with which at most {limit} are allowed",
            through.mode.name(),
            through.kind.name()
        ),
    );
}

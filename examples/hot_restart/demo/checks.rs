//! What the figures must show, and what they show on a machine that is left alone.

use testkit::demo::road::Road;
use testkit::demo::table::short;
use testkit::demo::tally::Counts;
use testkit::demo::verdict::{Figure, Verdict};

use super::args::{Args, Mode, Server};
use super::clients::Kind;
use super::named::Story;
use super::tally::Tally;

/// Fewer failures of hyper-util's client than this prove nothing about anyone.
const STRESS: u64 = 20;

/// Everything that was measured.
#[derive(Clone, Copy)]
pub(super) struct Measured<'a> {
    pub(super) args: &'a Args,
    pub(super) road: &'a Road,
    pub(super) tallies: &'a [Tally],
    pub(super) stories: &'a [Story],
    pub(super) control: &'a Counts,
}

/// Holds the figures against what is claimed of this crate.
pub(super) fn check(measured: Measured<'_>) -> Verdict {
    let mut verdict = Verdict::default();
    for &kind in measured.args.clients() {
        check_safety(&mut verdict, kind, measured.tallies);
    }
    check_control(&mut verdict, measured.control);
    for &mode in &measured.args.modes {
        check_mode(&mut verdict, measured, mode);
    }
    check_stories(&mut verdict, measured.stories);
    verdict
}

/// Holds for every call, whatever the host did.
fn check_safety(verdict: &mut Verdict, kind: Kind, tallies: &[Tally]) {
    if !kind.is_ours() && kind != Kind::HyperUtilConnector {
        return;
    }
    let own: Vec<_> = tallies.iter().filter(|tally| tally.kind == kind).collect();
    let twice: u64 = own.iter().map(|tally| tally.twice).sum();
    verdict.must(twice == 0, format!("{}: executed twice: {}", kind.name(), short(twice)));
    if kind.is_ours() && own.iter().all(|tally| !tally.mode.is_hostile()) {
        let false_ones: u64 = own.iter().map(|tally| tally.falsely_ok).sum();
        let claim = format!("{}: falsely successful: {}", kind.name(), short(false_ones));
        verdict.must(false_ones == 0, claim);
    }
}

/// What was done wrong on purpose has to be counted.
fn check_control(verdict: &mut Verdict, control: &Counts) {
    let Counts { twice, falsely_ok, .. } = *control;
    verdict.must(
        (twice, falsely_ok) == (1, 1),
        format!(
            "control, one of each on purpose: executed twice: {}, false: {}",
            short(twice),
            short(falsely_ok)
        ),
    );
}

fn check_stories(verdict: &mut Verdict, stories: &[Story]) {
    let doubles = stories.iter().filter(|story| story.executed > 1).count();
    verdict.must(doubles == 0, format!("failures by name: executed twice: {doubles}"));
    let well = stories.iter().filter(|story| story.went_well).count();
    verdict.figure(Figure {
        explains: "failures by name that ended with an answer, all of them:",
        of: ["", Kind::TowerResend.name()],
        here: well as f64,
        bound: stories.len() as f64,
        met: well == stories.len(),
        note: None,
    });
}

fn check_mode(verdict: &mut Verdict, measured: Measured<'_>, mode: Mode) {
    let Measured { args, road, tallies, .. } = measured;
    let of = |kind| tallies.iter().find(|tally| tally.mode == mode && tally.kind == kind);
    let [Some(ours), Some(peer)] = [Kind::TowerResend, Kind::HyperUtil].map(of) else {
        return;
    };
    if mode.is_hostile() {
        check_stress(verdict, road, peer, peer.needless + peer.dispatched + peer.strays);
        for tally in args.clients().iter().filter_map(|&kind| of(kind)) {
            check_strays(verdict, tally, peer);
        }
        return;
    }
    check_restarts(verdict, road, ours, peer);
    if let Some(blind) = of(Kind::RetryOnError) {
        check_blind(verdict, ours, blind);
    }
    if let Some(wrapped) = of(Kind::HyperUtilResend)
        && peer.undisturbed().failures >= STRESS
    {
        // The adapter is not told where a request begins, so it may prove less.
        check_part(verdict, wrapped, peer, 5);
    }
    #[cfg(feature = "reqwest")]
    if let Some(through) = of(Kind::ReqwestResend) {
        check_reqwest(verdict, through, ours);
    }
    if args.server == Server::Ours {
        check_promise(verdict, ours);
    }
}

/// A figure of a client that was measured beside others.
fn figure<'a>(
    explains: &'static str,
    tally: &'a Tally,
    beside: impl IntoIterator<Item = &'a Tally>,
    [here, bound]: [f64; 2],
) -> Figure {
    let stalls: Option<u64> = std::iter::once(tally).chain(beside).map(|tally| tally.stalls).sum();
    Figure {
        explains,
        of: [tally.mode.name(), tally.kind.name()],
        here,
        bound,
        met: here <= bound,
        note: match stalls {
            None => Some("host unwatched"),
            Some(0) => None,
            Some(_) => Some("host disturbed"),
        },
    }
}

/// Adds a figure that is only worth a line where it is too small.
fn at_least(verdict: &mut Verdict, figure: Figure) {
    if figure.here < figure.bound {
        verdict.figure(Figure { met: false, ..figure });
    }
}

fn check_stress(verdict: &mut Verdict, road: &Road, peer: &Tally, harm: u64) {
    let explains = "failures of hyper-util's own client; fewer than these show little:";
    let mut few = figure(explains, peer, [], [harm as f64, STRESS as f64]);
    few.note = if road.is_wire() { few.note } else { Some("loopback") };
    at_least(verdict, few);
}

/// A stray answer that crosses a request can pass for its answer, at times; a
/// little more often where the adapter does not know where a request begins.
fn check_strays(verdict: &mut Verdict, tally: &Tally, peer: &Tally) {
    let (mode, client) = (tally.mode.name(), tally.kind.name());
    let allowed = |percent: u32| peer.strays as f64 * f64::from(percent) / 100.0;
    let strays = tally.strays as f64;
    if tally.kind == Kind::TowerResend {
        verdict.must(
            strays <= allowed(3),
            format!(
                "{mode}: {client}: stray answers: {}, at most 3 % of {}",
                short(tally.strays),
                short(peer.strays)
            ),
        );
    } else if tally.kind.is_ours() {
        let explains = "stray answers that were delivered; at most 5 % of hyper-util's:";
        verdict.figure(figure(explains, tally, [peer], [strays, allowed(5)]));
    }
}

/// Compares the needless failures in which the host had no part.
fn check_restarts(verdict: &mut Verdict, road: &Road, ours: &Tally, peer: &Tally) {
    let theirs = peer.undisturbed().failures;
    check_stress(verdict, road, peer, theirs);
    for tally in [ours, peer] {
        let explains = "restarts that the host did not disturb; at least half of all:";
        let left = tally.undisturbed().restarts as f64;
        at_least(verdict, figure(explains, tally, [], [left, tally.restarts as f64 / 2.0]));
    }
    let part = match ours.mode {
        _ if theirs < STRESS => 1,
        Mode::Idle => 10,
        _ => 20,
    };
    check_part(verdict, ours, peer, part);
}

/// A client has at most so small a part of hyper-util's needless failures.
fn check_part(verdict: &mut Verdict, tally: &Tally, peer: &Tally, part: u64) {
    let explains = match part {
        1 => "calls that failed and never ran; at most as many as hyper-util's:",
        5 => "calls that failed and never ran; at most a 5th of hyper-util's:",
        10 => "calls that failed and never ran; at most a 10th of hyper-util's:",
        _ => "calls that failed and never ran; at most a 20th of hyper-util's:",
    };
    let (needless, theirs) = (tally.undisturbed(), peer.undisturbed());
    let figures = [needless.failures as f64, theirs.part(part, needless)];
    verdict.figure(figure(explains, tally, [peer], figures));
}

/// A server that says how it ends leaves next to no failure needless, but for
/// the first request on a connection, before which it could not say anything.
fn check_promise(verdict: &mut Verdict, ours: &Tally) {
    let later = ours.needless - ours.first;
    let failed = later as f64 + ours.dispatched as f64;
    let explains = "the same after a first response; at most a 100th of all failures:";
    verdict.figure(figure(explains, ours, [], [later as f64, failed / 100.0]));
}

fn check_blind(verdict: &mut Verdict, ours: &Tally, blind: &Tally) {
    let explains = "p99 of the answered calls in ms; at most 1.15 times retry-on-error's:";
    let times = [ours.quantile(0.99), blind.quantile(0.99) * 1.15];
    verdict.figure(figure(explains, ours, [blind], times));
    if ours.mode == Mode::Sigkill {
        let explains = "requests that ran twice, where errors are just retried; at least 1:";
        let doubles = figure(explains, blind, [], [blind.twice as f64, 1.0]);
        verdict.figure(Figure { met: blind.twice > 0, ..doubles });
    }
}

/// The middleware sends through this crate's client, and must do as well.
#[cfg(feature = "reqwest")]
fn check_reqwest(verdict: &mut Verdict, through: &Tally, ours: &Tally) {
    let (needless, own) = (through.undisturbed().failures as f64, ours.undisturbed().failures);
    let explains = "the same through reqwest; at most 1.2 times tower-resend's and 5:";
    let limit = own as f64 * 1.2 + 5.0;
    verdict.figure(figure(explains, through, [ours], [needless, limit]));
}

//! What the figures must show.

use testkit::demo::verdict::{Figure, Verdict};

use super::args::Plan;
use super::load::Kind;
use super::tally::Tally;

/// Holds the figures against what is claimed of this crate.
pub(super) fn check(tallies: &[Tally]) -> Verdict {
    let mut verdict = Verdict::default();
    for tally in tallies.iter().filter(|tally| tally.kind == Kind::TowerResend) {
        let plan = tally.plan;
        verdict.must(tally.twice == 0, format!("{plan}: executed twice: {}", tally.twice));
        verdict.must(
            tally.falsely_ok == 0,
            format!("{plan}: falsely successful: {}", tally.falsely_ok),
        );
        match plan {
            Plan::Inherited => {
                let claim = format!("{plan}: failed: {} of {}", tally.failed(), tally.sent);
                verdict.must(tally.failed() == 0, claim);
            }
            Plan::Killed => {
                let explains =
                    "failed and never ran, after a first response; at most a 100th of all:";
                let figures = [tally.later() as f64, tally.failed() as f64 / 100.0];
                verdict.figure(figure(explains, tally, figures));
            }
            Plan::Reuseport | Plan::Plain | Plan::PlainKilled => {}
        }
    }
    for (ours, plain) in [(Plan::Inherited, Plan::Plain), (Plan::Killed, Plan::PlainKilled)] {
        for kind in [Kind::HyperUtil, Kind::Curl] {
            compare(&mut verdict, tallies, kind, ours, plain);
        }
    }
    verdict
}

fn figure(explains: &'static str, tally: &Tally, [here, bound]: [f64; 2]) -> Figure {
    let of = [tally.plan.name(), tally.kind.name()];
    Figure { explains, of, here, bound, met: here <= bound, note: None }
}

/// For a client that knows nothing of the contract nothing may get worse. Two
/// counts of rare events differ by chance: three standard deviations.
fn compare(verdict: &mut Verdict, tallies: &[Tally], kind: Kind, ours: Plan, plain: Plan) {
    let of = |plan| tallies.iter().find(|tally| tally.kind == kind && tally.plan == plan);
    let (Some(with), Some(without)) = (of(ours), of(plain)) else { return };
    if with.sent == 0 || without.sent == 0 {
        return;
    }
    let per_mille = |tally: &Tally| tally.failed() as f64 / tally.sent as f64 * 1e3;
    let deviation = ((with.failed() + without.failed()) as f64).sqrt() * 1e3
        / with.sent.min(without.sent) as f64;
    let explains = "of 1000 calls failed; at most what chance adds to those under axum::serve:";
    let figures = [per_mille(with), per_mille(without) + 3.0 * deviation];
    verdict.figure(figure(explains, with, figures));
}

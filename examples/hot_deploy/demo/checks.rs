//! What the figures must show.

use std::fmt;
use std::process::ExitCode;

use super::args::Plan;
use super::load::Kind;
use super::tally::Tally;

/// Claims, each held or not, and what follows for the exit code.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    claims: Vec<(bool, String)>,
    failed: bool,
}

impl Verdict {
    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(u8::from(self.failed))
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = (bool, &str)> {
        self.claims.iter().map(|(passed, claim)| (*passed, claim.as_str()))
    }

    fn claim(&mut self, passed: bool, claim: String) {
        self.claims.push((passed, claim));
    }

    /// A claim whose failure fails the run.
    fn must(&mut self, passed: bool, claim: String) {
        self.failed |= !passed;
        self.claim(passed, claim);
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (passed, claim) in self.lines() {
            writeln!(f, "{}  {claim}", if passed { "PASS" } else { "FAIL" })?;
        }
        Ok(())
    }
}

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
            Plan::Killed => verdict.claim(
                tally.needless * 100 <= tally.failed(),
                format!(
                    "{plan}: failed although never taken up: {} of {} failures, of which a \
                     hundredth is allowed (and {} first on their connections)",
                    tally.needless,
                    tally.failed(),
                    tally.first
                ),
            ),
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

/// For a client that knows nothing of the contract nothing may get worse. Two
/// counts of rare events differ by chance: three standard deviations.
fn compare(verdict: &mut Verdict, tallies: &[Tally], kind: Kind, ours: Plan, plain: Plan) {
    let of = |plan| tallies.iter().find(|tally| tally.kind == kind && tally.plan == plan);
    let (Some(with), Some(without)) = (of(ours), of(plain)) else { return };
    if with.sent == 0 || without.sent == 0 {
        return;
    }
    let share = |tally: &Tally| tally.failed() as f64 / tally.sent as f64;
    let deviation =
        ((with.failed() + without.failed()) as f64).sqrt() / with.sent.min(without.sent) as f64;
    verdict.claim(
        share(with) <= share(without) + 3.0 * deviation,
        format!(
            "{}: {ours}: {} of {} failed; with {plain}: {} of {}",
            kind.name(),
            with.failed(),
            with.sent,
            without.failed(),
            without.sent
        ),
    );
}

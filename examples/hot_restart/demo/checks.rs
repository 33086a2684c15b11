//! What the figures must show.

use std::fmt;

use super::args::{Args, Mode};
use super::clients::Kind;
use super::road::Road;
use super::tally::Tally;

/// Claims, each held or not, and what follows for the exit code.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    claims: Vec<(bool, String)>,
    not_stressed: Vec<&'static str>,
    unsafe_resend: bool,
    needs_stress: bool,
}

impl Verdict {
    pub(super) fn exit_code(&self) -> u8 {
        match (
            self.unsafe_resend,
            self.needs_stress && !self.not_stressed.is_empty(),
        ) {
            (true, _) => 1,
            (false, true) => 2,
            (false, false) => 0,
        }
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = (bool, &str)> {
        self.claims
            .iter()
            .map(|(passed, claim)| (*passed, claim.as_str()))
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
        writeln!(f)?;
        for mode in &self.not_stressed {
            writeln!(
                f,
                "NOT STRESSED  {mode}: hyper-util's client had fewer than {STRESS} needless failures"
            )?;
        }
        for (passed, claim) in &self.claims {
            writeln!(f, "{}  {claim}", if *passed { "PASS" } else { "FAIL" })?;
        }
        Ok(())
    }
}

/// Fewer needless failures of hyper-util's client than this prove nothing about anyone.
const STRESS: u64 = 20;

/// Holds the figures against what is claimed of this crate.
pub(super) fn check(args: &Args, road: &Road, tallies: &[Tally]) -> Verdict {
    let mut verdict = Verdict {
        needs_stress: road.is_wire(),
        ..Verdict::default()
    };
    for &mode in &args.modes {
        let of = |kind| {
            tallies
                .iter()
                .find(|tally| tally.mode == mode && tally.kind == kind)
        };
        let (Some(peer), Some(blind)) = (of(Kind::HyperUtil), of(Kind::RetryOnError)) else {
            continue;
        };
        if mode.is_hostile() {
            continue;
        }
        if peer.needless < STRESS {
            verdict.not_stressed.push(mode.name());
        }
        if mode == Mode::Sigkill {
            verdict.claim(
                blind.twice > 0,
                format!(
                    "sigkill: retry-on-error executed {} requests twice",
                    blind.twice
                ),
            );
        }
    }
    verdict
}

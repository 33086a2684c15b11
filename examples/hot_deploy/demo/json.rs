//! The report for machines.

use serde_json::{Value, json};
use testkit::demo::json::{counts, merge, report};
use testkit::demo::road::Road;
use testkit::demo::verdict::Verdict;

use super::args::Args;
use super::tally::Tally;

/// Writes everything that the table and the checks say.
pub(super) fn render(args: &Args, road: &Road, tallies: &[Tally], verdict: &Verdict) -> Value {
    let fields = json!({
        "deployments": args.deployments,
        "workers": args.workers,
        "tallies": tallies.iter().map(of_tally).collect::<Vec<_>>(),
    });
    merge(report(road, &args.settings, verdict), fields)
}

fn of_tally(tally: &Tally) -> Value {
    let fields = json!({
        "client": tally.kind.name(),
        "plan": tally.plan.name(),
        "deployed": tally.deployed,
    });
    merge(counts(tally), fields)
}

//! The table for machines.

use serde_json::{Value, json};

use super::args::Args;
use super::checks::Verdict;
use super::road::Road;
use super::tally::Tally;

/// Writes everything that the table and the checks say.
pub(super) fn render(args: &Args, road: &Road, tallies: &[Tally], verdict: &Verdict) -> Value {
    json!({
        "road": road.to_string(),
        "wire": road.is_wire(),
        "deployments": args.deployments,
        "workers": args.workers,
        "delay_ms": args.delay.as_secs_f64() * 1e3,
        "loss_percent": args.loss * 100.0,
        "handler_ms": args.handler.as_secs_f64() * 1e3,
        "seed": args.seed,
        "tallies": tallies.iter().map(of_tally).collect::<Vec<_>>(),
        "checks": verdict.lines().map(|(passed, claim)| json!({ "passed": passed, "claim": claim })).collect::<Vec<_>>(),
    })
}

fn of_tally(tally: &Tally) -> Value {
    json!({
        "client": tally.kind.name(),
        "plan": tally.plan.name(),
        "deployed": tally.deployed,
        "sent": tally.sent,
        "ok": tally.ok,
        "failed_never_taken_up": tally.needless,
        "failed_never_taken_up_first": tally.first,
        "connect_refused": tally.refused,
        "failed_and_taken_up": tally.taken_up,
        "executed_twice": tally.twice,
        "falsely_successful": tally.falsely_ok,
        "resends_by_ground": tally.grounds,
        "why_never_taken_up": tally.reasons.iter().map(|(reason, (count, example))| json!({ "reason": reason, "count": count, "example": example })).collect::<Vec<_>>(),
    })
}

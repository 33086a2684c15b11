//! The table for machines.

use serde_json::{Value, json};

use super::args::Args;
use super::checks::Verdict;
use super::host::Host;
use super::named::Story;
use super::road::Road;
use super::tally::{Reasons, Tally};

/// Writes everything that the table, its notes and the checks say.
pub(super) fn render(
    args: &Args,
    road: &Road,
    host: &Host,
    tallies: &[Tally],
    stories: &[Story],
    verdict: &Verdict,
) -> Value {
    json!({
        "road": road.to_string(),
        "wire": road.is_wire(),
        "host_watched": matches!(host, Host::Watched(_)),
        "server": args.server.name(),
        "hostile": args.hostile,
        "wrapped": args.wrapped,
        "seconds": args.duration.as_secs_f64(),
        "workers": args.workers,
        "delay_ms": args.delay.as_secs_f64() * 1e3,
        "loss_percent": args.loss * 100.0,
        "handler_ms": args.handler.as_secs_f64() * 1e3,
        "seed": args.seed,
        "cells": tallies.iter().map(cell).collect::<Vec<_>>(),
        "named": stories.iter().map(story).collect::<Vec<_>>(),
        "checks": verdict.lines().map(|(passed, claim)| json!({ "passed": passed, "claim": claim })).collect::<Vec<_>>(),
        "exit_code": verdict.exit_code(),
    })
}

fn cell(tally: &Tally) -> Value {
    json!({
        "client": tally.kind.name(),
        "mode": tally.mode.name(),
        "restarts": tally.restarts,
        "restarts_disturbed_by_host": tally.disturbed_restarts,
        "sent": tally.sent,
        "ok": tally.ok,
        "failed_never_taken_up": tally.needless,
        "failed_never_taken_up_disturbed_by_host": tally.disturbed,
        "failed_never_taken_up_first": tally.first,
        "connect_refused": tally.refused,
        "failed_and_taken_up": tally.taken_up,
        "executed_twice": tally.twice,
        "falsely_successful": tally.falsely_ok,
        "stray_answers_delivered": tally.strays,
        "resends_by_ground": tally.grounds,
        "p50_ms": tally.quantile(0.50),
        "p99_ms": tally.quantile(0.99),
        "why_never_taken_up": reasons(&tally.needless_reasons),
        "why_taken_up": reasons(&tally.taken_up_reasons),
    })
}

fn story(story: &Story) -> Value {
    json!({
        "failure": story.name,
        "end": story.end,
        "attempts": story.attempts,
        "executed": story.executed,
    })
}

fn reasons(reasons: &Reasons) -> Value {
    let entry = |(reason, (count, example)): (&String, &(u64, String))| json!({ "reason": reason, "count": count, "example": example });
    reasons.iter().map(entry).collect()
}

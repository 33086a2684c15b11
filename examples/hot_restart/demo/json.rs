//! The report for machines.

use serde_json::{Value, json};
use testkit::demo::json::{counts, merge, report};
use testkit::demo::verdict::Verdict;

use super::checks::Measured;
use super::host::Host;
use super::named::Story;
use super::tally::Tally;

/// Writes everything that the tables, their notes and the checks say.
pub(super) fn render(measured: Measured<'_>, host: &Host, verdict: &Verdict) -> Value {
    let Measured { args, road, tallies, stories, control } = measured;
    let fields = json!({
        "host_watched": matches!(host, Host::Watched(_)),
        "server": args.server.name(),
        "hostile": args.hostile,
        "wrapped": args.wrapped,
        "seconds": args.duration.as_secs_f64(),
        "workers": args.workers,
        "cells": tallies.iter().map(cell).collect::<Vec<_>>(),
        "named": stories.iter().map(story).collect::<Vec<_>>(),
        "control": counts(control),
    });
    merge(report(road, &args.settings, verdict), fields)
}

fn cell(tally: &Tally) -> Value {
    let fields = json!({
        "client": tally.kind.name(),
        "mode": tally.mode.name(),
        "restarts": tally.restarts,
        "restarts_disturbed_by_host": tally.disturbed_restarts,
        "host_stalls": tally.stalls,
        "failed_never_dispatched_disturbed_by_host": tally.disturbed,
        "p50_ms": tally.quantile(0.50),
        "p99_ms": tally.quantile(0.99),
    });
    merge(counts(tally), fields)
}

fn story(story: &Story) -> Value {
    json!({
        "failure": story.name,
        "end": story.end,
        "attempts": story.attempts,
        "executed": story.executed,
    })
}

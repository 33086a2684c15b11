//! The counts and the verdict for machines.

use serde_json::{Map, Value, json};

use super::road::Road;
use super::settings::Settings;
use super::tally::{Counts, Reasons};
use super::verdict::Verdict;

/// Writes the fields that every demonstration's report has.
pub fn report(road: &Road, settings: &Settings, verdict: &Verdict) -> Map<String, Value> {
    let safety = verdict.safety().map(|(held, claim)| json!({ "held": held, "claim": claim }));
    let figures = verdict.figures().map(|figure| {
        json!({
            "figure": figure.explains,
            "of": figure.of,
            "here": figure.here,
            "bound": figure.bound,
            "met": figure.met,
            "note": figure.note,
        })
    });
    object(json!({
        "road": road.to_string(),
        "wire": road.is_wire(),
        "delay_ms": settings.delay.as_secs_f64() * 1e3,
        "loss_percent": settings.loss * 100.0,
        "handler_ms": settings.handler.as_secs_f64() * 1e3,
        "seed": settings.seed,
        "safety": safety.collect::<Vec<_>>(),
        "availability": figures.collect::<Vec<_>>(),
        "exit_code": verdict.exit_code(),
    }))
}

/// Writes what became of one client's calls.
pub fn counts(counts: &Counts) -> Map<String, Value> {
    object(json!({
        "sent": counts.sent,
        "ok": counts.ok,
        "failed_never_dispatched": counts.needless,
        "failed_never_dispatched_first": counts.first,
        "connect_refused": counts.refused,
        "failed_and_dispatched": counts.dispatched,
        "executed_twice": counts.twice,
        "falsely_successful": counts.falsely_ok,
        "stray_answers_delivered": counts.strays,
        "resends_by_ground": counts.grounds,
        "why_never_dispatched": reasons(&counts.needless_reasons),
        "why_dispatched": reasons(&counts.dispatched_reasons),
    }))
}

/// Writes an object whose fields are those of two.
pub fn merge(mut one: Map<String, Value>, other: Value) -> Value {
    one.extend(object(other));
    one.into()
}

fn reasons(reasons: &Reasons) -> Value {
    let entry = |(reason, (count, example)): (&String, &(u64, String))| json!({ "reason": reason, "count": count, "example": example });
    reasons.iter().map(entry).collect()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        other => unreachable!("{other} is no object"),
    }
}

//! Names of spans, events and their fields, and the helpers that emit them.
//!
//! Header values and bodies are never among them.

use http::Method;
use tracing::{Level, Span};

use crate::attempt::Attempt;
use crate::classify::{Fate, Ground, Refusal, Semantics};

/// Returns the span of one attempt; nothing is made where it is not wanted.
///
/// `resends` counts the attempts of the call before this one.
pub(crate) fn attempt_span(method: &Method, resends: u32) -> Span {
    if !tracing::enabled!(Level::DEBUG) {
        return Span::none();
    }
    let span = tracing::debug_span!(
        "attempt",
        { METHOD } = method.as_str(),
        { RESEND_COUNT } = tracing::field::Empty,
    );
    if resends > 0 {
        span.record(RESEND_COUNT, resends);
    }
    span
}

/// Tells that a request is sent again, and why that is safe.
pub(crate) fn on_resend(ground: Ground, last: Option<&Attempt>) {
    let (fate, counts) = told(last);
    tracing::debug!(
        { GROUND } = ground.id(),
        { FATE } = fate,
        { WRITTEN } = counts.0,
        { ACKED } = counts.1,
        "resend"
    );
}

/// Tells that a failed request is not sent again, and why.
///
/// Where a request that is not idempotent may have been applied somebody has
/// to look, so that it is a warning.
pub(crate) fn on_refuse(
    refusal: Refusal,
    semantics: Semantics,
    fate: Fate,
    last: Option<&Attempt>,
) {
    let doubt = fate.doubt().map(|doubt| doubt.name());
    let (_, (written, acked)) = told(last);
    let fate_name = fate_name(fate);
    if semantics == Semantics::NotIdempotent && !fate.is_not_applied() {
        tracing::warn!(
            { REFUSAL } = %refusal,
            { DOUBT } = doubt,
            { FATE } = fate_name,
            { WRITTEN } = written,
            { ACKED } = acked,
            "not resent"
        );
    } else {
        tracing::debug!(
            { REFUSAL } = %refusal,
            { DOUBT } = doubt,
            { FATE } = fate_name,
            { WRITTEN } = written,
            { ACKED } = acked,
            "not resent"
        );
    }
}

/// A fate's name and the byte counts behind it.
fn told(last: Option<&Attempt>) -> (Option<&'static str>, (Option<u64>, Option<u64>)) {
    let counts = last.map(|attempt| attempt.evidence().counts);
    let written = counts.map(|counts| counts.written);
    let acked = counts.and_then(|counts| counts.acked);
    (last.map(|attempt| fate_name(attempt.fate())), (written, acked))
}

fn fate_name(fate: Fate) -> &'static str {
    match fate {
        Fate::Unknown(_) => "unknown",
        Fate::ResponseLost => "response_lost",
        Fate::Completed => "completed",
        Fate::NotApplied(_) => "not_applied",
    }
}

const METHOD: &str = "http.request.method";
/// OpenTelemetry's count of earlier attempts; only there on resends.
const RESEND_COUNT: &str = "http.request.resend_count";
const GROUND: &str = "resend.ground";
const REFUSAL: &str = "resend.refusal";
const DOUBT: &str = "resend.doubt";
const FATE: &str = "resend.fate";
const WRITTEN: &str = "bytes.written";
const ACKED: &str = "bytes.acked";

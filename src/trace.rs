//! The spans and events of a call, with the names of their fields.
//!
//! They never contain header values or bodies.

use http::Method;
use tracing::{Level, Span};

use crate::attempt::Attempt;
use crate::error::Error;
use tower_resend_core::{Counts, Fate, Ground, Semantics};

/// Returns the span of one attempt, or none where the level is disabled.
///
/// `resends` counts the earlier attempts of the call.
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

/// Emits that a request is sent again, and why that is safe.
pub(crate) fn on_resend(ground: Ground, last: Option<&Attempt>) {
    let counts = counts(last);
    tracing::debug!(
        { GROUND } = ground.id(),
        { FATE } = last.map(|attempt| fate_name(attempt.fate())),
        { CONTRACT } = last.and_then(Attempt::contract_status).map(|status| status.name()),
        { WRITTEN } = counts.written,
        { ACKED } = counts.acked,
        "resend"
    );
}

/// Emits that a failed request is not sent again, and why.
///
/// It is a warning where a request that is not idempotent may have been applied, because a
/// person has to look into that.
pub(crate) fn on_failure(semantics: Semantics, error: &Error) {
    let fate = error.fate();
    let (name, counts) = (fate_name(fate), counts(error.decisive()));
    let doubt = fate.doubt().map(|doubt| doubt.name());
    let contract = error.decisive().and_then(Attempt::contract_status).map(|status| status.name());
    macro_rules! emit {
        ($level:ident) => {
            tracing::$level!(
                { NO_RESEND } = %error.no_resend(),
                { DOUBT } = doubt,
                { CONTRACT } = contract,
                { FATE } = name,
                { WRITTEN } = counts.written,
                { ACKED } = counts.acked,
                "not resent"
            )
        };
    }
    if semantics == Semantics::NotIdempotent && !fate.is_not_applied() {
        emit!(warn);
    } else {
        emit!(debug);
    }
}

fn counts(attempt: Option<&Attempt>) -> Counts {
    attempt.map(|attempt| attempt.evidence().counts).unwrap_or_default()
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
/// OpenTelemetry's count of earlier attempts, on resends only.
const RESEND_COUNT: &str = "http.request.resend_count";
const GROUND: &str = "resend.ground";
const NO_RESEND: &str = "resend.no_resend";
const DOUBT: &str = "resend.doubt";
const CONTRACT: &str = "resend.contract";
const FATE: &str = "resend.fate";
const WRITTEN: &str = "bytes.written";
const ACKED: &str = "bytes.acked";

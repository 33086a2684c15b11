//! What is logged of a call, and what is not.

#![allow(clippy::unwrap_used, reason = "this is a test")]

use crate::inner;

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use inner::*;
use tower_resend::Policy;
use tower_resend_core::Counts;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Writes down spans and events, one a line.
#[derive(Clone)]
struct Log {
    level: Level,
    lines: Arc<Mutex<String>>,
}

struct Line<'a>(&'a mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl Log {
    fn write(&self, what: &str, record: impl FnOnce(&mut dyn Visit)) {
        let mut lines = self.lines.lock().unwrap();
        lines.push_str(what);
        record(&mut Line(&mut lines));
        lines.push('\n');
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level && metadata.target().starts_with("tower_resend")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.write(span.metadata().name(), |visit| span.record(visit));
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        self.write("+", |visit| values.record(visit));
    }

    fn event(&self, event: &Event<'_>) {
        self.write(event.metadata().level().as_str(), |visit| event.record(visit));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Plays a call that is resent once and then fails, and returns its log.
async fn logged(level: Level) -> String {
    let log = Log { level, lines: Arc::default() };
    let _default = tracing::subscriber::set_default(log.clone());
    let counts = Counts::new(318, Some(318), 0);
    let replies = move |call| match call {
        0 => fail(never_received()),
        _ => fail(reset().with_counts(counts)),
    };
    play(Policy::new(), keyed_post(), replies).await.error();
    std::mem::take(&mut *log.lines.lock().unwrap())
}

#[tokio::test(start_paused = true)]
async fn attempts_resends_and_refusals_are_logged() {
    let log = logged(Level::TRACE).await;
    let lines: Vec<_> = log.lines().collect();
    assert_eq!(
        lines,
        [
            "attempt http.request.method=\"POST\"",
            "DEBUG message=resend resend.ground=\"G2\" resend.fate=\"not_applied\" bytes.written=0",
            "attempt http.request.method=\"POST\"",
            "+ http.request.resend_count=1",
            "WARN message=not resent resend.no_resend=the connection was reset with all \
             of the request acknowledged resend.doubt=\"reset\" resend.fate=\"unknown\" \
             bytes.written=318 bytes.acked=318",
        ],
        "{log}"
    );
    for secret in ["a1", "secret", "pay"] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_a_warning_and_all_else_is_not() {
    let log = logged(Level::INFO).await;
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.starts_with("WARN"), "{log}");
}

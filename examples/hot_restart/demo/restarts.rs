//! Which restarts the host disturbed, and which calls met them.

use std::time::Duration;

use testkit::demo::calls::Span;

/// The restarts of one server.
#[derive(Debug)]
pub(super) struct Restarts {
    all: Vec<Restart>,
    /// The time on the wire, one way.
    delay: Duration,
}

#[derive(Debug)]
struct Restart {
    /// From just before the signal until the next server listens.
    span: Span,
    disturbed: bool,
}

impl Restarts {
    /// Holds restarts against the times in which a processor was not run.
    pub(super) fn new(spans: Vec<Span>, gaps: &[Span], delay: Duration) -> Self {
        let judge = |span: Span| {
            let before = span.from.checked_sub(CATCH_UP).unwrap_or(span.from);
            let matters = Span { from: before, to: span.to };
            Restart { span, disturbed: gaps.iter().any(|gap| gap.meets(matters)) }
        };
        Self { all: spans.into_iter().map(judge).collect(), delay }
    }

    pub(super) fn count(&self) -> u64 {
        self.all.len() as u64
    }

    pub(super) fn disturbed(&self) -> u64 {
        self.all.iter().filter(|restart| restart.disturbed).count() as u64
    }

    /// Returns `true` if a call was under way during a restart, and the host
    /// disturbed that one and every other that the call met.
    ///
    /// A call that hangs meets many restarts, and some that were not disturbed.
    /// News of a restart is on its way for a while, during which calls still
    /// meet it.
    pub(super) fn all_disturbed(&self, call: Span) -> bool {
        let mut met = self
            .all
            .iter()
            .filter(|Restart { span, .. }| {
                call.meets(Span { from: span.from, to: span.to + self.delay })
            })
            .peekable();
        met.peek().is_some() && met.all(|restart| restart.disturbed)
    }
}

/// How long a server may take to read what arrived while it was not run.
const CATCH_UP: Duration = Duration::from_millis(1);

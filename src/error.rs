//! The error of a request that failed, with all that is known of it.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use http::{Method, Request, Uri};

use crate::attempt::Attempt;
use crate::classify::{Doubt, Fate, Verdict};

/// The error type of inner services and bodies.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// A request that failed, and all that is known of it.
///
/// [`fate`](Self::fate) says what became of the request at the server,
/// [`verdict`](Self::verdict) why it was not sent again. The text is one line
/// that a person can act on, and [`source`](StdError::source) is the inner
/// service's own error.
///
/// ```
/// # fn handle(error: tower_resend::Error) {
/// if error.fate().is_not_applied() {
///     // Nobody acted on it: sending it again cannot apply it twice.
/// }
/// # }
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    method: Method,
    target: Uri,
    fate: Fate,
    verdict: Verdict,
    attempts: Vec<Attempt>,
    source: Option<BoxError>,
    request: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Error {
    pub(crate) fn new(
        method: Method,
        target: Uri,
        verdict: Verdict,
        attempts: Vec<Attempt>,
        source: Option<BoxError>,
    ) -> Self {
        let fate = attempts
            .iter()
            .map(Attempt::fate)
            .reduce(Fate::weaker)
            .unwrap_or(Fate::Unknown(Doubt::NoEvidence));
        let request = Mutex::new(None);
        Self(Box::new(Inner { method, target, fate, verdict, attempts, source, request }))
    }

    /// Attaches the request, its body intact.
    pub(crate) fn with_request<B: Send + 'static>(self, request: Option<Request<B>>) -> Self {
        if let Some(request) = request {
            *self.0.request.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(Box::new(request));
        }
        self
    }

    /// Returns what became of the request at the server, as far as the
    /// evidence of all attempts proves: the weakest of their fates.
    ///
    /// It is reported even where the resend was refused for another reason (no
    /// time, no body): *not applied* says that sending it again is safe.
    pub fn fate(&self) -> Fate {
        self.0.fate
    }

    /// Returns why the request was not sent again.
    pub fn verdict(&self) -> Verdict {
        self.0.verdict
    }

    /// Returns all attempts, oldest first; hand-backs and failed connects too.
    pub fn attempts(&self) -> &[Attempt] {
        &self.0.attempts
    }

    /// Takes the request out of the error, its body intact, if it is there and
    /// has a body of this type.
    ///
    /// Sending it again by hand is safe where [`fate`](Self::fate) is *not
    /// applied*; otherwise it may apply the request twice.
    pub fn take_request<B: Send + 'static>(&mut self) -> Option<Request<B>> {
        let slot = self.0.request.get_mut().unwrap_or_else(PoisonError::into_inner);
        let request = slot.take()?;
        match request.downcast() {
            Ok(request) => Some(*request),
            Err(other) => {
                *slot = Some(other);
                None
            }
        }
    }

    /// Returns a stable, low-cardinality name for metrics (`error.type` of
    /// OpenTelemetry), such as `outcome_unknown_reset`.
    pub fn name(&self) -> &'static str {
        match self.0.fate {
            Fate::NotApplied(_) => "not_applied",
            Fate::ResponseLost => "response_lost",
            Fate::Completed => "answered",
            Fate::Unknown(doubt) => unknown_name(doubt),
        }
    }

    /// The attempt whose fate is the call's.
    fn decisive(&self) -> Option<&Attempt> {
        self.0.attempts.iter().find(|attempt| attempt.fate() == self.0.fate)
    }
}

fn unknown_name(doubt: Doubt) -> &'static str {
    match doubt {
        Doubt::Reset(_) => "outcome_unknown_reset",
        Doubt::Acknowledged | Doubt::PartlyAcknowledged | Doubt::AcknowledgedAfterFin => {
            "outcome_unknown_closed"
        }
        Doubt::TimedOut => "outcome_unknown_timeout",
        Doubt::Cancelled => "outcome_unknown_cancelled",
        Doubt::NoEvidence | Doubt::NoRequestBoundary | Doubt::Unavailable(_) => {
            "outcome_unknown_no_evidence"
        }
        _ => "outcome_unknown",
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { method, target, fate, verdict, attempts, .. } = &*self.0;
        let headline = match fate {
            Fate::Unknown(_) => "outcome unknown",
            Fate::ResponseLost => "response lost",
            Fate::Completed => "answered, but the answer was not delivered",
            Fate::NotApplied(_) => "not applied",
        };
        write!(f, "{headline}: {method} {}", target.path())?;
        if let Some(attempt) = self.decisive() {
            write_attempt(f, attempt)?;
        }
        write!(f, "; {verdict}")?;
        if attempts.len() > 1 {
            write!(f, " (after {} attempts)", attempts.len())?;
        }
        Ok(())
    }
}

fn write_attempt(f: &mut fmt::Formatter<'_>, attempt: &Attempt) -> fmt::Result {
    let counts = attempt.evidence().counts;
    match (counts.written, attempt.peer()) {
        (0, _) => {}
        (_, Some(peer)) => write!(f, " was sent to {peer} ({counts})")?,
        (_, None) => write!(f, " was sent ({counts})")?,
    }
    match attempt.fate() {
        Fate::Unknown(doubt) => {
            write!(f, "; {doubt}; it may or may not have been applied")
        }
        Fate::NotApplied(proof) => write!(f, "; {proof}"),
        Fate::ResponseLost | Fate::Completed => Ok(()),
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("method", &self.0.method)
            .field("path", &self.0.target.path())
            .field("fate", &self.0.fate)
            .field("verdict", &self.0.verdict)
            .field("attempts", &self.0.attempts)
            .field("source", &self.0.source)
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

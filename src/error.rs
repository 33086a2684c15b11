//! The error of a call: the request's fate, and why it was not sent again.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use http::uri::Authority;
use http::{Method, Request, Uri};

use crate::attempt::{Attempt, MAX_LISTED};
use crate::chain::{BoxError, chain};
use tower_resend_core::{Contract, Doubt, Evidence, Fate, HandOff, NoResend, Semantics};

/// A call that failed: the request's fate, and why the request was not sent again.
///
/// [`fate`](Self::fate) is the outcome of the request at the server,
/// [`no_resend`](Self::no_resend) says why no other attempt followed. The text is one line that
/// a person can act on, and [`source`](StdError::source) is the inner service's own error.
/// `{error:#}` adds what the sources say, such as which certificate was not trusted or which
/// proxy could not be reached.
///
/// No text of this crate contains a password or a query. What another service's error
/// prints, a URL for example, is printed as it is.
///
/// ```
/// # fn handle(error: tower_resend::Error) {
/// if error.fate().is_not_applied() {
///     // The server did not act on it: sending it again cannot apply it twice.
/// }
/// # }
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    /// `None` where the service failed before it was given a request.
    line: Option<(Method, Uri)>,
    fate: Fate,
    why: NoResend,
    attempts: Vec<Attempt>,
    missing: Missing,
    source: Option<BoxError>,
    request: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Error {
    pub(crate) fn new(
        line: (Method, Uri),
        why: NoResend,
        attempts: Vec<Attempt>,
        missing: Missing,
    ) -> Self {
        Self::of(Some(line), why, attempts, missing)
    }

    /// Returns the error of a service that failed before it was given a request.
    pub(crate) fn unready(source: BoxError) -> Self {
        let attempt = Attempt::new(Evidence::new(HandOff::NothingWritten), &Contract::none());
        Self::of(None, NoResend::NotReady, vec![attempt], Missing::default())
            .with_source(Some(source))
    }

    fn of(
        line: Option<(Method, Uri)>,
        why: NoResend,
        attempts: Vec<Attempt>,
        missing: Missing,
    ) -> Self {
        let fate = attempts
            .iter()
            .map(Attempt::fate)
            .reduce(Fate::weaker)
            .unwrap_or(Fate::Unknown(Doubt::NoEvidence));
        let request = Mutex::new(None);
        Self(Box::new(Inner { line, fate, why, attempts, missing, source: None, request }))
    }

    /// Attaches the inner service's own error.
    pub(crate) fn with_source(mut self, source: Option<BoxError>) -> Self {
        self.0.source = source;
        self
    }

    /// Attaches the request, its body intact.
    pub(crate) fn with_request<B: Send + 'static>(self, request: Option<Request<B>>) -> Self {
        if let Some(request) = request {
            *self.0.request.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(Box::new(request));
        }
        self
    }

    /// Returns the outcome of the request at the server, as far as the evidence of all
    /// attempts proves it: the weakest of their fates.
    ///
    /// It is reported even where there was no resend for another reason (no time, no body):
    /// *not applied* says that sending the request again is safe.
    pub fn fate(&self) -> Fate {
        self.0.fate
    }

    /// Returns why the request was not sent again.
    pub fn no_resend(&self) -> NoResend {
        self.0.why
    }

    /// Returns all attempts, oldest first, hand-backs and failed connects included.
    pub fn attempts(&self) -> &[Attempt] {
        &self.0.attempts
    }

    /// Takes the request out of the error, its body intact, if the error has it and its body
    /// is of this type.
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

    /// Returns the attempt whose fate is the call's.
    pub(crate) fn decisive(&self) -> Option<&Attempt> {
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
        Doubt::Forgeable(_) => "outcome_unknown_forgeable",
        Doubt::Cancelled => "outcome_unknown_cancelled",
        Doubt::NoEvidence | Doubt::NoRequestBoundary | Doubt::Unavailable(_) => {
            "outcome_unknown_no_evidence"
        }
        _ => "outcome_unknown",
    }
}

/// What is known of a request's grounds apart from its attempts, for the error's text.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Missing {
    pub(crate) semantics: Option<Semantics>,
    pub(crate) key: KeyTrust,
}

/// Whether a request carries an idempotency key, and whether it counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum KeyTrust {
    #[default]
    Absent,
    /// The user did not state that the origin deduplicates.
    NotHonored,
    Honored,
}

impl Missing {
    /// Writes the grounds that were missing, one by one.
    fn write(&self, f: &mut fmt::Formatter<'_>, attempt: Option<&Attempt>) -> fmt::Result {
        let mut separator = "";
        let mut item = |text: &str| {
            let written = write!(f, "{separator}{text}");
            separator = ", ";
            written
        };
        if self.semantics == Some(Semantics::NotIdempotent) {
            item("not idempotent")?;
        }
        match self.key {
            KeyTrust::Absent => item("no idempotency key")?,
            KeyTrust::NotHonored => item("idempotency key not known to be honored")?,
            KeyTrust::Honored => item("a proxy may not repeat it")?,
        }
        let Some(attempt) = attempt.filter(|attempt| attempt.fate().is_unknown()) else {
            return Ok(());
        };
        match attempt.contract_status() {
            Some(status) => item(&status.to_string()),
            None if *attempt.contract() == Contract::none() => item("no contract"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match f.alternate() {
            true => self.write_with_sources(f),
            false => self.write(f),
        }
    }
}

impl Error {
    fn write_with_sources(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.to_string();
        f.write_str(&said)?;
        for text in chain(self).skip(1).map(ToString::to_string) {
            if !said.contains(&text) {
                write!(f, ": {text}")?;
                said.push_str(&text);
            }
        }
        Ok(())
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { line, fate, why, attempts, missing, .. } = &*self.0;
        f.write_str(match fate {
            Fate::Unknown(_) => "outcome unknown: ",
            Fate::ResponseLost => "response lost: ",
            Fate::Completed => "answered, but the answer was not delivered: ",
            Fate::NotApplied(_) => "not applied: ",
        })?;
        match line {
            Some((method, target)) => write!(f, "{method} {}", target.path())?,
            None => f.write_str("no request was taken")?,
        }
        let decisive = self.decisive();
        if let Some(attempt) = decisive {
            let target = line.as_ref().map(|(_, target)| target);
            write_attempt(f, attempt, target.and_then(Uri::authority))?;
        }
        match why {
            NoResend::NotReady => write!(f, "; {why}")?,
            NoResend::Doubt(_) | NoResend::ResponseLost | NoResend::Answered => {
                f.write_str("; not resent: ")?;
                missing.write(f, decisive)?;
            }
            _ => write!(f, "; not resent: {why}")?,
        }
        match attempts.len() {
            0 | 1 => Ok(()),
            // The list may be incomplete.
            more if more > MAX_LISTED => write!(f, " (after over {MAX_LISTED} attempts)"),
            several => write!(f, " (after {several} attempts)"),
        }
    }
}

fn write_attempt(
    f: &mut fmt::Formatter<'_>,
    attempt: &Attempt,
    host: Option<&Authority>,
) -> fmt::Result {
    let counts = attempt.evidence().counts;
    match (counts.written, attempt.peer()) {
        (0, _) => write_host(f, host)?,
        (_, Some(peer)) => write!(f, " was sent to {peer} ({counts})")?,
        (_, None) => {
            write_host(f, host)?;
            write!(f, " was sent ({counts})")?;
        }
    }
    match attempt.fate() {
        Fate::Unknown(doubt) => {
            write!(f, "; {doubt}; it may or may not have been applied")
        }
        Fate::NotApplied(proof) => write!(f, "; {proof}"),
        Fate::ResponseLost => f.write_str("; its final response was begun and cut"),
        Fate::Completed => Ok(()),
    }?;
    attempt.write_alert(f)
}

/// Writes the host and port of a request. The userinfo before them may contain a password.
fn write_host(f: &mut fmt::Formatter<'_>, host: Option<&Authority>) -> fmt::Result {
    let Some(authority) = host else { return Ok(()) };
    write!(f, " for {}", authority.host())?;
    authority.port().map_or(Ok(()), |port| write!(f, ":{port}"))
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("method", &self.0.line.as_ref().map(|(method, _)| method))
            .field("path", &self.0.line.as_ref().map(|(_, target)| target.path()))
            .field("fate", &self.0.fate)
            .field("no_resend", &self.0.why)
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

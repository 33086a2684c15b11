//! The error of a call: the request's fate, and why it was not sent again.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use http::uri::Authority;
use http::{Method, Request, Uri};

use crate::attempt::{Attempt, MAX_LISTED, added};
use crate::chain::{BoxError, clamp, write_debug, write_with_sources};
use tower_resend_core::{
    Contract, Doubt, EndedBy, Evidence, Fate, HandOff, NoResend, Proof, Semantics,
};

/// A call that failed: the request's fate, and why the request was not sent again.
///
/// [`fate`](Self::fate) is the outcome of the request at the server,
/// [`no_resend`](Self::no_resend) says why no other attempt followed. The text is one line that
/// a person can act on, and [`source`](StdError::source) is the inner service's own error.
/// `{error:#}` adds what the sources say, such as which certificate was not trusted or which
/// proxy could not be reached. `{error}` has at most 400 characters and `{error:?}`, one line
/// too, at most 600; a longer path is shortened. `{error:#?}` lists all attempts.
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
    ///
    /// | name | what happened |
    /// |---|---|
    /// | `outcome_unknown_*` | it may have been applied: `reset`, `closed`, `timeout`, `cancelled`, `forgeable`, `no_evidence`, or none of these (`outcome_unknown`) |
    /// | `response_lost` | it was answered, and the response was cut |
    /// | `answered` | it was answered, and the answer was not delivered |
    /// | `not_applied_not_ready` | the inner service failed before it took the request |
    /// | `not_applied_body` | the request's own body failed before a byte of it was sent |
    /// | `not_applied_deadline` | a deadline or time limit of the policy passed before a byte of it was sent |
    /// | `not_applied_tls_alert` | the server rejected this client by a TLS alert |
    /// | `not_applied_*` | every other cause: see [`Proof::error_type`] |
    ///
    /// Where several attempts failed unapplied, the name and the text are of the last.
    ///
    /// [`Proof::error_type`]: crate::fate::Proof::error_type
    pub fn name(&self) -> &'static str {
        match self.0.fate {
            Fate::NotApplied(proof) => self.unapplied_name(proof),
            Fate::ResponseLost => "response_lost",
            Fate::Completed => "answered",
            Fate::Unknown(doubt) => unknown_name(doubt),
        }
    }

    fn unapplied_name(&self, first: Proof) -> &'static str {
        if self.0.why == NoResend::NotReady {
            return "not_applied_not_ready";
        }
        let Some(attempt) = self.told() else { return first.error_type() };
        let evidence = attempt.evidence();
        if evidence.alert.is_some() {
            return "not_applied_tls_alert";
        }
        match evidence.ended_by {
            EndedBy::RequestBody => "not_applied_body",
            EndedBy::Deadline => "not_applied_deadline",
            _ => attempt.fate().proof().unwrap_or(first).error_type(),
        }
    }

    /// Returns the attempt whose fate is the call's.
    pub(crate) fn decisive(&self) -> Option<&Attempt> {
        self.0.attempts.iter().find(|attempt| attempt.fate() == self.0.fate)
    }

    /// Returns the attempt that the text and the name are about: the decisive one, and of
    /// attempts that were all unapplied the last, which is the newest word.
    ///
    /// Not for decisions.
    fn told(&self) -> Option<&Attempt> {
        match self.0.fate {
            Fate::NotApplied(_) => self.0.attempts.last(),
            Fate::Unknown(_) | Fate::ResponseLost | Fate::Completed => self.decisive(),
        }
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
            true => write_with_sources(f, self, added_to_call),
            false => f.write_str(&self.text()),
        }
    }
}

impl Error {
    /// Returns the line that a person reads, of at most [`MAX_TEXT`] characters.
    fn text(&self) -> String {
        let whole = Line { error: self, max_path: usize::MAX }.to_string();
        let excess = whole.chars().count().saturating_sub(MAX_TEXT);
        if excess == 0 {
            return whole;
        }
        // The path is what the reader has elsewhere, and the only part that is ever long.
        let path = self.0.line.as_ref().map_or(0, |(_, target)| target.path().chars().count());
        let max_path = path.saturating_sub(excess).max(MIN_PATH);
        clamp(Line { error: self, max_path }.to_string(), MAX_TEXT)
    }
}

/// The most characters of the text, however long a path, a host or a reason is.
const MAX_TEXT: usize = 400;
/// The least of a long path that is shown.
const MIN_PATH: usize = 16;

/// The text of an error with at most so many characters of the path.
struct Line<'a> {
    error: &'a Error,
    max_path: usize,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { line, fate, why, attempts, missing, .. } = &*self.error.0;
        f.write_str(match fate {
            Fate::Unknown(_) => "outcome unknown: ",
            Fate::ResponseLost => "response lost: ",
            Fate::Completed => "answered, but the answer was not delivered: ",
            Fate::NotApplied(_) => "not applied: ",
        })?;
        match line {
            Some((method, target)) => {
                write!(f, "{method} {}", clamp(target.path().to_owned(), self.max_path))?;
            }
            None => f.write_str("no request was taken")?,
        }
        let told = self.error.told();
        if let Some(attempt) = told {
            let target = line.as_ref().map(|(_, target)| target);
            // A repeat of what is idempotent does no harm, so nothing is asked there.
            let asks = !missing.semantics.is_some_and(Semantics::is_idempotent);
            write_attempt(f, attempt, target.and_then(Uri::authority), asks)?;
        }
        match why {
            NoResend::NotReady => write!(f, "; {why}")?,
            NoResend::Doubt(_) | NoResend::ResponseLost | NoResend::Answered => {
                f.write_str("; not resent: ")?;
                missing.write(f, told)?;
            }
            // The proof was written as what could have been forged.
            NoResend::Forgeable(_) if fate.is_unknown() => {
                f.write_str("; not resent: the policy takes no such proof")?;
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
    asks: bool,
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
            write!(f, "; {doubt}; it may or may not have been applied")?;
            match asks {
                true => f.write_str(": look for it at the server before you send it again"),
                false => Ok(()),
            }
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

/// Returns what a source says beyond `said`, be it an attempt or a call below this one.
fn added_to_call(source: &(dyn StdError + 'static), said: &str) -> String {
    match source.downcast_ref::<Error>() {
        Some(call) => call.told().map_or_else(String::new, |attempt| attempt.added_to(said)),
        None => added(source, said),
    }
}

impl fmt::Debug for Error {
    /// Writes one line; `{:#?}` lists the attempts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { line, fate, why, attempts, source, .. } = &*self.0;
        if f.alternate() {
            return f
                .debug_struct("Error")
                .field("method", &line.as_ref().map(|(method, _)| method))
                .field("path", &line.as_ref().map(|(_, target)| target.path()))
                .field("fate", fate)
                .field("no_resend", why)
                .field("attempts", attempts)
                .field("source", source)
                .finish_non_exhaustive();
        }
        let fields = format!(
            "Error {{ text: {:?}, fate: {}, no_resend: {}, attempts: {}",
            self.text(),
            self.name(),
            why.name(),
            attempts.len()
        );
        write_debug(f, fields, source.as_ref())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

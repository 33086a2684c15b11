//! The errors by which a transport tells of a failed attempt: before the response's
//! head, and after it.

use std::error::Error as StdError;
use std::fmt;

use super::Attempt;
use crate::chain::{BoxError, write_debug, write_with_sources};
use tower_resend_core::Fate;

/// The error of one attempt that failed before its response's head, with its evidence.
///
/// [`Pool`](crate::pool::Pool) and the wrapped clients of hyper-util and reqwest fail
/// with it. The source is what the connection or the wrapped client reported, if it
/// reported anything.
///
/// `{error:#}` adds what the sources say. `{error:?}` is one line; `{error:#?}` shows all of
/// the evidence.
///
/// # A transport of your own
///
/// Record each hand-off in the request's [`AttemptToken`](crate::AttemptToken), and fail
/// with the same attempt. [`ResendLayer`](crate::ResendLayer) then sees that record and
/// error agree; a layer between that hides a hand-off cannot make a proof count for more
/// than the hand-off that it is about.
///
/// ```
/// use http::{Request, Response};
/// use tower_resend::fate::{Contract, Evidence, HandOff, StaleReason};
/// use tower_resend::{Attempt, AttemptError, AttemptToken};
///
/// async fn transport(mut request: Request<String>) -> Result<Response<String>, AttemptError> {
///     // The token must not live longer than this call: see its documentation.
///     let token = request.extensions_mut().remove::<AttemptToken>();
///     # let stale = true;
///     if stale {
///         // The connection was found closed before a byte was written to it.
///         let evidence = Evidence::new(HandOff::HandedBack(StaleReason::Fin));
///         let attempt = Attempt::new(evidence, &Contract::none()).told_by_error();
///         if let Some(token) = token {
///             token.record(attempt.clone());
///             token.give_back(request);
///         }
///         return Err(AttemptError::new(attempt).with_source("the connection was closed"));
///     }
///     # Ok(Response::new(String::new()))
/// }
/// # let token = AttemptToken::new();
/// # let request = Request::builder().extension(token.clone()).body(String::new()).unwrap();
/// # let error = tokio_test::block_on(transport(request)).unwrap_err();
/// # assert!(error.attempt().fate().is_not_applied());
/// # assert_eq!(token.len(), 1);
/// ```
pub struct AttemptError(Box<Inner>);

struct Inner {
    attempt: Attempt,
    source: Option<BoxError>,
}

impl AttemptError {
    /// Returns the error of an attempt, without a source.
    pub fn new(attempt: Attempt) -> Self {
        Self(Box::new(Inner { attempt, source: None }))
    }

    /// Sets the error that ended the attempt.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    pub(crate) fn with_optional_source(mut self, source: Option<BoxError>) -> Self {
        self.0.source = source;
        self
    }

    /// Returns the attempt that failed, with its evidence and fate.
    pub fn attempt(&self) -> &Attempt {
        &self.0.attempt
    }

    /// Takes the source out, for example to downcast it to the wrapped client's own
    /// error.
    pub fn into_source(self) -> Option<BoxError> {
        self.0.source
    }
}

impl fmt::Display for AttemptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match f.alternate() {
            true => write_with_sources(f, self, added),
            false => fmt::Display::fmt(&self.0.attempt, f),
        }
    }
}

impl fmt::Debug for AttemptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { attempt, source } = &*self.0;
        if f.alternate() {
            let mut fields = f.debug_struct("AttemptError");
            return fields.field("attempt", attempt).field("source", source).finish();
        }
        let fields = format!("AttemptError {{ attempt: {:?}", attempt.to_string());
        write_debug(f, fields, source.as_ref())
    }
}

/// Returns what a source says beyond `said`; an attempt's error says its parts in other
/// places of a call's text.
pub(crate) fn added(source: &(dyn StdError + 'static), said: &str) -> String {
    match source.downcast_ref::<AttemptError>() {
        Some(error) => error.0.attempt.added_to(said),
        None => source.to_string(),
    }
}

impl StdError for AttemptError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// The error of a response's body: the request was answered, and the response is lost.
///
/// `{error:#}` adds what the sources say.
#[derive(Debug)]
pub struct ResponseBodyError(hyper::Error);

impl ResponseBodyError {
    pub(crate) fn new(source: hyper::Error) -> Self {
        Self(source)
    }

    /// Returns the fate of the request: always [`Fate::ResponseLost`].
    pub fn fate(&self) -> Fate {
        Fate::ResponseLost
    }
}

impl fmt::Display for ResponseBodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match f.alternate() {
            true => write_with_sources(f, self, added),
            false => f.write_str(
                "response lost: the request was answered, but the response's body was cut",
            ),
        }
    }
}

impl StdError for ResponseBodyError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

//! Hand-offs that a layer between keeps out of the record.

use std::error::Error as StdError;
use std::{io, iter};

#[cfg(feature = "reqwest")]
use crate::adapter::reqwest;
use crate::attempt::{Attempt, AttemptToken};
use crate::error::{DEEPEST, Error};
use crate::hyper_util;
use crate::pool;
use tower_resend_core::EndedBy;

/// Returns the attempt that is not recorded although its error was delivered: a
/// layer between made a request without the token, or through a transport that
/// records nothing.
///
/// Which attempt an error tells of is found in the errors of this crate, the
/// outermost in the chain. One that tells of none is of another hand-off than
/// the last recorded one, if that is one of this crate's transports: they fail with
/// such errors. If that was given up, a timeout's error says why.
pub(super) fn in_error(error: &(dyn StdError + 'static), token: &AttemptToken) -> Option<Attempt> {
    match chain(error).find_map(told_by) {
        Some(Told::Attempt(attempt)) => (!token.has(attempt)).then(|| attempt.clone()),
        // It stood down for the layer whose token this is.
        Some(Told::Call(call)) if is_all_of(call.attempts(), token) => None,
        Some(Told::Call(call)) => {
            Some(call.decisive().map_or_else(Attempt::unrecorded, Attempt::clone))
        }
        Some(Told::Answered) => Some(Attempt::unrecorded()),
        // What was not looked at may tell of any.
        None if all(error).nth(DEEPEST).is_some() => Some(Attempt::unrecorded()),
        None => match token.end_of_ours()? {
            EndedBy::Caller if is_timeout(error) => None,
            _ => Some(Attempt::unrecorded()),
        },
    }
}

/// Returns whether it is the error of a layer that waits no longer. Below an error
/// of a connection is one of a request's body, which may have waited too.
fn is_timeout(error: &(dyn StdError + 'static)) -> bool {
    chain(error).take_while(|error| !error.is::<hyper::Error>()).any(|error| {
        error.is::<tower::timeout::error::Elapsed>() || error.is::<tokio::time::error::Elapsed>()
    })
}

fn is_all_of(attempts: &[Attempt], token: &AttemptToken) -> bool {
    !attempts.is_empty() && attempts.iter().all(|attempt| token.has(attempt))
}

/// What an error of this crate tells of.
enum Told<'a> {
    Attempt(&'a Attempt),
    /// A whole call of a resending layer below.
    Call(&'a Error),
    /// A response that began, of which no record tells.
    Answered,
}

fn told_by<'a>(error: &'a (dyn StdError + 'static)) -> Option<Told<'a>> {
    if let Some(failure) = error.downcast_ref::<pool::Failure>() {
        return Some(Told::Attempt(failure.attempt()));
    }
    if let Some(failure) = error.downcast_ref::<hyper_util::Failure>() {
        return Some(Told::Attempt(failure.attempt()));
    }
    #[cfg(feature = "reqwest")]
    if let Some(failure) = error.downcast_ref::<reqwest::Failure>() {
        return Some(Told::Attempt(failure.attempt()));
    }
    if error.is::<pool::ResponseBodyError>() {
        return Some(Told::Answered);
    }
    error.downcast_ref().map(Told::Call)
}

/// Returns an error and those below it, as many as are looked at.
fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    all(error).take(DEEPEST)
}

/// Returns an error and those below it, without an end where one is its own source.
fn all<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    iter::successors(Some(error), |error| below(*error))
}

/// Returns the next error of a chain. That of an I/O error skips what it wraps.
fn below<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

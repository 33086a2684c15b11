//! Hand-offs that a layer between keeps out of the record.

use std::error::Error as StdError;
use std::{io, iter};

use ::hyper_util::client::legacy;

use crate::adapter::hyper_util;
#[cfg(feature = "reqwest")]
use crate::adapter::reqwest;
use crate::attempt::{Attempt, AttemptToken};
use crate::error::Error;
use crate::pool;

/// Returns the attempt that an attempt's error tells of, if it is not recorded:
/// a layer between made a request without the token, or through a transport that
/// records nothing.
///
/// It is found in errors of this crate, the outermost in the chain; and in those
/// of other clients, if the last recorded hand-off would have failed with one of
/// this crate.
pub(super) fn in_error(error: &(dyn StdError + 'static), token: &AttemptToken) -> Option<Attempt> {
    let mut chain = iter::successors(Some(error), |error| below(*error));
    let told = chain.find_map(|error| told_by(error).or_else(|| told_by_other(error, token)))?;
    match told {
        Told::Attempt(attempt) => (!token.has(attempt)).then(|| attempt.clone()),
        // It stood down for the layer whose token this is.
        Told::Call(call) if is_all_of(call.attempts(), token) => None,
        Told::Call(call) => Some(call.decisive().map_or_else(Attempt::unrecorded, Attempt::clone)),
        Told::Unrecorded => Some(Attempt::unrecorded()),
    }
}

fn is_all_of(attempts: &[Attempt], token: &AttemptToken) -> bool {
    !attempts.is_empty() && attempts.iter().all(|attempt| token.has(attempt))
}

/// What an error of this crate tells of.
enum Told<'a> {
    Attempt(&'a Attempt),
    /// A whole call of a resending layer below.
    Call(&'a Error),
    /// A response that began, or an exchange of another client.
    Unrecorded,
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
        return Some(Told::Unrecorded);
    }
    error.downcast_ref().map(Told::Call)
}

fn told_by_other<'a>(
    error: &'a (dyn StdError + 'static),
    token: &AttemptToken,
) -> Option<Told<'a>> {
    let is_other = error.is::<hyper::Error>() || error.is::<legacy::Error>();
    #[cfg(feature = "reqwest")]
    let is_other = is_other || error.is::<::reqwest::Error>();
    (is_other && token.is_last_told()).then_some(Told::Unrecorded)
}

/// Returns the next error of a chain. That of an I/O error skips what it wraps.
fn below<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

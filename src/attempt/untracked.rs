//! Hand-offs that are not in the token's record, and how they are noticed.
//!
//! A layer between may send a request without the token, or through a transport that
//! records nothing. `docs/adr/0003-two-evidence-channels.md` has the argument.

use std::error::Error as StdError;

use super::{Attempt, AttemptError, AttemptToken, ResponseBodyError};
use crate::chain::{chain, is_too_deep};
use crate::error::Error;
use tower_resend_core::EndedBy;

impl AttemptToken {
    /// Accounts for the end of the hand-offs after the first `start`: returns the
    /// attempt that has to be added to the record, if the record alone would prove too
    /// much.
    ///
    /// `error` is the inner service's, if it returned one. `is_unlike` says of an attempt
    /// that it may have applied another request than the caller's, so that a ground for
    /// the caller's says nothing of it.
    ///
    /// The answer can only weaken what the record proves.
    pub(crate) fn account_for(
        &self,
        error: Option<&(dyn StdError + 'static)>,
        start: usize,
        is_unlike: impl Fn(&Attempt) -> bool,
    ) -> Option<Attempt> {
        let untracked = error.and_then(|error| self.untracked_in(error));
        let other = untracked.as_ref().filter(|attempt| is_unlike(attempt));
        if self.len() == start || self.is_answered_unapplied(start) {
            let unrecorded = Attempt::unrecorded();
            return Some(match other.and_then(Attempt::maybe_applied) {
                Some(sent) => unrecorded.sending(sent),
                None => unrecorded,
            });
        }
        if let Some(other) = other {
            return Some(other.clone());
        }
        if !self.is_unapplied(start) {
            return None;
        }
        match untracked {
            // A proof about that one hand-off says nothing of others like it.
            Some(attempt) if attempt.fate().is_not_applied() => Some(Attempt::unrecorded()),
            untracked => untracked,
        }
    }

    /// Returns the attempt that `error` tells of, unless it is recorded.
    ///
    /// The outermost error of this crate in the chain decides. An error without one
    /// comes from another hand-off than the last that is recorded, if that one would
    /// have been told by an [`AttemptError`]; but a dropped one is told by a timeout's.
    fn untracked_in(&self, error: &(dyn StdError + 'static)) -> Option<Attempt> {
        match chain(error).find_map(Told::by) {
            Some(Told::Attempt(attempt)) => (!self.has(attempt)).then(|| attempt.clone()),
            Some(Told::Call(call)) => {
                let attempts = call.attempts();
                // That layer stood down for the one whose token this is.
                if !attempts.is_empty() && attempts.iter().all(|attempt| self.has(attempt)) {
                    return None;
                }
                Some(call.decisive().map_or_else(Attempt::unrecorded, Attempt::clone))
            }
            Some(Told::Response) => Some(Attempt::unrecorded()),
            // What was not examined may tell of any hand-off.
            None if is_too_deep(error) => Some(Attempt::unrecorded()),
            None => match self.end_told_by_error()? {
                EndedBy::Caller if is_timeout(error) => None,
                _ => Some(Attempt::unrecorded()),
            },
        }
    }
}

/// What an error of this crate tells of.
enum Told<'a> {
    Attempt(&'a Attempt),
    /// All attempts of a resending layer below.
    Call(&'a Error),
    /// A response that was begun. No record has an attempt for this error.
    Response,
}

impl<'a> Told<'a> {
    fn by(error: &'a (dyn StdError + 'static)) -> Option<Self> {
        if let Some(error) = error.downcast_ref::<AttemptError>() {
            return Some(Self::Attempt(error.attempt()));
        }
        if error.is::<ResponseBodyError>() {
            return Some(Self::Response);
        }
        error.downcast_ref().map(Self::Call)
    }
}

/// Returns `true` if a layer failed because it waits no longer.
fn is_timeout(error: &(dyn StdError + 'static)) -> bool {
    // Below a connection's error is that of a request's body, which may have timed out too.
    chain(error).take_while(|error| !error.is::<hyper::Error>()).any(|error| {
        error.is::<tower::timeout::error::Elapsed>() || error.is::<tokio::time::error::Elapsed>()
    })
}

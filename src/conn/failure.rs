//! What an error of hyper's says of the exchange that it ended.

use std::error::Error as StdError;

use super::outgoing::BodyFailed;
use crate::chain::chain;
use tower_resend_core::FailureKind;

/// Returns how the exchange failed that ended with this error.
pub(crate) fn failure_kind(error: &hyper::Error) -> FailureKind {
    if error.is_body_write_aborted() || is_of_the_body(error) {
        FailureKind::RequestBody
    } else if error.is_parse() {
        FailureKind::Malformed
    } else {
        FailureKind::Broken
    }
}

fn is_of_the_body(error: &hyper::Error) -> bool {
    error.source().into_iter().flat_map(chain).any(|error| error.is::<BodyFailed>())
}

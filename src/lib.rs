//! An HTTP client stack that knows whether a failed request reached the server.

mod attempt;
pub mod classify;
mod error;
mod time;

pub use attempt::{Attempt, AttemptToken, attempts};
pub use error::{BoxError, Error};

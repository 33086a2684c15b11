//! An HTTP client stack that knows whether a failed request reached the server.

mod attempt;
pub mod classify;
mod error;
pub mod pool;
mod time;
mod transport;

pub use attempt::{Attempt, AttemptToken, attempts};
pub use error::{BoxError, Error};

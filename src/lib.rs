//! An HTTP client stack that knows whether a failed request reached the server.

mod attempt;
pub mod body;
pub mod classify;
pub mod client;
mod error;
pub mod pool;
pub mod resend;
mod time;
mod trace;
mod transport;

pub use attempt::{Attempt, AttemptToken, attempts};
pub use body::Body;
pub use classify::Policy;
pub use client::Client;
pub use error::{BoxError, Error};
pub use resend::{Resend, ResendLayer};

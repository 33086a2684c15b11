//! What is sent of a request: all that the caller gave, or a typed error and nothing.

mod attacks;
#[cfg(feature = "reqwest")]
mod connect;
#[cfg(feature = "reqwest")]
mod lengths;
#[cfg(feature = "reqwest")]
mod sent;

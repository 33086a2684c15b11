//! The adapters for reqwest.
#![cfg(feature = "reqwest")]

mod chain;
mod error_links;
mod errors;
mod h2_origin;
mod middleware;

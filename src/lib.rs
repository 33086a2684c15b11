//! An HTTP client stack that knows whether a failed request reached the server.

pub mod body;

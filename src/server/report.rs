//! What a drain did, and what it left.

use std::fmt;

use http::Method;

/// What a drain did, and which requests it cut off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Connections that waited in the accept queue, and were accepted.
    pub from_queue: u64,
    /// Requests that were dispatched and answered in full: the kernel has the
    /// whole response.
    pub answered: u64,
    /// Requests that were refused: none of them was dispatched.
    pub refused: u64,
    /// Connections that were closed without answering or refusing a request during
    /// the drain: idle and never used ones.
    pub closed: u64,
    /// Requests that were cut off at the deadline: dispatched, and the service still
    /// ran or the client had not read enough of the response.
    pub running: Vec<RunningRequest>,
}

impl Report {
    /// Returns `true` if no request was cut off.
    pub fn is_clean(&self) -> bool {
        self.running.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from_queue, answered, refused, closed, running } = self;
        write!(
            f,
            "{answered} answered, {refused} refused, {closed} connections closed, \
             {from_queue} accepted from the queue, {} cut off",
            running.len()
        )?;
        let mut before = ": ";
        for request in running {
            write!(f, "{before}{} {}", request.method, request.path)?;
            before = ", ";
        }
        Ok(())
    }
}

/// A request that was running. Its query and its headers are not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunningRequest {
    /// Its method.
    pub method: Method,
    /// The path of its target.
    pub path: String,
}

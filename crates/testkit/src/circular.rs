//! An error that is its own source: a walk along its sources has no end.

use std::error::Error;
use std::fmt;

#[derive(Debug)]
pub struct Circular;

impl fmt::Display for Circular {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("circular")
    }
}

impl Error for Circular {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self)
    }
}

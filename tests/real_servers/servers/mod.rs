//! Servers as they are in use, under load, while they close connections.

pub(crate) mod case;
mod config;
mod load;
pub(crate) mod lossy;
pub(crate) mod own;
mod process;
pub(crate) mod server;
pub(crate) mod site;
pub(crate) mod tally;
mod toys;
use testkit::truth;
use testkit::wire;

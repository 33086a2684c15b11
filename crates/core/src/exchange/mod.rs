//! One exchange on one connection, as its client saw it: what was counted, what
//! the kernel rule makes of that, and responses that came too early.

mod early;
pub mod fin_rule;
mod ledger;
mod segments;
mod snapshot;

pub use early::EarlyResponseParser;
pub use ledger::{ExchangePhase, Ledger, Reply};
pub use segments::{SegmentBase, Segments};
pub use snapshot::{Errno, Snapshot, TcpState};

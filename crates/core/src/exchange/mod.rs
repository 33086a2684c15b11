//! One exchange on one connection, as its client sees it.
//!
//! [`ExchangeMachine`] is the whole: events in, and what may happen next. It is
//! made of a `Ledger`, which counts; of the kernel rule (`fin_rule`), which
//! judges the counters; and of what is noted of early responses, of TLS and of
//! the server's contract.

mod contract_state;
#[cfg_attr(not(feature = "internals"), allow(unreachable_pub, dead_code, reason = "for tests"))]
mod early;
#[cfg(test)]
mod exhaustive;
mod external;
#[cfg(feature = "internals")]
pub mod fin_rule;
#[cfg(not(feature = "internals"))]
#[allow(unreachable_pub, dead_code, reason = "for tests")]
mod fin_rule;
#[cfg_attr(not(feature = "internals"), allow(unreachable_pub, dead_code, reason = "for tests"))]
mod ledger;
mod limit_monitor;
mod machine;
mod outcome;
mod requests;
#[cfg_attr(not(feature = "internals"), allow(unreachable_pub, dead_code, reason = "for tests"))]
mod segments;
mod served;
mod settling;
mod snapshot;
mod stream_kind;
#[cfg(test)]
mod transitions;
#[cfg(test)]
mod truth;
#[cfg(test)]
mod walk;

pub use contract_state::ContractTrust;
pub use external::ExchangeId;
pub use fin_rule::{LastRead, calibrate};
pub use machine::{ExchangeMachine, Probe};
pub use outcome::{
    Armed, FailureKind, FinalHead, HeldBack, Layer, Leftover, Outbound, OwnEnd, Passage, ReadEnd,
    ResponseOutcome, Reuse, SettleStep, TextCheck, WaitCheck, WriteCheck, WriteError,
};
pub use served::Served;
pub use snapshot::{Snapshot, TcpState};

// What only tests name beside the machine: its parts.
#[cfg(feature = "internals")]
pub use {
    early::EarlyResponseParser,
    ledger::{ExchangePhase, Ledger, Reply},
    segments::SegmentBase,
};

//! One exchange on one connection, as its client sees it.
//!
//! [`ExchangeMachine`] is the whole: events in, and what may happen next. It is
//! made of a [`Ledger`], which counts; of the kernel rule ([`fin_rule`]), which
//! judges the counters; and of what is noted of early responses, of TLS and of
//! the server's contract.

mod contract_state;
mod early;
#[cfg(test)]
mod exhaustive;
mod external;
pub mod fin_rule;
mod ledger;
mod limit_monitor;
mod machine;
mod outcome;
mod requests;
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
pub use early::EarlyResponseParser;
pub use external::ExchangeId;
pub use ledger::{ExchangePhase, Ledger, Reply};
pub use machine::{ExchangeMachine, Probe};
pub use outcome::{
    Armed, FailureKind, FinalHead, HeldBack, Layer, Leftover, Outbound, OwnEnd, Passage, ReadEnd,
    ResponseOutcome, Reuse, SettleStep, TextCheck, WaitCheck, WriteCheck, WriteError,
};
pub use segments::SegmentBase;
pub use served::Served;
pub use snapshot::{Snapshot, TcpState};

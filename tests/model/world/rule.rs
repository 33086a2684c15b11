//! The crate's own rule, whole or with one clause left out.

use tower_resend_core::fin_rule::{self, ExchangeCounts, Fin, FinStep, LastRead};
use tower_resend_core::{Contract, Errno, Limits, PromiseSource, Settled, Snapshot, TcpEvidence};

/// A clause of the kernel rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clause {
    /// After the FIN, wait for the peer TCP's answer.
    Settle,
    /// The counters add up to what was written.
    Conservation,
    /// A FIN is told by the counter, not by the end of the stream.
    FinByCounter,
    /// Only EPIPE is the peer's reset.
    Errno,
    /// None of the request was acknowledged.
    NoneAcked,
    /// The request went out in one segment.
    OneSegment,
}

/// The kernel rule without the clauses in `dropped`.
///
/// A clause is dropped by showing the crate's functions what satisfies it, or,
/// for the wait, by not waiting.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) dropped: &'static [Clause],
    pub(crate) stated: Contract,
}

impl Rule {
    /// The rule as the crate has it, without any opt-in.
    pub(crate) fn whole() -> Self {
        Self { dropped: &[], stated: Contract::none() }
    }

    pub(crate) fn without(dropped: &'static [Clause]) -> Self {
        Self { dropped, ..Self::whole() }
    }

    /// The contract to classify under. To state that there is no relay is to
    /// drop the clause of one segment.
    pub(crate) fn contract(&self) -> Contract {
        let mut contract = self.stated;
        if self.drops(Clause::OneSegment) {
            contract.no_relay = Some(PromiseSource::Configured);
        }
        contract
    }

    /// Steps C2 to C6, up to the wait.
    pub(crate) fn at_end(
        &self,
        exchange: &ExchangeCounts,
        last: LastRead,
        snapshot: &Snapshot,
        errno: Option<Errno>,
    ) -> FinStep {
        let mut shown = self.shown(exchange, snapshot);
        if last == LastRead::End && self.drops(Clause::FinByCounter) {
            shown.bytes_received = exchange.read + 1;
        }
        match fin_rule::at_end(exchange, last, &shown, errno) {
            FinStep::Settle(fin) if self.drops(Clause::Settle) => {
                FinStep::Done(TcpEvidence::Fin(fin.acked(), Settled::Reset(fin.segments())))
            }
            FinStep::Settle(fin)
                if !fin_rule::is_worth_settling(&fin, &self.contract(), Limits::Unchecked) =>
            {
                FinStep::Done(TcpEvidence::Fin(fin.acked(), Settled::NotAwaited))
            }
            step => self.closed(exchange, step, errno),
        }
    }

    /// One reading while waiting.
    pub(crate) fn settle(
        &self,
        exchange: &ExchangeCounts,
        fin: &Fin,
        snapshot: &Snapshot,
        errno: Option<Errno>,
    ) -> FinStep {
        let step = fin_rule::settle(exchange, fin, &self.shown(exchange, snapshot));
        self.closed(exchange, step, errno)
    }

    fn closed(&self, exchange: &ExchangeCounts, step: FinStep, errno: Option<Errno>) -> FinStep {
        let FinStep::Closed(fin, shown) = step else { return step };
        let errno = if self.drops(Clause::Errno) { Some(Errno::EPIPE) } else { errno };
        FinStep::Done(fin_rule::closed(exchange, &fin, &shown, errno))
    }

    fn shown(&self, exchange: &ExchangeCounts, snapshot: &Snapshot) -> Snapshot {
        let mut shown = *snapshot;
        if self.drops(Clause::Conservation) {
            shown.bytes_sent = exchange.written;
            shown.notsent = 0;
        }
        if self.drops(Clause::NoneAcked) {
            shown.bytes_acked = exchange.base;
        }
        shown
    }

    fn drops(&self, clause: Clause) -> bool {
        self.dropped.contains(&clause)
    }
}

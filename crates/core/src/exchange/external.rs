//! Connections that another pool drives: it announces no request before hyper
//! has it.
//!
//! Two things differ from connections of our own pool. The stale check is made
//! at every read that would wait while no request is known to be on the
//! connection, since the next request may come at any moment. And a request is
//! armed when hyper takes it from its channel, which is after the read that
//! precedes it: what is read between that and the request's first byte answers
//! nothing, and hyper would take it for the answer.
//!
//! Where an exchange begins is known only if nothing but requests is written.
//! Another TLS, a tunnel and HTTP/2 all write before their first request is
//! taken; so would a hyper that polls a request's body only after it wrote the
//! head. A byte that is written while no request is known to be on the
//! connection gives that away: such a connection has no boundaries, for good.
//! The rest of an upload that was answered early is such a byte too, or is
//! still in TLS, which costs the evidence of later requests there, and no more.

use super::ledger::ExchangePhase;
use super::served::Served;
use crate::fate::StaleReason;

/// Who announces the requests on a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Driver {
    /// Our own pool, each before it is handed over.
    Announced,
    /// Another pool, which announces none.
    External(External),
}

/// What is noted of a connection whose requests are not announced.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct External {
    /// How many exchanges were armed.
    pub(super) exchanges: u64,
    pub(super) boundaries: Boundaries,
    pub(super) own_fin: OwnFin,
    /// What was read last since the latest exchange was armed.
    pub(super) last: Option<StaleReason>,
}

/// Whether it can be told where an exchange begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Boundaries {
    Known,
    /// For good.
    Lost,
}

/// Whether our FIN was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum OwnFin {
    NotSent,
    Sent,
}

/// One exchange on a connection that another pool drives, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExchangeId(pub(super) u64);

impl ExchangeId {
    /// Returns what the connection served before it.
    pub fn served(self) -> Served {
        match self.0 {
            1 => Served::Nothing,
            _ => Served::Before,
        }
    }
}

impl Driver {
    pub(super) fn external() -> Self {
        Self::External(External {
            exchanges: 0,
            boundaries: Boundaries::Known,
            own_fin: OwnFin::NotSent,
            last: None,
        })
    }

    /// Returns `true` if a read that would wait needs a stale check.
    #[inline]
    pub(super) fn checks_reads_in(&self, phase: ExchangePhase) -> bool {
        match (phase, self) {
            (ExchangePhase::Armed, _) => true,
            (ExchangePhase::Idle, Self::External(external)) => external.own_fin == OwnFin::NotSent,
            (
                ExchangePhase::Idle
                | ExchangePhase::Sent
                | ExchangePhase::TakenOver
                | ExchangePhase::Released,
                _,
            ) => false,
        }
    }

    /// Notes what was read.
    #[inline]
    pub(super) fn on_read(&mut self, read: StaleReason) {
        if let Self::External(external) = self {
            // A cut ends a TLS session too, and the cut is what is reported.
            let is_cut = matches!(external.last, Some(StaleReason::Fin | StaleReason::Reset));
            if !(is_cut && read == StaleReason::EndOfTls) {
                external.last = Some(read);
            }
        }
    }

    /// Notes that bytes are about to be counted as written.
    #[inline]
    pub(super) fn on_write_in(&mut self, phase: ExchangePhase) {
        if let (Self::External(external), ExchangePhase::Idle) = (self, phase) {
            external.boundaries = Boundaries::Lost;
        }
    }

    /// Notes that our FIN is sent.
    pub(super) fn on_own_fin(&mut self) {
        if let Self::External(external) = self {
            external.own_fin = OwnFin::Sent;
        }
    }

    /// Returns `true` if this exchange is the one on the connection.
    pub(super) fn is_current(&self, exchange: ExchangeId) -> bool {
        matches!(self, Self::External(external) if external.exchanges == exchange.0)
    }

    /// Returns what was read last.
    pub(super) fn last(&self) -> Option<StaleReason> {
        match self {
            Self::Announced => None,
            Self::External(external) => external.last,
        }
    }
}

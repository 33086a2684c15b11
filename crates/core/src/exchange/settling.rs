//! How the evidence of a failed exchange is taken, step by step.
//!
//! [`begin_settling`] takes the connection over. The driver then drains the
//! socket, reporting each read to [`on_read`], and says how the drain ended
//! ([`on_drained`]). Where a later segment of the peer's can decide the fate, it
//! waits and asks [`settle`], again and again, until there is an answer or the
//! limit is over ([`on_settle_deadline`]). [`conclude`] puts the evidence
//! together, and the connection is aborted.
//!
//! [`begin_settling`]: ExchangeMachine::begin_settling
//! [`on_read`]: ExchangeMachine::on_read
//! [`on_drained`]: ExchangeMachine::on_drained
//! [`settle`]: ExchangeMachine::settle
//! [`on_settle_deadline`]: ExchangeMachine::on_settle_deadline
//! [`conclude`]: ExchangeMachine::conclude

use super::contract_state::Breach;
use super::fin_rule::{self, Fin, FinStep, LastRead};
use super::ledger::Reply;
use super::machine::{ExchangeMachine, Probe, Settling};
use super::outcome::{FailureKind, SettleStep};
use crate::fate::{
    Acked, Answer, Contract, Counts, EndedBy, Errno, Evidence, HandOff, Limits, Settled,
    TcpEvidence, Unavailable,
};

impl ExchangeMachine {
    /// Takes the connection over: from here on hyper can neither read nor write.
    pub fn take_over(&mut self) {
        self.ledger.take_over();
    }

    /// Takes the connection over, to find out what became of its request.
    /// Returns the kernel's evidence if there is nothing to drain for it.
    pub fn begin_settling(&mut self) -> Option<TcpEvidence> {
        self.take_over();
        self.settling = Settling { fin: None, limits: Limits::Unchecked };
        if !self.ledger.is_written() {
            return Some(TcpEvidence::Unavailable(Unavailable::NotExamined));
        }
        self.ledger.check().err().map(TcpEvidence::Unavailable)
    }

    /// The drain met an error. It is not the driver's read.
    pub fn on_drain_error(&mut self, errno: Errno) {
        self.ledger.on_error(Some(errno));
    }

    /// The connection was drained for the first time (steps C2 to C5). `stated`
    /// is what its user and its server state.
    pub fn on_drained(
        &mut self,
        last: LastRead,
        stated: &Contract,
        probe: &mut impl Probe,
    ) -> SettleStep {
        let step = self.judge_end(last, probe);
        self.settling.limits = self.limits(probe);
        if self.ledger.reply() == Reply::Answer || self.is_refused() {
            return SettleStep::Done(TcpEvidence::Unavailable(Unavailable::NotExamined));
        }
        let limit = probe.snapshot().map(|snapshot| fin_rule::settle_limit(&snapshot));
        match (step, limit) {
            (FinStep::Done(TcpEvidence::StillOpen), Ok(limit))
                if self.is_close_awaited(stated, probe) =>
            {
                SettleStep::Wait(limit)
            }
            (FinStep::Done(tcp), _) => SettleStep::Done(tcp),
            (FinStep::Settle(fin), Ok(limit)) if self.is_worth_settling(&fin, stated) => {
                self.settling.fin = Some(fin);
                SettleStep::Wait(limit)
            }
            (FinStep::Settle(fin), _) => {
                SettleStep::Done(TcpEvidence::Fin(fin.acked(), Settled::NotAwaited))
            }
            (FinStep::Wait | FinStep::Closed(..), _) => SettleStep::Done(TcpEvidence::StillOpen),
        }
    }

    /// Returns `true` if the end is still to come, so that the connection has to
    /// be drained before each [`settle`](Self::settle).
    pub fn awaits_end(&self) -> bool {
        self.settling.fin.is_none()
    }

    /// Some time passed (step C6). `drained` says how another drain ended, which
    /// is due as long as the end [is awaited](Self::awaits_end).
    ///
    /// Returns the kernel's evidence once it is complete.
    pub fn settle(
        &mut self,
        drained: Option<LastRead>,
        stated: &Contract,
        probe: &mut impl Probe,
    ) -> Option<TcpEvidence> {
        let step = match (self.settling.fin, drained) {
            (Some(fin), _) => match probe.snapshot() {
                Ok(snapshot) => {
                    let counts = self.ledger.exchange();
                    self.close(fin_rule::settle(&counts, &fin, &snapshot), probe)
                }
                Err(why) => FinStep::Done(TcpEvidence::Unavailable(why)),
            },
            (None, Some(last)) => {
                let step = self.judge_end(last, probe);
                if self.is_refused() {
                    return Some(TcpEvidence::Unavailable(Unavailable::NotExamined));
                }
                step
            }
            (None, None) => FinStep::Wait,
        };
        match step {
            // The end is still to come.
            FinStep::Done(TcpEvidence::StillOpen) if self.awaits_end() => None,
            FinStep::Done(tcp) => Some(tcp),
            FinStep::Settle(fin) if self.is_worth_settling(&fin, stated) => {
                self.settling.fin = Some(fin);
                None
            }
            FinStep::Settle(fin) => Some(TcpEvidence::Fin(fin.acked(), Settled::NotAwaited)),
            FinStep::Wait | FinStep::Closed(..) => None,
        }
    }

    /// The limit is over: returns the kernel's evidence as it stands.
    pub fn on_settle_deadline(&self) -> TcpEvidence {
        self.settling
            .fin
            .map_or(TcpEvidence::StillOpen, |fin| TcpEvidence::Fin(fin.acked(), Settled::Unsettled))
    }

    /// Puts the evidence of a failed exchange together.
    pub fn conclude(
        &mut self,
        failure: FailureKind,
        tcp: TcpEvidence,
        probe: &mut impl Probe,
    ) -> Evidence {
        // What was settled was settled later, and the limits hold until then.
        let limits = match tcp {
            TcpEvidence::Fin(_, Settled::NotAwaited) => self.settling.limits,
            _ => self.limits(probe),
        };
        let answer = self.answer(failure);
        if answer == Answer::Begun {
            self.on_cut(probe);
        }
        let ended_by = match failure {
            FailureKind::RequestBody => EndedBy::RequestBody,
            FailureKind::Broken | FailureKind::Malformed => EndedBy::Connection,
        };
        Evidence::new(self.hand_off())
            .with_answer(answer)
            .with_tcp(tcp)
            .with_limits(limits)
            .with_ended_by(ended_by)
            .with_alert(self.alert())
            .with_counts(self.counts(probe))
    }

    /// This side gives the exchange up: takes the connection over and returns
    /// the evidence.
    pub fn give_up(&mut self, ended_by: EndedBy, probe: &mut impl Probe) -> Evidence {
        self.take_over();
        let hand_off = match (self.hand_off(), self.ledger.found()) {
            (HandOff::NothingWritten, Some(found)) => HandOff::HandedBack(found),
            (hand_off, _) => hand_off,
        };
        let answer = self.answer(FailureKind::Broken);
        Evidence::new(hand_off)
            .with_answer(answer)
            .with_ended_by(ended_by)
            .with_alert(self.alert())
            .with_counts(self.counts(probe))
    }

    // ===== what the steps are made of =====

    /// Judges the end of a drained connection.
    fn judge_end(&mut self, last: LastRead, probe: &mut impl Probe) -> FinStep {
        let snapshot = match probe.snapshot() {
            Ok(snapshot) => snapshot,
            Err(why) => return FinStep::Done(TcpEvidence::Unavailable(why)),
        };
        let counts = self.ledger.exchange();
        // The errno is taken after the snapshot, and not at all at a FIN: there
        // the one that follows it decides.
        let errno = match last {
            LastRead::End if snapshot.bytes_received == counts.read + 1 => None,
            LastRead::End | LastRead::Failed => self.first_errno(probe),
            LastRead::WouldBlock => None,
        };
        self.close(fin_rule::at_end(&counts, last, &snapshot, errno), probe)
    }

    /// Finishes a step that needs the errno.
    fn close(&mut self, step: FinStep, probe: &mut impl Probe) -> FinStep {
        match step {
            FinStep::Closed(fin, snapshot) => {
                let errno = self.first_errno(probe);
                let counts = self.ledger.exchange();
                FinStep::Done(fin_rule::closed(&counts, &fin, &snapshot, errno))
            }
            other @ (FinStep::Done(_) | FinStep::Settle(_) | FinStep::Wait) => other,
        }
    }

    /// Returns `true` if the close is still to come, and can decide the fate:
    /// after a withheld response, and after the end of a TLS session.
    fn is_close_awaited(&self, stated: &Contract, probe: &mut impl Probe) -> bool {
        if self.ledger.reply() == Reply::Stray {
            return true;
        }
        self.stream.is_close_announced() && {
            let acked = probe.snapshot().map(|snapshot| self.ledger.exchange().acked(&snapshot));
            acked == Ok(Acked::None) || stated.fin_before_dispatch.is_some()
        }
    }

    fn is_worth_settling(&self, fin: &Fin, stated: &Contract) -> bool {
        fin_rule::is_worth_settling(fin, stated, self.settling.limits)
    }

    fn answer(&mut self, failure: FailureKind) -> Answer {
        match (self.ledger.reply(), failure) {
            (Reply::Stray | Reply::Answer, _) if self.is_refused() => Answer::Refused,
            (Reply::Nothing, _) => Answer::Nothing,
            (Reply::Stray, _) => Answer::Stray(self.early.early()),
            (Reply::Answer, FailureKind::Malformed) => Answer::Malformed,
            (Reply::Answer, FailureKind::Broken | FailureKind::RequestBody) => Answer::Begun,
        }
    }

    /// Notes how an exchange ended whose response has no whole head. Once a
    /// final one was begun, no reset under `rst` keeps that promise (C9): the
    /// request was dispatched, or S2 was broken. A 1xx says neither.
    fn on_cut(&mut self, probe: &mut impl Probe) {
        if self.early.is_final_begun() && self.is_reset_forbidden(probe) {
            self.contract.breach = Breach::Seen;
        }
    }

    /// Returns `true` if the connection was reset against the promise in force,
    /// provided that a final response was under way.
    pub(super) fn is_reset_forbidden(&mut self, probe: &mut impl Probe) -> bool {
        let monitor = self.contract.monitor.as_ref();
        let is_forbidden = monitor.is_some_and(|monitor| monitor.forbids_reset());
        is_forbidden && self.first_errno(probe) == Some(Errno::ECONNRESET)
    }

    /// Checks the limits of the promise in force up to now, when the connection's end
    /// was looked for.
    fn limits(&mut self, probe: &mut impl Probe) -> Limits {
        let read = self.ledger.exchange_read();
        let Some(monitor) = &mut self.contract.monitor else { return Limits::Unchecked };
        match probe.snapshot() {
            Ok(snapshot) => {
                monitor.on_close(probe.elapsed());
                monitor.judge(read, &snapshot)
            }
            Err(_) => Limits::Unchecked,
        }
    }

    /// Returns the first errno seen on the socket, taking the pending one if
    /// none was.
    fn first_errno(&mut self, probe: &mut impl Probe) -> Option<Errno> {
        if self.ledger.errno().is_none()
            && let Some(errno) = probe.take_errno()
        {
            self.ledger.on_error(Some(errno));
        }
        self.ledger.errno()
    }

    /// Returns the byte counts of the current exchange, by a new snapshot.
    fn counts(&self, probe: &mut impl Probe) -> Counts {
        let counts = self.ledger.exchange();
        let acked = match (self.ledger.check(), probe.snapshot()) {
            (Ok(()), Ok(snapshot)) => Some(counts.acked_bytes(&snapshot)),
            _ => None,
        };
        Counts::new(counts.length(), acked, self.ledger.exchange_read())
    }
}

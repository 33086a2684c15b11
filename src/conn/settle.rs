//! Takes the evidence of a failed exchange, and waits while its fate settles.

use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;

use super::tracker::{ConnTracker, State};
use crate::sys::RawRead;
use crate::time;
use tower_resend_core::fin_rule::{self, Fin, LastRead, Step};
use tower_resend_core::{
    Acked, Answer, Contract, EndedBy, Evidence, HandOff, Limits, Reply, Settled, TcpEvidence,
    Unavailable,
};

/// How an exchange failed, as far as whoever drove it can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// The connection failed before an answer.
    Broken,
    /// The answer was not HTTP.
    Malformed,
    /// The request's own body failed or had the wrong length.
    RequestBody,
}

/// Takes the evidence of an exchange that failed before its response's head.
///
/// Takes the connection over, drains it, and after a FIN waits for the peer
/// TCP's answer where that can decide the fate; `on_settling` is called before
/// such a wait. Ends with the connection aborted: nothing of the request
/// travels any further.
///
/// # Cancel safety
///
/// When dropped, the connection is aborted by whoever owns the record next.
pub(crate) async fn resolve(
    record: &ConnTracker,
    contract: &Contract,
    failure: FailureKind,
    on_settling: impl FnOnce(),
) -> Evidence {
    let settling = Some(on_settling);
    let mut resolution = Resolution { record, contract, limits: Limits::Unchecked, settling };
    let kernel = resolution.kernel().await;
    let evidence = resolution.conclude(failure, kernel);
    record.abort();
    evidence
}

/// Returns the evidence of an exchange that this side gave up, and aborts its
/// connection.
pub(crate) fn give_up(record: &ConnTracker, ended_by: EndedBy) -> Evidence {
    let evidence = {
        let mut state = record.lock();
        state.ledger.take_over();
        let hand_off = match (state.hand_off(), state.ledger.found()) {
            (HandOff::NothingWritten, Some(found)) => HandOff::HandedBack(found),
            (hand_off, _) => hand_off,
        };
        let answer = answer(&mut state, FailureKind::Broken);
        Evidence::new(hand_off)
            .with_answer(answer)
            .with_ended_by(ended_by)
            .with_alert(state.alert())
            .with_counts(state.counts())
    };
    record.abort();
    evidence
}

struct Resolution<'a, F> {
    record: &'a ConnTracker,
    contract: &'a Contract,
    /// Those of the contract, when the end was seen.
    limits: Limits,
    settling: Option<F>,
}

/// The first step, and until when to wait for the next.
enum Drained {
    Done(TcpEvidence),
    Wait(Option<Fin>, Duration),
}

impl<F: FnOnce()> Resolution<'_, F> {
    /// Steps C1 to C6 of the rule.
    async fn kernel(&mut self) -> TcpEvidence {
        let (mut fin, limit) = match self.start() {
            Drained::Done(kernel) => return kernel,
            Drained::Wait(fin, limit) => (fin, limit),
        };
        if let Some(settling) = self.settling.take() {
            settling();
        }
        let deadline = time::now() + limit;
        let mut pause = Duration::from_millis(1);
        let mut listens = true;
        loop {
            // Tokio reports an error for ever: once it has, only the clock is left.
            listens &= !self.pause(listens, pause.min(deadline - time::now())).await;
            match self.step(&mut fin) {
                Step::Done(kernel) => return kernel,
                Step::Wait | Step::Settle(_) | Step::Closed(..) if time::now() < deadline => {}
                Step::Wait | Step::Settle(_) | Step::Closed(..) => {
                    return fin.map_or(TcpEvidence::StillOpen, |fin| {
                        TcpEvidence::Fin(fin.acked(), Settled::Unsettled)
                    });
                }
            }
            pause = (pause * 2).min(Duration::from_millis(8));
        }
    }

    /// Takes over and drains (steps C1 to C5).
    fn start(&mut self) -> Drained {
        let mut state = self.record.lock();
        state.ledger.take_over();
        if !state.ledger.is_written() {
            return Drained::Done(TcpEvidence::Unavailable(Unavailable::NotExamined));
        }
        if let Err(why) = state.ledger.check() {
            return Drained::Done(TcpEvidence::Unavailable(why));
        }
        let step = ended(&mut state);
        self.limits = state.limits();
        if state.ledger.reply() == Reply::Answer || state.is_refused() {
            return Drained::Done(TcpEvidence::Unavailable(Unavailable::NotExamined));
        }
        let limit = state.snapshot().map(|snapshot| fin_rule::settle_limit(&snapshot));
        match (step, limit) {
            (Step::Done(TcpEvidence::StillOpen), Ok(limit)) if self.is_close_awaited(&state) => {
                Drained::Wait(None, limit)
            }
            (Step::Done(kernel), _) => Drained::Done(kernel),
            (Step::Settle(fin), Ok(limit)) if self.is_worth_settling(&fin) => {
                Drained::Wait(Some(fin), limit)
            }
            (Step::Settle(fin), _) => {
                Drained::Done(TcpEvidence::Fin(fin.acked(), Settled::NotAwaited))
            }
            (Step::Wait | Step::Closed(..), _) => Drained::Done(TcpEvidence::StillOpen),
        }
    }

    /// Returns whether the close is still to come, and can decide the fate:
    /// after a withheld response, and after the end of a TLS session.
    fn is_close_awaited(&self, state: &State) -> bool {
        let is_undecided = || {
            let exchange = state.ledger.exchange();
            let acked = state.snapshot().map(|snapshot| exchange.acked(&snapshot));
            acked == Ok(Acked::None) || self.contract.fin_before_dispatch.is_some()
        };
        state.ledger.reply() == Reply::Stray || (state.is_close_announced() && is_undecided())
    }

    fn is_worth_settling(&self, fin: &Fin) -> bool {
        fin_rule::is_worth_settling(fin, self.contract, self.limits)
    }

    /// One look while waiting (step C6).
    fn step(&self, fin: &mut Option<Fin>) -> Step {
        let mut state = self.record.lock();
        let Some(known) = *fin else {
            let step = ended(&mut state);
            if state.is_refused() {
                return Step::Done(TcpEvidence::Unavailable(Unavailable::NotExamined));
            }
            return match step {
                Step::Done(TcpEvidence::StillOpen) => Step::Wait,
                Step::Settle(new) if self.is_worth_settling(&new) => {
                    *fin = Some(new);
                    Step::Wait
                }
                Step::Settle(new) => Step::Done(TcpEvidence::Fin(new.acked(), Settled::NotAwaited)),
                other @ (Step::Done(_) | Step::Closed(..) | Step::Wait) => other,
            };
        };
        match state.snapshot() {
            Ok(snapshot) => {
                let exchange = state.ledger.exchange();
                let step = fin_rule::settle(&exchange, &known, &snapshot);
                close(&mut state, step)
            }
            Err(why) => Step::Done(TcpEvidence::Unavailable(why)),
        }
    }

    /// Waits until the socket has an error, which a reset gives it, at most
    /// for `limit`. Returns whether it has one.
    async fn pause(&self, listens: bool, limit: Duration) -> bool {
        let until = time::now() + limit;
        let parked = Parked::take(self.record);
        match &parked.stream {
            Some(stream) if listens => {
                time::timeout_at(until, stream.ready(Interest::ERROR)).await.is_ok()
            }
            _ => {
                time::sleep_until(until).await;
                false
            }
        }
    }

    fn conclude(&self, failure: FailureKind, kernel: TcpEvidence) -> Evidence {
        let mut state = self.record.lock();
        // What was settled was settled later, and the limits hold until then.
        let limits = match kernel {
            TcpEvidence::Fin(_, Settled::NotAwaited) => self.limits,
            _ => state.limits(),
        };
        let answer = answer(&mut state, failure);
        if answer == Answer::Begun {
            state.on_cut();
        }
        let ended_by = match failure {
            FailureKind::RequestBody => EndedBy::RequestBody,
            FailureKind::Broken | FailureKind::Malformed => EndedBy::Connection,
        };
        Evidence::new(state.hand_off())
            .with_answer(answer)
            .with_tcp(kernel)
            .with_limits(limits)
            .with_ended_by(ended_by)
            .with_alert(state.alert())
            .with_counts(state.counts())
    }
}

/// The parked stream, borrowed to wait on it; parked again when dropped.
struct Parked<'a> {
    record: &'a ConnTracker,
    stream: Option<TcpStream>,
}

impl<'a> Parked<'a> {
    fn take(record: &'a ConnTracker) -> Self {
        Self { record, stream: record.lock().take_parked() }
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take() {
            self.record.lock().park(stream);
        }
    }
}

/// Drains what is left and judges the end (steps C2 to C5).
fn ended(state: &mut State) -> Step {
    let last = drain(state);
    match state.snapshot() {
        Ok(snapshot) => {
            let exchange = state.ledger.exchange();
            let errno = match last {
                LastRead::End if snapshot.bytes_received == exchange.read + 1 => None,
                LastRead::End | LastRead::Failed => state.first_errno(),
                LastRead::WouldBlock => None,
            };
            let step = fin_rule::at_end(&exchange, last, &snapshot, errno);
            close(state, step)
        }
        Err(why) => Step::Done(TcpEvidence::Unavailable(why)),
    }
}

/// Finishes a step that needs the errno.
fn close(state: &mut State, step: Step) -> Step {
    match step {
        Step::Closed(fin, snapshot) => {
            let errno = state.first_errno();
            let exchange = state.ledger.exchange();
            Step::Done(fin_rule::closed(&exchange, &fin, &snapshot, errno))
        }
        other @ (Step::Done(_) | Step::Settle(_) | Step::Wait) => other,
    }
}

/// Reads until there is nothing more, at most 1 MiB: a peer that sends more
/// than that has not ended, and the fate stays unknown.
pub(super) fn drain(state: &mut State) -> LastRead {
    let mut buffer = [0; 4096];
    for _ in 0..256 {
        match state.receive(&mut buffer) {
            RawRead::Bytes(octets) => {
                state.on_read(&buffer[..octets]);
            }
            RawRead::End => return LastRead::End,
            RawRead::Failed(errno) => {
                state.ledger.on_error(Some(errno));
                return LastRead::Failed;
            }
            RawRead::Nothing => return LastRead::WouldBlock,
        }
    }
    LastRead::WouldBlock
}

fn answer(state: &mut State, failure: FailureKind) -> Answer {
    match (state.ledger.reply(), failure) {
        (Reply::Stray | Reply::Answer, _) if state.is_refused() => Answer::Refused,
        (Reply::Nothing, _) => Answer::Nothing,
        (Reply::Stray, _) => Answer::Stray(state.early()),
        (Reply::Answer, FailureKind::Malformed) => Answer::Malformed,
        (Reply::Answer, FailureKind::Broken | FailureKind::RequestBody) => Answer::Begun,
    }
}

//! What the callers saw, held against the truth.

use std::collections::BTreeMap;

use super::args::Plan;
use super::clients::{End, Failure};
use super::load::{Call, Kind};
use super::truth::Record;

/// The figures of one client under one plan.
///
/// `sent` is the sum of `ok`, `needless`, `first`, `refused` and `taken_up`.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) kind: Kind,
    pub(super) plan: Plan,
    pub(super) deployed: u64,
    pub(super) sent: u64,
    /// Calls that were answered with 200.
    pub(super) ok: u64,
    /// Calls that failed though the server never took the request up, but for
    /// `first` and `refused`.
    pub(super) needless: u64,
    /// Those whose request was the first on a new connection, where no server
    /// can have promised anything; known of our client only.
    pub(super) first: u64,
    /// Calls that failed because no connection could be made, never taken up.
    pub(super) refused: u64,
    /// Calls that failed and the server had taken up the request.
    pub(super) taken_up: u64,
    /// Requests that the server took up more than once.
    pub(super) twice: u64,
    /// Calls answered with 200 though the server never took the request up, or
    /// with the answer to something else.
    pub(super) falsely_ok: u64,
    /// Resends by their grounds.
    pub(super) grounds: BTreeMap<&'static str, u64>,
    /// Why calls failed that need not have, each with its count and all that
    /// was said the first time.
    pub(super) reasons: BTreeMap<String, (u64, String)>,
}

impl Tally {
    pub(super) fn new(
        kind: Kind,
        plan: Plan,
        deployed: u64,
        calls: &[Call],
        record: &Record,
    ) -> Self {
        let mut tally = Self {
            kind,
            plan,
            deployed,
            sent: 0,
            ok: 0,
            needless: 0,
            first: 0,
            refused: 0,
            taken_up: 0,
            twice: 0,
            falsely_ok: 0,
            grounds: BTreeMap::new(),
            reasons: BTreeMap::new(),
        };
        for call in calls.iter().filter(|call| call.kind == kind) {
            tally.count(call, record.times(call.id));
        }
        tally
    }

    /// Calls that failed, whatever became of their requests.
    pub(super) fn failed(&self) -> u64 {
        self.sent - self.ok
    }

    fn count(&mut self, call: &Call, times: u32) {
        self.sent += 1;
        self.twice += u64::from(times > 1);
        for ground in &call.outcome.grounds {
            *self.grounds.entry(ground).or_default() += 1;
        }
        match &call.outcome.end {
            End::Answer { status: 200, body } => {
                self.ok += 1;
                self.falsely_ok += u64::from(times == 0 || *body != call.id.to_string());
            }
            End::ConnectRefused if times == 0 => self.refused += 1,
            _ if times > 0 => self.taken_up += 1,
            _ if call.outcome.is_first => self.first += 1,
            End::Answer { status, .. } => self.needless(&format!("answered {status}").into()),
            End::ConnectRefused => self.taken_up += 1,
            End::Failed(failure) => self.needless(failure),
        }
    }

    fn needless(&mut self, Failure { reason, text }: &Failure) {
        self.needless += 1;
        self.reasons.entry(reason.clone()).or_insert_with(|| (0, text.clone())).0 += 1;
    }
}

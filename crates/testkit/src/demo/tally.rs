//! What the callers saw, held against the truth.

use std::collections::BTreeMap;

use super::calls::Call;
use super::clients::{End, Failure};

/// Why calls failed: each reason with its count, and all that was said the first time.
pub type Reasons = BTreeMap<String, (u64, String)>;

/// What became of the calls of one client.
///
/// `sent` is the sum of `ok`, `needless`, `refused` and `dispatched`.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub sent: u64,
    /// Calls that were answered with 200.
    pub ok: u64,
    /// Calls that failed though the server never took the request up, but for `refused`.
    pub needless: u64,
    /// Those of `needless` whose request was the first on its connection, where no
    /// server can have promised anything; known of our client only.
    pub first: u64,
    /// Calls that failed because no connection could be made, and were never dispatched.
    pub refused: u64,
    /// Calls that failed and the server had dispatched the request.
    pub dispatched: u64,
    /// Requests that the server dispatched more than once.
    pub twice: u64,
    /// Calls answered with 200 though the server never took the request up, or with an
    /// answer to something else.
    pub falsely_ok: u64,
    /// Those of them whose answer was not the server's answer to this request.
    pub strays: u64,
    /// Resends by their grounds.
    pub grounds: BTreeMap<&'static str, u64>,
    /// Why calls failed that need not have.
    pub needless_reasons: Reasons,
    /// Why calls failed whose request had been dispatched.
    pub dispatched_reasons: Reasons,
}

impl Counts {
    /// Counts a call whose request the server dispatched so many times.
    pub fn count(&mut self, call: &Call, times: u32) {
        self.sent += 1;
        self.twice += u64::from(times > 1);
        let failed = matches!(call.outcome.end, End::Failed(_));
        self.first += u64::from(failed && times == 0 && call.outcome.is_first);
        for ground in &call.outcome.grounds {
            *self.grounds.entry(ground).or_default() += 1;
        }
        match &call.outcome.end {
            End::Answer { status: 200, body } => {
                let stray = *body != call.id.to_string();
                self.ok += 1;
                self.strays += u64::from(stray);
                self.falsely_ok += u64::from(stray || times == 0);
            }
            End::Answer { status, .. } => self.fail(times, &format!("answered {status}").into()),
            End::ConnectRefused if times == 0 => self.refused += 1,
            End::ConnectRefused => self.fail(times, &"connect refused after all".to_owned().into()),
            End::Failed(failure) => self.fail(times, failure),
        }
    }

    fn fail(&mut self, times: u32, Failure { reason, text }: &Failure) {
        let (count, reasons) = match times {
            0 => (&mut self.needless, &mut self.needless_reasons),
            _ => (&mut self.dispatched, &mut self.dispatched_reasons),
        };
        *count += 1;
        reasons.entry(reason.clone()).or_insert_with(|| (0, text.clone())).0 += 1;
    }

    /// Returns how many calls failed, whatever became of their requests.
    pub fn failed(&self) -> u64 {
        self.sent - self.ok
    }
}

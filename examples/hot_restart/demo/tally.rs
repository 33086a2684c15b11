//! What the callers saw, held against the truth.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::args::Mode;
use super::clients::{End, Failure, Kind};
use super::load::Call;
use super::restarts::Restarts;
use super::truth::Record;

/// The figures of one client in one mode.
///
/// `sent` is the sum of `ok`, `needless`, `refused` and `taken_up`.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) kind: Kind,
    pub(super) mode: Mode,
    pub(super) restarts: u64,
    /// Those of them that the host disturbed.
    pub(super) disturbed_restarts: u64,
    pub(super) sent: u64,
    /// Calls that were answered with 200.
    pub(super) ok: u64,
    /// Calls that failed though the server never took the request up, but for `refused`.
    pub(super) needless: u64,
    /// Those of them that met no restart but such as the host disturbed.
    pub(super) disturbed: u64,
    /// Those of `needless` whose request was the first on its connection, where no
    /// server can have promised anything; known of our client only.
    pub(super) first: u64,
    /// Calls that failed because no connection could be made, and were never taken up.
    pub(super) refused: u64,
    /// Calls that failed and the server had taken up the request.
    pub(super) taken_up: u64,
    /// Requests that the server took up more than once.
    pub(super) twice: u64,
    /// Calls answered with 200 though the server never took the request up, or with an
    /// answer to something else.
    pub(super) falsely_ok: u64,
    /// Those of them whose answer was not the server's answer to this request.
    pub(super) strays: u64,
    /// Resends by their grounds.
    pub(super) grounds: BTreeMap<&'static str, u64>,
    /// Why calls failed that need not have.
    pub(super) needless_reasons: Reasons,
    /// Why calls failed whose request had been taken up.
    pub(super) taken_up_reasons: Reasons,
    /// The times that calls took that were answered with 200, in ascending order.
    times: Vec<Duration>,
}

/// Needless failures in which the host had no part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Undisturbed {
    pub(super) failures: u64,
    /// The restarts that are left.
    pub(super) restarts: u64,
    /// Whether these are half of all, or more.
    pub(super) are_many: bool,
}

impl Undisturbed {
    /// Returns whether these are at most a `part`th of the others, restart for restart.
    pub(super) fn are_at_most_a(self, part: u64, of: Self) -> bool {
        let exposure = |restarts: u64| restarts.max(1); // none where nothing is restarted
        self.failures * part * exposure(of.restarts) <= of.failures * exposure(self.restarts)
    }
}

impl fmt::Display for Undisturbed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.restarts {
            0 => write!(f, "{}", self.failures),
            restarts => write!(f, "{} in {restarts} restarts", self.failures),
        }
    }
}

/// Why calls failed: each reason with its count, and all that was said the first time.
pub(super) type Reasons = BTreeMap<String, (u64, String)>;

impl Tally {
    pub(super) fn new(
        kind: Kind,
        mode: Mode,
        restarts: &Restarts,
        calls: &[Call],
        record: &Record,
    ) -> Self {
        let mut tally = Self::empty(kind, mode);
        tally.restarts = restarts.count();
        tally.disturbed_restarts = restarts.disturbed();
        for call in calls {
            let needless = tally.needless;
            tally.count(call, record.times(call.id));
            if restarts.all_disturbed(call.span) {
                tally.disturbed += tally.needless - needless;
            }
        }
        tally.times.sort_unstable();
        tally
    }

    fn empty(kind: Kind, mode: Mode) -> Self {
        Self {
            kind,
            mode,
            restarts: 0,
            disturbed_restarts: 0,
            sent: 0,
            ok: 0,
            needless: 0,
            disturbed: 0,
            first: 0,
            refused: 0,
            taken_up: 0,
            twice: 0,
            falsely_ok: 0,
            strays: 0,
            grounds: BTreeMap::new(),
            needless_reasons: BTreeMap::new(),
            taken_up_reasons: BTreeMap::new(),
            times: Vec::new(),
        }
    }

    fn count(&mut self, call: &Call, times: u32) {
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
                self.times.push(call.span.to - call.span.from);
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
            _ => (&mut self.taken_up, &mut self.taken_up_reasons),
        };
        *count += 1;
        reasons.entry(reason.clone()).or_insert_with(|| (0, text.clone())).0 += 1;
    }

    /// Returns the needless failures in which the host had no part.
    pub(super) fn undisturbed(&self) -> Undisturbed {
        let restarts = self.restarts - self.disturbed_restarts;
        Undisturbed {
            failures: self.needless - self.disturbed,
            restarts,
            are_many: restarts * 2 >= self.restarts,
        }
    }

    /// Returns the time within which this share of the successes ended, in milliseconds.
    pub(super) fn quantile(&self, share: f64) -> f64 {
        let last = self.times.len().saturating_sub(1);
        let at = (last as f64 * share).round() as usize;
        self.times.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    }
}

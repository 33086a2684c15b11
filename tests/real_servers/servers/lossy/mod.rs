//! A stock relay that gives its server up, on a wire that loses packets.
//!
//! HAProxy in TCP mode waits less long for the server than for the client: it
//! sends the client a FIN and still passes on what comes. The server acts on a
//! request's head and ends. The next segment of the request meets the relay's
//! closed socket and is reset; where the acknowledgement of the head was lost,
//! the client sees a FIN that acknowledges nothing, and then a reset.

mod calls;
pub(crate) mod server;
mod setting;
mod site;
mod tally;

use std::io;
use std::path::Path;
use std::time::Duration;

use self::calls::Job;
pub(crate) use self::setting::Ends;
use self::setting::{SETTINGS, Setting};
use self::site::Relay;
pub(crate) use self::tally::Tally;
use super::wire::{Config, Wire};

/// Makes so many calls over all settings, those of one wire at the same time.
/// Files of the relay go to the directory.
pub(crate) fn run(calls: u32, directory: &Path) -> io::Result<Tally> {
    let mut jobs = jobs(calls);
    let mut tally = Tally::default();
    while let Some(&Job { setting: Setting { loss, .. }, .. }) = jobs.first() {
        let (now, later) = jobs.into_iter().partition(|job| job.setting.loss == loss);
        jobs = later;
        let wire = Config::default().delay(DELAY).jitter(JITTER).loss(f64::from(loss) / 100.0);
        let wire = Wire::new(wire.seed(7)).map_err(io::Error::other)?;
        let (calls, record) = Relay { wire, directory }.run(now)?;
        calls.iter().for_each(|call| tally.add(call, &record));
    }
    Ok(tally)
}

/// Returns that many calls, each setting's by its share.
fn jobs(calls: u32) -> Vec<Job> {
    let shares: u32 = SETTINGS.iter().map(|setting| setting.share).sum();
    let mut jobs = Vec::new();
    for setting in SETTINGS {
        for nth in 0..(calls * setting.share).div_ceil(shares) {
            let id = jobs.len() as u64 + 1;
            jobs.push(Job { setting, id, is_vouched: nth % 4 == 3 });
        }
    }
    jobs
}

/// What a packet takes at least, one way.
const DELAY: Duration = Duration::from_millis(5);

/// What it may take besides.
const JITTER: Duration = Duration::from_millis(2);

/// How long the relay waits for the server to say something.
const IDLE: Duration = Duration::from_millis(400);

//! One client in one mode.

use std::io;
use std::thread;
use std::time::Duration;

use testkit::demo::calls::Call;
use testkit::demo::road::Road;
use testkit::demo::settings::Settings;
use testkit::truth::Ledger;
use tokio::runtime::Builder;

use super::args::{Args, Mode, Orders};
use super::clients::Kind;
use super::host::Host;
use super::load::{self, Gauge};
use super::progress::Progress;
use super::restarts::Restarts;
use super::supervisor::Supervisor;
use super::tally::Tally;

/// What is to be measured.
pub(super) struct Cell<'a> {
    pub(super) args: &'a Args,
    pub(super) road: &'a Road,
    pub(super) ledger: &'a Ledger,
    pub(super) host: &'a Host,
    pub(super) mode: Mode,
    pub(super) kind: Kind,
}

impl Cell<'_> {
    /// Starts a server, lets the client call it, ends the server and counts.
    pub(super) fn run(&self, progress: &Progress) -> io::Result<Tally> {
        self.host.take_gaps(); // those of before
        let (restarts, calls) = thread::scope(|scope| {
            let supervisor = Supervisor::start(scope, self.road, self.ledger, self.orders())?;
            let gauge: &'static Gauge = Box::leak(Box::default());
            let load = scope.spawn(move || self.load(gauge));
            let watch = progress.cell(self.mode, self.kind, gauge);
            while !load.is_finished() {
                watch.show();
                thread::sleep(Duration::from_millis(50));
            }
            let calls = load.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            thread::sleep(self.road.quiet_after()); // a late copy of a request would be recorded now
            io::Result::Ok((supervisor.stop()?, calls))
        })?;
        let mut gaps = self.host.take_gaps();
        let stalls = matches!(self.host, Host::Watched(_)).then_some(gaps.len() as u64);
        // Only a server that is killed leaves what it did not read to fate.
        gaps.retain(|_| self.mode == Mode::Sigkill);
        let record = self.ledger.read()?;
        let restarts = Restarts::new(restarts, &gaps, self.road.delay());
        Ok(Tally::new(self.kind, self.mode, &restarts, stalls, &calls, &record))
    }

    fn orders(&self) -> Orders {
        let Settings { handler, seed, .. } = self.args.settings;
        let (server, address) = (self.args.server, self.road.server_address());
        Orders { server, mode: self.mode, address, handler, seed }
    }

    /// Runs on a thread of its own, which it moves to the client's end.
    fn load(&self, gauge: &'static Gauge) -> io::Result<Vec<Call>> {
        self.road.enter_client()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let base = format!("http://{}", self.road.server_address());
        Ok(runtime.block_on(async { load::run(self.args, self.kind.make(), &base, gauge).await }))
    }
}

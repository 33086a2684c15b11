//! What a person sees while it runs.

use std::io::{self, IsTerminal};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::args::{Args, Mode};
use super::clients::Kind;
use super::load::Gauge;

/// A bar with the time left on a terminal; elsewhere a line for each cell. Both on standard error.
pub(super) struct Progress {
    bar: ProgressBar,
    each: Duration,
}

impl Progress {
    pub(super) fn new(args: &Args, cells: usize) -> Self {
        let total = args.duration.as_millis() as u64 * cells as u64;
        let style = ProgressStyle::with_template("{bar:20} {percent:>3} %  {eta} left  {wide_msg}")
            .expect("a fixed template");
        Self { bar: ProgressBar::new(total).with_style(style), each: args.duration }
    }

    /// Begins the next cell.
    pub(super) fn cell<'a>(&'a self, mode: Mode, kind: Kind, gauge: &'a Gauge) -> Watch<'a> {
        if !io::stderr().is_terminal() {
            let left = self.bar.length().unwrap_or(0).saturating_sub(self.bar.position());
            let left = Duration::from_millis(left).as_secs();
            eprintln!("{}: {} ... ({left} s left)", mode.name(), kind.name());
        }
        Watch {
            progress: self,
            mode,
            kind,
            gauge,
            from: self.bar.position(),
            since: Instant::now(),
        }
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// The part of the bar that belongs to one cell.
pub(super) struct Watch<'a> {
    progress: &'a Progress,
    mode: Mode,
    kind: Kind,
    gauge: &'a Gauge,
    from: u64,
    since: Instant,
}

impl Watch<'_> {
    pub(super) fn show(&self) {
        let calls = self.gauge.calls.load(Ordering::Relaxed);
        let failed = self.gauge.failed.load(Ordering::Relaxed);
        let bar = &self.progress.bar;
        bar.set_message(format!(
            "{}: {}, {calls} sent, {failed} failed",
            self.mode.name(),
            self.kind.name()
        ));
        bar.set_position(
            self.from + self.since.elapsed().min(self.progress.each).as_millis() as u64,
        );
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.progress.bar.set_position(self.from + self.progress.each.as_millis() as u64);
    }
}

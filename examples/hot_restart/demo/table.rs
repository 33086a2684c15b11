//! The table of the first screen, and the one with every detail.

use std::fmt::Write;

use testkit::demo::table::{self, Column, short, short_figure};

use super::args::{Args, Mode};
use super::host::Host;
use super::tally::Tally;

/// A column of the first screen: its width with the space before it, the lines
/// of its heading, and what it says.
type Narrow = (usize, [&'static str; 3], fn(&Tally) -> String);

/// With [`CLIENT`] these are 80 columns.
const NARROW: [Narrow; 8] = [
    (6, ["", "", "sent"], |tally| short(tally.sent)),
    (6, ["", "", "ok"], |tally| short(tally.ok)),
    (7, ["failed,", "never", "ran"], |tally| short(tally.needless)),
    (7, ["failed,", "but", "ran"], |tally| short(tally.dispatched)),
    (8, ["", "connect", "refused"], |tally| short(tally.refused)),
    (6, ["", "ran", "twice"], |tally| short(tally.twice)),
    (8, ["", "falsely", "ok"], |tally| short(tally.falsely_ok)),
    (6, ["", "p99", "ms"], |tally| short_figure(tally.quantile(0.99))),
];

/// The width of a client's name with the space before it.
const CLIENT: usize = 26;

/// Writes the table of the first screen: a part for each mode, at most 80 columns.
pub(super) fn overview(tallies: &[Tally]) -> String {
    let mut text = String::new();
    for line in 0..3 {
        let heading = NARROW.map(|(width, heading, _)| format!("{:>width$}", heading[line]));
        let _ = writeln!(text, "{:CLIENT$}{}", "", heading.concat().trim_end());
    }
    for of_mode in tallies.chunk_by(|one, other| one.mode == other.mode) {
        let mode = of_mode[0].mode;
        let restarts: u64 = of_mode.iter().map(|tally| tally.restarts).fold(0, u64::saturating_add);
        let times =
            if restarts > 0 { format!(" ({} times)", short(restarts)) } else { String::new() };
        let _ = writeln!(text, "{}: the server {}{times}", mode.name(), mode.explain());
        for tally in of_mode {
            let cells = NARROW.map(|(width, _, of)| format!("{:>width$}", of(tally)));
            let _ = writeln!(text, " {:<1$}{2}", tally.kind.name(), CLIENT - 1, cells.concat());
        }
    }
    text
}

const COLUMNS: [Column<Tally>; 14] = [
    Column::left(["", "", "client"], |tally| tally.kind.name().into()),
    Column::left(["", "", "mode"], |tally| tally.mode.name().into()),
    Column::right(["", "", "sent"], |tally| tally.sent.to_string()),
    Column::right(["", "", "ok"], |tally| tally.ok.to_string()),
    Column::right(["failed although", "never", "dispatched"], |tally| tally.needless.to_string()),
    Column::right(["of them", "the host", "disturbed"], |tally| tally.disturbed.to_string()),
    Column::right(["", "connect", "refused"], |tally| tally.refused.to_string()),
    Column::right(["failed", "and", "dispatched"], |tally| tally.dispatched.to_string()),
    Column::right(["", "executed", "twice"], |tally| tally.twice.to_string()),
    Column::right(["", "falsely", "successful"], |tally| tally.falsely_ok.to_string()),
    Column::left(["", "resends", "by ground"], |tally| table::grounds(tally)),
    Column::right(["", "p50", "ms"], |tally| format!("{:.1}", tally.quantile(0.50))),
    Column::right(["", "p99", "ms"], |tally| format!("{:.1}", tally.quantile(0.99))),
    STRAYS,
];

/// Only shown where the server sends such answers.
const STRAYS: Column<Tally> =
    Column::right(["stray", "answers", "delivered"], |tally| tally.strays.to_string());

/// Writes the tallies as a table, and below it what the host did and why calls failed.
pub(super) fn details(args: &Args, host: &Host, tallies: &[Tally]) -> String {
    let columns = &COLUMNS[..COLUMNS.len() - usize::from(!args.hostile)];
    let mut text = table::render(columns, tallies);
    push_host(&mut text, host, tallies);
    for tally in tallies {
        let (client, mode) = (tally.kind.name(), tally.mode.name());
        let heading = |what| format!("{client}, {mode}, {what}");
        let never = heading("failed although never dispatched");
        table::push_reasons(&mut text, &never, &tally.needless_reasons);
        table::push_reasons(
            &mut text,
            &heading("failed and dispatched"),
            &tally.dispatched_reasons,
        );
    }
    text
}

fn push_host(text: &mut String, host: &Host, tallies: &[Tally]) {
    let killed = tallies.iter().any(|tally| tally.mode == Mode::Sigkill);
    if let (true, Host::Unwatched(why)) = (killed, host) {
        let _ = writeln!(text, "\nwhether the host ran the processors is not known: {why}");
    }
    let disturbed: Vec<_> = tallies.iter().filter(|tally| tally.disturbed_restarts > 0).collect();
    if !disturbed.is_empty() {
        let _ = writeln!(
            text,
            "\ndisturbed by the host, which did not run a processor while the server was killed:"
        );
    }
    for tally in disturbed {
        let _ = writeln!(
            text,
            "  {}, {}: {} of {} restarts, {} of {} needless failures",
            tally.kind.name(),
            tally.mode.name(),
            tally.disturbed_restarts,
            tally.restarts,
            tally.disturbed,
            tally.needless
        );
    }
}

//! The table.

use std::fmt::Write;

use super::args::{Args, Mode};
use super::host::Host;
use super::tally::{Reasons, Tally};

/// A column: the lines of its heading, and what it says of a cell.
struct Column {
    heading: [&'static str; 3],
    side: Side,
    text: fn(&Tally) -> String,
}

/// The side on which a column's text begins.
enum Side {
    Left,
    Right,
}

const COLUMNS: [Column; 14] = [
    left(["", "", "client"], |tally| tally.kind.name().into()),
    left(["", "", "mode"], |tally| tally.mode.name().into()),
    right(["", "", "sent"], |tally| tally.sent.to_string()),
    right(["", "", "ok"], |tally| tally.ok.to_string()),
    right(["failed although", "never", "taken up"], |tally| tally.needless.to_string()),
    right(["of them", "the host", "disturbed"], |tally| tally.disturbed.to_string()),
    right(["", "connect", "refused"], |tally| tally.refused.to_string()),
    right(["failed", "and", "taken up"], |tally| tally.taken_up.to_string()),
    right(["", "executed", "twice"], |tally| tally.twice.to_string()),
    right(["", "falsely", "successful"], |tally| tally.falsely_ok.to_string()),
    left(["", "resends", "by ground"], grounds),
    right(["", "p50", "ms"], |tally| format!("{:.1}", tally.quantile(0.50))),
    right(["", "p99", "ms"], |tally| format!("{:.1}", tally.quantile(0.99))),
    STRAYS,
];

/// Only shown where the server sends such answers.
const STRAYS: Column = right(["stray", "answers", "delivered"], |tally| tally.strays.to_string());

const fn left(heading: [&'static str; 3], text: fn(&Tally) -> String) -> Column {
    Column { heading, side: Side::Left, text }
}

const fn right(heading: [&'static str; 3], text: fn(&Tally) -> String) -> Column {
    Column { heading, side: Side::Right, text }
}

/// Writes the tallies as a table, and below it what the host did and why calls failed.
pub(super) fn render(args: &Args, host: &Host, tallies: &[Tally]) -> String {
    let columns = &COLUMNS[..COLUMNS.len() - usize::from(!args.hostile)];
    let cells: Vec<Vec<String>> = columns.iter().map(|column| column.cells(tallies)).collect();
    let mut text = String::new();
    for line in 0..tallies.len() + 4 {
        for (column, cells) in columns.iter().zip(&cells) {
            let width = cells.iter().map(String::len).max().unwrap_or(0);
            let _ = match (line, &column.side) {
                (3, _) => write!(text, "{:-<width$}  ", ""),
                (_, Side::Left) => write!(text, "{:<width$}  ", cells[line]),
                (_, Side::Right) => write!(text, "{:>width$}  ", cells[line]),
            };
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    push_host(&mut text, host, tallies);
    for tally in tallies {
        push_reasons(&mut text, tally, "failed although never taken up", &tally.needless_reasons);
        push_reasons(&mut text, tally, "failed and taken up", &tally.taken_up_reasons);
    }
    text
}

impl Column {
    /// The heading, a place for the rule below it, and a text for each tally.
    fn cells(&self, tallies: &[Tally]) -> Vec<String> {
        let heading = self.heading.into_iter().chain([""]).map(str::to_owned);
        heading.chain(tallies.iter().map(self.text)).collect()
    }
}

fn grounds(tally: &Tally) -> String {
    let grounds: Vec<_> =
        tally.grounds.iter().map(|(ground, count)| format!("{ground} {count}")).collect();
    if grounds.is_empty() { "-".into() } else { grounds.join(", ") }
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

fn push_reasons(text: &mut String, tally: &Tally, heading: &str, reasons: &Reasons) {
    let mut reasons: Vec<_> = reasons.iter().collect();
    reasons.sort_by_key(|&(_, &(count, _))| std::cmp::Reverse(count));
    if !reasons.is_empty() {
        let _ = writeln!(text, "\n{}, {}, {heading}:", tally.kind.name(), tally.mode.name());
    }
    for (reason, (count, example)) in reasons.iter().take(5) {
        let _ = writeln!(text, "  {count:>6}  {reason}");
        if example != *reason {
            let _ = writeln!(text, "          such as: {example}");
        }
    }
    if reasons.len() > 5 {
        let rest: u64 = reasons[5..].iter().map(|(_, (count, _))| count).sum();
        let _ = writeln!(text, "  {rest:>6}  for other reasons");
    }
}

//! The table.

use std::fmt::Write;

use super::tally::Tally;

/// A column: the lines of its heading, and what it says of a tally.
type Column = ([&'static str; 3], fn(&Tally) -> String);

const COLUMNS: [Column; 12] = [
    (["", "", "client"], |tally| tally.kind.name().into()),
    (["", "", "plan"], |tally| tally.plan.name().into()),
    (["", "", "deployed"], |tally| tally.deployed.to_string()),
    (["", "", "sent"], |tally| tally.sent.to_string()),
    (["", "", "ok"], |tally| tally.ok.to_string()),
    (["failed although", "never", "taken up"], |tally| tally.needless.to_string()),
    (["the same,", "first on its", "connection"], first),
    (["", "connect", "refused"], |tally| tally.refused.to_string()),
    (["failed", "and", "taken up"], |tally| tally.taken_up.to_string()),
    (["", "executed", "twice"], |tally| tally.twice.to_string()),
    (["", "falsely", "successful"], |tally| tally.falsely_ok.to_string()),
    (["", "resends", "by ground"], grounds),
];

/// Writes the tallies as a table, and below it why calls failed.
pub(super) fn render(tallies: &[Tally]) -> String {
    let cells: Vec<Vec<String>> = COLUMNS.iter().map(|column| cells(column, tallies)).collect();
    let mut text = String::new();
    for line in 0..tallies.len() + 4 {
        for cells in &cells {
            let width = cells.iter().map(String::len).max().unwrap_or(0);
            let is_number =
                cells[4..].iter().all(|cell| cell.parse::<u64>().is_ok() || cell == "-");
            let _ = match line {
                3 => write!(text, "{:-<width$}  ", ""),
                _ if is_number => write!(text, "{:>width$}  ", cells[line]),
                _ => write!(text, "{:<width$}  ", cells[line]),
            };
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    tallies.iter().for_each(|tally| push_reasons(&mut text, tally));
    text
}

fn cells((heading, of): &Column, tallies: &[Tally]) -> Vec<String> {
    let heading = heading.iter().copied().chain([""]).map(str::to_owned);
    heading.chain(tallies.iter().map(of)).collect()
}

/// Only our client knows which request was the first on its connection.
fn first(tally: &Tally) -> String {
    match tally.kind {
        super::load::Kind::TowerResend => tally.first.to_string(),
        super::load::Kind::HyperUtil | super::load::Kind::Curl => "-".into(),
    }
}

fn grounds(tally: &Tally) -> String {
    let grounds: Vec<_> =
        tally.grounds.iter().map(|(ground, count)| format!("{ground} {count}")).collect();
    if grounds.is_empty() { "none".into() } else { grounds.join(", ") }
}

fn push_reasons(text: &mut String, tally: &Tally) {
    if !tally.reasons.is_empty() {
        let _ = writeln!(
            text,
            "\n{}, {}, failed although never taken up:",
            tally.kind.name(),
            tally.plan
        );
    }
    let mut reasons: Vec<_> = tally.reasons.iter().collect();
    reasons.sort_by_key(|&(_, &(count, _))| std::cmp::Reverse(count));
    for (reason, (count, example)) in reasons.iter().take(5) {
        let _ = writeln!(text, "  {count:>6}  {reason}");
        if example != *reason {
            let _ = writeln!(text, "          such as: {example}");
        }
    }
    let rest: u64 = reasons.iter().skip(5).map(|(_, (count, _))| count).sum();
    if rest > 0 {
        let _ = writeln!(text, "  {rest:>6}  for other reasons");
    }
}

//! The table.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::args::Args;
use super::tally::Tally;

/// The columns, each with the lines of its heading.
const COLUMNS: [[&str; 3]; 12] = [
    ["", "", "client"],
    ["", "", "mode"],
    ["", "", "sent"],
    ["", "", "ok"],
    ["failed although", "never", "taken up"],
    ["", "connect", "refused"],
    ["failed", "and", "taken up"],
    ["", "executed", "twice"],
    ["", "falsely", "successful"],
    ["", "resends", "by ground"],
    ["", "p50", "ms"],
    ["", "p99", "ms"],
];

/// Writes the tallies as a table, and below it why calls failed.
pub(super) fn render(args: &Args, tallies: &[Tally]) -> String {
    let rows: Vec<_> = tallies.iter().map(row).collect();
    let mut widths = COLUMNS.map(|heading| heading.map(str::len).into_iter().max().unwrap_or(0));
    for row in &rows {
        for (width, text) in widths.iter_mut().zip(row) {
            *width = (*width).max(text.len());
        }
    }
    let mut text = String::new();
    for line in 0..3 {
        push(
            &mut text,
            &COLUMNS.map(|heading| heading[line].to_owned()),
            &widths,
        );
    }
    push(&mut text, &widths.map(|width| "-".repeat(width)), &widths);
    for (row, tally) in rows.iter().zip(tallies) {
        push(&mut text, row, &widths);
        if args.hostile {
            let _ = writeln!(text, "    stray answers delivered: {}", tally.strays);
        }
    }
    for tally in tallies {
        push_reasons(
            &mut text,
            tally,
            "failed although never taken up",
            &tally.needless_reasons,
        );
        push_reasons(
            &mut text,
            tally,
            "failed and taken up",
            &tally.taken_up_reasons,
        );
    }
    text
}

fn row(tally: &Tally) -> [String; 12] {
    let grounds: Vec<_> = tally
        .grounds
        .iter()
        .map(|(ground, count)| format!("{ground} {count}"))
        .collect();
    [
        tally.kind.name().into(),
        tally.mode.name().into(),
        tally.sent.to_string(),
        tally.ok.to_string(),
        tally.needless.to_string(),
        tally.refused.to_string(),
        tally.taken_up.to_string(),
        tally.twice.to_string(),
        tally.falsely_ok.to_string(),
        if grounds.is_empty() {
            "-".into()
        } else {
            grounds.join(", ")
        },
        format!("{:.1}", tally.quantile(0.50)),
        format!("{:.1}", tally.quantile(0.99)),
    ]
}

fn push(text: &mut String, row: &[String; 12], widths: &[usize; 12]) {
    for (column, (cell, &width)) in row.iter().zip(widths).enumerate() {
        let _ = match column {
            0 | 1 | 9 => write!(text, "{cell:width$}  "),
            _ => write!(text, "{cell:>width$}  "),
        };
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
}

fn push_reasons(text: &mut String, tally: &Tally, heading: &str, reasons: &BTreeMap<String, u64>) {
    let mut reasons: Vec<_> = reasons.iter().collect();
    reasons.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    if !reasons.is_empty() {
        let _ = writeln!(
            text,
            "\n{}, {}, {heading}:",
            tally.kind.name(),
            tally.mode.name()
        );
    }
    for (reason, count) in reasons.iter().take(5) {
        let _ = writeln!(text, "  {count:>6}  {reason}");
    }
    if reasons.len() > 5 {
        let rest: u64 = reasons[5..].iter().map(|&(_, count)| count).sum();
        let _ = writeln!(text, "  {rest:>6}  for other reasons");
    }
}

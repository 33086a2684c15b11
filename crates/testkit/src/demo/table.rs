//! Tables of text.

use std::fmt::Write;

use super::tally::{Counts, Reasons};

/// A column: the lines of its heading, and what it says of a row.
pub struct Column<T> {
    heading: [&'static str; 3],
    side: Side,
    text: fn(&T) -> String,
}

/// The side on which a column's text begins.
enum Side {
    Left,
    Right,
}

impl<T> Column<T> {
    /// A column of words.
    pub const fn left(heading: [&'static str; 3], text: fn(&T) -> String) -> Self {
        Self { heading, side: Side::Left, text }
    }

    /// A column of numbers.
    pub const fn right(heading: [&'static str; 3], text: fn(&T) -> String) -> Self {
        Self { heading, side: Side::Right, text }
    }

    /// The heading, a place for the rule below it, and a text for each row.
    fn cells(&self, rows: &[T]) -> Vec<String> {
        let heading = self.heading.into_iter().chain([""]).map(str::to_owned);
        heading.chain(rows.iter().map(self.text)).collect()
    }
}

/// Writes a table as wide as it takes.
pub fn render<T>(columns: &[Column<T>], rows: &[T]) -> String {
    let cells: Vec<Vec<String>> = columns.iter().map(|column| column.cells(rows)).collect();
    let mut text = String::new();
    for line in 0..rows.len() + 4 {
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
    text
}

/// Writes the resends by their grounds.
pub fn grounds(counts: &Counts) -> String {
    let grounds: Vec<_> =
        counts.grounds.iter().map(|(ground, count)| format!("{ground} {count}")).collect();
    if grounds.is_empty() { "-".into() } else { grounds.join(", ") }
}

/// Appends why calls failed, the most frequent reasons first, below a heading.
pub fn push_reasons(text: &mut String, heading: &str, reasons: &Reasons) {
    let mut reasons: Vec<_> = reasons.iter().collect();
    reasons.sort_by_key(|&(_, &(count, _))| std::cmp::Reverse(count));
    if !reasons.is_empty() {
        let _ = writeln!(text, "\n{heading}:");
    }
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

/// Writes a count in five characters at most: `99999`, `100k`, `2M`, `18E`.
pub fn short(count: u64) -> String {
    if count < 100_000 {
        return count.to_string();
    }
    let mut rest = count;
    let mut unit = ' ';
    for next in "kMGTPE".chars() {
        if rest < 1000 {
            break;
        }
        rest /= 1000;
        unit = next;
    }
    format!("{rest}{unit}")
}

/// Writes a figure in six characters at most: with a decimal where that says more.
pub fn short_figure(figure: f64) -> String {
    match figure {
        _ if figure.is_nan() => "-".into(),
        _ if figure.fract() == 0.0 || figure >= 100.0 => short(figure as u64),
        _ => format!("{figure:.1}"),
    }
}

//! The table.

use testkit::demo::table::{self, Column};

use super::load::Kind;
use super::tally::Tally;

const COLUMNS: [Column<Tally>; 12] = [
    Column::left(["", "", "client"], |tally| tally.kind.name().into()),
    Column::left(["", "", "plan"], |tally| tally.plan.name().into()),
    Column::right(["", "", "deployed"], |tally| tally.deployed.to_string()),
    Column::right(["", "", "sent"], |tally| tally.sent.to_string()),
    Column::right(["", "", "ok"], |tally| tally.ok.to_string()),
    Column::right(["failed although", "never", "dispatched"], |tally| tally.later().to_string()),
    Column::right(["the same,", "first on its", "connection"], first),
    Column::right(["", "connect", "refused"], |tally| tally.refused.to_string()),
    Column::right(["failed", "and", "dispatched"], |tally| tally.dispatched.to_string()),
    Column::right(["", "executed", "twice"], |tally| tally.twice.to_string()),
    Column::right(["", "falsely", "successful"], |tally| tally.falsely_ok.to_string()),
    Column::left(["", "resends", "by ground"], |tally| table::grounds(tally)),
];

/// Writes the tallies as a table, and below it why calls failed.
pub(super) fn render(tallies: &[Tally]) -> String {
    let mut text = table::render(&COLUMNS, tallies);
    for tally in tallies {
        let (client, plan) = (tally.kind.name(), tally.plan);
        let heading = format!("{client}, {plan}, failed although never dispatched");
        table::push_reasons(&mut text, &heading, &tally.needless_reasons);
    }
    text
}

/// Only our client knows which request was the first on its connection.
fn first(tally: &Tally) -> String {
    match tally.kind {
        Kind::TowerResend => tally.first.to_string(),
        Kind::HyperUtil | Kind::Curl => "-".into(),
    }
}

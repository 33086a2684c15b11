//! The decision core: the rule, the ledger, the wire field, the verdict table and its laws.

mod contract_field;
mod kernel_rule;
mod ledger_model;
mod verdict_laws;
mod verdict_table;

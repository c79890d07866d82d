//! `Incident::apply` and `Incident::work`: the whole table, the telling ways through it, and what holds
//! for any sequence of entries.
#![expect(clippy::unwrap_used, reason = "a test's own data is well formed")]

#[path = "incident/cases.rs"]
mod cases;
#[path = "incident/leases.rs"]
mod leases;
#[path = "incident/properties.rs"]
mod properties;
#[path = "incident/table.rs"]
mod table;
#[path = "incident/tale.rs"]
mod tale;

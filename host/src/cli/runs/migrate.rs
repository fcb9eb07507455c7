//! `pipehost runs migrate`: runs go over to the revision in force, or it is said what hinders them.

use crate::app::{MigrationRow, MigrationWanted, MigrationWord};
use crate::cli::arguments::Migrate;
use crate::cli::asking::{Broken, Source, print, print_json};
use crate::cli::exit::{Exit, say};
use crate::cli::style::harmless;
use crate::control::Request;

/// Asks for it, and tells what came of each run. Good, if none is hindered.
pub(super) async fn migrate(arguments: &Migrate, source: &Source) -> Result<Exit, Broken> {
    let wanted = MigrationWanted { run: arguments.run.clone(), dry_run: arguments.dry_run };
    let (rows, _): (Vec<MigrationRow>, u64) = source.list(&Request::Migrate(wanted)).await?;
    match (arguments.asking.json, rows.is_empty()) {
        (true, _) => print_json(&rows)?,
        (false, true) => say("every run belongs to the revision in force\n"),
        (false, false) => print(&rows.iter().map(text).collect::<String>())?,
    }
    let is_hindered = rows.iter().any(|row| row.outcome == MigrationWord::Hindered);
    Ok(if is_hindered { Exit::Failed } else { Exit::Good })
}

fn text(row: &MigrationRow) -> String {
    let (run, flow, from) = (row.run, &row.flow, row.from.short());
    let to = row.to.as_ref().map_or_else(|| "none".to_owned(), crate::model::id::Digest::short);
    let words = match row.outcome {
        MigrationWord::Migrated => format!("went over from {from} to {to}"),
        MigrationWord::Possible => format!("can go over from {from} to {to}"),
        MigrationWord::Already => format!("belongs to {to} already"),
        MigrationWord::Hindered => {
            let why: String = row.hindered.iter().map(|why| format!("\n  - {}", harmless(why))).collect();
            format!("stays with {from}:{why}")
        }
    };
    format!("run {run} ({flow}) {words}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::{Digest, RunId};

    #[test]
    fn each_run_is_told_with_what_came_of_it() {
        let row = |outcome, hindered: &[&str]| MigrationRow {
            run: RunId::new(uuid::Uuid::nil()),
            flow: "order.main".to_owned(),
            from: Digest::of(b"old"),
            to: Some(Digest::of(b"new")),
            outcome,
            hindered: hindered.iter().map(|why| (*why).to_owned()).collect(),
        };
        let (from, to) = (Digest::of(b"old").short(), Digest::of(b"new").short());
        let run = "run 00000000-0000-0000-0000-000000000000 (order.main)";
        for (row, words) in [
            (row(MigrationWord::Migrated, &[]), format!("{run} went over from {from} to {to}\n")),
            (row(MigrationWord::Possible, &[]), format!("{run} can go over from {from} to {to}\n")),
            (row(MigrationWord::Already, &[]), format!("{run} belongs to {to} already\n")),
            (row(MigrationWord::Hindered, &["one", "other"]), format!("{run} stays with {from}:\n  - one\n  - other\n")),
        ] {
            assert_eq!(text(&row), words);
        }
    }
}

//! What stands where a journal is looked for: one that can be examined, none yet, or what is left of one of which nothing can be read.
//!
//! Decided in one place, so that no command says of a journal that is lost that it is only empty, and is begun anew with the next start.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use rusqlite::ErrorCode;

use super::findings::Problem;
use super::mark::{Mark, Reading};
use super::verify::mark_path;
use super::{connection, schema};
use crate::model::failure::Failure;

/// What stands in the place of a journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// No host has told anybody that something is kept here: one that starts makes the journal.
    Nothing,
    /// A file of format 0, which had no account of its rows: a host that starts brings it to this format.
    Older,
    /// A journal with an account of its rows.
    Journal,
    /// There was one, and nothing of it can be read.
    Lost(Problem),
}

/// What stands at this path. Blocks; changes nothing, and may be done while a host writes.
///
/// # Errors
/// With [`CANNOT_OPEN`](connection::CANNOT_OPEN) if that cannot be known, with [`NEWER`](schema::NEWER) for what a newer host has written.
pub(super) fn of(path: &Path) -> Result<Standing, Failure> {
    let mark_file = mark_path(path);
    let mark = Reading::at(&mark_file)
        .map_err(|error| connection::of_system(&mark_file, &error, "check that the file and its folder may be read by this user"))?;
    // The mark is made after the tables are in the file, so that it proves that there were some.
    let lost = |why: &str| match mark {
        Reading::Absent => Standing::Nothing,
        Reading::Damaged => nothing(why, None),
        Reading::Mark(mark) => nothing(why, Some(mark)),
    };
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(lost("the file journal.db is gone")),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return Err(connection::of_system(path, &error, "do this as the user that the data folder belongs to"));
        }
        // SQLite deletes the log of a file that is empty when it opens it: what somebody may still find there.
        Ok(known) if known.is_file() && known.len() == 0 => return Ok(lost("the file journal.db is empty")),
        _ => {}
    }
    let read = connection::reader(path).and_then(|connection| Ok((schema::format(&connection)?, schema::tables(&connection)?)));
    match read {
        Ok((format, _)) if format > schema::FORMAT => Err(schema::newer(path, format)),
        Ok((1.., _)) => Ok(Standing::Journal),
        Ok((_, 0)) => Ok(lost("the file journal.db has no tables")),
        Ok(_) if mark == Reading::Absent => Ok(Standing::Older),
        // Format 0 had no mark.
        Ok(_) => Ok(lost("the file journal.db does not say of which format it is")),
        Err(error) if matches!(error.sqlite_error_code(), Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)) => {
            let known = if let Reading::Mark(mark) = mark { Some(mark) } else { None };
            Ok(nothing(&format!("the file journal.db is damaged ({error})"), known))
        }
        Err(error) => Err(connection::of(path, &error)),
    }
}

fn nothing(why: &str, mark: Option<Mark>) -> Standing {
    Standing::Lost(Problem::Nothing { why: why.to_owned(), mark })
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::journal::sqlite::FILE;
    use crate::journal::sqlite::tests::workload::filled;

    /// What is done to a journal's file.
    type Damage<'d> = &'d dyn Fn(&Path);

    /// What stands in a folder after this was done to a journal with its mark, and what without the mark.
    async fn after(damage: impl Fn(&Path)) -> [Result<Standing, Failure>; 2] {
        let folder = filled(3).await;
        let path = folder.path().join(FILE);
        damage(&path);
        let marked = of(&path);
        fs::remove_file(mark_path(&path)).expect("it is there");
        [marked, of(&path)]
    }

    /// The sentence of a journal that is lost.
    fn sentence(standing: &Result<Standing, Failure>) -> String {
        match standing {
            Ok(Standing::Lost(problem)) => problem.to_string(),
            other => panic!("it is lost: {other:?}"),
        }
    }

    #[tokio::test]
    async fn a_file_that_is_gone_or_without_tables_is_lost_where_a_mark_proves_that_there_was_one() {
        let remove = |path: &Path| fs::remove_file(path).expect("it is there");
        let empty = |path: &Path| fs::write(path, "").expect("written");
        let bare = |path: &Path| {
            remove(path);
            let bare = Connection::open(path).expect("it can be made");
            bare.execute_batch("CREATE TABLE t (a); DROP TABLE t").expect("the statements are right");
        };
        let damages: [(Damage<'_>, &str); 3] = [
            (&remove, "the file journal.db is gone: nothing can be read of "),
            (&empty, "the file journal.db is empty: nothing can be read of "),
            (&bare, "the file journal.db has no tables: nothing can be read of "),
        ];
        for (damage, begins) in damages {
            let [marked, unmarked] = after(damage).await;
            let sentence = sentence(&marked);
            assert!(sentence.starts_with(begins) && sentence.contains(" transactions up to row "), "{sentence}");
            assert_eq!(unmarked, Ok(Standing::Nothing), "{begins}");
        }
    }

    #[tokio::test]
    async fn what_is_no_database_any_more_is_lost_with_a_mark_and_without() {
        for standing in after(|path| fs::write(path, "no journal at all".repeat(1_000)).expect("written")).await {
            assert!(sentence(&standing).starts_with("the file journal.db is damaged (file is not a database): "), "{standing:?}");
        }
        let half = |path: &Path| fs::File::options().write(true).open(path).and_then(|file| file.set_len(100)).expect("cut");
        for standing in after(half).await {
            assert!(sentence(&standing).starts_with("the file journal.db is damaged ("), "{standing:?}");
        }
    }

    #[tokio::test]
    async fn a_good_journal_is_one_and_what_a_newer_host_has_written_is_refused() {
        assert_eq!(after(|_| ()).await, [Ok(Standing::Journal), Ok(Standing::Journal)]);
        let set = |statement: &'static str| {
            move |path: &Path| Connection::open(path).and_then(|tool| tool.execute_batch(statement)).expect("the statement is right")
        };
        for refused in after(set("PRAGMA user_version = 7")).await {
            assert_eq!(refused.expect_err("it is newer").code.as_deref(), Some(schema::NEWER));
        }
        let [marked, unmarked] = after(set("PRAGMA user_version = 0")).await;
        assert!(sentence(&marked).contains("does not say of which format it is"));
        assert_eq!(unmarked, Ok(Standing::Older));
    }
}

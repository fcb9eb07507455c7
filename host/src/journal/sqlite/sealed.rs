//! Whether what the journal has sealed can be opened still: whether the key is there, and is the one with which that was sealed.

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, Error};

use super::findings::Problem;
use super::payload::{Payloads, Stored};
use super::seal::Sealer;
use super::verify::Depth;

/// By which a seal is known in a text of the journal. Within other texts of it quotes are escaped, and names that begin with a `$` have one more.
const BEGINS: &str = "\"$sealed\":\"";

/// Where seals may stand: the table, and its column.
const PLACES: [(&str, &str); 3] = [("journal", "facts"), ("events", "data"), ("kept", "value")];

/// What is wrong with the key of this data folder, or with what was sealed. A start looks only whether the key is gone: one that cannot be used refuses
/// the start by itself, and what another key has sealed hinders nobody but whoever needs it.
pub(super) fn look(connection: &Connection, folder: &Path, depth: Depth) -> Option<Problem> {
    match Sealer::if_there(folder, Arc::new(|_| Some(String::new()))) {
        Ok(Some(_)) | Err(_) if depth == Depth::Start => None,
        Ok(Some(sealer)) => {
            let rows = rows(connection, folder, |sealed| !sealer.opens(sealed))?;
            (rows > 0).then_some(Problem::OtherKey { rows })
        }
        Ok(None) => {
            let rows = rows(connection, folder, |_| true)?;
            (rows > 0).then_some(Problem::NoKey { rows })
        }
        Err(failure) => Some(Problem::Key(failure.into_particulars().message)),
    }
}

/// In how many rows a seal is of this kind; `None` if they cannot be read, which is found elsewhere.
fn rows(connection: &Connection, folder: &Path, is_of_it: impl Fn(&str) -> bool) -> Option<u64> {
    let payloads = Payloads::of(folder, false);
    let count = |(table, column)| {
        let sql = format!("SELECT {column}, payload FROM {table} WHERE payload IS NOT NULL OR instr({column}, ?1) > 0");
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([BEGINS])?;
        let mut found = 0;
        while let Some(row) = rows.next()? {
            // A large value whose file is gone is told by whoever looks at the files.
            let text = Stored::of(row, 0)?.text(&payloads).unwrap_or_default();
            found += u64::from(seals(&text).any(&is_of_it));
        }
        Ok::<_, Error>(found)
    };
    PLACES.into_iter().map(count).sum::<Result<u64, Error>>().ok()
}

/// What stands in a text as sealed.
fn seals(text: &str) -> impl Iterator<Item = &str> {
    text.split(BEGINS).skip(1).filter_map(|rest| rest.split('"').next())
}

//! Whether the indexes say what the tables say: a row that its index has lost is there, and is never found.
//!
//! SQLite's own `integrity_check` looks every row up in every index, which takes six times as long as reading all of them once and comparing sums.
//! `quick_check`, which looks at the structure of the pages, leaves this out.

use std::hash::{DefaultHasher, Hash, Hasher};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error};

/// An index, and how to read what it has to hold.
struct Index {
    name: String,
    columns: String,
    /// `WHERE …`, if it does not hold all rows.
    condition: String,
}

/// The indexes of a table that do not hold exactly what the table does.
///
/// # Errors
/// What SQLite says.
pub(super) fn astray(connection: &Connection, table: &str) -> Result<Vec<String>, Error> {
    let mut astray = Vec::new();
    let (itself, indexes) = of(connection, table)?;
    for Index { name, columns, condition } in indexes {
        let through = |how: &str| sum(connection, &format!("SELECT {columns} FROM {table} {how}{condition}"));
        if through(&format!("INDEXED BY {name}"))? != through(&itself)? {
            astray.push(name);
        }
    }
    Ok(astray)
}

/// How many rows a query gives, and a sum over them that does not depend on their order.
fn sum(connection: &Connection, query: &str) -> Result<(u64, u64), Error> {
    let mut statement = connection.prepare(query)?;
    let columns = statement.column_count();
    let mut rows = statement.query([])?;
    let (mut count, mut sum) = (0, 0_u64);
    while let Some(row) = rows.next()? {
        let mut hasher = DefaultHasher::new();
        for column in 0..columns {
            match row.get_ref(column)? {
                ValueRef::Null => 0_u8.hash(&mut hasher),
                ValueRef::Integer(number) => (1_u8, number).hash(&mut hasher),
                ValueRef::Real(number) => (2_u8, number.to_bits()).hash(&mut hasher),
                ValueRef::Text(text) => (3_u8, text).hash(&mut hasher),
                ValueRef::Blob(bytes) => (4_u8, bytes).hash(&mut hasher),
            }
        }
        count += 1;
        sum = sum.wrapping_add(hasher.finish());
    }
    Ok((count, sum))
}

/// How a table itself is read, and its indexes. Where the table is an index, that has to be named: SQLite would read a smaller one in its place.
fn of(connection: &Connection, table: &str) -> Result<(String, Vec<Index>), Error> {
    let is_index: bool = connection.query_row("SELECT wr FROM pragma_table_list(?1) WHERE schema = 'main'", [table], |row| row.get(0))?;
    let mut statement = connection.prepare(
        "SELECT list.name, list.origin, schema.sql FROM pragma_index_list(?1) AS list
         LEFT JOIN main.sqlite_schema AS schema ON schema.name = list.name",
    )?;
    let known = statement.query_map([table], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let known: Vec<(String, String, Option<String>)> = known.collect::<Result<_, _>>()?;
    let (mut itself, mut indexes) = ("NOT INDEXED".to_owned(), Vec::new());
    for (name, origin, sql) in known {
        if is_index && origin == "pk" {
            itself = format!("INDEXED BY {name}");
            continue;
        }
        let mut statement = connection.prepare("SELECT coalesce(name, 'rowid') FROM pragma_index_xinfo(?1) ORDER BY seqno")?;
        let columns = statement.query_map([&name], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
        let condition = sql.and_then(|sql| Some(format!(" WHERE {}", sql.split_once(" WHERE ")?.1)));
        indexes.push(Index { name, columns: columns.join(", "), condition: condition.unwrap_or_default() });
    }
    Ok((itself, indexes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> Connection {
        let connection = Connection::open_in_memory().expect("there is memory");
        let tables = "CREATE TABLE one (key BLOB PRIMARY KEY, other INTEGER, maybe INTEGER);
             CREATE INDEX one_other ON one (other);
             CREATE INDEX one_maybe ON one (maybe) WHERE maybe IS NOT NULL;
             CREATE TABLE two (key TEXT PRIMARY KEY, other INTEGER) WITHOUT ROWID;
             CREATE INDEX two_other ON two (other);
             WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 500)
             INSERT INTO one SELECT cast(n AS BLOB), n % 7, CASE n % 3 WHEN 0 THEN n END FROM numbers;
             INSERT INTO two SELECT key, other FROM one;";
        connection.execute_batch(tables).expect("made");
        connection
    }

    #[test]
    fn sound_indexes_say_what_their_tables_say() {
        let connection = filled();
        let names = |table| of(&connection, table).expect("it is there").1.into_iter().map(|index| index.name).collect::<Vec<_>>();
        assert_eq!(names("one"), ["one_maybe", "one_other", "sqlite_autoindex_one_1"]);
        assert_eq!(names("two"), ["two_other"]);
        for table in ["one", "two"] {
            assert_eq!(astray(&connection, table).expect("it can be read"), Vec::<String>::new());
        }
    }

    #[test]
    fn an_index_that_lacks_a_row_is_named() {
        let connection = filled();
        for (table, index) in [("one", "one_other"), ("two", "two_other")] {
            // A row that is written while SQLite does not know of the index.
            let forget = format!(
                "PRAGMA writable_schema=ON; CREATE TABLE hidden_{index} AS SELECT * FROM sqlite_schema WHERE name = '{index}';
                 DELETE FROM sqlite_schema WHERE name = '{index}'; PRAGMA writable_schema=RESET;
                 INSERT INTO {table} (key, other) VALUES (x'00', 3);
                 PRAGMA writable_schema=ON; INSERT INTO sqlite_schema SELECT * FROM hidden_{index}; PRAGMA writable_schema=RESET;"
            );
            connection.execute_batch(&forget).expect("changed");
            assert_eq!(astray(&connection, table).expect("it can be read"), [index]);
        }
    }
}

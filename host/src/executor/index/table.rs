//! The tables of an index.

use std::collections::BTreeMap;

use super::chunk::Chunk;
use crate::executor::database::{Cell, Session};
use crate::model::failure::Failure;
use crate::model::id::Digest;
use crate::model::value::{Map, Tree, Value};

/// `documents` says which rows of `chunks` are whose: full-text tables can only be searched by words and row ids.
/// A file has a digest, a text that was put in has none.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS documents (id TEXT PRIMARY KEY, digest TEXT, first_row INTEGER NOT NULL, chunks INTEGER NOT NULL) STRICT;
    CREATE VIRTUAL TABLE IF NOT EXISTS chunks USING fts5(
        heading, text, document UNINDEXED, ordinal UNINDEXED, first_line UNINDEXED, last_line UNINDEXED,
        tokenize = 'porter unicode61 remove_diacritics 2'
    );";

/// A word in a heading counts as much as two in the text.
const SEARCH: &str = "
    SELECT document, ordinal, heading, first_line, last_line, text, bm25(chunks, 2.0, 1.0) AS score
    FROM chunks WHERE chunks MATCH ?1 ORDER BY score, document, ordinal LIMIT ?2";

pub(super) fn create(session: &Session<'_>) -> Result<(), Failure> {
    session.batch(SCHEMA)
}

/// The files and their digests.
pub(super) fn files(session: &Session<'_>) -> Result<BTreeMap<String, DigestText>, Failure> {
    let rows = session.rows("SELECT id, digest FROM documents WHERE digest IS NOT NULL", &[])?;
    let pairs = rows.into_iter().filter_map(|row| {
        let [id, digest] = <[Cell; 2]>::try_from(row).ok()?;
        Some((id.into_text(), DigestText(digest.into_text())))
    });
    Ok(pairs.collect())
}

/// A digest as it stands in the table.
pub(super) struct DigestText(String);

impl PartialEq<Digest> for DigestText {
    fn eq(&self, digest: &Digest) -> bool {
        self.0 == digest.to_string()
    }
}

pub(super) fn replace(session: &Session<'_>, id: &str, digest: Option<&Digest>, chunks: &[Chunk]) -> Result<(), Failure> {
    remove(session, id)?;
    let next = session.rows("SELECT coalesce(max(first_row + chunks), 1) FROM documents", &[])?;
    let first_row = next.first().and_then(|row| row.first()).map_or(1, Cell::as_int);
    let digest = digest.map_or(Cell::Null, |digest| Cell::text(digest.to_string()));
    let document = [Cell::text(id), digest, Cell::Int(first_row), whole(chunks.len())];
    session.run("INSERT INTO documents (id, digest, first_row, chunks) VALUES (?1, ?2, ?3, ?4)", &document)?;
    for (chunk, index) in chunks.iter().zip(0_i64..) {
        let cells = [
            Cell::Int(first_row + index),
            Cell::text(&*chunk.heading),
            Cell::text(&*chunk.text),
            Cell::text(id),
            Cell::Int(index + 1),
            whole(chunk.first_line),
            whole(chunk.last_line),
        ];
        let insert =
            "INSERT INTO chunks (rowid, heading, text, document, ordinal, first_line, last_line) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        session.run(insert, &cells)?;
    }
    Ok(())
}

pub(super) fn remove(session: &Session<'_>, id: &str) -> Result<(), Failure> {
    let rows = session.rows("SELECT first_row, first_row + chunks FROM documents WHERE id = ?1", &[Cell::text(id)])?;
    for range in rows {
        session.run("DELETE FROM chunks WHERE rowid >= ?1 AND rowid < ?2", &range)?;
    }
    session.run("DELETE FROM documents WHERE id = ?1", &[Cell::text(id)]).map(|_| ())
}

/// How many files and how many chunks.
pub(super) fn counts(session: &Session<'_>) -> Result<(usize, usize), Failure> {
    let rows = session.rows("SELECT count(digest), coalesce(sum(chunks), 0) FROM documents", &[])?;
    let count = |index: usize| rows.first().and_then(|row| row.get(index)).map_or(0, |cell| usize::try_from(cell.as_int()).unwrap_or(0));
    Ok((count(0), count(1)))
}

pub(super) fn search(session: &Session<'_>, matching: &str, top_k: u32) -> Result<Value, Failure> {
    let rows = session.rows(SEARCH, &[Cell::text(matching), Cell::Int(i64::from(top_k))])?;
    Ok(Value::from(Tree::List(rows.into_iter().filter_map(hit).collect())))
}

fn hit(row: Vec<Cell>) -> Option<Tree> {
    let [document, ordinal, heading, first_line, last_line, text, score] = <[Cell; 7]>::try_from(row).ok()?;
    let document = document.into_text();
    let lines = match (first_line.as_int(), last_line.as_int()) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    };
    // BM25 counts downwards here; seven places, so that the last bits of a sum are nobody's business.
    let score = (-score.as_float() * 1e7).round() / 1e7;
    let fields = [
        ("id", Tree::from(format!("{document}#{}", ordinal.as_int()))),
        ("text", Tree::from(text.into_text())),
        ("file", Tree::from(document)),
        ("lines", Tree::from(lines)),
        ("heading", Tree::from(heading.into_text())),
        ("score", Tree::from(score)),
    ];
    Some(Tree::Map(fields.into_iter().map(|(name, field)| (name.to_owned(), field)).collect::<Map>()))
}

fn whole(number: usize) -> Cell {
    Cell::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

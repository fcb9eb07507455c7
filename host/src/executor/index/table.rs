//! The tables of an index.

use std::collections::BTreeMap;

use super::chunk::Chunk;
use super::find::{dimensions, text_of};
use super::vector::Vector;
use crate::executor::database::{Cell, Session};
use crate::model::failure::Failure;
use crate::model::id::Digest;
use crate::model::value::{Map, Tree, Value};

/// `documents` says which rows of `chunks` are whose: full-text tables can only be searched by words and row ids.
/// A file has a digest, a text that was put in has none. `vectors` and `data` have what texts were put in with: tables of their own,
/// so that an index of an earlier version is one of this version as soon as it is opened. A text with a vector is one chunk.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS documents (id TEXT PRIMARY KEY, digest TEXT, first_row INTEGER NOT NULL, chunks INTEGER NOT NULL) STRICT;
    CREATE VIRTUAL TABLE IF NOT EXISTS chunks USING fts5(
        heading, text, document UNINDEXED, ordinal UNINDEXED, first_line UNINDEXED, last_line UNINDEXED,
        tokenize = 'porter unicode61 remove_diacritics 2'
    );
    CREATE TABLE IF NOT EXISTS vectors (document TEXT PRIMARY KEY, vector BLOB NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS data (document TEXT PRIMARY KEY, json TEXT NOT NULL) STRICT;";

/// A word in a heading counts as much as two in the text.
const SEARCH: &str = "
    SELECT document, ordinal, heading, first_line, last_line, text, bm25(chunks, 2.0, 1.0) AS score
    FROM chunks WHERE chunks MATCH ?1 ORDER BY score, document, ordinal LIMIT ?2";

/// The same order without the texts, which a deep search would only carry about.
const RANKED: &str = "
    SELECT rowid, bm25(chunks, 2.0, 1.0) AS score FROM chunks WHERE chunks MATCH ?1 ORDER BY score, document, ordinal LIMIT ?2";

const PASSAGE: &str = "SELECT document, ordinal, heading, first_line, last_line, text, ?2 FROM chunks WHERE rowid = ?1";

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
    for table in ["DELETE FROM vectors WHERE document = ?1", "DELETE FROM data WHERE document = ?1", "DELETE FROM documents WHERE id = ?1"]
    {
        session.run(table, &[Cell::text(id)])?;
    }
    Ok(())
}

/// What a text is put in with beside itself.
pub(super) fn attach(session: &Session<'_>, id: &str, vector: Option<&Vector>, data: Option<&str>) -> Result<(), Failure> {
    if let Some(vector) = vector {
        let others = session.rows("SELECT length(vector) / 4 FROM vectors LIMIT 1", &[])?;
        if let Some(stored) =
            others.first().and_then(|row| row.first()).map(Cell::as_int).filter(|stored| *stored != vector.dimensions() as i64)
        {
            return Err(dimensions(vector, usize::try_from(stored).unwrap_or_default()));
        }
        session.run("INSERT INTO vectors (document, vector) VALUES (?1, ?2)", &[Cell::text(id), Cell::Bytes(vector.to_bytes())])?;
    }
    if let Some(data) = data {
        session.run("INSERT INTO data (document, json) VALUES (?1, ?2)", &[Cell::text(id), Cell::text(data)])?;
    }
    Ok(())
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

/// The rows of the passages that words fit best, with their scores, best first.
pub(super) fn ranked(session: &Session<'_>, matching: &str, most: u32) -> Result<Vec<(i64, f64)>, Failure> {
    let rows = session.rows(RANKED, &[Cell::text(matching), Cell::Int(i64::from(most))])?;
    let pair = |row: Vec<Cell>| <[Cell; 2]>::try_from(row).ok().map(|[row, score]| (row.as_int(), -score.as_float()));
    Ok(rows.into_iter().filter_map(pair).collect())
}

/// The passage of a row as a hit with that score.
pub(super) fn passage(session: &Session<'_>, row: i64, score: f64) -> Result<Option<Tree>, Failure> {
    Ok(session.rows(PASSAGE, &[Cell::Int(row), Cell::Float(-score)])?.into_iter().next().and_then(hit))
}

/// The data that the text of a hit was put in with; null if there is none.
pub(super) fn data(session: &Session<'_>, hit: &Map) -> Result<Tree, Failure> {
    let rows = session.rows("SELECT json FROM data WHERE document = ?1", &[Cell::text(text_of(hit, "file"))])?;
    let json = rows.into_iter().flatten().next().map(Cell::into_text);
    Ok(json.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or(Tree::Null))
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

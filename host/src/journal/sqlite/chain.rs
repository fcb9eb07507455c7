//! What ties a row of the journal to the one before it.

use crate::model::id::{Digest, RunId};

/// What of a row is told by its digest.
pub(super) struct Row<'a> {
    /// Its place in the journal, from 1.
    pub(super) position: i64,
    /// Its run.
    pub(super) run: RunId,
    /// The number of its first fact.
    pub(super) first: u64,
    /// How many facts it has.
    pub(super) count: u64,
    /// The facts, or the digest of the file that holds them.
    pub(super) content: &'a str,
}

/// The digest of a row that follows on one with the digest `previous`; the first row follows on [`ORIGIN`].
pub(super) fn digest(previous: &Digest, row: &Row<'_>) -> Digest {
    let run = row.run.as_uuid();
    Digest::of_parts([
        &previous.as_bytes()[..],
        &row.position.to_le_bytes(),
        run.as_bytes(),
        &row.first.to_le_bytes(),
        &row.count.to_le_bytes(),
        row.content.as_bytes(),
    ])
}

/// What the first row of a journal follows on.
pub(super) const ORIGIN: &[u8] = b"pipehost journal 1";

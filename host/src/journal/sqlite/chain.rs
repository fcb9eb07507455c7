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
    /// The facts.
    pub(super) content: Content<'a>,
}

/// What of a row's facts goes into its digest.
#[derive(Clone, Copy)]
pub(super) enum Content<'a> {
    /// Their own digest, which whoever gives them makes: the thread that writes need not go over them.
    Digest(Digest),
    /// So it was in format 1: the facts, or the name of the file that has them.
    Text(&'a str),
}

impl<'a> Content<'a> {
    /// That of a row in a file of this format, which has the facts or the name of their file; `None` if it has neither.
    pub(super) fn of(format: i32, facts: Option<&'a str>, file: Option<&'a str>) -> Option<Self> {
        match (facts, file) {
            (facts, file) if format < 2 => facts.or(file).map(Self::Text),
            (Some(facts), _) => Some(Self::Digest(Digest::of(facts.as_bytes()))),
            (None, file) => Digest::from_hex(file?).map(Self::Digest),
        }
    }
}

/// The digest of a row that follows on one with the digest `previous`; the first row follows on [`ORIGIN`].
pub(super) fn digest(previous: &Digest, row: &Row<'_>) -> Digest {
    let run = row.run.as_uuid();
    let (position, first, count) = (row.position.to_le_bytes(), row.first.to_le_bytes(), row.count.to_le_bytes());
    match &row.content {
        Content::Digest(content) => {
            // Each part has one length, so that no two rows meet. In one piece: a digest of many small ones takes several times as long.
            let mut parts = Vec::with_capacity(LENGTH);
            parts.extend_from_slice(previous.as_bytes());
            parts.extend_from_slice(&position);
            parts.extend_from_slice(run.as_bytes());
            parts.extend_from_slice(&first);
            parts.extend_from_slice(&count);
            parts.extend_from_slice(content.as_bytes());
            Digest::of(&parts)
        }
        Content::Text(text) => Digest::of_parts([&previous.as_bytes()[..], &position, run.as_bytes(), &first, &count, text.as_bytes()]),
    }
}

/// How many bytes tell of a row.
const LENGTH: usize = 32 + 8 + 16 + 8 + 8 + 32;

/// What the first row of a journal follows on.
pub(super) const ORIGIN: &[u8] = b"pipehost journal 1";

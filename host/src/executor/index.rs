//! Indexes of documents: Markdown files that are followed, and texts that executors put in, with vectors if they have them.
//!
//! An index is a SQLite file of our own (FTS5, ranked by BM25; vectors beside it, compared one by one). The files are the truth: what is indexed is compared with
//! them by content, so that a file that did not change costs its reading and nothing else.

mod chunk;
mod documents;
mod find;
mod merge;
mod query;
mod table;
mod vector;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use self::documents::Documents;
use super::database::Database;
use crate::model::failure::{Failure, FailureKind};
use crate::model::happening::{Happening, What};
use crate::model::id::Digest;
use crate::model::port::{Clock, Sink};
use crate::model::value::{Tree, Value};

pub use documents::{BadPattern, MAX_FILE, MAX_FILES};
pub use find::{DEEPEST, Search};
pub use merge::{K, merge};
pub use vector::{MAX_DIMENSIONS, Vector};

/// The largest text that can be put in, in bytes.
pub const MAX_TEXT: usize = 4 << 20;
/// The largest data that a text can be put in with, in bytes of JSON.
pub const MAX_DATA: usize = 64 << 10;
/// The longest id of a text that is put in, in bytes.
pub const MAX_ID: usize = 1 << 10;

/// Whether any file matches a pattern beneath a folder; a pattern that is none is said elsewhere, and has what it needs here.
pub fn has_documents(folder: &Path, pattern: &str) -> bool {
    Documents::new(folder, pattern).map_or(true, |documents| documents.any())
}

/// An open index.
pub struct Index {
    name: String,
    database: Arc<Database>,
    /// `None` for an index of nothing but what executors put in.
    documents: Option<Arc<Documents>>,
    clock: Arc<dyn Clock>,
    sink: Arc<dyn Sink>,
    /// What was said of a file is said once for each content. No more entries than files are looked at.
    told: Arc<Mutex<BTreeMap<String, Option<Digest>>>>,
}

/// What an index is made of.
pub struct Settings {
    /// Its name for people, as `chatbot/docs`.
    pub name: String,
    /// The files that it follows: the folder, and the pattern beneath it, as `docs/**/*.md`. `None` for an index of nothing but what
    /// executors put in.
    pub files: Option<(PathBuf, String)>,
    /// Its own file.
    pub database: Arc<Database>,
    /// Tells the time of happenings.
    pub clock: Arc<dyn Clock>,
    /// Hears what was indexed and what was skipped.
    pub sink: Arc<dyn Sink>,
}

/// A text to put in, with all that it can be found by.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Entry {
    /// What it is found and replaced by.
    pub id: String,
    /// Markdown or plain text.
    pub text: String,
    /// What it means, as a model says. A text with a vector is one passage, however long it is.
    pub vector: Option<Vector>,
    /// What a hit brings along: any JSON.
    pub data: Option<Value>,
}

/// A file that was not indexed, and why not.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Skipped {
    file: String,
    /// Of its content, where it could be read.
    digest: Option<Digest>,
    reason: String,
}

impl Index {
    /// Opens an index; its documents are read by [`Index::refresh`].
    ///
    /// # Errors
    /// A pattern that is wrong.
    pub fn new(settings: Settings) -> Result<Self, BadPattern> {
        Ok(Self {
            name: settings.name,
            database: settings.database,
            documents: settings.files.map(|(folder, pattern)| Documents::new(&folder, &pattern)).transpose()?.map(Arc::new),
            clock: settings.clock,
            sink: settings.sink,
            told: Arc::default(),
        })
    }

    /// Its name for people, as `chatbot/docs`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder beneath which all its files are: what to watch. `None` if it follows no files.
    pub fn watched_folder(&self) -> Option<&Path> {
        self.documents.as_ref().map(|documents| documents.base())
    }

    /// Whether a change of that file or folder may change what is indexed.
    pub fn concerns(&self, path: &Path) -> bool {
        self.documents.as_ref().is_some_and(|documents| documents.concerns(path))
    }

    /// Reads the documents whose files changed and forgets those whose files are gone, all in one transaction, and
    /// reports [`What::Indexed`] if anything changed or `always` is set. A file that cannot be read is reported and skipped.
    ///
    /// # Errors
    /// As [`Database::execute`], or that the folder cannot be read.
    pub async fn refresh(&self, always: bool) -> Result<(), Failure> {
        let documents = self.documents.clone();
        let done = self.database.write(move |session| {
            table::create(session)?;
            let mut gone = table::files(session)?;
            let mut changed = false;
            let mut skipped = Vec::new();
            for found in documents.map_or_else(|| Ok(Vec::new()), |documents| documents.find())? {
                match found.and_then(|found| found.read()) {
                    Err(not_read) => skipped.push(not_read),
                    Ok(read) => match gone.remove(&read.file) {
                        Some(digest) if digest == read.digest => {}
                        _ => {
                            table::replace(session, &read.file, Some(&read.digest), &chunk::chunks(&read.text))?;
                            changed = true;
                        }
                    },
                }
            }
            // A file that can no longer be read goes too: its lines are not what they were.
            for file in gone.keys() {
                table::remove(session, file)?;
                changed = true;
            }
            Ok((changed, skipped, table::counts(session)?))
        });
        let (changed, skipped, (files, chunks)) = done.await?;
        self.tell_skipped(skipped);
        if changed || always {
            self.tell(What::Indexed { index: self.name.clone(), files, chunks });
        }
        Ok(())
    }

    /// Searches: a list of `{ id, text, file, lines, heading, score }`, best first, at most `top_k`. Equal scores are in
    /// the order of file and line. `lines` is text, as `12-18`; `score` is larger for what fits better.
    ///
    /// # Errors
    /// As [`Database::query`].
    pub async fn search(&self, query: &str, top_k: u32) -> Result<Value, Failure> {
        let Some(matching) = query::matching(query) else { return Ok(Value::from(Tree::List(Vec::new()))) };
        self.database.read(move |session| table::search(session, &matching, top_k)).await
    }

    /// Searches by words, by a vector or by both, a page at a time: the hits of [`Index::search`], each with `rank`, from 1, and `data`.
    /// The score is BM25's of words alone, the cosine of a vector alone, and of both the sum of `1 / (60 + rank)`.
    ///
    /// # Errors
    /// `invalid` for a vector that cannot be compared with those of the index; else as [`Database::query`].
    pub async fn find(&self, search: Search) -> Result<Value, Failure> {
        self.database.read(move |session| find::find(session, &search)).await
    }

    /// Puts a text in, in place of one with the same id: `{ chunks: int }`.
    ///
    /// # Errors
    /// `invalid` for an empty id or one of more than [`MAX_ID`] bytes, a text of more than [`MAX_TEXT`], data of more than [`MAX_DATA`] or
    /// with a secret in it, a vector of another length than those of the index; `conflict` for an id that is a file's.
    pub async fn put(&self, entry: Entry) -> Result<Value, Failure> {
        let Entry { id, text, vector, data } = entry;
        let invalid = |message: String| Err(Failure::new(FailureKind::Invalid, message));
        if id.trim().is_empty() || id.len() > MAX_ID {
            return invalid(format!("the id of a text has {} bytes, and between 1 and {MAX_ID} are wanted", id.len()));
        }
        if text.len() > MAX_TEXT {
            return invalid(format!("the text {id:?} has {} bytes, and {MAX_TEXT} are the most", text.len()));
        }
        let data = match &data {
            Some(data) if data.tree().holds_secret() => {
                return invalid(format!("the data of {id:?} holds a secret, and secrets are not written into indexes"));
            }
            Some(data) if data.text().len() > MAX_DATA => {
                return invalid(format!("the data of {id:?} has {} bytes, and {MAX_DATA} are the most", data.text().len()));
            }
            data => data.as_ref().map(|data| data.text().to_owned()),
        };
        let chunks = if vector.is_some() { vec![chunk::whole(&text)] } else { chunk::chunks(&text) };
        self.database
            .write(move |session| {
                table::create(session)?;
                if table::files(session)?.contains_key(&id) {
                    let message = format!("{id:?} is a file that the index follows; put the text under another id");
                    return Err(Failure::new(FailureKind::Conflict, message));
                }
                table::replace(session, &id, None, &chunks)?;
                table::attach(session, &id, vector.as_ref(), data.as_deref())?;
                let count = Tree::Int(i64::try_from(chunks.len()).unwrap_or(i64::MAX));
                Ok(Value::map([("chunks", Value::from(count))]))
            })
            .await
    }

    fn tell_skipped(&self, skipped: Vec<Skipped>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|file, _| skipped.iter().any(|now| now.file == *file));
        for Skipped { file, digest, reason } in skipped {
            if told.insert(file.clone(), digest) != Some(digest) {
                self.tell(What::DocumentSkipped { index: self.name.clone(), file, reason });
            }
        }
    }

    fn tell(&self, what: What) {
        self.sink.accept(Happening { time: self.clock.now(), run: None, what });
    }
}

#[cfg(test)]
mod tests;

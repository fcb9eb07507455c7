//! Full-text indexes of documents: Markdown files that are followed, and texts that executors put in.
//!
//! An index is a SQLite file of our own (FTS5, ranked by BM25). The files are the truth: what is indexed is compared with
//! them by content, so that a file that did not change costs its reading and nothing else.

mod chunk;
mod documents;
mod query;
mod table;

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

/// The largest text that can be put in, in bytes.
pub const MAX_TEXT: usize = 4 << 20;
/// The longest id of a text that is put in, in bytes.
pub const MAX_ID: usize = 1 << 10;

/// An open index.
pub struct Index {
    name: String,
    database: Arc<Database>,
    documents: Arc<Documents>,
    clock: Arc<dyn Clock>,
    sink: Arc<dyn Sink>,
    /// What was said of a file is said once for each content. No more entries than files are looked at.
    told: Arc<Mutex<BTreeMap<String, Option<Digest>>>>,
}

/// What an index is made of.
pub struct Settings {
    /// Its name for people, as `chatbot/docs`.
    pub name: String,
    /// The folder that the pattern is relative to.
    pub folder: PathBuf,
    /// Which files, as `docs/**/*.md`.
    pub pattern: String,
    /// Its own file.
    pub database: Arc<Database>,
    /// Tells the time of happenings.
    pub clock: Arc<dyn Clock>,
    /// Hears what was indexed and what was skipped.
    pub sink: Arc<dyn Sink>,
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
            documents: Arc::new(Documents::new(&settings.folder, &settings.pattern)?),
            clock: settings.clock,
            sink: settings.sink,
            told: Arc::default(),
        })
    }

    /// Its name for people, as `chatbot/docs`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder beneath which all its files are: what to watch.
    pub fn watched_folder(&self) -> &Path {
        self.documents.base()
    }

    /// Whether a change of that file or folder may change what is indexed.
    pub fn concerns(&self, path: &Path) -> bool {
        self.documents.concerns(path)
    }

    /// Reads the documents whose files changed and forgets those whose files are gone, all in one transaction, and
    /// reports [`What::Indexed`] if anything changed or `always` is set. A file that cannot be read is reported and skipped.
    ///
    /// # Errors
    /// As [`Database::execute`], or that the folder cannot be read.
    pub async fn refresh(&self, always: bool) -> Result<(), Failure> {
        let documents = Arc::clone(&self.documents);
        let done = self.database.write(move |session| {
            table::create(session)?;
            let mut gone = table::files(session)?;
            let mut changed = false;
            let mut skipped = Vec::new();
            for found in documents.find()? {
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

    /// Puts a text in, in place of one with the same id: `{ chunks: int }`.
    ///
    /// # Errors
    /// `invalid` for an empty id or one of more than [`MAX_ID`] bytes, or a text of more than [`MAX_TEXT`]; `conflict` for
    /// an id that is a file's.
    pub async fn put(&self, id: &str, text: &str) -> Result<Value, Failure> {
        let invalid = |message: String| Err(Failure::new(FailureKind::Invalid, message));
        if id.trim().is_empty() || id.len() > MAX_ID {
            return invalid(format!("the id of a text has {} bytes, and between 1 and {MAX_ID} are wanted", id.len()));
        }
        if text.len() > MAX_TEXT {
            return invalid(format!("the text {id:?} has {} bytes, and {MAX_TEXT} are the most", text.len()));
        }
        let (id, chunks) = (id.to_owned(), chunk::chunks(text));
        self.database
            .write(move |session| {
                table::create(session)?;
                if table::files(session)?.contains_key(&id) {
                    let message = format!("{id:?} is a file that the index follows; put the text under another id");
                    return Err(Failure::new(FailureKind::Conflict, message));
                }
                table::replace(session, &id, None, &chunks)?;
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

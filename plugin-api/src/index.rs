//! Full-text indexes. Where an index is `None`, the only one that is granted is meant.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::Failure;
use crate::bridge::abi::pipehost::executor::index as host;
use crate::bridge::from_text;

/// Searches: the best first, at most `top_k`. `T` is what the caller makes of `{ id, text, file, lines, heading, score }`.
///
/// # Errors
/// `denied` if the index is not granted; `bug` if a find is not a `T`.
pub fn search<T: DeserializeOwned>(index: Option<&str>, query: &str, top_k: u32) -> Result<Vec<T>, Failure> {
    from_text(&host::search(index, query, top_k)?)
}

/// Adds a document, or replaces the one of that id: how many chunks it became.
///
/// # Errors
/// `denied` if the index is not granted.
pub fn put(index: Option<&str>, id: &str, text: &str) -> Result<u64, Failure> {
    #[derive(Deserialize)]
    struct Put {
        chunks: u64,
    }
    Ok(from_text::<Put>(&host::put(index, id, text)?)?.chunks)
}

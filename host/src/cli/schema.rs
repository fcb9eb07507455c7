//! `pipehost schema`: the language as a JSON Schema, for editors.

use std::io::{self, Write};

use super::exit::{Exit, after_writing};

/// Writes the schema to standard output.
pub(super) fn schema() -> Exit {
    let text = serde_json::to_string_pretty(&crate::plan::schema()).unwrap_or_default();
    let mut out = io::stdout().lock();
    after_writing(writeln!(out, "{text}").and_then(|()| out.flush()), Exit::Good)
}

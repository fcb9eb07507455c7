//! `pipehost show`: the file as it is meant, with aliases, short forms and defaults written out.

use std::io::{self, Write};
use std::iter;
use std::path::PathBuf;

use super::arguments::Show;
use super::exit::{Exit, after_writing};
use super::looking;
use crate::plan::{Sources, expanded};

/// Writes the expanded file to standard output; what is wrong with it to standard error.
pub(super) fn show(arguments: &Show) -> Exit {
    let files: Vec<PathBuf> = iter::once(&arguments.file).chain(&arguments.neighbours).cloned().collect();
    let loaded = match looking::look(&files, &arguments.places) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    if loaded.plan.is_none() {
        return looking::wrong(&loaded.diagnostics, &loaded.sources);
    }
    match expanded(&arguments.file) {
        Ok(text) => {
            let mut out = io::stdout().lock();
            after_writing(out.write_all(text.as_bytes()).and_then(|()| out.flush()), Exit::Good)
        }
        // It was changed after it was looked at.
        Err(mistakes) => looking::wrong(&mistakes, &Sources::default()),
    }
}

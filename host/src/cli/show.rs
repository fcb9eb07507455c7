//! `pipehost show`: the file as it is meant, with aliases, short forms and defaults written out.

use std::io::{self, Write};
use std::iter;
use std::path::PathBuf;

use super::arguments::Show;
use super::exit::{Exit, after_writing, not_started, say};
use super::style::Style;
use super::{diagnostics, environment};
use crate::app;
use crate::plan::{Sources, expanded};

/// Writes the expanded file to standard output; what is wrong with it to standard error.
pub(super) fn show(arguments: &Show) -> Exit {
    let files: Vec<PathBuf> = iter::once(&arguments.file).chain(&arguments.neighbours).cloned().collect();
    let looked = environment::read(arguments.places.secrets.as_deref())
        .and_then(|environment| app::look(&files, arguments.places.data.clone(), environment));
    let loaded = match looked {
        Ok(loaded) => loaded,
        Err(failure) => return not_started(&failure),
    };
    let colour = Style::of(&io::stderr()).is_coloured();
    if loaded.plan.is_none() {
        say(&diagnostics::text(&loaded.diagnostics, &loaded.sources, colour));
        return Exit::Failed;
    }
    match expanded(&arguments.file) {
        Ok(text) => {
            let mut out = io::stdout().lock();
            after_writing(out.write_all(text.as_bytes()).and_then(|()| out.flush()), Exit::Good)
        }
        // It was changed after it was looked at.
        Err(mistakes) => {
            say(&diagnostics::text(&mistakes, &Sources::default(), colour));
            Exit::Failed
        }
    }
}

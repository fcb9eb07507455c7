//! `pipehost fmt`: lays files out, and changes nothing that they mean.

use std::fs;
use std::io;
use std::path::Path;

use super::arguments::Fmt;
use super::check::many;
use super::diagnostics;
use super::exit::{Exit, say};
use super::style::Style;
use crate::model::diagnostic::{Diagnostic, Place};
use crate::plan::{Sources, codes, find, layout};

/// Lays out each file, or says which ones are not.
pub(super) fn fmt(arguments: &Fmt) -> Exit {
    let found = find(&arguments.files);
    let mut mistakes = found.diagnostics;
    let mut differing = 0;
    for file in &found.files {
        match layout(file) {
            Ok(layout) if layout.differs => {
                differing += 1;
                if arguments.check {
                    say(&format!("{} is not laid out\n", file.display()));
                } else if let Err(error) = replace(file, &layout.text) {
                    let message = format!("{} cannot be written: {error}", file.display());
                    mistakes.push(Diagnostic::error(codes::UNREADABLE, Place::whole(file), message).with_help("check who may write it"));
                } else {
                    say(&format!("{} was laid out\n", file.display()));
                }
            }
            Ok(_) => {}
            Err(found) => mistakes.extend(found),
        }
    }
    let is_error = |mistake: &Diagnostic| mistake.severity == crate::model::diagnostic::Severity::Error;
    say(&diagnostics::text(&mistakes, &Sources::default(), Style::of(&io::stderr()).is_coloured()));
    if mistakes.iter().any(is_error) || (arguments.check && differing > 0) {
        return Exit::Failed;
    }
    if differing == 0 {
        say(&format!("{}: nothing to do\n", many(found.files.len(), "file")));
    }
    Exit::Good
}

/// Puts the new text in the place of the old at once: whoever reads the file meanwhile gets one or the other.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    // Through a link to where the file is.
    let file = fs::canonicalize(file)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let beside = file.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = fs::write(&beside, text)
        .and_then(|()| fs::set_permissions(&beside, fs::metadata(&file)?.permissions()))
        .and_then(|()| fs::rename(&beside, &file));
    if written.is_err() {
        // It may not have come to be.
        let _ = fs::remove_file(&beside);
    }
    written
}

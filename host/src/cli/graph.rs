//! `pipehost graph`: pipelines as a drawing, always the same for the same files.

mod draw;

use std::io::{self, Write};

use super::arguments::{Drawing, Graph};
use super::exit::{Exit, after_writing};
use super::looking;

/// Writes the drawing to standard output; what is wrong with the file to standard error.
pub(super) fn graph(arguments: &Graph) -> Exit {
    let plan = match looking::plan(&arguments.files, &arguments.places) {
        Ok(plan) => plan,
        Err(exit) => return exit,
    };
    let drawing = draw::Sketch::of(&plan);
    let text = match arguments.format {
        Drawing::Mermaid => drawing.mermaid(),
        Drawing::Dot => drawing.dot(),
    };
    let mut out = io::stdout().lock();
    after_writing(out.write_all(text.as_bytes()).and_then(|()| out.flush()), Exit::Good)
}

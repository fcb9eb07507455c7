//! `pipehost graph`: pipelines as a drawing, always the same for the same files.

mod draw;

use std::io::{self, Write};

use super::arguments::{Drawing, Graph};
use super::exit::{Exit, after_writing, not_started, say};
use super::style::Style;
use super::{diagnostics, environment};
use crate::app;
use crate::plan::libraries_only;

/// Writes the drawing to standard output; what is wrong with the file to standard error.
pub(super) fn graph(arguments: &Graph) -> Exit {
    let looked = environment::read(arguments.places.secrets.as_deref())
        .and_then(|environment| app::look(&arguments.files, arguments.places.data.clone(), environment));
    let loaded = match looked {
        Ok(loaded) => loaded,
        Err(failure) => return not_started(&failure),
    };
    let Some(plan) = &loaded.plan else {
        say(&diagnostics::text(&loaded.diagnostics, &loaded.sources, Style::of(&io::stderr()).is_coloured()));
        return Exit::Failed;
    };
    if plan.pipelines.is_empty() {
        let mistake = [libraries_only(&arguments.files)];
        say(&diagnostics::text(&mistake, &loaded.sources, Style::of(&io::stderr()).is_coloured()));
        return Exit::Failed;
    }
    let drawing = draw::Sketch::of(plan);
    let text = match arguments.format {
        Drawing::Mermaid => drawing.mermaid(),
        Drawing::Dot => drawing.dot(),
    };
    let mut out = io::stdout().lock();
    after_writing(out.write_all(text.as_bytes()).and_then(|()| out.flush()), Exit::Good)
}

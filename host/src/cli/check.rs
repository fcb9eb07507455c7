//! `pipehost check`: `run` short of starting.

use std::io::{self, Write};

use super::arguments::{Check, Format};
use super::exit::{Exit, after_writing, say};
use super::style::Style;
use super::{diagnostics, looking, sarif};

/// Checks the files and says what is wrong with them on standard output.
pub(super) fn check(arguments: &Check) -> Exit {
    let loaded = match looking::look(&arguments.files, &arguments.places) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    let colour = Style::of(&io::stdout()).is_coloured();
    let show = match arguments.format {
        Format::Text => diagnostics::text,
        Format::Json => diagnostics::json,
        Format::Github => diagnostics::github,
        Format::Sarif => sarif::sarif,
    };
    let shown = show(&loaded.diagnostics, &loaded.sources, colour);
    let exit = if loaded.plan.is_some() { Exit::Good } else { Exit::Failed };
    let mut out = io::stdout().lock();
    let written = out.write_all(shown.as_bytes()).and_then(|()| out.flush());
    // Mistakes are counted where they are shown.
    if arguments.format == Format::Text && loaded.diagnostics.is_empty() {
        let pipelines = loaded.plan.as_ref().map_or(0, |plan| plan.pipelines.len());
        let what = if pipelines == 0 { "only libraries".to_owned() } else { many(pipelines, "pipeline") };
        say(&format!("{what}: no mistakes\n"));
    }
    after_writing(written, exit)
}

/// `1 file`, `2 files`.
pub(super) fn many(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

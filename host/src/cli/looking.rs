//! Files that are only looked at: what `check`, `show`, `explain` and `graph` do before they say anything of their own.

use std::io;
use std::path::PathBuf;

use super::arguments::Places;
use super::exit::{Exit, not_started, say};
use super::style::Style;
use super::{diagnostics, environment};
use crate::app;
use crate::model::diagnostic::Diagnostic;
use crate::plan::pipeline::Plan;
use crate::plan::{Loaded, Sources, libraries_only};

/// The files as `run` would load them, with all that is wrong with them.
///
/// # Errors
/// The exit code where they could not be looked at; why not stands on standard error then.
pub(super) fn look(files: &[PathBuf], places: &Places) -> Result<Loaded, Exit> {
    environment::read(places.secrets.as_deref())
        .and_then(|environment| app::look(files, places.data.clone(), environment))
        .map_err(|failure| not_started(&failure))
}

/// Their plan, in which there is at least one pipeline.
///
/// # Errors
/// As [`look`], and the exit code where something is wrong with them; what it is stands on standard error then.
pub(super) fn plan(files: &[PathBuf], places: &Places) -> Result<Plan, Exit> {
    let loaded = look(files, places)?;
    let Some(plan) = loaded.plan else { return Err(wrong(&loaded.diagnostics, &loaded.sources)) };
    if plan.pipelines.is_empty() { Err(wrong(&[libraries_only(files)], &loaded.sources)) } else { Ok(plan) }
}

/// Says what is wrong with the files.
pub(super) fn wrong(diagnostics: &[Diagnostic], sources: &Sources) -> Exit {
    say(&diagnostics::text(diagnostics, sources, Style::of(&io::stderr()).is_coloured()));
    Exit::Failed
}

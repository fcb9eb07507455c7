//! What a person is told when a pipeline stands: what it is, who answers, what it knows, where its data is, how to leave.

use std::collections::BTreeMap;
use std::path::Path;

use super::check::many;
use super::style::Style;
use crate::app::App;
use crate::executor::builtin::llm_chat::{Provider, provider};
use crate::model::executor::Home;
use crate::plan::pipeline::Pipeline;

/// How many documents and passages each index has.
pub(super) type Indexed = BTreeMap<String, (usize, usize)>;

/// What is said, with the last line for how it is spoken to.
pub(super) fn text(app: &App, indexed: &Indexed, style: Style, last: &str) -> String {
    let mut rows: Vec<(String, String)> = Vec::new();
    for pipeline in app.pipelines() {
        rows.extend(pipeline_rows(&pipeline, app.pipelines().len() > 1));
    }
    for (index, (files, passages)) in indexed {
        rows.push(("documents".to_owned(), format!("{index}: {}, {}", many(*files, "file"), many(*passages, "passage"))));
    }
    rows.push(("data".to_owned(), format!("{}; runs do not survive a restart yet", shown(app.data()))));
    let watching = match app.is_watching() {
        true => "yes; save a file and it is in force at once",
        false => "no; start again after a change",
    };
    rows.push(("watching".to_owned(), watching.to_owned()));
    let mut text = format!("{} {}\n", style.bold("pipehost"), env!("CARGO_PKG_VERSION"));
    for (name, what) in rows {
        text.push_str(&format!("  {} {what}\n", style.dim(&format!("{name:<10}"))));
    }
    text.push_str(&format!("{last}\n\n"));
    text
}

fn pipeline_rows(pipeline: &Pipeline, several: bool) -> Vec<(String, String)> {
    let about = pipeline.description.as_ref().map_or_else(String::new, |description| format!(" - {description}"));
    let mut rows = vec![("pipeline".to_owned(), format!("{} ({}){about}", pipeline.name, shown(&pipeline.file)))];
    for declared in &pipeline.executors {
        if declared.reference.home == Home::Builtin("llm.chat".to_owned()) {
            let provider = provider(&declared.reference.config);
            let hint = match provider {
                Provider::Extractive => "; it quotes the documents",
                Provider::OpenAi { .. } => "",
            };
            let name = if several { format!("{}.{}", pipeline.name, declared.reference.name) } else { declared.reference.name.to_string() };
            rows.push(("answers".to_owned(), format!("{name}: {provider}{hint}")));
        }
    }
    rows
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

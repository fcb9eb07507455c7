//! `pipehost explain`: what is in force for each step and why, for people or for programs.

mod text;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::arguments::{Explain, Plain};
use super::exit::{Exit, after_writing, not_started};
use super::looking;
use super::style::Style;
use crate::app;
use crate::app::explain::{Explanation, Part};
use crate::model::failure::{Failure, FailureKind};
use crate::plan::belongs;
use crate::plan::pipeline::{Pipeline, Plan};

/// The code of a flow or step that there is not.
const NO_PART: &str = "E0725";

/// Writes the explanation to standard output; what is wrong with the files to standard error.
pub(super) fn explain(arguments: &Explain) -> Exit {
    let asked: Vec<(PathBuf, Part)> = arguments.files.iter().map(|text| asked(text)).collect();
    let files: Vec<PathBuf> = asked.iter().map(|(file, _)| file.clone()).collect();
    let plan = match looking::plan(&files, &arguments.places) {
        Ok(plan) => plan,
        Err(exit) => return exit,
    };
    let explanations = match explain_all(&plan, &asked) {
        Ok(explanations) => explanations,
        Err(failure) => {
            not_started(&failure);
            return Exit::Failed;
        }
    };
    let shown = match arguments.format {
        Plain::Text => text::text(&explanations, Style::of(&io::stdout())),
        Plain::Json => serde_json::to_string_pretty(&explanations).unwrap_or_default() + "\n",
    };
    let mut out = io::stdout().lock();
    after_writing(out.write_all(shown.as_bytes()).and_then(|()| out.flush()), Exit::Good)
}

/// A file, and which part of it: a colon within the name of a file that there is belongs to the name.
fn asked(text: &str) -> (PathBuf, Part) {
    let whole = (PathBuf::from(text), Part::default());
    if Path::new(text).exists() {
        return whole;
    }
    let Some((file, part)) = text.rsplit_once(':').filter(|(file, part)| !file.is_empty() && !part.is_empty()) else { return whole };
    let (flow, step) = part.split_once('.').map_or((part, None), |(flow, step)| (flow, Some(step.to_owned())));
    (PathBuf::from(file), Part { flow: Some(flow.to_owned()), step })
}

/// The parts that were asked for; if none was, all of every file.
fn explain_all(plan: &Plan, asked: &[(PathBuf, Part)]) -> Result<Vec<Explanation>, Failure> {
    let parts: Vec<_> = asked.iter().filter(|(_, part)| part.flow.is_some()).collect();
    if parts.is_empty() {
        return Ok(plan.pipelines.values().map(|pipeline| app::explain::explain(plan, pipeline, &Part::default())).collect());
    }
    let mut explanations = Vec::new();
    for (file, part) in parts {
        let of_file =
            plan.pipelines.values().filter(|pipeline| pipeline.file == *file || belongs(std::slice::from_ref(file), &pipeline.file));
        let explained: Vec<Explanation> = of_file
            .clone()
            .map(|pipeline| app::explain::explain(plan, pipeline, part))
            .filter(|explanation| explanation.flows.iter().any(|flow| part.step.is_none() || !flow.steps.is_empty()))
            .collect();
        if explained.is_empty() {
            return Err(nothing(file, part, of_file.map(|pipeline| &**pipeline)));
        }
        explanations.extend(explained);
    }
    Ok(explanations)
}

fn nothing<'a>(file: &Path, part: &Part, pipelines: impl Iterator<Item = &'a Pipeline>) -> Failure {
    let wanted = part.flow.as_deref().unwrap_or_default();
    let flows: Vec<_> = pipelines.flat_map(|pipeline| &pipeline.flows).collect();
    let message = match (&part.step, flows.iter().find(|flow| flow.name.as_str() == wanted)) {
        (Some(step), Some(flow)) => {
            let ids: Vec<&str> = flow.steps.iter().map(|step| step.id.as_str()).filter(|id| !id.starts_with('#')).collect();
            let has = if ids.is_empty() { "none of its steps has an id".to_owned() } else { format!("it has {}", ids.join(", ")) };
            format!("the flow {wanted} of {} has no step {step:?} that runs or emits something; {has}", file.display())
        }
        _ => {
            let names: Vec<&str> = flows.iter().map(|flow| flow.name.as_str()).collect();
            format!("{} has no flow {wanted:?}; it has {}", file.display(), names.join(", "))
        }
    };
    Failure::new(FailureKind::NotFound, message).with_code(NO_PART)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_stands_after_the_last_colon() {
        let part = |flow: &str, step: Option<&str>| Part { flow: Some(flow.to_owned()), step: step.map(str::to_owned) };
        assert_eq!(asked("a.yaml:main.save"), (PathBuf::from("a.yaml"), part("main", Some("save"))));
        assert_eq!(asked("a:b.yaml:main"), (PathBuf::from("a:b.yaml"), part("main", None)));
        assert_eq!(asked("a.yaml"), (PathBuf::from("a.yaml"), Part::default()));
        assert_eq!(asked("a.yaml:"), (PathBuf::from("a.yaml:"), Part::default()));
    }
}

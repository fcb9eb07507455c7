//! What a person is told when a pipeline stands: what it is, who answers, what it knows, where its data is, how to leave.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::check::many;
use super::style::Style;
use super::typed::{Typed, quoted};
use super::wrap::hanging;
use crate::app::{App, Entrance, Recovered, is_manual};
use crate::executor::builtin::llm_chat::{Provider, provider};
use crate::model::executor::Home;
use crate::model::types::Type;
use crate::plan::pipeline::Pipeline;

/// How many documents and passages each index has.
pub(super) type Indexed = BTreeMap<String, (usize, usize)>;

/// So many flows are shown with the command that starts them; for more it is the same but for the names.
const MOST_SENDS: usize = 5;

/// The name of a row that is a command to copy.
const SEND: &str = "send";

/// Where what is said of a row begins.
const COLUMN: usize = 13;

/// How it is spoken to.
pub(super) struct Ways<'a> {
    /// Whether `pipehost send` reaches it.
    pub(super) sends: bool,
    /// How commands are typed that reach it.
    pub(super) typed: Typed,
    /// The last line: how it is left.
    pub(super) last: &'a str,
    /// The columns of the terminal, if it goes to one that says it.
    pub(super) width: Option<usize>,
}

/// What is said.
pub(super) fn text(app: &App, indexed: &Indexed, style: Style, ways: &Ways<'_>) -> String {
    let mut rows: Vec<(String, String)> = Vec::new();
    let pipelines = app.pipelines();
    for pipeline in &pipelines {
        rows.extend(pipeline_rows(pipeline, pipelines.len() > 1));
    }
    if pipelines.len() > 1
        && let Some((pipeline, flow)) = app.target(Entrance::Lines)()
    {
        rows.push(("lines".to_owned(), format!("go to {pipeline}.{flow}")));
    }
    if ways.sends {
        rows.extend(sends(&pipelines, &ways.typed));
    }
    for (index, (files, passages)) in indexed {
        rows.push(("documents".to_owned(), format!("{index}: {}, {}", many(*files, "file"), many(*passages, "passage"))));
    }
    if let Some(Ok(recovered)) = app.recovered()
        && !recovered.is_nothing()
    {
        rows.push(("taken up".to_owned(), ways.typed.text(&taken_up(&recovered)).into_owned()));
    }
    rows.push(("data".to_owned(), shown(app.data())));
    let watching = match app.is_watching() {
        true => "yes; save a file and it is in force at once",
        false => "no; start again after a change",
    };
    rows.push(("watching".to_owned(), watching.to_owned()));
    let mut text = format!("{} {}\n", style.bold("pipehost"), env!("CARGO_PKG_VERSION"));
    for (name, what) in rows {
        // A command that is broken over lines is still one when it is copied.
        let what = match name.as_str() {
            SEND => hanging(shell_words(&what), ways.width, COLUMN, " \\"),
            _ => hanging(what.split(' '), ways.width, COLUMN, ""),
        };
        text.push_str(&format!("  {} {what}\n", style.dim(&format!("{name:<10}"))));
    }
    text.push_str(&format!("{}\n\n", ways.last));
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

/// What the last host left behind: `3 runs go on, 2 wait for an event or a time, 1 stalled; see …`.
fn taken_up(recovered: &Recovered) -> String {
    let Recovered { going_on, waiting, queued, one_by_one, stalled } = *recovered;
    let kinds = [
        (going_on, if going_on == 1 { "goes on" } else { "go on" }),
        (waiting, if waiting == 1 { "waits for an event or a time" } else { "wait for an event or a time" }),
        (queued, "queued"),
        (one_by_one, if one_by_one == 1 { "is taken up alone" } else { "are taken up one by one" }),
        (stalled, "stalled"),
    ];
    let mut said = kinds.into_iter().filter(|(count, _)| *count > 0);
    let first = said.next().map(|(count, what)| format!("{} {what}", many(count, "run")));
    let said: Vec<String> = first.into_iter().chain(said.map(|(count, what)| format!("{count} {what}"))).collect();
    format!("{}; see pipehost runs list --status open", said.join(", "))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// The command that starts each flow that is started by name.
fn sends(pipelines: &[Arc<Pipeline>], typed: &Typed) -> Vec<(String, String)> {
    let flows =
        pipelines.iter().flat_map(|pipeline| pipeline.flows.iter().map(move |flow| (pipeline, flow))).filter(|(_, flow)| is_manual(flow));
    let mut rows: Vec<(String, String)> = flows
        .map(|(pipeline, flow)| {
            let input = sample(&flow.input);
            let input = if input == "{}" { String::new() } else { format!(" {}", quoted(&input)) };
            (SEND.to_owned(), format!("{} {}.{}{input}", typed.command("send"), pipeline.name, flow.name))
        })
        .collect();
    if rows.len() > MOST_SENDS {
        let more = rows.len() - MOST_SENDS;
        rows.truncate(MOST_SENDS);
        rows.push((String::new(), format!("and {} in the same way", many(more, "other"))));
    }
    rows
}

/// An input that fits, with every field that has to be there.
fn sample(declared: &Type) -> String {
    match declared {
        Type::Record(fields) => {
            let needed = fields.iter().filter(|field| field.default.is_none() && !field.value_type.takes_null());
            let fields: Vec<String> = needed.map(|field| format!("\"{}\":{}", field.name, sample(&field.value_type))).collect();
            format!("{{{}}}", fields.join(","))
        }
        Type::Any => "{}".to_owned(),
        Type::Int | Type::Float => "1".to_owned(),
        Type::Bool => "true".to_owned(),
        Type::List(_) => "[]".to_owned(),
        Type::Nullable(_) => "null".to_owned(),
        Type::Duration => "\"1s\"".to_owned(),
        Type::Time => "\"2026-01-01T00:00:00Z\"".to_owned(),
        Type::String | Type::Bytes | Type::Secret => "\"…\"".to_owned(),
    }
}

/// The words of a command whose words were [quoted].
fn shell_words(command: &str) -> Vec<&str> {
    let (mut words, mut start) = (Vec::new(), 0);
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, character) in command.char_indices() {
        match character {
            ' ' if !is_quoted && !is_escaped => {
                words.extend(command.get(start..at));
                start = at + 1;
            }
            '\'' if !is_escaped => is_quoted = !is_quoted,
            _ => {}
        }
        is_escaped = character == '\\' && !is_quoted && !is_escaped;
    }
    words.extend(command.get(start..));
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::types::Field;

    #[test]
    fn a_sample_has_every_field_that_must_be_there() {
        let field = |name: &str, value_type: Type| Field { name: name.to_owned(), value_type, default: None, description: None };
        let note = field("note", Type::Nullable(Box::new(Type::String)));
        let declared = Type::Record(vec![field("sku", Type::String), field("count", Type::Int), note]);
        assert_eq!(sample(&declared), r#"{"sku":"…","count":1}"#);
    }

    #[test]
    fn what_was_left_behind_is_told_in_one_line_without_what_there_is_none_of() {
        let told = |going_on, waiting, queued, one_by_one, stalled| taken_up(&Recovered { going_on, waiting, queued, one_by_one, stalled });
        assert_eq!(told(3, 2, 0, 0, 1), "3 runs go on, 2 wait for an event or a time, 1 stalled; see pipehost runs list --status open");
        assert_eq!(told(1, 0, 0, 0, 0), "1 run goes on; see pipehost runs list --status open");
        assert_eq!(told(0, 1, 4, 0, 0), "1 run waits for an event or a time, 4 queued; see pipehost runs list --status open");
        assert_eq!(told(0, 0, 0, 1, 0), "1 run is taken up alone; see pipehost runs list --status open");
        assert_eq!(told(1, 0, 0, 2, 0), "1 run goes on, 2 are taken up one by one; see pipehost runs list --status open");
    }

    #[test]
    fn a_command_is_taken_apart_into_what_a_shell_takes_as_words() {
        let command = format!("send --data {} {}", quoted("it's a folder"), quoted(r#"{"a":"b c"}"#));
        assert_eq!(shell_words(&command), ["send", "--data", r"'it'\''s a folder'", r#"'{"a":"b c"}'"#]);
    }
}

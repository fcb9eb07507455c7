//! The arguments, and the help texts that teach.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::model::value::{Tree, Value};

const EXIT_CODES: &str = "Exit codes:
  0  good; warnings alone too
  1  errors were found, or a run failed (piped input, --input)
  2  the command line is wrong
  3  it could not start";

const EXAMPLES: &str = "Examples:
  pipehost run pipelines/chatbot.yaml                  talk to it; Ctrl-C at the prompt ends it
  echo 'how do retries work?' | pipehost run pipelines/chatbot.yaml
  pipehost check pipelines/*.yaml                      every mistake of every file at once";

/// Runs event-driven systems that are written as YAML pipelines over Rhai scripts, WASM plugins and built-ins.
#[derive(Parser, Debug)]
#[command(name = "pipehost", version, arg_required_else_help = true, subcommand_required = true)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    Run(Run),
    Check(Check),
    Graph(Graph),
    Test(Test),
}

/// Run a pipeline until its input ends or you stop it.
///
/// At a terminal you are asked for a message, and the answer is shown while it comes. Ctrl-C while an answer comes cancels that answer
/// only; Ctrl-C at the prompt, or the end of the input, ends the program. The files are watched: save one and it is in force at once, or
/// its mistakes are shown and nothing changes.
///
/// Piped input needs no prompt: each line is a message (its text, or a JSON object with the fields of the input), and each reply is one
/// line of JSON on standard output, in the order of the lines. What is said about it goes to standard error.
#[derive(Args, Debug)]
#[command(after_help = RUN_EXAMPLES, after_long_help = format!("{RUN_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Run {
    /// The pipeline's YAML file
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// Run once with this input, a JSON object, print the reply and end
    #[arg(long, value_name = "JSON", value_parser = input)]
    pub(super) input: Option<Value>,
    /// Print everything that happens as one JSON line each on standard output; talk goes to standard error
    #[arg(long, value_name = "FORMAT")]
    pub(super) events: Option<Events>,
    /// Do not watch the files
    #[arg(long)]
    pub(super) no_watch: bool,
    #[command(flatten)]
    pub(super) places: Places,
    #[command(flatten)]
    pub(super) log: Log,
}

const RUN_EXAMPLES: &str = "Examples:
  pipehost run pipelines/chatbot.yaml
  pipehost run pipelines/chatbot.yaml --input '{\"text\":\"how do retries work?\"}'
  pipehost run pipelines/chatbot.yaml --events json < questions.txt | jq .event";

/// Find every mistake in pipeline files, and start nothing.
///
/// All mistakes of all files are shown at once, each with its place and the way out: the files, the scripts and plugins they name, every
/// expression, every limit.
#[derive(Args, Debug)]
#[command(after_help = CHECK_EXAMPLES, after_long_help = format!("{CHECK_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Check {
    /// The pipelines' YAML files
    #[arg(value_name = "FILE", required = true)]
    pub(super) files: Vec<PathBuf>,
    /// How mistakes are written
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(super) format: Format,
    #[command(flatten)]
    pub(super) places: Places,
}

const CHECK_EXAMPLES: &str = "Examples:
  pipehost check pipelines/chatbot.yaml
  pipehost check pipelines/*.yaml --format github      annotations in a pull request";

/// Draw a pipeline: its triggers, steps, executors and events.
///
/// The same file always gives the same text, so that drawings can be compared.
#[derive(Args, Debug)]
#[command(after_help = GRAPH_EXAMPLES, after_long_help = format!("{GRAPH_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Graph {
    /// The pipeline's YAML file
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// The language of the drawing
    #[arg(long, value_name = "FORMAT", default_value = "mermaid")]
    pub(super) format: Drawing,
    #[command(flatten)]
    pub(super) places: Places,
}

const GRAPH_EXAMPLES: &str = "Examples:
  pipehost graph pipelines/chatbot.yaml                          for Markdown
  pipehost graph pipelines/chatbot.yaml --format dot | dot -Tsvg > chatbot.svg";

/// Run the tests that stand in pipeline files, in virtual time.
///
/// A test says what is sent, what stands in for executors, and what must come of it. It touches neither the network nor your data, and
/// hours pass in it in milliseconds. Tests run on all cores; what is told of them is in the order of the files.
#[derive(Args, Debug)]
#[command(after_help = TEST_EXAMPLES, after_long_help = format!("{TEST_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Test {
    /// Pipelines' YAML files, or folders of them [default: pipelines, else the current folder]
    #[arg(value_name = "PATH")]
    pub(super) paths: Vec<PathBuf>,
    /// How it is told what came of the tests
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(super) format: TestFormat,
    /// Only tests whose name holds this text
    #[arg(long, value_name = "TEXT")]
    pub(super) filter: Option<String>,
    /// Write what was seen in the place of what was expected; look at what has changed before you keep it
    #[arg(long)]
    pub(super) update: bool,
    /// List the steps and branches that no test takes
    #[arg(long)]
    pub(super) coverage: bool,
    /// Where what is compiled of plugins is kept [default: .pipehost beside the first file]
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
}

const TEST_EXAMPLES: &str = "Examples:
  pipehost test                                        all of the folder pipelines
  pipehost test pipelines/chatbot.yaml --coverage      and what no test takes
  pipehost test --filter 'a second message' --format json
  pipehost test --format junit > tests.xml             for a build server";

#[derive(Args, Debug)]
pub(super) struct Places {
    /// Where data is kept [default: .pipehost beside the first file]
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// Secrets, one NAME=value a line; they go before environment variables of the same name
    #[arg(long, value_name = "FILE")]
    pub(super) secrets: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(super) struct Log {
    /// Write the log to standard error, as text or as JSON lines
    #[arg(long, value_name = "FORMAT")]
    pub(super) log: Option<LogFormat>,
    /// How much is logged [default: info with --log, else only warnings] [env: PIPEHOST_LOG]
    #[arg(long, value_name = "LEVEL")]
    pub(super) log_level: Option<LogLevel>,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Events {
    Json,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Format {
    /// With the line and a caret, for people
    Text,
    /// One JSON list
    Json,
    /// Workflow commands of GitHub Actions
    Github,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TestFormat {
    /// One line a test, and each mistake with its line and a caret
    Text,
    /// One JSON object a line: each test, then its file
    Json,
    /// One XML document, as build servers read it
    Junit,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Drawing {
    Mermaid,
    Dot,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LogFormat {
    Text,
    Json,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

fn input(text: &str) -> Result<Value, String> {
    let example = r#"write a JSON object, as --input '{"text":"hello"}'"#;
    let value = Value::from_text(text).map_err(|error| format!("this is no JSON ({error}); {example}"))?;
    match value.tree() {
        Tree::Map(_) => Ok(value),
        other => Err(format!("this is a JSON {}; {example}", other.kind())),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    fn kind(line: &[&str]) -> ErrorKind {
        Arguments::try_parse_from(line).expect_err("a mistake was made").kind()
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn mistakes_of_usage_are_found() {
        assert_eq!(kind(&["pipehost", "rnu"]), ErrorKind::InvalidSubcommand);
        assert_eq!(kind(&["pipehost", "run"]), ErrorKind::MissingRequiredArgument);
        assert_eq!(kind(&["pipehost", "run", "a.yaml", "--input", "{text: hi}"]), ErrorKind::ValueValidation);
        assert_eq!(kind(&["pipehost", "run", "a.yaml", "--input", "[]"]), ErrorKind::ValueValidation);
        assert_eq!(kind(&["pipehost", "check", "a.yaml", "--format", "xml"]), ErrorKind::InvalidValue);
    }

    #[test]
    fn every_help_text_has_an_example_and_the_exit_codes() {
        for name in [None, Some("run"), Some("check"), Some("graph"), Some("test")] {
            let mut command = Arguments::command();
            let help = match name {
                None => command.render_long_help(),
                Some(name) => command.find_subcommand_mut(name).expect("it is a command").render_long_help(),
            };
            let help = help.to_string();
            assert!(help.contains("Examples:") && help.contains("Exit codes:"), "{name:?}: {help}");
        }
    }
}

//! The arguments, and the help texts that teach.

#[cfg(unix)]
mod asked;
mod migrate;
mod store;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::model::value::{Tree, Value};

#[cfg(unix)]
pub(super) use asked::{Asking, Dlq, DlqCommand, Few, List, OneLetter, Runs, RunsCommand, Show as ShowRun, SignalTo, Trace};
pub(super) use migrate::Migrate;
pub(super) use store::{InFolder, Store, StoreCommand};

const EXIT_CODES: &str = "Exit codes:
  0  good; warnings alone too
  1  errors were found, a run failed (piped input, --input, send), or what was asked of a run was refused
  2  the command line is wrong
  3  it could not start, or no host answers (send, signal, runs cancel, …)
  4  the host ended before the run did; the run goes on at its next start (send)";

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
    Explain(Explain),
    Show(Show),
    Graph(Graph),
    Test(Test),
    Schema(Schema),
    Fmt(Fmt),
    Store(Store),
    #[cfg(unix)]
    Send(SendTo),
    #[cfg(unix)]
    Runs(Runs),
    #[cfg(unix)]
    Dlq(Dlq),
    #[cfg(unix)]
    Trace(Trace),
    #[cfg(unix)]
    Signal(SignalTo),
}

/// Run pipelines until their input ends or you stop them.
///
/// Several files are one system: their pipelines hear each other on the global bus and on buses they share. A folder stands for the
/// *.yaml and *.yml directly in it that are pipelines; one that comes into it is put in force, one that goes leaves.
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
    /// The pipelines' YAML files, or folders that hold some
    #[arg(value_name = "FILE_OR_FOLDER", required = true)]
    pub(super) files: Vec<PathBuf>,
    /// Run once with this input, a JSON object, print the reply and end
    #[arg(long, value_name = "JSON", value_parser = input)]
    pub(super) input: Option<Value>,
    /// Print everything that happens as one JSON line each on standard output; talk goes to standard error
    #[arg(long, value_name = "FORMAT")]
    pub(super) events: Option<Events>,
    /// When it is made to last how far the journal has come: every 100 ms, or with each commit
    #[arg(long, value_name = "WHEN", default_value = "usual")]
    pub(super) integrity: Mark,
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
  pipehost run pipelines/                              every pipeline of the folder
  pipehost run pipelines/chatbot.yaml --input '{\"text\":\"how do retries work?\"}'
  pipehost run pipelines/chatbot.yaml --events json < questions.txt | jq .event";

/// Find every mistake in pipeline files, and start nothing.
///
/// All mistakes of all files are shown at once, each with its place and the way out: the files, the scripts and plugins they name, every
/// expression, every limit.
#[derive(Args, Debug)]
#[command(after_help = CHECK_EXAMPLES, after_long_help = format!("{CHECK_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Check {
    /// The pipelines' YAML files, or folders that hold some
    #[arg(value_name = "FILE_OR_FOLDER", required = true)]
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

/// Show what is in force for each step, and why.
///
/// The policy stack of each step in its order, outermost first, every value with where it comes from: beside the step, a named policy, or
/// the default. The settings of flows, the grants and limits of executors, and who hears each event.
#[derive(Args, Debug)]
#[command(after_help = EXPLAIN_EXAMPLES, after_long_help = format!("{EXPLAIN_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Explain {
    /// The pipelines' files or folders; after one, a flow or a step of it, to be told of that alone
    #[arg(value_name = "FILE[:FLOW[.STEP]]", required = true)]
    pub(super) files: Vec<String>,
    /// How it is written
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(super) format: Plain,
    #[command(flatten)]
    pub(super) places: Places,
}

const EXPLAIN_EXAMPLES: &str = "Examples:
  pipehost explain pipelines/chatbot.yaml:main.context           one step
  pipehost explain pipelines/ --format json | jq '.[].flows'     all of them, for programs";

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mark {
    /// Every 100 ms
    Usual,
    /// With each commit
    Strict,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Plain {
    /// For people
    Text,
    /// One JSON list
    Json,
}

/// Print a pipeline's file as it is meant: aliases and short forms written out, every default in its place.
///
/// Environment variables and secrets stay the expressions that they are. What is printed is a pipeline's file again.
#[derive(Args, Debug)]
#[command(after_help = SHOW_EXAMPLES, after_long_help = format!("{SHOW_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Show {
    /// The pipeline's YAML file
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// The files or folders of the pipelines whose flows it calls
    #[arg(value_name = "NEIGHBOUR")]
    pub(super) neighbours: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) places: Places,
}

const SHOW_EXAMPLES: &str = "Examples:
  pipehost show pipelines/chatbot.yaml
  pipehost show pipelines/purchase.yaml pipelines/basket.yaml pipelines/catalog.yaml      it calls flows of the others";

/// Print the language as a JSON Schema, for editors.
///
/// An editor that knows the schema completes keys, shows what each is for, and marks mistakes while you type. What only the loader can
/// know, as whether a name is declared, pipehost check tells.
#[derive(Args, Debug)]
#[command(after_help = SCHEMA_EXAMPLES, after_long_help = format!("{SCHEMA_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Schema {}

const SCHEMA_EXAMPLES: &str = "Examples:
  pipehost schema > pipehost.schema.json
  # yaml-language-server: $schema=pipehost.schema.json     as the first line of a file";

/// Lay pipeline files out in the usual way, and change nothing that they mean.
///
/// Only white space, line breaks and the kind of quotes change. What the file means and what its comments say is compared before
/// anything is written; where that would change, the file is left as it is.
#[derive(Args, Debug)]
#[command(after_help = FMT_EXAMPLES, after_long_help = format!("{FMT_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Fmt {
    /// The pipelines' YAML files, or folders that hold some
    #[arg(value_name = "FILE_OR_FOLDER", required = true)]
    pub(super) files: Vec<PathBuf>,
    /// Write nothing; exit with 1 if a file is not laid out
    #[arg(long)]
    pub(super) check: bool,
}

const FMT_EXAMPLES: &str = "Examples:
  pipehost fmt pipelines/
  pipehost fmt pipelines/ --check                      for continuous integration";

/// Draw pipelines: their triggers, steps and executors, and who hears which event on which bus.
///
/// The same files always give the same text, so that drawings can be compared.
#[derive(Args, Debug)]
#[command(after_help = GRAPH_EXAMPLES, after_long_help = format!("{GRAPH_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Graph {
    /// The pipelines' YAML files, or folders that hold some
    #[arg(value_name = "FILE_OR_FOLDER", required = true)]
    pub(super) files: Vec<PathBuf>,
    /// The language of the drawing
    #[arg(long, value_name = "FORMAT", default_value = "mermaid")]
    pub(super) format: Drawing,
    #[command(flatten)]
    pub(super) places: Places,
}

const GRAPH_EXAMPLES: &str = "Examples:
  pipehost graph pipelines/chatbot.yaml                          for Markdown
  pipehost graph pipelines/chatbot.yaml --format dot | dot -Tsvg > chatbot.svg
  pipehost graph pipelines/                                      who talks to whom";

/// Start a flow of a running host by its name, and show what comes of it.
///
/// The flow has the trigger manual. At a terminal the answer is shown while it comes; else the reply is one line of JSON on standard
/// output. Ctrl-C ends the waiting only: the run goes on. The host is the one whose data folder --data names; it says the whole command
/// when it starts. The name given with --as is believed, as only you can speak to your host.
#[cfg(unix)]
#[derive(Args, Debug)]
#[command(after_help = SEND_EXAMPLES, after_long_help = format!("{SEND_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct SendTo {
    /// The flow; its pipeline is enough where one flow of it has the trigger manual
    #[arg(value_name = "PIPELINE[.FLOW]")]
    pub(super) target: String,
    /// The flow's input, a JSON object [default: {}]
    #[arg(value_name = "JSON", value_parser = input)]
    pub(super) input: Option<Value>,
    /// Who asks: caller.id in expressions [default: nobody]
    #[arg(long = "as", value_name = "ID")]
    pub(super) caller: Option<String>,
    /// Wait for the end of the run; this is the default
    #[arg(long, overrides_with = "no_wait")]
    pub(super) wait: bool,
    /// Print the run's id and end
    #[arg(long)]
    pub(super) no_wait: bool,
    /// Print everything that the host answers, one line of JSON each
    #[arg(long)]
    pub(super) json: bool,
    /// The data folder of the host [default: .pipehost]
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
}

#[cfg(unix)]
const SEND_EXAMPLES: &str = "Examples:
  pipehost send orders.place '{\"order\":\"o1\"}'
  pipehost send orders.place '{\"order\":\"o1\"}' --data pipelines/.pipehost --no-wait";

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
    /// What the runs of each test are kept in; tests come to the same on both
    #[arg(long, value_name = "STORE", default_value = "memory")]
    pub(super) store: TestStore,
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
    /// SARIF 2.1.0, for code scanning
    Sarif,
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
pub(super) enum TestStore {
    /// In memory: the quicker one
    Memory,
    /// The one that `pipehost run` uses, in a folder of the test's own
    Sqlite,
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
    let example = r#"write a JSON object, as '{"text":"hello"}'"#;
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
        let names = [
            None,
            Some("run"),
            Some("check"),
            Some("explain"),
            Some("show"),
            Some("graph"),
            Some("test"),
            Some("schema"),
            Some("fmt"),
            Some("store"),
            Some("send"),
            Some("runs"),
            Some("runs list"),
            Some("runs show"),
            Some("runs cancel"),
            Some("runs resume"),
            Some("runs retry"),
            Some("runs migrate"),
            Some("dlq replay"),
            Some("dlq drop"),
            Some("dlq"),
            Some("dlq list"),
            Some("dlq show"),
            Some("trace"),
            Some("signal"),
        ];
        for name in names {
            let mut command = Arguments::command();
            let help = match name {
                None => command.render_long_help(),
                Some(name) => {
                    let find = |command: &mut clap::Command, name| command.find_subcommand_mut(name).expect("it is a command").clone();
                    name.split(' ').fold(command, |mut command, name| find(&mut command, name)).render_long_help()
                }
            };
            let help = help.to_string();
            assert!(help.contains("Examples:") && help.contains("Exit codes:"), "{name:?}: {help}");
        }
    }
}

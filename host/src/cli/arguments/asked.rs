//! The arguments of the commands that look at runs and speak to them.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};

use super::{EXIT_CODES, Migrate, input};
use crate::app::views::{MOST_LISTED, Status};
use crate::model::value::Value;

/// Look at runs, and have them stop or go on.
///
/// A run is named by its id, or by the beginning of it. With --json each run is one line of JSON, whose field names stay as they are.
#[derive(Args, Debug)]
#[command(after_help = RUNS_EXAMPLES, after_long_help = format!("{RUNS_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(in crate::cli) struct Runs {
    #[command(subcommand)]
    pub(in crate::cli) command: RunsCommand,
}

const RUNS_EXAMPLES: &str = "Examples:
  pipehost runs list --status waiting                  who waits for what, and until when
  pipehost runs show 01a1fe73                          all that is known of a run
  pipehost runs list --json | jq -r 'select(.status == \"failed\").run'";

#[derive(Subcommand, Debug)]
pub(in crate::cli) enum RunsCommand {
    List(List),
    Show(Show),
    /// Stop a run: what it has under way is cancelled, what it did is undone, its finally is done; waits for that, for at most 10 s
    Cancel(One),
    /// Have a parked run go on with what could not be undone, or a stalled one be tried again
    Resume(One),
    Retry(Retry),
    Migrate(Migrate),
}

/// List runs, the one that began last in front.
///
/// Shown are the run, its flow, when it began, how long it took, and how it stands: queued, running, waiting for an event, sleeping,
/// retrying, stalled with the reason, succeeded, failed, cancelled, timed_out or parked.
#[derive(Args, Debug)]
#[command(after_help = LIST_EXAMPLES, after_long_help = format!("{LIST_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(in crate::cli) struct List {
    /// Those of this pipeline only
    #[arg(long, value_name = "PIPELINE")]
    pub(in crate::cli) pipeline: Option<String>,
    /// Those of this flow only
    #[arg(long, value_name = "FLOW")]
    pub(in crate::cli) flow: Option<String>,
    /// Those that stand so only; open stands for all that have not ended
    #[arg(long, value_name = "STATUS", value_parser = PossibleValuesParser::new(Status::WORDS))]
    pub(in crate::cli) status: Option<String>,
    /// At most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=MOST_LISTED as u64))]
    pub(in crate::cli) limit: u64,
    #[command(flatten)]
    pub(in crate::cli) asking: Asking,
}

const LIST_EXAMPLES: &str = "Examples:
  pipehost runs list --status open
  pipehost runs list --pipeline shop --flow orders --limit 500 --json";

/// Tell the story of a run: how it began, what each step came to, who answered its waits, what it waits for.
///
/// Each wait is shown with all that was decided about it: who answered when, what was taken, what was refused and why. Values of secrets
/// are never shown, only their names.
#[derive(Args, Debug)]
#[command(after_help = SHOW_EXAMPLES, after_long_help = format!("{SHOW_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(in crate::cli) struct Show {
    /// The run's id, or the beginning of it
    #[arg(value_name = "RUN")]
    pub(in crate::cli) run: String,
    /// Only who decided what, when and why: every answer to its waits, the refused ones too
    #[arg(long)]
    pub(in crate::cli) audit: bool,
    #[command(flatten)]
    pub(in crate::cli) asking: Asking,
}

const SHOW_EXAMPLES: &str = "Examples:
  pipehost runs show 01a1fe73
  pipehost runs show 01a1fe73 --audit                                  who decided what, as one list
  pipehost runs show 01a1fe73 --json | jq '.steps[].wait.answers'      who answered, and what was decided";

#[derive(Args, Debug)]
#[command(after_help = ONE_EXAMPLES, after_long_help = format!("{ONE_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(in crate::cli) struct One {
    /// The run's id, or the beginning of it
    #[arg(value_name = "RUN")]
    pub(in crate::cli) run: String,
    #[command(flatten)]
    pub(in crate::cli) asking: Asking,
}

const ONE_EXAMPLES: &str = "Examples:
  pipehost runs cancel 01a1fe73
  pipehost runs resume 01a1fe73                        once the reason is gone";

/// Do a run that has ended again, as a new run of what is in force now, with the same input.
///
/// With --from it begins with that step; what the steps before it gave is taken over from the run that is done again. Where the flow has an
/// idempotency key, the new run answers the request if it succeeds; a request that has its answer is done again with --repeat only.
#[derive(Args, Debug)]
#[command(after_help = RETRY_EXAMPLES, after_long_help = format!("{RETRY_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(in crate::cli) struct Retry {
    /// The run's id, or the beginning of it
    #[arg(value_name = "RUN")]
    pub(in crate::cli) run: String,
    /// The step to begin with [default: the first]
    #[arg(long, value_name = "STEP")]
    pub(in crate::cli) from: Option<String>,
    /// Do it a second time although its request has been answered
    #[arg(long)]
    pub(in crate::cli) repeat: bool,
    #[command(flatten)]
    pub(in crate::cli) asking: Asking,
}

const RETRY_EXAMPLES: &str = "Examples:
  pipehost runs retry 01a1fe73
  pipehost runs retry 01a1fe73 --from save             the answer is there, only saving it failed";

/// Look at dead letters: what nobody could bring to a good end.
///
/// Here come runs that failed and that nobody waits for, as they were started by an event, runs that break off whenever they are taken up,
/// and events that could not be delivered. Each is kept with its cause and its history until somebody has looked at it.
#[derive(Args, Debug)]
#[command(after_help = DLQ_EXAMPLES, after_long_help = format!("{DLQ_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(in crate::cli) struct Dlq {
    #[command(subcommand)]
    pub(in crate::cli) command: DlqCommand,
}

const DLQ_EXAMPLES: &str = "Examples:
  pipehost dlq list
  pipehost dlq show 01a1fe73                           why it is here, and its whole history";

#[derive(Subcommand, Debug)]
pub(in crate::cli) enum DlqCommand {
    List(Few),
    /// Tell why a dead letter is here, with the story of its run
    Show(OneLetter),
    /// Do what it is about again, with the same input, as a new run of what is in force now, and drop it
    Replay(OneLetter),
    /// Forget it
    Drop(OneLetter),
}

/// List dead letters, the newest in front.
#[derive(Args, Debug)]
#[command(after_help = DLQ_LIST_EXAMPLES, after_long_help = format!("{DLQ_LIST_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(in crate::cli) struct Few {
    /// At most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=MOST_LISTED as u64))]
    pub(in crate::cli) limit: u64,
    #[command(flatten)]
    pub(in crate::cli) asking: Asking,
}

const DLQ_LIST_EXAMPLES: &str = "Examples:
  pipehost dlq list
  pipehost dlq list --json | jq -r '.failure.message'";

#[derive(Args, Debug)]
#[command(after_help = LETTER_EXAMPLES, after_long_help = format!("{LETTER_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(in crate::cli) struct OneLetter {
    /// The letter's id, or the beginning of it
    #[arg(value_name = "LETTER")]
    pub(in crate::cli) letter: String,
    #[command(flatten)]
    pub(in crate::cli) asking: Asking,
}

const LETTER_EXAMPLES: &str = "Examples:
  pipehost dlq show 01a1fe73
  pipehost dlq show 01a1fe73 --json | jq .history.steps
  pipehost dlq replay 01a1fe73                         once the reason is gone";

/// Show all that belongs to one request as a tree: runs, their jobs and waits, the events that went out, the runs that those started.
///
/// The request is named by its correlation id, by a run of it, or by the beginning of either. With --json each node is one line of JSON;
/// its depth says how many nodes it is beneath.
#[derive(Args, Debug)]
#[command(after_help = TRACE_EXAMPLES, after_long_help = format!("{TRACE_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(in crate::cli) struct Trace {
    /// The correlation id, or a run's id, or the beginning of either
    #[arg(value_name = "CORRELATION_ID")]
    pub(in crate::cli) id: String,
    #[command(flatten)]
    pub(in crate::cli) asking: Asking,
}

const TRACE_EXAMPLES: &str = "Examples:
  pipehost trace 01a1fe73-0253-792f-a58b-cd26c88668d4
  pipehost trace 01a1fe73 --json | jq 'select(.kind == \"job\" and .took_ms > 1000)'      slow jobs";

/// Answer a run that waits for an event, and say what came of it.
///
/// The answer is recorded with who gave it and when. If the wait does not take it, the reason is printed, and the exit code is 1: guard
/// (its where does not hold, as for the wrong person), late, double, or full. Fields by which the wait knows its answers need not be
/// written: the run is named. The name given with --as is believed, as only you can speak to your host.
#[derive(Args, Debug)]
#[command(after_help = SIGNAL_EXAMPLES, after_long_help = format!("{SIGNAL_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(in crate::cli) struct SignalTo {
    /// The run's id, or the beginning of it
    #[arg(value_name = "RUN")]
    pub(in crate::cli) run: String,
    /// The type of the event
    #[arg(value_name = "EVENT")]
    pub(in crate::cli) event: String,
    /// The event's data, a JSON object [default: {}]
    #[arg(value_name = "JSON", value_parser = input)]
    pub(in crate::cli) content: Option<Value>,
    /// Who answers [default: the name of the user]
    #[arg(long = "as", value_name = "ID")]
    pub(in crate::cli) caller: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) asking: Asking,
}

const SIGNAL_EXAMPLES: &str = "Examples:
  pipehost runs list --status waiting
  pipehost signal 01a1fe73 Approved '{\"approved\":true}' --as alice";

/// Whom is asked, and how it is told.
#[derive(Args, Debug)]
pub(in crate::cli) struct Asking {
    /// Print JSON, one line each, with all that there is
    #[arg(long)]
    pub(in crate::cli) json: bool,
    /// The data folder of the host [default: .pipehost]
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) data: Option<PathBuf>,
}

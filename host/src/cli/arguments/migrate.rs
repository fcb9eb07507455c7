//! The arguments of `runs migrate`.

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::EXIT_CODES;
use super::asked::Asking;

/// Have runs go over to the revision of their pipeline that is in force.
///
/// A run goes on with the files as they were when it began, whatever becomes of them. With this it goes on with the files as they are: what it has
/// done stays done, what it waits for stays open, and the steps that are left are the new ones. It can only if each step that is done is still there, at the same
/// place and with an output that fits, and each wait that is open waits for the same. What hinders a run is printed with the names of the
/// steps, the run stays as it is, and the exit code is 1. A run that is at work is not disturbed: ask again when it waits.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(in crate::cli) struct Migrate {
    /// The run's id, or the beginning of it
    #[arg(value_name = "RUN", required_unless_present = "all", conflicts_with = "all")]
    pub(in crate::cli) run: Option<String>,
    /// All that are open and belong to older revisions
    #[arg(long)]
    pub(in crate::cli) all: bool,
    /// Where to: the revision in force
    #[arg(long, value_name = "REVISION", required = true, value_parser = PossibleValuesParser::new(["current"]))]
    pub(in crate::cli) to: String,
    /// Change nothing, and only say which could and what hinders the others
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,
    #[command(flatten)]
    pub(in crate::cli) asking: Asking,
}

const EXAMPLES: &str = "Examples:
  pipehost runs migrate --all --to current --dry-run      which could go over, and what hinders the others
  pipehost runs migrate 01a1fe73 --to current";

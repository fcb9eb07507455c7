//! The arguments of `pipehost store`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::EXIT_CODES;

/// Look after what a host keeps: whether all of it is there, copies, and what to do when something is lost.
///
/// Runs, states and what else outlives a run stand in the file journal.db of the data folder. All but accept-loss may be done while a host
/// uses the folder.
#[derive(Args, Debug)]
#[command(after_help = STORE_EXAMPLES, after_long_help = format!("{STORE_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(in crate::cli) struct Store {
    #[command(subcommand)]
    pub(in crate::cli) command: StoreCommand,
}

const STORE_EXAMPLES: &str = "Examples:
  pipehost store verify --data pipelines/.pipehost
  pipehost store backup copies/monday
  pipehost store export | jq 'select(.outcome == \"failed\")'
  pipehost store accept-loss                           says what is lost; --yes goes on without it";

#[derive(Subcommand, Debug)]
pub(in crate::cli) enum StoreCommand {
    /// See whether all is there that was acknowledged; exits with 1 if not
    Verify(Verify),
    /// Print every run with its facts and everything that is kept, one line of JSON each; secrets stay sealed
    Export(Export),
    /// Copy everything into a folder that can take the place of the data folder
    Backup(Backup),
    /// Go on without what is lost; what is there is kept beside it
    AcceptLoss(AcceptLoss),
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Verify {
    /// Print one JSON object
    #[arg(long)]
    pub(in crate::cli) json: bool,
    #[command(flatten)]
    pub(in crate::cli) place: InFolder,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Export {
    #[command(flatten)]
    pub(in crate::cli) place: InFolder,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Backup {
    /// The folder for the copy; it must be empty, or not be there
    #[arg(value_name = "FOLDER")]
    pub(in crate::cli) target: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub(in crate::cli) json: bool,
    #[command(flatten)]
    pub(in crate::cli) place: InFolder,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct AcceptLoss {
    /// Do it; without this it is only said what is lost
    #[arg(long)]
    pub(in crate::cli) yes: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(in crate::cli) json: bool,
    #[command(flatten)]
    pub(in crate::cli) place: InFolder,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct InFolder {
    /// The data folder of the host [default: .pipehost]
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) data: Option<PathBuf>,
}

//! The command line: words for people, and exit codes. It sees views and subscriptions of `app`, never the insides.

mod arguments;
mod banner;
mod check;
pub mod diagnostics;
mod environment;
mod events;
mod exit;
mod explain;
mod fmt;
mod graph;
mod logging;
mod notice;
mod run;
pub mod sarif;
mod schema;
#[cfg(unix)]
mod send;
mod show;
mod signals;
mod style;
mod talk;
mod test;
mod wrap;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};

/// Does what the arguments of the process say, and returns its exit code.
pub fn main() -> ExitCode {
    // A usage mistake ends here, with exit code 2 and the way out.
    let arguments = Arguments::parse();
    let exit = match arguments.command {
        Command::Run(arguments) => run::run(arguments),
        Command::Check(arguments) => check::check(&arguments),
        Command::Explain(arguments) => explain::explain(&arguments),
        Command::Show(arguments) => show::show(&arguments),
        Command::Fmt(arguments) => fmt::fmt(&arguments),
        Command::Schema(_) => schema::schema(),
        Command::Graph(arguments) => graph::graph(&arguments),
        Command::Test(arguments) => test::test(&arguments),
        #[cfg(unix)]
        Command::Send(arguments) => send::send(arguments),
    };
    exit.into()
}

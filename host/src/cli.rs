//! The command line: words for people, and exit codes. It sees views and subscriptions of `app`, never the insides.

mod arguments;
#[cfg(unix)]
mod asking;
mod banner;
mod check;
pub mod diagnostics;
#[cfg(unix)]
mod dlq;
mod elsewhere;
mod environment;
mod events;
mod exit;
mod explain;
mod fmt;
mod graph;
mod logging;
mod looking;
mod notice;
mod run;
#[cfg(unix)]
mod runs;
#[cfg(unix)]
mod said;
pub mod sarif;
mod schema;
#[cfg(unix)]
mod send;
mod show;
#[cfg(unix)]
mod signal;
mod signals;
mod store;
mod style;
mod talk;
mod test;
#[cfg(unix)]
mod trace;
mod typed;
mod words;
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
        Command::Store(arguments) => store::store(&arguments),
        #[cfg(unix)]
        Command::Send(arguments) => send::send(arguments),
        #[cfg(unix)]
        Command::Runs(arguments) => runs::runs(&arguments),
        #[cfg(unix)]
        Command::Dlq(arguments) => dlq::dlq(&arguments),
        #[cfg(unix)]
        Command::Trace(arguments) => trace::trace(&arguments),
        #[cfg(unix)]
        Command::Signal(arguments) => signal::signal(&arguments),
    };
    exit.into()
}

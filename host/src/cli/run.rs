//! `pipehost run`: starts, talks, and ends in order.

mod beside;
mod host;
mod session;

use std::io::{self, IsTerminal};

use super::arguments::{Events, Mark, Run};
use super::exit::{Exit, not_started};
use super::style::Style;
use super::{environment, logging};
use crate::app::{Integrity, Settings};
use crate::model::failure::{Failure, FailureKind};

use session::{Session, Streams};

/// Runs until the input ends or somebody ends it.
pub(super) fn run(arguments: Run) -> Exit {
    let streams = Streams {
        input_is_terminal: io::stdin().is_terminal(),
        // With events on standard output the talk goes to standard error.
        talks_on_error: arguments.events == Some(Events::Json),
        output_is_terminal: io::stdout().is_terminal(),
        error_is_terminal: io::stderr().is_terminal(),
    };
    let environment = match environment::read(arguments.places.secrets.as_deref()) {
        Ok(environment) => environment,
        Err(failure) => return not_started(&failure),
    };
    logging::start(&arguments.log, &environment, Style::of(&io::stderr()));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("worker").build() {
        Ok(runtime) => runtime,
        Err(error) => return not_started(&cannot_begin(&error)),
    };
    let settings = Settings {
        files: arguments.files,
        data: arguments.places.data,
        // One input is answered by what the file is now.
        watch: !arguments.no_watch && arguments.input.is_none(),
        integrity: match arguments.integrity {
            Mark::Usual => Integrity::Usual,
            Mark::Strict => Integrity::Strict,
        },
        environment,
    };
    let session = Session { settings, input: arguments.input, streams };
    let exit = runtime.block_on(session.run());
    // Everything that must end has ended; a read of the terminal never does.
    runtime.shutdown_background();
    exit
}

pub(super) fn cannot_begin(error: &io::Error) -> Failure {
    Failure::new(FailureKind::Failed, format!("the system does not let pipehost begin: {error}")).with_code("E0701")
}

//! The log: where it goes, as what, and how much of it.

use std::io;

use tracing_subscriber::EnvFilter;

use super::arguments::{Log, LogFormat, LogLevel};
use super::exit::say;
use super::style::{Style, harmless};
use crate::plan::Environment;

/// The variable that says how much is logged, as `debug` or as `pipehost::job=debug,warn`.
const VARIABLE: &str = "PIPEHOST_LOG";

/// How much can be logged, by a word.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// What is logged if nobody says anything: what the talk does not say itself.
const QUIET: &str = "warn,pipehost::run=off,pipehost::job=off,pipehost::bus=off,pipehost::reload=off";

/// Sends the log to standard error.
pub(super) fn start(log: &Log, environment: &Environment, style: Style) {
    let variable = environment.variables.get(VARIABLE).map(|variable| variable.trim());
    let filter = filter(log, variable.filter(|variable| is_understood(variable)));
    if let Some(variable) = variable.filter(|variable| !is_understood(variable)) {
        say(&format!(
            "note: {VARIABLE} is left out: `{}` is none of {}, nor as pipehost::job=debug,warn\n",
            harmless(variable),
            LEVELS.join(", ")
        ));
    }
    // Nobody is told that standard error is closed: where that would be said is standard error, and the attempt panics.
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).log_internal_errors(false);
    // A second start in one process, as in a test, keeps the first.
    let _ = match log.log {
        Some(LogFormat::Json) => builder.json().flatten_event(true).try_init(),
        Some(LogFormat::Text) | None => builder.with_ansi(style.is_coloured()).try_init(),
    };
}

/// Whether the variable's value says how much is logged. A lone word that is no level would be taken as a part of the program.
fn is_understood(variable: &str) -> bool {
    let is_lone = variable.chars().all(|character| character.is_ascii_alphanumeric());
    variable.is_empty() || LEVELS.contains(&variable.to_lowercase().as_str()) || (!is_lone && EnvFilter::try_new(variable).is_ok())
}

fn filter(log: &Log, variable: Option<&str>) -> EnvFilter {
    let level = log.log_level.map(|level| match level {
        LogLevel::Off => "off".to_owned(),
        LogLevel::Error => "error".to_owned(),
        LogLevel::Warn => "warn".to_owned(),
        // Libraries below keep to warnings: their chatter says nothing about a pipeline.
        LogLevel::Info => "warn,pipehost=info".to_owned(),
        LogLevel::Debug => "warn,pipehost=debug".to_owned(),
        LogLevel::Trace => "trace".to_owned(),
    });
    let variable = variable.filter(|variable| !variable.trim().is_empty()).map(|variable| match variable.trim() {
        "info" => "warn,pipehost=info".to_owned(),
        "debug" => "warn,pipehost=debug".to_owned(),
        other => other.to_owned(),
    });
    let default = if log.log.is_some() { "warn,pipehost=info" } else { QUIET };
    // What cannot be read in the variable was left out: a log is no reason not to start.
    EnvFilter::new(level.or(variable).unwrap_or_else(|| default.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(log: Option<LogFormat>, log_level: Option<LogLevel>, variable: Option<&str>) -> String {
        filter(&Log { log, log_level }, variable).to_string()
    }

    #[test]
    fn a_value_that_says_nothing_is_known_as_such() {
        for good in ["", "debug", "WARN", "pipehost::job=debug,warn", "warn,pipehost=info"] {
            assert!(is_understood(good), "{good}");
        }
        for bad in ["loud", "2x", "pipehost=loud", "a=b=c"] {
            assert!(!is_understood(bad), "{bad}");
        }
    }

    #[test]
    fn the_argument_goes_before_the_variable_and_both_before_the_default() {
        assert!(shown(None, Some(LogLevel::Debug), Some("error")).contains("pipehost=debug"));
        assert_eq!(shown(None, None, Some("error")), "error");
        assert!(shown(Some(LogFormat::Json), None, None).contains("pipehost=info"));
        assert!(shown(None, None, Some("")).contains("pipehost::run=off"));
    }
}

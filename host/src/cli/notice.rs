//! What happens beside the talk, in one line for people; most of it is not worth one.

use super::check::many;
use super::style::{Style, harmless};
use crate::model::happening::What;

/// The line for a happening, if people want to know of it while they talk.
pub(super) fn line(what: &What, style: Style) -> Option<String> {
    let line = match what {
        What::Retrying { job, attempt, failure, wait } => {
            let wait = wait.as_secs_f64();
            style.yellow(&format!("{}: attempt {attempt} failed ({}); again in {wait} s", job.step, failure.message))
        }
        What::Breaker { policy, state } => match *state {
            "open" => style.yellow(&format!("{policy}: too many failures; calls are refused until its cooldown is over")),
            "closed" => style.dim(&format!("{policy}: calls go through again")),
            _ => return None,
        },
        What::Reloaded { changed, removed, took } => {
            let names: Vec<_> = changed.iter().map(|name| name.as_str()).collect();
            let gone: Vec<_> = removed.iter().map(|name| name.as_str()).collect();
            let parts = [("in force: ", names), ("gone: ", gone)].into_iter().filter(|(_, names)| !names.is_empty());
            let parts: Vec<_> = parts.map(|(word, names)| format!("{word}{}", names.join(", "))).collect();
            style.green(&format!("saved, and {} ({:.0} ms)", parts.join("; "), took.as_secs_f64() * 1e3))
        }
        What::Unchanged => style.dim("saved, and nothing changed"),
        What::Indexed { index, files, chunks } => {
            style.dim(&format!("{index}: {}, {}", many(*files, "document"), many(*chunks, "passage")))
        }
        What::DocumentSkipped { index, file, reason } => style.yellow(&format!("{index}: {file} was skipped: {reason}")),
        What::Undelivered { undelivered, subscriber, reason } => {
            style.yellow(&format!("{} did not reach {subscriber}: {reason}", undelivered.event_type))
        }
        What::OutboxTrouble { source, entry, reason } => style.yellow(&format!("outbox of {source}: {entry}: {reason}")),
        _ => return None,
    };
    Some(if style.is_coloured() { line } else { harmless(&line) })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::id::PipelineName;

    #[test]
    fn a_reload_says_what_is_in_force_and_how_long_it_took() {
        let took = Duration::from_millis(12);
        let what = What::Reloaded { changed: vec![PipelineName::new("chatbot")], removed: vec![], took };
        assert_eq!(line(&what, Style::PLAIN).as_deref(), Some("saved, and in force: chatbot (12 ms)"));
    }

    #[test]
    fn the_beginning_of_a_run_is_not_worth_a_line() {
        assert_eq!(line(&What::RunStarted, Style::PLAIN), None);
    }
}

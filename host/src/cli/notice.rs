//! What happens beside the talk, in one line for people; most of it is not worth one.

use super::check::many;
use super::style::{Style, harmless};
use crate::model::happening::{Happening, What};

/// The line for a happening, if people want to know of it while they talk.
pub(super) fn line(happening: &Happening, style: Style) -> Option<String> {
    let line = match &happening.what {
        What::Retrying { job, attempt, failure, wait } => {
            let wait = wait.as_secs_f64();
            let of = happening.run.as_ref().map(|run| format!("{}.{}, ", run.pipeline, run.flow)).unwrap_or_default();
            style.yellow(&format!("{of}step {}: attempt {attempt} failed ({}); again in {wait} s", job.step, failure.message))
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
    use crate::model::failure::{Failure, FailureKind};
    use crate::model::happening::{JobLabel, RunLabel};
    use crate::model::id::{CorrelationId, ExecutorName, FlowName, JobId, PipelineName, RunId, StepId};
    use crate::model::time::Timestamp;

    fn shown(run: Option<RunLabel>, what: What) -> Option<String> {
        line(&Happening { time: Timestamp::EPOCH, run, what }, Style::PLAIN)
    }

    #[test]
    fn a_reload_says_what_is_in_force_and_how_long_it_took() {
        let took = Duration::from_millis(12);
        let what = What::Reloaded { changed: vec![PipelineName::new("chatbot")], removed: vec![], took };
        assert_eq!(shown(None, what).as_deref(), Some("saved, and in force: chatbot (12 ms)"));
    }

    #[test]
    fn a_retry_says_of_which_flow_it_is_since_many_run_beside_the_talk() {
        let run = RunLabel {
            pipeline: PipelineName::new("shop"),
            flow: FlowName::new("order"),
            run: RunId::new(uuid::Uuid::nil()),
            correlation_id: CorrelationId::new(uuid::Uuid::nil()),
        };
        let job =
            JobLabel { step: StepId::new("pay"), job: JobId::new(uuid::Uuid::nil()), executor: ExecutorName::new("bank"), undo: false };
        let failure = Failure::new(FailureKind::Transient, "busy");
        let what = What::Retrying { job, attempt: 2, failure, wait: Duration::from_millis(1500) };
        assert_eq!(shown(Some(run), what).as_deref(), Some("shop.order, step pay: attempt 2 failed (busy); again in 1.5 s"));
    }

    #[test]
    fn the_beginning_of_a_run_is_not_worth_a_line() {
        assert_eq!(shown(None, What::RunStarted), None);
    }
}

//! The story of a run for people: its head, its steps with all that was tried and decided, its end.

use std::time::Duration;

use crate::app::views::{AnswerStory, AttemptStory, EventStory, RunStory, StepState, StepStory, WaitStory};
use crate::cli::style::Style;
use crate::cli::typed::Typed;
use crate::cli::words::{cut, duration, shown};
use crate::model::activation::RunOutcome;
use crate::model::event::Caller;
use crate::model::failure::Failure;
use crate::model::job::ResultSource;
use crate::model::time::Timestamp;
use crate::model::value::{Tree, Value};

/// The whole story.
pub(in crate::cli) fn text(story: &RunStory, typed: &Typed, style: Style) -> String {
    let mut text = format!("{} {}\n", style.bold("run"), story.row.run);
    for (name, what) in head(story, typed) {
        text.push_str(&row(name, &what, style));
    }
    if !story.steps.is_empty() {
        text.push_str(&format!("{}\n", style.bold("steps")));
        story.steps.iter().for_each(|step| step_text(step, style, &mut text));
    }
    let end = end(story);
    if !end.is_empty() {
        text.push_str(&format!("{}\n", style.bold("end")));
        end.iter().for_each(|(name, what)| text.push_str(&row(name, what, style)));
    }
    text
}

/// A name and what there is to say.
pub(in crate::cli) fn row(name: &str, what: &str, style: Style) -> String {
    format!("  {} {}\n", style.dim(&format!("{name:<10}")), cut(what))
}

fn head(story: &RunStory, typed: &Typed) -> Vec<(&'static str, String)> {
    let run = &story.row;
    let mut rows =
        vec![("flow", format!("{}.{}", run.pipeline, run.flow)), ("status", run.status.to_string()), ("began", run.began.to_string())];
    if let (Some(ended), Some(took)) = (run.ended, run.took_ms) {
        rows.push(("ended", format!("{ended}, after {}", duration(Duration::from_millis(took)))));
    }
    rows.extend(story.degraded.then(|| ("degraded", "a fallback stood in".to_owned())));
    rows.extend(story.resumed.iter().map(|at| ("resumed", at.to_string())));
    rows.extend(story.deadline.map(|at| ("deadline", at.to_string())));
    rows.extend(named(&story.caller).map(|caller| ("caller", caller)));
    rows.extend(story.event.as_ref().map(|event| ("started by", said(event))));
    rows.extend((!story.trigger.is_null()).then(|| ("trigger", story.trigger.text().to_owned())));
    if story.unreadable.is_none() {
        rows.push(("input", story.input.text().to_owned()));
    }
    rows.extend(story.state_key.clone().map(|key| ("state key", key)));
    rows.extend(run.parent.map(|run| ("parent", format!("run {run}"))));
    rows.extend(story.retry_of.map(|run| ("again", format!("does run {run} again"))));
    rows.push(("request", run.correlation_id.to_string()));
    rows.push(("revision", run.revision.short()));
    rows.extend(story.migrated.iter().map(|migration| ("migrated", format!("from {} at {}", migration.from.short(), migration.at))));
    let damaged = |why: &String| format!("{} names what is damaged: {why}", typed.command("store verify"));
    rows.extend(story.unreadable.as_ref().map(|why| ("no more", damaged(why))));
    rows
}

fn end(story: &RunStory) -> Vec<(&'static str, String)> {
    let mut rows: Vec<(&'static str, String)> = story.reply.iter().map(|reply| ("reply", reply.text().to_owned())).collect();
    match &story.end {
        None => {}
        Some(RunOutcome::Succeeded) => rows.push(("outcome", "succeeded".to_owned())),
        Some(RunOutcome::Cancelled { reason }) => rows.push(("outcome", format!("cancelled ({})", reason.as_str()))),
        Some(outcome @ (RunOutcome::Failed { .. } | RunOutcome::TimedOut { .. })) => rows.push(("outcome", outcome.as_str().to_owned())),
        Some(RunOutcome::Parked { because, left }) => {
            rows.push(("outcome", format!("parked; before that it {}", ended_as(because))));
            rows.extend(left.iter().map(|(step, failure)| ("not undone", format!("{step}: {failure}"))));
        }
    }
    rows.extend(story.end.as_ref().and_then(|end| end.failure()).into_iter().flat_map(causes));
    rows
}

fn ended_as(outcome: &RunOutcome) -> &'static str {
    match outcome {
        RunOutcome::Cancelled { .. } => "was cancelled",
        RunOutcome::TimedOut { .. } => "had timed out",
        RunOutcome::Succeeded => "had succeeded",
        RunOutcome::Failed { .. } | RunOutcome::Parked { .. } => "had failed",
    }
}

fn causes(failure: &Failure) -> Vec<(&'static str, String)> {
    let mut rows = vec![("error", described(failure))];
    let mut cause = failure.cause.as_ref();
    while let Some(next) = cause {
        rows.push(("cause", described(next)));
        cause = next.cause.as_ref();
    }
    rows
}

/// `transient: the server answered 503 (step pay, code E503)`.
pub(in crate::cli) fn described(failure: &Failure) -> String {
    let step = failure.step.as_ref().map(|step| format!("step {step}"));
    let code = failure.code.as_ref().map(|code| format!("code {code}"));
    let more: Vec<String> = step.into_iter().chain(code).collect();
    if more.is_empty() { failure.to_string() } else { format!("{failure} ({})", more.join(", ")) }
}

fn step_text(step: &StepStory, style: Style, text: &mut String) {
    let mark = match step.state {
        StepState::Succeeded | StepState::Healed => style.green("✓"),
        StepState::Failed | StepState::TimedOut => style.red("✗"),
        StepState::Skipped | StepState::Cancelled => style.dim("–"),
        StepState::Running | StepState::Waiting | StepState::Sleeping | StepState::Retrying => style.yellow("…"),
    };
    let what: Vec<&str> = step.verb.iter().chain(&step.executor).map(String::as_str).collect();
    let mut line = format!("  {mark} {}", style.bold(&cut(&step.step)));
    for part in [what.join(" "), state(step), times(step)].iter().filter(|part| !part.is_empty()) {
        line.push_str(&format!("  {}", style.dim(part)));
    }
    text.push_str(&format!("{line}\n"));
    for detail in details(step) {
        text.push_str(&format!("      {}\n", cut(&detail)));
    }
}

/// How it stands, where the mark does not say it.
fn state(step: &StepStory) -> String {
    match (step.state, &step.cancelled) {
        (StepState::Succeeded | StepState::Failed, _) => String::new(),
        (StepState::Cancelled, Some(reason)) => format!("cancelled ({})", reason.as_str()),
        (state, _) => state.word().to_owned(),
    }
}

fn times(step: &StepStory) -> String {
    match (step.began, step.ended) {
        (Some(began), Some(ended)) => format!("{began}, {}", duration(ended.since(began))),
        (Some(began), None) => began.to_string(),
        (None, _) => String::new(),
    }
}

fn details(step: &StepStory) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    lines.extend(step.input.iter().filter(|input| !input.is_null()).map(|input| format!("input {}", shown(input))));
    // One good try says nothing that is not said already.
    let attempts = step.attempts.iter().filter(|attempt| step.attempts.len() > 1 || attempt.failure.is_some() || attempt.broken_off);
    lines.extend(attempts.map(attempted));
    lines.extend(step.wait.iter().flat_map(waited));
    lines.extend(step.due.map(|due| if step.state == StepState::Retrying { again(due) } else { format!("until {due}") }));
    lines.extend(step.joined.map(|job| format!("shares the result of job {job}")));
    lines.extend(step.runs.iter().map(|run| format!("run {run}")));
    lines.extend(step.from.and_then(came_from).map(str::to_owned));
    if step.attempts.is_empty() {
        lines.extend(step.failure.as_ref().map(|failure| format!("error {}", described(failure))));
    }
    lines.extend(
        step.output.iter().filter(|output| !output.is_null() && step.wait.is_none()).map(|output| format!("output {}", shown(output))),
    );
    lines.extend(step.events.iter().map(|event| format!("event {} {} {}", event.event_type, event.event, shown(&event.data))));
    lines
}

fn again(due: Timestamp) -> String {
    format!("again at {due}")
}

const fn came_from(source: ResultSource) -> Option<&'static str> {
    match source {
        ResultSource::Executor => None,
        ResultSource::Cache => Some("its result was cached"),
        ResultSource::Joined => Some("its result is that of another job with the same key"),
        ResultSource::Skipped => Some("it was a duplicate and was skipped"),
        ResultSource::Fallback => Some("its fallback stands in"),
        ResultSource::Degraded | ResultSource::JoinedDegraded => Some("its result is degraded"),
    }
}

fn attempted(attempt: &AttemptStory) -> String {
    let after = attempt.ended.map_or_else(String::new, |ended| format!(" after {}", duration(ended.since(attempt.began))));
    let came = match &attempt.failure {
        Some(failure) => format!("failed{after}: {}", described(failure)),
        None if attempt.ended.is_some() => format!("ended{after}"),
        None if attempt.broken_off => "broken off: the host ended before it did".to_owned(),
        None => "under way".to_owned(),
    };
    let next = attempt.next.map_or_else(String::new, |due| format!("; {}", again(due)));
    format!("attempt {} at {} {came}{next}", attempt.attempt, attempt.began)
}

fn waited(wait: &WaitStory) -> Vec<String> {
    let events: Vec<&str> = wait.events.iter().map(|event| event.as_str()).collect();
    let matching: Vec<String> =
        wait.matching.iter().map(|(name, value): (&String, &Tree)| format!("{name} = {}", Value::from(value.clone()).text())).collect();
    let mut lines = vec![format!("for {} with {}, until {}", events.join(" or "), matching.join(" and "), wait.until)];
    if wait.reminders > 0 {
        let last =
            wait.reminded.last().map_or_else(String::new, |at| format!(", {}at {at}", if wait.reminders > 1 { "last " } else { "" }));
        lines.push(format!("reminded {}{last}", if wait.reminders == 1 { "once".to_owned() } else { format!("{} times", wait.reminders) }));
    }
    lines.extend(wait.answers.iter().map(decided));
    lines.extend(wait.timed_out.map(|at| format!("gave up at {at}: nobody had answered")));
    lines
}

/// `taken: Approved by alice at 2026-11-21T10:00:00.000Z {"approved":true}`.
fn decided(answer: &AnswerStory) -> String {
    let verdict = answer.refused.as_ref().map_or_else(|| "taken".to_owned(), |reason| format!("refused ({reason})"));
    format!("{verdict}: {} {}", said(&answer.event), shown(&answer.event.data))
}

fn said(event: &EventStory) -> String {
    let by = named(&event.caller).map_or_else(String::new, |caller| format!(" by {caller}"));
    let from = if event.is_signal { String::new() } else { format!(" of {}", event.source) };
    format!("{}{from}{by} at {}", event.event_type, event.time)
}

fn named(caller: &Caller) -> Option<String> {
    let roles = if caller.roles.is_empty() { String::new() } else { format!(" ({})", caller.roles.join(", ")) };
    caller.id.as_ref().map(|id| format!("{id}{roles}"))
}

//! The audit trail of a run: who decided what, when and why, in the order of time. Every answer stands in it, the refused ones too, whichever way
//! it came: it is read from what is recorded of the run, not from what a pipeline wrote down of it.

use serde::{Deserialize, Serialize};

use super::story::{AnswerStory, RunStory, StepState, StepStory, WaitStory};
use crate::model::activation::RunOutcome;
use crate::model::event::Caller;
use crate::model::job::CancelReason;
use crate::model::time::Timestamp;
use crate::model::value::Value;

/// Something that was decided.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Decision {
    /// When.
    pub at: Timestamp,
    /// Who: a caller by name, an executor, a wait by its step; `run` for what the run itself comes to.
    pub who: String,
    /// What.
    pub what: String,
    /// Why, or with what: an input, an output, what an answer says, a failure. Secrets show their names only.
    pub why: String,
}

impl RunStory {
    /// What was decided, in the order of time. Steps without an id are left out: nothing later can build on what they gave.
    pub fn decisions(&self) -> Vec<Decision> {
        let mut all = vec![decision(self.row.began, self.asked_by(), "began", text(&self.input))];
        self.steps.iter().for_each(|step| of_step(step, &mut all));
        all.extend(self.resumed.iter().map(|at| decision(*at, RUN, "resumed", String::new())));
        all.extend(self.migrated.iter().map(|gone| decision(gone.at, RUN, "migrated", format!("from revision {}", gone.from.short()))));
        if let (Some(at), Some(end)) = (self.row.ended, &self.end) {
            all.push(decision(at, RUN, end.as_str(), self.why_ended(end)));
        }
        // What was said at one moment stays in the order of the history; nothing comes after the end of a run but answers that were too late.
        all.sort_by_key(|decision| decision.at);
        all
    }

    fn why_ended(&self, end: &RunOutcome) -> String {
        match (end, end.failure()) {
            (RunOutcome::Cancelled { reason }, _) => reason.as_str().to_owned(),
            (_, Some(failure)) => failure.to_string(),
            (_, None) => self.reply.as_ref().map(text).unwrap_or_default(),
        }
    }

    fn asked_by(&self) -> String {
        let event = || self.event.as_ref().map_or_else(|| SOMEBODY.to_owned(), |event| format!("event {}", event.event_type));
        self.caller.id.clone().unwrap_or_else(event)
    }
}

/// Who it is that a run's own doings are of.
const RUN: &str = "run";
/// Whoever asked or answered without a name.
const SOMEBODY: &str = "somebody";

fn of_step(step: &StepStory, all: &mut Vec<Decision>) {
    if let Some(wait) = &step.wait {
        of_wait(step, wait, all);
    }
    let is_named = step.undoes.is_some() || !step.step.rsplit('.').next().is_some_and(|name| name.starts_with('#'));
    let Some(at) = step.ended.filter(|_| step.job.is_some() && is_named) else { return };
    let who = step.executor.clone().unwrap_or_else(|| RUN.to_owned());
    let why = match (&step.failure, step.state) {
        (_, StepState::Cancelled) if step.cancelled.is_some() => step.cancelled.map(CancelReason::as_str).unwrap_or_default().to_owned(),
        (Some(failure), state) if state != StepState::Succeeded => failure.to_string(),
        _ => step.output.as_ref().map(text).unwrap_or_default(),
    };
    all.push(decision(at, who, &format!("{} {}", step.step, step.state.word()), why));
}

fn of_wait(step: &StepStory, wait: &WaitStory, all: &mut Vec<Decision>) {
    let events: Vec<&str> = wait.events.iter().map(|event| event.as_str()).collect();
    // An older host recorded how often, and not when.
    let reminded = match (wait.reminders as usize).saturating_sub(wait.reminded.len()) {
        0 => String::new(),
        1 => "; reminded once".to_owned(),
        times => format!("; reminded {times} times"),
    };
    let asked = format!("for {} until {}{reminded}", events.join(" or "), wait.until);
    all.extend(step.began.map(|at| decision(at, step.step.as_str(), "asked", asked)));
    all.extend(wait.reminded.iter().map(|at| decision(*at, step.step.as_str(), "reminded", String::new())));
    all.extend(wait.answers.iter().map(answered));
    all.extend(wait.timed_out.map(|at| decision(at, step.step.as_str(), "gave up", "nobody had answered".to_owned())));
}

fn answered(answer: &AnswerStory) -> Decision {
    let event = &answer.event;
    let verdict = answer.refused.as_ref().map_or_else(|| "taken".to_owned(), |why| format!("refused ({why})"));
    decision(event.time, named(&event.caller), &format!("{} {verdict}", event.event_type), text(&event.data))
}

fn named(caller: &Caller) -> String {
    caller.id.clone().unwrap_or_else(|| SOMEBODY.to_owned())
}

fn text(value: &Value) -> String {
    if value.is_null() { String::new() } else { value.text().to_owned() }
}

fn decision(at: Timestamp, who: impl Into<String>, what: &str, why: String) -> Decision {
    Decision { at, who: who.into(), what: what.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;
    use crate::app::views::{EventStory, RunRow, Status};
    use crate::model::id::{CorrelationId, Digest, EventId, JobId, RunId};

    fn row() -> RunRow {
        RunRow {
            run: RunId::new(Uuid::from_u128(1)),
            pipeline: "shop".into(),
            flow: "order".into(),
            status: Status::Succeeded,
            began: at(1),
            ended: Some(at(9)),
            took_ms: Some(8_000),
            correlation_id: CorrelationId::new(Uuid::from_u128(2)),
            revision: Digest::of(b"one"),
            parent: None,
        }
    }

    fn told(story: &RunStory) -> Vec<String> {
        story.decisions().iter().map(|one| format!("{} {}: {}", one.who, one.what, one.why)).collect()
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::EPOCH + Duration::from_secs(seconds)
    }

    fn answer(second: u64, who: Option<&str>, refused: Option<&str>) -> AnswerStory {
        let event = EventStory {
            event: EventId::new(Uuid::from_u128(second.into())),
            event_type: "Approved".into(),
            source: "shop".into(),
            time: at(second),
            caller: Caller { id: who.map(str::to_owned), roles: Vec::new() },
            is_signal: true,
            data: Value::map([("by", Value::string("rosa"))]),
        };
        AnswerStory { event, refused: refused.map(str::to_owned) }
    }

    fn job(step: &str, ended: u64) -> StepStory {
        StepStory {
            step: step.to_owned(),
            executor: Some("router".to_owned()),
            state: StepState::Succeeded,
            job: Some(JobId::new(Uuid::from_u128(ended.into()))),
            ended: Some(at(ended)),
            output: Some(Value::string("north")),
            ..StepStory::default()
        }
    }

    #[test]
    fn every_answer_stands_between_what_was_decided_before_and_after_it() {
        let wait = WaitStory {
            events: vec!["Approved".into()],
            matching: crate::model::value::Map::new(),
            until: at(99),
            reminders: 3,
            reminded: vec![at(4)],
            timed_out: None,
            answers: vec![answer(5, Some("rosa"), Some("guard")), answer(6, None, None), answer(20, Some("ralf"), Some("double"))],
        };
        let asked = StepStory { step: "each[0].answer".to_owned(), began: Some(at(3)), wait: Some(wait), ..StepStory::default() };
        let steps = vec![job("route", 2), asked, job("each[0].#7", 7), job("pay", 8)];
        let story = RunStory { steps, end: Some(RunOutcome::Succeeded), ..RunStory::of(row()) };
        assert_eq!(
            told(&story),
            [
                "somebody began: ",
                "router route succeeded: \"north\"",
                "each[0].answer asked: for Approved until 1970-01-01T00:01:39.000Z; reminded 2 times",
                "each[0].answer reminded: ",
                "rosa Approved refused (guard): {\"by\":\"rosa\"}",
                "somebody Approved taken: {\"by\":\"rosa\"}",
                "router pay succeeded: \"north\"",
                "run succeeded: ",
                "ralf Approved refused (double): {\"by\":\"rosa\"}",
            ]
        );
    }
    #[test]
    fn the_end_of_a_cancelled_run_and_of_its_steps_says_why() {
        let pay = StepStory { state: StepState::Cancelled, cancelled: Some(CancelReason::Event), output: None, ..job("pay", 9) };
        let end = RunOutcome::Cancelled { reason: CancelReason::Event };
        let story = RunStory { steps: vec![pay], end: Some(end), ..RunStory::of(row()) };
        assert_eq!(told(&story), ["somebody began: ", "router pay cancelled: event", "run cancelled: event"]);
    }
}
